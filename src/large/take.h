/*
 * take.h - a live extent for a request, with its pages and its fences
 *
 * Purpose     Where a large block comes from: kept pages that are long enough; kept pages and the
 *             clean space beside them; clean or fresh space, with kept pages moved under it when
 *             the law (account.h) leaves no room for fresh ones.
 * Invariants  An extent becomes LIVE and counted under LARGE, and gets its guards and its moved
 *             pages without it.
 * Locking     Thread-safe; LARGE for list work only, every kernel call is made without it.
 * Layer       large/. Uses mapcache, recycle, guard, purge, huge. Used by large, resize.
 */
#ifndef ASHLAR_LARGE_TAKE_H
#define ASHLAR_LARGE_TAKE_H

#include "large/mapcache.h"
#include "large/recycle.h"
#include "map/pagemap.h"
#include "os/os.h"

/* What a request is looking for, and what became of it. */
struct ashlar_request {
    size_t len_bytes;
    size_t align;
    enum ashlar_mapcache_want want;
    enum ashlar_region_pages pages; /* of address space that holds no pages yet */
    uint64_t now_ms;
    struct ashlar_extent *from;      /* the block whose contents come here; not live twice */
    size_t clean_at;                 /* where in the payload what reads as zero begins, */
    size_t clean_bytes;              /* and its length: elsewhere old contents may be */
    struct ashlar_recycle_plan plan; /* pages to be moved in at clean_at */
};

/* Payload bytes of a block of `size`; false: absurd. */
static inline bool ashlar_take_round(size_t size, size_t *len_bytes)
{
    return ashlar_round_fits(size != 0 ? size : 1, ashlar_os_facts.page_bytes, len_bytes) &&
           *len_bytes <= (size_t)PTRDIFF_MAX;
}

/* A LIVE extent of the request's length, fenced, not in the page map yet but with room for it
   there. NULL: out of memory, or a fork under way. */
struct ashlar_extent *ashlar_take(struct ashlar_request *request);

/* Puts the fences up that are not standing yet. */
void ashlar_take_fence(struct ashlar_extent *extent);

/* Lets the page map know the block. */
static inline void ashlar_take_publish(struct ashlar_extent *extent)
{
    ashlar_pagemap_set_one(extent->base, &extent->span);
}

#endif
