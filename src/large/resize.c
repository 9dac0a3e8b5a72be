/*
 * resize.c - large blocks made longer and shorter
 *
 * Purpose     See resize.h.
 * Invariants  See resize.h.
 * Locking     See large.h.
 * Layer       large/.
 */
#include "large/resize.h"

#include <string.h>

#include "conf/counters.h"
#include "large/account.h"
#include "large/guard.h"
#include "large/large.h"
#include "large/pieces.h"
#include "large/purge.h"
#include "large/take.h"
#include "map/pagemap.h"
#include "os/os.h"

/* Gives the tail to the cache. */
static bool shrink(struct ashlar_extent *extent, size_t len_bytes)
{
    uint64_t now_ms = ashlar_os_now_ms();
    if (!ashlar_mapcache_lock())
        return false;
    if (extent->is_counted)
        ashlar_account_shrink_locked(extent->len_bytes - len_bytes, now_ms);
    ashlar_mapcache_shrink_locked(extent, len_bytes, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    ashlar_take_fence(extent);
    if (is_due)
        ashlar_purge_due(now_ms);
    return true;
}

/* A block that a fork kept out of the account stays out. */
static void note_growth_locked(const struct ashlar_extent *extent, size_t more_bytes,
                               uint64_t now_ms)
{
    if (extent->is_counted)
        ashlar_account_grow_locked(more_bytes, now_ms);
}

/* Plans to fill what a block has grown by, if the law leaves no room for fresh pages. LARGE
   held. */
static void plan_growth_locked(struct ashlar_recycle_plan *plan, const struct ashlar_extent *extent,
                               size_t old_len)
{
    if (!ashlar_mapcache_has_room_locked(0))
        ashlar_recycle_plan_locked(plan, extent->len_bytes, old_len);
}

/* Takes in the freed extent behind, or fresh address space at the region's edge. */
static bool grow_in_place(struct ashlar_extent *extent, size_t len_bytes)
{
    uint64_t now_ms = ashlar_os_now_ms();
    size_t old_len = extent->len_bytes;
    struct ashlar_recycle_plan plan = {.count = 0};
    bool was_dirty;
    if (!ashlar_mapcache_lock())
        return false;
    bool is_grown = ashlar_mapcache_grow_locked(extent, len_bytes, &was_dirty);
    if (is_grown) {
        note_growth_locked(extent, len_bytes - old_len, now_ms);
        if (!was_dirty)
            plan_growth_locked(&plan, extent, old_len);
    }
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (!is_grown) {
        size_t have = extent->len_bytes + extent->room_bytes;
        if (!ashlar_region_extend(extent->region, ashlar_extent_end(extent), len_bytes - have))
            return false;
        /* The edge is ours now, so nothing can lie behind the extent. */
        extent->room_bytes += len_bytes - have;
        if (!ashlar_mapcache_lock())
            return false; /* a fork is under way; what was taken stays room */
        extent->len_bytes = len_bytes;
        extent->room_bytes = 0;
        note_growth_locked(extent, len_bytes - old_len, now_ms);
        plan_growth_locked(&plan, extent, old_len);
        is_due = ashlar_mapcache_is_due_locked(now_ms);
        ashlar_mapcache_unlock();
    }
    if (!ashlar_guard_clear(extent->region, extent->base, ashlar_extent_guard(extent))) {
        /* The map count is used up: the pages behind the old guard stay out of reach. */
        ashlar_recycle_cancel(&plan);
        (void)shrink(extent, old_len);
        return false;
    }
    (void)ashlar_recycle_run(&plan, extent, old_len);
    ashlar_take_fence(extent);
    if (is_due)
        ashlar_purge_due(now_ms);
    else if (plan.count != 0)
        ashlar_purge_if_due(now_ms); /* as in take.c: what was not moved is kept again */
    return true;
}

/* Moves the pages of a block under another extent; how many bytes, from the first on. Fewer than
   all: the kernel would not. */
static size_t move_pages(struct ashlar_extent *from, struct ashlar_extent *to)
{
    size_t moved_bytes = ashlar_recycle_move(from->region, from->base, to->region, to->base,
                                             from->len_bytes);
    /* What is left behind is empty, but a mapping of its own until a fresh one joins it. */
    if (moved_bytes == from->len_bytes)
        (void)ashlar_pieces_renew(from->region, from->base, ashlar_extent_guard(from));
    return moved_bytes;
}

/* Where a block is to go whose pages are moved: once it is long, at a page table's place, and its
   next move takes whole tables. A limit of address space leaves no room for that. */
static size_t align_for_move(size_t len_bytes)
{
    size_t table = ashlar_os_facts.table_bytes;
    return len_bytes >= 2 * table && ashlar_os_address_limit() == SIZE_MAX
               ? table
               : ashlar_os_facts.page_bytes;
}

/* Counts a block that was to be moved and stays; a fork under way leaves it out of the account. */
static void count_again(struct ashlar_extent *extent, uint64_t now_ms)
{
    if (extent->is_counted || !ashlar_mapcache_lock())
        return;
    ashlar_account_count_locked(extent, now_ms);
    ashlar_mapcache_unlock();
}

void *ashlar_resize(struct ashlar_span *span, void *ptr, size_t size)
{
    struct ashlar_extent *extent = ashlar_extent_of(span);
    size_t len;
    if (!ashlar_take_round(size, &len))
        return NULL;
    bool is_there = len >= ashlar_extent_asked_bytes(extent) && len <= extent->len_bytes;
    if (is_there || (len < extent->len_bytes && shrink(extent, len)) ||
        (len > extent->len_bytes && grow_in_place(extent, len))) {
        ashlar_account_set_surplus(extent, extent->len_bytes - len);
        ashlar_count(realloc_in_place);
        return ptr;
    }
    if (len < extent->len_bytes)
        return NULL; /* a fork is under way */
    struct ashlar_request request = {
        .len_bytes = len,
        .align = align_for_move(len),
        .want = ASHLAR_WANT_CLEAN,
        .from = extent,
    };
    struct ashlar_extent *moved = ashlar_take(&request);
    if (moved == NULL) {
        count_again(extent, request.now_ms);
        return NULL;
    }
    size_t moved_bytes = move_pages(extent, moved);
    bool is_moved = moved_bytes == extent->len_bytes;
    if (is_moved) {
        ashlar_count(realloc_moved);
    } else {
        memcpy(moved->base + moved_bytes, extent->base + moved_bytes,
               extent->len_bytes - moved_bytes);
        ashlar_count(realloc_copied);
    }
    ashlar_take_publish(moved);
    ashlar_pagemap_set_one(ptr, NULL);
    /* Clean up to its end, as extent.h promises of CLEAN ones: under the guard, too. */
    bool is_clean = is_moved && extent->room_bytes == 0 &&
                    ashlar_guard_empty(extent->region, ashlar_extent_guard(extent));
    ashlar_mapcache_put(extent, is_clean ? ASHLAR_EXTENT_CLEAN : ASHLAR_EXTENT_DIRTY,
                        request.now_ms);
    /* Joined with its neighbours it is a guard page or two longer than it was: the law may ask for
       a purge. */
    ashlar_large_tick(request.now_ms);
    return moved->base;
}
