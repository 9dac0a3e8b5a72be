/*
 * large.h - one mapping per large block
 *
 * Purpose     malloc, free and realloc of whole pages, each block fenced by a guard on both sides.
 * Invariants  A live block's first page, and no other, leads to it in the page map.
 * Locking     Thread-safe. LARGE is held for list work only; every kernel call is made without it.
 *             While a fork is under way calls are refused, never delayed.
 * Layer       large/. Uses mapcache, guard, map, conf. Used by front.
 */
#ifndef ASHLAR_LARGE_LARGE_H
#define ASHLAR_LARGE_LARGE_H

#include "base/base.h"
#include "map/span.h"

enum ashlar_large_fill {
    ASHLAR_FILL_ANY,  /* old contents will do */
    ASHLAR_FILL_ZERO, /* reads as zero throughout */
};

/* A block of at least `size` bytes at a multiple of `align` (a power of two). NULL: out of
   memory, or a fork under way. */
void *ashlar_large_alloc(size_t size, size_t align, enum ashlar_large_fill fill);

/* The same, of any contents, if the calling thread freed a block of this length just before: no
   lock, no kernel call. NULL, now and then also when there is one: ask ashlar_large_alloc. */
void *ashlar_large_take_kept(size_t size);

/* Says that the first bytes of a block just handed out are about to be written. Advice only. */
void ashlar_large_expect_writes(void *ptr, size_t len_bytes);

enum ashlar_large_result {
    ASHLAR_LARGE_DONE,
    ASHLAR_LARGE_NOT_A_BLOCK, /* no live block starts there */
};

/* `span` is what the page map says about `ptr`. */
enum ashlar_large_result ashlar_large_free(struct ashlar_span *span, void *ptr);

/* Live blocks, and their payload; freed ones that hold pages. A moment's truth. */
struct ashlar_large_usage {
    size_t live_blocks;
    size_t live_bytes;
    size_t kept_bytes;
};
struct ashlar_large_usage ashlar_large_usage(void);

/* Bytes that may be used, as was asked for, in whole pages; 0: no live block starts there. */
size_t ashlar_large_usable_size(const struct ashlar_span *span, const void *ptr);

/* What an address is that no live block starts at. Slow. */
enum ashlar_large_place {
    ASHLAR_PLACE_FOREIGN,  /* never ours, as far as we know */
    ASHLAR_PLACE_INTERIOR, /* inside a live block */
    ASHLAR_PLACE_FREED,    /* in memory that was freed */
};
enum ashlar_large_place ashlar_large_diagnose(const void *ptr);

/* Purges what has been idle for the decay time. */
void ashlar_large_tick(uint64_t now_ms);

/* True, once, when a call above has left more memory kept than there may be, all of it small. */
bool ashlar_large_wants_small(void);

/* Purges everything idle; true when there was something. */
bool ashlar_large_trim(void);

#endif
