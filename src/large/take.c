/*
 * take.c - a live extent for a request, with its pages and its fences
 *
 * Purpose     See take.h.
 * Invariants  See take.h.
 * Locking     See take.h.
 * Layer       large/.
 */
#include "large/take.h"

#include "conf/counters.h"
#include "large/account.h"
#include "large/guard.h"
#include "large/huge.h"
#include "large/purge.h"

/* The page in front of the first extent of a region is reserved space, a guard by nature. */
void ashlar_take_fence(struct ashlar_extent *extent)
{
    size_t page = ashlar_os_facts.page_bytes;
    if (extent->base != extent->region->payload)
        ashlar_guard_set(extent->region, extent->base - page);
    ashlar_guard_set(extent->region, ashlar_extent_guard(extent));
    if (extent->room_bytes != 0)
        ashlar_guard_set(extent->region, ashlar_extent_end(extent) - page);
}

/* Fresh address space from a region's edge, as an extent that nobody knows yet. */
static struct ashlar_extent *take_fresh(size_t len_bytes, size_t align,
                                        enum ashlar_region_pages pages)
{
    size_t page = ashlar_os_facts.page_bytes;
    size_t taken;
    struct ashlar_extent *extent = ashlar_extent_new();
    if (extent == NULL)
        return NULL;
    extent->base = ashlar_region_take(len_bytes + page, align, pages, &extent->region, &taken);
    if (extent->base == NULL) {
        ashlar_extent_delete(extent);
        return NULL;
    }
    extent->len_bytes = taken - page;
    return extent;
}

/* Pages that are long enough as they are. LARGE held. */
static struct ashlar_extent *find_full_locked(struct ashlar_request *request)
{
    bool was_dirty;
    request->clean_at = request->len_bytes;
    request->clean_bytes = 0;
    return ashlar_mapcache_take_locked(request->len_bytes, request->align, ASHLAR_WANT_DIRTY,
                                       &was_dirty);
}

/* The longest ones beside which there is space for the rest: so fewer pages are moved, or faulted.
   LARGE held. */
static struct ashlar_extent *find_part_locked(struct ashlar_request *request, bool has_room)
{
    struct ashlar_extent *extent = ashlar_mapcache_take_longer_locked(
        request->len_bytes, request->align, &request->clean_at, &request->clean_bytes);
    if (extent == NULL)
        return NULL;
    if (!has_room)
        ashlar_recycle_plan_locked(&request->plan, request->clean_at + request->clean_bytes,
                                   request->clean_at);
    ashlar_count(cache_part_hits);
    return extent;
}

/*
 * Space without pages, and shorter runs of pages to be moved there. While the law leaves room, what
 * is kept stays whole where it is, and serves a later request without any call
 * (doc/decisions/0013); but a block that is growing is about to be written. LARGE held.
 */
static struct ashlar_extent *find_clean_locked(struct ashlar_request *request, bool has_room)
{
    bool was_dirty;
    enum ashlar_mapcache_want want = request->from != NULL ? ASHLAR_WANT_CLEAN_ROOMY
                                                           : ASHLAR_WANT_CLEAN;
    request->clean_at = request->from != NULL ? request->from->len_bytes : 0;
    request->clean_bytes = request->len_bytes - request->clean_at;
    if (request->from != NULL || !has_room)
        ashlar_recycle_plan_locked(&request->plan, request->len_bytes, request->clean_at);
    if (request->pages == ASHLAR_PAGES_HUGE) {
        request->align = ashlar_max_size(request->align, ashlar_os_facts.table_bytes);
        want = ASHLAR_WANT_CLEAN_HUGE;
    }
    return ashlar_mapcache_take_locked(request->len_bytes, request->align, want, &was_dirty);
}

/* Looks among the freed extents, by what costs least first. LARGE held. */
static struct ashlar_extent *find_kept_locked(struct ashlar_request *request)
{
    bool wants_kept = request->want == ASHLAR_WANT_ANY;
    struct ashlar_extent *extent = wants_kept ? find_full_locked(request) : NULL;
    if (extent != NULL)
        return extent;
    bool has_room = ashlar_mapcache_has_room_locked(request->len_bytes);
    if (wants_kept && request->pages == ASHLAR_PAGES_BASE)
        extent = find_part_locked(request, has_room);
    return extent != NULL ? extent : find_clean_locked(request, has_room);
}

/* The same; for fresh != NULL, takes that one in instead. LARGE held. */
static struct ashlar_extent *find_locked(struct ashlar_request *request,
                                         struct ashlar_extent *fresh)
{
    struct ashlar_extent *extent = fresh;
    if (fresh == NULL)
        extent = find_kept_locked(request);
    else if (!ashlar_mapcache_cut_fresh_locked(fresh, request->len_bytes, request->align))
        return NULL;
    if (extent == NULL)
        return NULL;
    if (request->from != NULL)
        ashlar_account_uncount_locked(request->from, request->now_ms);
    ashlar_account_count_locked(extent, request->now_ms);
    return extent;
}

/* find_locked under the lock, and the purge that may be due after it. False: refused. */
static bool find(struct ashlar_request *request, struct ashlar_extent *fresh,
                 struct ashlar_extent **found)
{
    if (!ashlar_mapcache_lock())
        return false;
    *found = find_locked(request, fresh);
    bool is_due = ashlar_mapcache_is_due_locked(request->now_ms);
    ashlar_mapcache_unlock();
    if (is_due)
        ashlar_purge_due(request->now_ms);
    return true;
}

/* True when the extent found for the request came with kept pages. */
static bool holds_kept(const struct ashlar_request *request)
{
    return request->from == NULL && request->clean_bytes != request->len_bytes;
}

/* A LIVE extent of the request's length, with a plan for its pages; NULL: none to be had, or a fork
   under way. */
static struct ashlar_extent *find_extent(struct ashlar_request *request)
{
    struct ashlar_extent *extent;
    if (!find(request, NULL, &extent))
        return NULL;
    if (extent != NULL) {
        if (holds_kept(request))
            ashlar_count(cache_hits);
        else
            ashlar_count(cache_clean_hits);
        return extent;
    }
    ashlar_count(cache_misses);
    struct ashlar_extent *fresh = take_fresh(request->len_bytes, request->align, request->pages);
    if (fresh != NULL && !find(request, fresh, &extent)) {
        ashlar_mapcache_put(fresh, ASHLAR_EXTENT_CLEAN, request->now_ms);
        extent = NULL;
    }
    if (extent == NULL)
        ashlar_recycle_cancel(&request->plan);
    return extent;
}

struct ashlar_extent *ashlar_take(struct ashlar_request *request)
{
    request->now_ms = ashlar_os_now_ms();
    ashlar_account_learn_limit();
    if (ashlar_huge_is_wanted(request->len_bytes))
        request->pages = ASHLAR_PAGES_HUGE;
    struct ashlar_extent *extent = find_extent(request);
    if (extent == NULL)
        return NULL;
    if (!ashlar_guard_clear(extent->region, extent->base, ashlar_extent_guard(extent)) ||
        !ashlar_pagemap_prepare(extent->base, 1)) {
        ashlar_recycle_cancel(&request->plan);
        ashlar_mapcache_put(extent, holds_kept(request) ? ASHLAR_EXTENT_DIRTY : ASHLAR_EXTENT_CLEAN,
                            request->now_ms);
        ashlar_purge_if_due(request->now_ms);
        return NULL;
    }
    size_t moved_bytes = ashlar_recycle_run(&request->plan, extent, request->clean_at);
    request->clean_at += moved_bytes;
    request->clean_bytes -= moved_bytes;
    /* What was not moved counts as kept again, and so may holes. */
    if (request->plan.count != 0)
        ashlar_purge_if_due(request->now_ms);
    ashlar_take_fence(extent);
    extent->is_born_empty = request->clean_bytes == request->len_bytes &&
                            extent->region->pages == ASHLAR_PAGES_BASE;
    if (extent->is_born_empty)
        ashlar_huge_remember(extent->base, extent->len_bytes);
    else if (extent->region->pages == ASHLAR_PAGES_HUGE)
        ashlar_count(huge_blocks);
    return extent;
}
