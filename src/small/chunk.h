/*
 * chunk.h - a run of slices that slabs are cut from
 *
 * Purpose     The state of up to 1024 slices of 4 KiB in three maps of bits, and the kernel's side
 *             of it: mapping, purging, unmapping.
 * Invariants  dirty is a subset of free, aged of dirty. A slice in a slab, or being purged, is in
 *             none of them. No run of free slices that starts in word i is longer than bounds[i],
 *             where ASHLAR_RUN_MAX stands for any length. A chunk is idle when all its slices are
 *             free and clean.
 * Locking     The maps belong to the arena, under its lock; left_clean and left_dirty are
 *             atomic. map, unmap and purge call the kernel and want no lock held.
 * Layer       small/. Uses slicemap, map, conf. Used by arena.
 */
#ifndef ASHLAR_SMALL_CHUNK_H
#define ASHLAR_SMALL_CHUNK_H

#include <stdatomic.h>

#include "base/list.h"
#include "conf/options.h"
#include "map/pagemap.h"
#include "small/slicemap.h"

/* A slice is what the page map tells apart. */
#define ASHLAR_SLICE_BYTES ASHLAR_GRANULE_BYTES

/* Looks at the idle slices of the chunks are spread over so many steps: half a decay time. */
#define ASHLAR_CHUNK_TURNS (ASHLAR_DECAY_STEPS / 2)

struct ashlar_arena;

struct ashlar_chunk {
    struct ashlar_list link;    /* arena's list number `listed` */
    struct ashlar_arena *arena; /* constant */
    char *base;                 /* constant */
    unsigned nslices;           /* constant: 1024, fewer when address space is short */
    unsigned nfree;             /* slices in `free` */
    unsigned ndirty;            /* slices in `dirty` */
    unsigned longest;           /* the highest of `bounds`, or more */
    unsigned listed;            /* arena's: see arena.c */
    unsigned turn;              /* arena's: when its idle slices are looked at */
    uint8_t bounds[ASHLAR_SLICEMAP_WORDS];
    struct ashlar_slicemap free;  /* slices not in a slab */
    struct ashlar_slicemap dirty; /* free slices that may hold pages */
    struct ashlar_slicemap aged;  /* dirty slices that were so at the last tick */
    /* Slices whose purger met a shut lock: purged, and not. */
    _Atomic uint64_t left_clean[ASHLAR_SLICEMAP_WORDS];
    _Atomic uint64_t left_dirty[ASHLAR_SLICEMAP_WORDS];
};

/* A fresh chunk on no list, of at least `need_slices`. Under RLIMIT_AS it shrinks rather than
   fails. NULL: out of memory, or a fork under way. Its range is prepared in the page map. */
struct ashlar_chunk *ashlar_chunk_map(struct ashlar_arena *arena, unsigned need_slices);

/* How many of a chunk's slices may be used, so that no slab ends at a multiple of 4 GiB: all, or
   all but a page's. */
unsigned ashlar_chunk_slices_off_border(const char *base, unsigned nslices);

/* Gives an idle chunk back; false when the kernel would not: the chunk is still there. */
bool ashlar_chunk_unmap(struct ashlar_chunk *chunk);

/* Takes the first run of 1 <= len <= ASHLAR_RUN_MAX slices; its first slice, and by *ndirty up to
   which of them there may be pages. ASHLAR_SLICE_NONE: there is none, and `longest` says so from
   now on. */
unsigned ashlar_chunk_take(struct ashlar_chunk *chunk, unsigned len, unsigned *ndirty);

/* Puts a run back, of which the first `ndirty` slices may hold pages; whole pages. */
void ashlar_chunk_put(struct ashlar_chunk *chunk, struct ashlar_run run, unsigned ndirty);

/* Marks what is dirty now as aged. */
void ashlar_chunk_age(struct ashlar_chunk *chunk);

enum ashlar_idle_choice { ASHLAR_IDLE_AGED, ASHLAR_IDLE_ALL };

/* Takes dirty slices out of reach to be purged; false: none. */
bool ashlar_chunk_detach(struct ashlar_chunk *chunk, enum ashlar_idle_choice choice,
                         struct ashlar_slicemap *victims);

/* Purges detached slices: moves those that have no pages now from `dirty` to `clean`, all of them
   unless the kernel was short. */
void ashlar_chunk_purge(const struct ashlar_chunk *chunk, struct ashlar_slicemap *dirty,
                        struct ashlar_slicemap *clean);

/* Puts detached slices back. */
void ashlar_chunk_put_back(struct ashlar_chunk *chunk, const struct ashlar_slicemap *dirty,
                           const struct ashlar_slicemap *clean);

/* The same for a purger that cannot have the arena's lock: leaves its slices for the next collect,
   and does not touch the chunk again. */
void ashlar_chunk_leave(struct ashlar_chunk *chunk, const struct ashlar_slicemap *dirty,
                        const struct ashlar_slicemap *clean);
void ashlar_chunk_collect(struct ashlar_chunk *chunk);

bool ashlar_chunk_is_idle(const struct ashlar_chunk *chunk);

#endif
