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
#include "large/account.h"
#include "large/front.h"
#include "large/guard.h"
#include "large/huge.h"
#include "large/mapcache.h"
#include "large/purge.h"
#include "large/recycle.h"
#include "large/sample.h"
#include "map/pagemap.h"
#include "os/os.h"

/* A moved block lies in a mapping of its own between two halves of another. */
#define MAPPINGS_PER_MOVE 2

/* Puts the fences up that are not standing yet. The page in front of the first extent of a region
   is reserved space, a guard by nature. */
static void fence(struct ashlar_extent *extent)
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

/* What a request is looking for, and what became of it. */
struct request {
    size_t len_bytes;
    size_t align;
    enum ashlar_mapcache_want want;
    enum ashlar_region_pages pages; /* of address space that holds no pages yet */
    uint64_t now_ms;
    struct ashlar_extent *from;      /* the block whose contents come here; not live twice */
    size_t keep_bytes;               /* front of the payload whose pages will come from elsewhere */
    size_t dirty_bytes;              /* front of the payload that may hold old contents */
    struct ashlar_recycle_plan plan; /* pages to be moved in behind keep_bytes */
};

/*
 * Looks among the freed extents: for pages that are long enough as they are; else for address space
 * without pages, and for shorter runs of pages to be moved there. LARGE held.
 */
static struct ashlar_extent *find_kept_locked(struct request *request)
{
    bool was_dirty = false;
    struct ashlar_extent *extent = NULL;
    if (request->want == ASHLAR_WANT_ANY)
        extent = ashlar_mapcache_take_locked(request->len_bytes, request->align, ASHLAR_WANT_DIRTY,
                                             &was_dirty);
    if (extent != NULL) {
        request->dirty_bytes = extent->len_bytes;
        return extent;
    }
    /* While the law leaves room, what is kept stays whole where it is, and serves a later request
       without any call; moves are for when it would have to be purged (doc/decisions/0013). */
    if (!ashlar_mapcache_has_room_locked(request->len_bytes))
        ashlar_recycle_plan_locked(&request->plan, request->len_bytes, request->keep_bytes);
    if (request->plan.count != 0)
        request->align = ashlar_max_size(request->align, ashlar_recycle_align(&request->plan));
    enum ashlar_mapcache_want want = request->pages == ASHLAR_PAGES_HUGE ? ASHLAR_WANT_CLEAN_HUGE
                                                                         : ASHLAR_WANT_CLEAN;
    if (request->pages == ASHLAR_PAGES_HUGE)
        request->align = ashlar_max_size(request->align, ashlar_os_facts.table_bytes);
    return ashlar_mapcache_take_locked(request->len_bytes, request->align, want, &was_dirty);
}

/* The same; for fresh != NULL, takes that one in instead. LARGE held. */
static struct ashlar_extent *find_locked(struct request *request, struct ashlar_extent *fresh)
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
static bool find(struct request *request, struct ashlar_extent *fresh, struct ashlar_extent **found)
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

/* A LIVE extent of the request's length, with a plan for its pages; NULL: none to be had, or a fork
   under way. */
static struct ashlar_extent *find_extent(struct request *request)
{
    struct ashlar_extent *extent;
    if (!find(request, NULL, &extent))
        return NULL;
    if (extent != NULL) {
        if (request->dirty_bytes != 0)
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

/* The same with its fences up and its pages moved in, not in the page map yet. */
static struct ashlar_extent *take_extent(struct request *request)
{
    request->now_ms = ashlar_os_now_ms();
    ashlar_account_learn_limit();
    /* Whole units can be moved under it later, and its own pages under others. */
    if (request->len_bytes >= ASHLAR_RECYCLE_UNIT_BYTES)
        request->align = ashlar_max_size(request->align, ASHLAR_RECYCLE_UNIT_BYTES);
    if (ashlar_huge_is_wanted(request->len_bytes))
        request->pages = ASHLAR_PAGES_HUGE;
    struct ashlar_extent *extent = find_extent(request);
    if (extent == NULL)
        return NULL;
    if (!ashlar_guard_clear(extent->region, extent->base, ashlar_extent_guard(extent)) ||
        !ashlar_pagemap_prepare(extent->base, 1)) {
        ashlar_recycle_cancel(&request->plan);
        ashlar_mapcache_put(extent,
                            request->dirty_bytes != 0 ? ASHLAR_EXTENT_DIRTY : ASHLAR_EXTENT_CLEAN,
                            request->now_ms);
        return NULL;
    }
    size_t moved_bytes = ashlar_recycle_run(&request->plan, extent, request->keep_bytes);
    if (moved_bytes != 0)
        request->dirty_bytes = request->keep_bytes + moved_bytes;
    fence(extent);
    extent->is_born_empty = request->dirty_bytes == 0 && request->keep_bytes == 0 &&
                            extent->region->pages == ASHLAR_PAGES_BASE;
    if (extent->is_born_empty)
        ashlar_huge_remember(extent->base, extent->len_bytes);
    else if (extent->region->pages == ASHLAR_PAGES_HUGE)
        ashlar_count(huge_blocks);
    return extent;
}

static void publish(struct ashlar_extent *extent)
{
    ashlar_pagemap_set_one(extent->base, &extent->span);
}

/* Payload bytes of a request; false: absurd. */
static bool round_request(size_t size, size_t *len_bytes)
{
    return ashlar_round_fits(size != 0 ? size : 1, ashlar_os_facts.page_bytes, len_bytes) &&
           *len_bytes <= (size_t)PTRDIFF_MAX;
}

/* A kept extent of just this length, fences and all; NULL: none. */
static struct ashlar_extent *take_from_front(size_t len_bytes, size_t align)
{
    struct ashlar_extent *displaced;
    struct ashlar_extent *extent = ashlar_front_take(len_bytes, align, &displaced);
    if (ASHLAR_UNLIKELY(displaced != NULL))
        ashlar_mapcache_put(displaced, ASHLAR_EXTENT_DIRTY, ashlar_os_now_ms());
    return extent;
}

/* Up to here asking the kernel which pages there are costs a tenth of clearing and more. */
#define CLEAR_UNASKED_BYTES (1 * ASHLAR_MIB)

/* Clears old contents. What was hardly written is purged instead: clearing would make all of it
   resident. */
static void clear(char *start, size_t len_bytes)
{
    bool is_sparse = len_bytes > CLEAR_UNASKED_BYTES && ashlar_sample_is_empty(start, len_bytes);
    if (!is_sparse || ashlar_os_purge(start, len_bytes) != 0)
        memset(start, 0, len_bytes);
}

void *ashlar_large_take_kept(size_t size)
{
    size_t len;
    if (ashlar_front_is_look_due() || !round_request(size, &len))
        return NULL;
    struct ashlar_extent *extent = take_from_front(len, ashlar_os_facts.page_bytes);
    if (extent == NULL)
        return NULL;
    publish(extent);
    return extent->base;
}

void *ashlar_large_alloc(size_t size, size_t align, enum ashlar_large_fill fill)
{
    struct request request = {.align = align, .want = ASHLAR_WANT_ANY};
    if (!round_request(size, &request.len_bytes))
        return NULL;
    struct ashlar_extent *extent = take_from_front(request.len_bytes, align);
    if (extent != NULL) {
        request.dirty_bytes = extent->len_bytes;
    } else {
        extent = take_extent(&request);
        if (extent == NULL)
            return NULL;
        ashlar_count(large_allocs);
    }
    if (fill == ASHLAR_FILL_ZERO)
        clear(extent->base, request.dirty_bytes);
    publish(extent);
    return extent->base;
}

/* When the decay time is looked at again although nothing passes the threads' fronts. */
static _Atomic uint64_t next_tick_ms;

static void tick_sometimes(uint64_t now_ms)
{
    if (now_ms < atomic_load_explicit(&next_tick_ms, memory_order_relaxed))
        return;
    uint64_t quarter_ms = ashlar_opt.decay_ms > 0 ? (uint64_t)ashlar_opt.decay_ms / 4 : 250;
    atomic_store_explicit(&next_tick_ms, now_ms + quarter_ms, memory_order_relaxed);
    ashlar_large_tick(now_ms);
}

enum ashlar_large_result ashlar_large_free(struct ashlar_span *span, void *ptr)
{
    struct ashlar_extent *extent = ashlar_extent_of(span);
    if (extent->base != ptr || !ashlar_pagemap_claim(ptr, span))
        return ASHLAR_LARGE_NOT_A_BLOCK;
    uint64_t now_ms = ashlar_os_now_ms();
    if (ASHLAR_UNLIKELY(extent->is_born_empty)) {
        extent->is_born_empty = false;
        ashlar_huge_observe(extent->base, extent->len_bytes);
    }
    struct ashlar_extent *goes = ashlar_front_put(extent, now_ms);
    if (ASHLAR_LIKELY(goes == NULL)) {
        tick_sometimes(now_ms);
        return ASHLAR_LARGE_DONE;
    }
    if (!ashlar_mapcache_lock()) {
        ashlar_mapcache_put(goes, ASHLAR_EXTENT_DIRTY, now_ms);
        return ASHLAR_LARGE_DONE;
    }
    ashlar_mapcache_put_locked(goes, ASHLAR_EXTENT_DIRTY, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    ashlar_count(large_frees);
    if (is_due)
        ashlar_purge_due(now_ms);
    return ASHLAR_LARGE_DONE;
}

size_t ashlar_large_usable_size(const struct ashlar_span *span, const void *ptr)
{
    const struct ashlar_extent *extent = ASHLAR_CONTAINER_OF((uintptr_t)span,
                                                             const struct ashlar_extent, span);
    return extent->base == ptr ? extent->len_bytes : 0;
}

/* Gives the tail to the cache. */
static bool shrink(struct ashlar_extent *extent, size_t len_bytes)
{
    uint64_t now_ms = ashlar_os_now_ms();
    if (!ashlar_mapcache_lock())
        return false;
    ashlar_account_shrink_locked(extent->len_bytes - len_bytes, now_ms);
    ashlar_mapcache_shrink_locked(extent, len_bytes, now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    fence(extent);
    if (is_due)
        ashlar_purge_due(now_ms);
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
        ashlar_account_grow_locked(len_bytes - old_len, now_ms);
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
        ashlar_account_grow_locked(len_bytes - old_len, now_ms);
        is_due = ashlar_mapcache_is_due_locked(now_ms);
        ashlar_mapcache_unlock();
    }
    if (is_due)
        ashlar_purge_due(now_ms);
    if (!ashlar_guard_clear(extent->region, extent->base, ashlar_extent_guard(extent))) {
        /* The map count is used up: the pages behind the old guard stay out of reach. */
        (void)shrink(extent, old_len);
        return false;
    }
    fence(extent);
    return true;
}

/* Moves the pages of a block under another extent; how many bytes, from the first on. Fewer than
   all: the kernel would not. */
static size_t move_pages(struct ashlar_extent *from, struct ashlar_extent *to)
{
    if (!ashlar_os_facts.has_move_keep || !ashlar_guard_spend_mappings(MAPPINGS_PER_MOVE))
        return 0;
    size_t moved_bytes = ashlar_recycle_move(from->base, to->base, from->len_bytes);
    if (moved_bytes == 0) {
        ashlar_guard_return_mappings(MAPPINGS_PER_MOVE);
        return 0;
    }
    to->is_patched = true;
    to->mappings_spent += MAPPINGS_PER_MOVE;
    /* What is left behind is empty, but a mapping of its own until a fresh one joins it. */
    from->is_patched = moved_bytes != from->len_bytes ||
                       !ashlar_region_renew(from->region, from->base, from->len_bytes);
    if (!from->is_patched) {
        ashlar_guard_return_mappings(from->mappings_spent);
        from->mappings_spent = 0;
    }
    return moved_bytes;
}

/* Where a block is to go whose pages are moved: whole page tables, if it holds any. */
static size_t align_for_move(const struct ashlar_extent *from)
{
    size_t table = ashlar_os_facts.table_bytes;
    return from->len_bytes >= table && ashlar_is_aligned(from->base, table)
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

void *ashlar_large_realloc(struct ashlar_span *span, void *ptr, size_t size)
{
    struct ashlar_extent *extent = ashlar_extent_of(span);
    size_t len;
    if (!round_request(size, &len))
        return NULL;
    if (len == extent->len_bytes || (len < extent->len_bytes && shrink(extent, len)) ||
        (len > extent->len_bytes && grow_in_place(extent, len))) {
        ashlar_count(realloc_in_place);
        return ptr;
    }
    if (len < extent->len_bytes)
        return NULL; /* a fork is under way */
    struct request request = {
        .len_bytes = len,
        .align = align_for_move(extent),
        .want = ASHLAR_WANT_CLEAN,
        .from = extent,
        .keep_bytes = ashlar_align_up(extent->len_bytes, ASHLAR_RECYCLE_UNIT_BYTES),
    };
    struct ashlar_extent *moved = take_extent(&request);
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
    publish(moved);
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

/* What waits in a thread's front is LIVE, but not in the page map. */
static bool is_live(const struct ashlar_extent *extent)
{
    return extent->state == ASHLAR_EXTENT_LIVE &&
           ashlar_pagemap_find(extent->base) == &extent->span;
}

/* What `ptr` is inside a region of ours; LARGE held. */
static enum ashlar_large_place place_in(struct ashlar_region *region, const char *ptr)
{
    for (struct ashlar_list *link = ashlar_list_first(&region->extents); link != NULL;
         link = ashlar_list_next(&region->extents, link)) {
        struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        if (ptr >= extent->base && ptr < ashlar_extent_end(extent))
            return is_live(extent) ? ASHLAR_PLACE_INTERIOR : ASHLAR_PLACE_FREED;
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
    else if (ashlar_region_was_ours(ptr) && !ashlar_os_is_mapped(ptr))
        place = ASHLAR_PLACE_FREED;
    ashlar_mapcache_unlock();
    return place;
}

void ashlar_large_tick(uint64_t now_ms)
{
    ashlar_account_learn_limit();
    if (!ashlar_mapcache_lock())
        return;
    ashlar_account_note_locked(now_ms);
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (is_due)
        ashlar_purge_due(now_ms);
}

bool ashlar_large_trim(void)
{
    return ashlar_purge_all();
}

struct ashlar_large_usage ashlar_large_usage(void)
{
    size_t front_blocks = ashlar_front_blocks();
    size_t front_bytes = ashlar_front_bytes();
    size_t blocks = ashlar_count_read(large_counted_blocks);
    size_t bytes = ashlar_count_read(large_counted_bytes);
    return (struct ashlar_large_usage){
        .live_blocks = blocks > front_blocks ? blocks - front_blocks : 0,
        .live_bytes = bytes > front_bytes ? bytes - front_bytes : 0,
        .kept_bytes = ashlar_count_read(cache_kept_bytes) + front_bytes,
    };
}

bool ashlar_large_wants_small(void)
{
    return ashlar_account_wants_small();
}
