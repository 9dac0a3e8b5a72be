/*
 * large.c - one mapping per large block
 *
 * Purpose     See large.h.
 * Invariants  An extent becomes LIVE under LARGE, gets its guards without it, and is in the page
 *             map last; it leaves the page map first, under LARGE.
 * Locking     See large.h.
 * Layer       large/.
 */
#include "large/large.h"

#include <string.h>

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "map/pagemap.h"
#include "os/os.h"

/* A moved block lies in a mapping of its own between two halves of another. */
#define MAPPINGS_PER_MOVE 2

/* Puts the fences up that are not standing yet. The page in front of the first extent of a region is
   reserved space, a guard by nature. */
static void fence(struct ashlar_extent *extent)
{
    size_t page = ashlar_os_facts.page_bytes;
    if (extent->base != extent->region->payload)
        ashlar_guard_set(extent->region, extent->base - page);
    ashlar_guard_set(extent->region, ashlar_extent_guard(extent));
    if (extent->room_bytes != 0)
        ashlar_guard_set(extent->region, ashlar_extent_end(extent) - page);
}

/* Fresh address space from a region's edge, as a LIVE extent linked into its region. */
static struct ashlar_extent *take_fresh(size_t len_bytes, size_t align)
{
    size_t page = ashlar_os_facts.page_bytes;
    size_t slack = align > page ? align + 2 * page : 0;
    size_t whole;
    if (!ashlar_add_fits(len_bytes + page, slack, &whole))
        return NULL;
    struct ashlar_extent *extent = ashlar_extent_new();
    if (extent == NULL)
        return NULL;
    extent->base = ashlar_region_take(whole, &extent->region);
    if (extent->base == NULL) {
        ashlar_extent_delete(extent);
        return NULL;
    }
    extent->len_bytes = whole - page;
    return extent;
}

/* Links a fresh extent and cuts what alignment left over off both ends. */
static struct ashlar_extent *settle_fresh(struct ashlar_extent *fresh, size_t len_bytes, size_t align,
                                          uint64_t now_ms)
{
    if (!ashlar_mapcache_lock()) {
        ashlar_mapcache_put(fresh, ASHLAR_EXTENT_CLEAN, now_ms);
        return NULL;
    }
    bool is_cut = ashlar_mapcache_cut_fresh_locked(fresh, len_bytes, align);
    if (is_cut)
        ashlar_mapcache_add_live_locked(fresh->len_bytes, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (is_due)
        ashlar_mapcache_purge(now_ms);
    return is_cut ? fresh : NULL;
}

/* Hands a LIVE extent back, unused. */
static void give_up(struct ashlar_extent *extent, enum ashlar_extent_state state, uint64_t now_ms)
{
    if (ashlar_mapcache_lock()) {
        ashlar_mapcache_sub_live_locked(extent->len_bytes, now_ms);
        ashlar_mapcache_put_locked(extent, state, now_ms);
        ashlar_mapcache_unlock();
    } else {
        ashlar_mapcache_put(extent, state, now_ms);
    }
}

/* A LIVE extent with its fences up, not in the page map yet. */
static struct ashlar_extent *take_extent(size_t len_bytes, size_t align,
                                         enum ashlar_mapcache_want want, bool *was_dirty)
{
    uint64_t now_ms = ashlar_os_now_ms();
    *was_dirty = false;
    if (!ashlar_mapcache_lock())
        return NULL;
    struct ashlar_extent *extent = ashlar_mapcache_take_locked(len_bytes, align, want, was_dirty);
    if (extent != NULL)
        ashlar_mapcache_add_live_locked(extent->len_bytes, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (is_due)
        ashlar_mapcache_purge(now_ms);
    if (extent == NULL) {
        ashlar_count(cache_misses);
        extent = take_fresh(len_bytes, align);
        if (extent != NULL)
            extent = settle_fresh(extent, len_bytes, align, now_ms);
    } else if (*was_dirty) {
        ashlar_count(cache_hits);
    } else {
        ashlar_count(cache_clean_hits);
    }
    if (extent == NULL)
        return NULL;
    if (!ashlar_guard_clear(extent->region, extent->base, ashlar_extent_guard(extent)) ||
        !ashlar_pagemap_prepare(extent->base, 1)) {
        give_up(extent, *was_dirty ? ASHLAR_EXTENT_DIRTY : ASHLAR_EXTENT_CLEAN, now_ms);
        return NULL;
    }
    fence(extent);
    return extent;
}

static void publish(struct ashlar_extent *extent)
{
    ashlar_pagemap_set(extent->base, 1, &extent->span);
}

/* Payload bytes of a request; false: absurd. */
static bool round_request(size_t size, size_t *len_bytes)
{
    return ashlar_round_fits(size != 0 ? size : 1, ashlar_os_facts.page_bytes, len_bytes) &&
           *len_bytes <= (size_t)PTRDIFF_MAX;
}

void *ashlar_large_alloc(size_t size, size_t align, enum ashlar_large_fill fill)
{
    size_t len;
    bool was_dirty;
    if (!round_request(size, &len))
        return NULL;
    struct ashlar_extent *extent = take_extent(len, align, ASHLAR_WANT_ANY, &was_dirty);
    if (extent == NULL)
        return NULL;
    if (fill == ASHLAR_FILL_ZERO && was_dirty)
        memset(extent->base, 0, extent->len_bytes);
    publish(extent);
    ashlar_count(large_allocs);
    ashlar_count_add(large_live_blocks, 1);
    return extent->base;
}

/* The live extent that starts at `ptr`, LARGE held; NULL: none. */
static struct ashlar_extent *live_extent(struct ashlar_span *span, const void *ptr)
{
    /* Looked up again: another thread may have freed it since. */
    if (ashlar_pagemap_find(ptr) != span)
        return NULL;
    struct ashlar_extent *extent = ashlar_extent_of(span);
    return extent->state == ASHLAR_EXTENT_LIVE && extent->base == ptr ? extent : NULL;
}

enum ashlar_large_result ashlar_large_free(struct ashlar_span *span, void *ptr)
{
    uint64_t now_ms = ashlar_os_now_ms();
    if (!ashlar_mapcache_lock())
        return ASHLAR_LARGE_REFUSED;
    struct ashlar_extent *extent = live_extent(span, ptr);
    if (extent == NULL) {
        ashlar_mapcache_unlock();
        return ASHLAR_LARGE_NOT_A_BLOCK;
    }
    ashlar_pagemap_set(ptr, 1, NULL);
    ashlar_mapcache_sub_live_locked(extent->len_bytes, now_ms);
    ashlar_mapcache_put_locked(extent, ASHLAR_EXTENT_DIRTY, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    ashlar_count(large_frees);
    ashlar_count_sub(large_live_blocks, 1);
    if (is_due)
        ashlar_mapcache_purge(now_ms);
    return ASHLAR_LARGE_DONE;
}

size_t ashlar_large_usable_size(const struct ashlar_span *span, const void *ptr)
{
    const struct ashlar_extent *extent =
        ASHLAR_CONTAINER_OF((uintptr_t)span, const struct ashlar_extent, span);
    return extent->base == ptr ? extent->len_bytes : 0;
}

/* Gives the tail to the cache; the new fence goes up first. */
static bool shrink(struct ashlar_extent *extent, size_t len_bytes)
{
    uint64_t now_ms = ashlar_os_now_ms();
    ashlar_guard_set(extent->region, extent->base + len_bytes);
    if (!ashlar_mapcache_lock())
        return false;
    ashlar_mapcache_sub_live_locked(extent->len_bytes - len_bytes, now_ms);
    ashlar_mapcache_shrink_locked(extent, len_bytes, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (is_due)
        ashlar_mapcache_purge(now_ms);
    return true;
}

/* Takes in the freed extent behind, or fresh address space at the region's edge. */
static bool grow_in_place(struct ashlar_extent *extent, size_t len_bytes)
{
    uint64_t now_ms = ashlar_os_now_ms();
    size_t old_len = extent->len_bytes;
    bool was_dirty;
    if (!ashlar_mapcache_lock())
        return false;
    bool is_grown = ashlar_mapcache_grow_locked(extent, len_bytes, &was_dirty);
    if (is_grown)
        ashlar_mapcache_add_live_locked(len_bytes - old_len, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (!is_grown) {
        size_t have = extent->len_bytes + extent->room_bytes;
        if (!ashlar_region_extend(extent->region, ashlar_extent_end(extent), len_bytes - have))
            return false;
        /* The edge is ours now, so nothing can lie behind the extent. When a fork has shut the lock
           meanwhile the accounts are put right by the free. */
        bool is_locked = ashlar_mapcache_lock();
        extent->len_bytes = len_bytes;
        extent->room_bytes = 0;
        if (is_locked) {
            ashlar_mapcache_add_live_locked(len_bytes - old_len, now_ms);
            is_due = ashlar_mapcache_is_due_locked(now_ms);
            ashlar_mapcache_unlock();
        }
    }
    if (is_due)
        ashlar_mapcache_purge(now_ms);
    if (!ashlar_guard_clear(extent->region, extent->base, ashlar_extent_guard(extent))) {
        /* The map count is used up: the pages behind the old guard stay out of reach. */
        (void)shrink(extent, old_len);
        return false;
    }
    fence(extent);
    return true;
}

/* Moves the pages of a block under another extent; false: the kernel would not. */
static bool move_pages(struct ashlar_extent *from, struct ashlar_extent *to)
{
    if (!ashlar_os_facts.has_move_keep || !ashlar_guard_spend_mappings(MAPPINGS_PER_MOVE))
        return false;
    if (ashlar_os_move(from->base, to->base, from->len_bytes) != 0) {
        ashlar_guard_return_mappings(MAPPINGS_PER_MOVE);
        return false;
    }
    to->is_patched = true;
    to->mappings_spent += MAPPINGS_PER_MOVE;
    /* What is left behind is empty, but a mapping of its own until a fresh one joins it. */
    from->is_patched = ashlar_os_map_over(from->base, from->len_bytes) != 0;
    if (!from->is_patched) {
        ashlar_guard_return_mappings(from->mappings_spent);
        from->mappings_spent = 0;
    }
    return true;
}

void *ashlar_large_realloc(struct ashlar_span *span, void *ptr, size_t size)
{
    struct ashlar_extent *extent = ashlar_extent_of(span);
    size_t len;
    bool was_dirty;
    if (!round_request(size, &len))
        return NULL;
    if (len == extent->len_bytes || (len < extent->len_bytes && shrink(extent, len)) ||
        (len > extent->len_bytes && grow_in_place(extent, len))) {
        ashlar_count(realloc_in_place);
        return ptr;
    }
    if (len < extent->len_bytes)
        return ptr; /* a fork is under way: it stays longer than need be */
    struct ashlar_extent *moved = take_extent(len, ashlar_os_facts.page_bytes, ASHLAR_WANT_CLEAN,
                                              &was_dirty);
    if (moved == NULL)
        return NULL;
    bool is_moved = move_pages(extent, moved);
    if (is_moved) {
        ashlar_count(realloc_moved);
    } else {
        memcpy(moved->base, ptr, extent->len_bytes);
        ashlar_count(realloc_copied);
    }
    publish(moved);
    ashlar_pagemap_set(ptr, 1, NULL);
    give_up(extent, is_moved ? ASHLAR_EXTENT_CLEAN : ASHLAR_EXTENT_DIRTY, ashlar_os_now_ms());
    return moved->base;
}

/* What `ptr` is inside a region of ours; LARGE held. */
static enum ashlar_large_place place_in(struct ashlar_region *region, const char *ptr)
{
    for (struct ashlar_list *link = ashlar_list_first(&region->extents); link != NULL;
         link = ashlar_list_next(&region->extents, link)) {
        struct ashlar_extent *extent =
            ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        if (ptr >= extent->base && ptr < ashlar_extent_end(extent))
            return extent->state == ASHLAR_EXTENT_LIVE ? ASHLAR_PLACE_INTERIOR
                                                       : ASHLAR_PLACE_FREED;
    }
    return ASHLAR_PLACE_FREED; /* handed out, but in transit between two lists */
}

enum ashlar_large_place ashlar_large_diagnose(const void *ptr)
{
    enum ashlar_large_place place = ASHLAR_PLACE_FOREIGN;
    if (!ashlar_mapcache_lock())
        return place;
    struct ashlar_region *region = ashlar_region_find(ptr);
    if (region != NULL)
        place = place_in(region, ptr);
    else if (ashlar_region_was_ours(ptr))
        place = ASHLAR_PLACE_FREED;
    ashlar_mapcache_unlock();
    return place;
}

void ashlar_large_tick(uint64_t now_ms)
{
    if (!ashlar_mapcache_lock())
        return;
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (is_due)
        ashlar_mapcache_purge(now_ms);
}

bool ashlar_large_trim(void)
{
    return ashlar_mapcache_trim();
}
