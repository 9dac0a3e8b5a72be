/*
 * large.c - one mapping per large block
 *
 * Purpose     See large.h.
 * Invariants  A block is in the page map last, and leaves it first.
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
#include "large/huge.h"
#include "large/purge.h"
#include "large/sample.h"
#include "large/take.h"

/* A kept extent of this length, fences and all; NULL: none. */
static struct ashlar_extent *take_from_front(size_t len_bytes, size_t align)
{
    struct ashlar_extent *displaced;
    struct ashlar_extent *extent = ashlar_front_take(
        len_bytes, ashlar_account_surplus_allowed(len_bytes), align, &displaced);
    if (ASHLAR_UNLIKELY(displaced != NULL))
        ashlar_mapcache_put(displaced, ASHLAR_EXTENT_DIRTY, ashlar_os_now_ms());
    if (extent != NULL)
        ashlar_account_set_surplus(extent, extent->len_bytes - len_bytes);
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
    if (ashlar_front_is_look_due() || !ashlar_take_round(size, &len))
        return NULL;
    struct ashlar_extent *extent = take_from_front(len, ashlar_os_facts.page_bytes);
    if (extent == NULL)
        return NULL;
    ashlar_take_publish(extent);
    return extent->base;
}

void *ashlar_large_alloc(size_t size, size_t align, enum ashlar_large_fill fill)
{
    struct ashlar_request request = {.align = align, .want = ASHLAR_WANT_ANY};
    if (!ashlar_take_round(size, &request.len_bytes))
        return NULL;
    struct ashlar_extent *extent = take_from_front(request.len_bytes, align);
    if (extent == NULL) {
        extent = ashlar_take(&request);
        if (extent == NULL)
            return NULL;
        ashlar_count(large_allocs);
    }
    if (fill == ASHLAR_FILL_ZERO) {
        char *behind = extent->base + request.clean_at + request.clean_bytes;
        clear(extent->base, request.clean_at);
        clear(behind, (size_t)(extent->base + request.len_bytes - behind));
    }
    ashlar_take_publish(extent);
    return extent->base;
}

/* From here on, pages that a copy is about to write come cheaper all at once
   (doc/decisions/0019). */
#define PREFAULT_MIN_BYTES (16 * ASHLAR_KIB)

void ashlar_large_expect_writes(void *ptr, size_t len_bytes)
{
    struct ashlar_span *span = ashlar_pagemap_find(ptr);
    if (len_bytes < PREFAULT_MIN_BYTES || span == NULL ||
        ashlar_span_kind(span) != ASHLAR_SPAN_LARGE)
        return;
    if (ashlar_extent_of(span)->is_born_empty)
        ashlar_os_prefault(ptr, ashlar_align_up(len_bytes, ashlar_os_facts.page_bytes));
}

/* When the decay time is looked at again although nothing passes the threads' fronts. */
static _Atomic uint64_t next_tick_ms;

static void tick_sometimes(uint64_t now_ms)
{
    if (now_ms < atomic_load_explicit(&next_tick_ms, memory_order_relaxed))
        return;
    uint64_t pause_ms = ashlar_opt.decay_ms > 0 ? ashlar_options_decay_step_ms() : 250;
    atomic_store_explicit(&next_tick_ms, now_ms + pause_ms, memory_order_relaxed);
    ashlar_large_tick(now_ms);
}

enum ashlar_large_result ashlar_large_free(struct ashlar_span *span, void *ptr)
{
    struct ashlar_extent *extent = ashlar_extent_of(span);
    if (extent->base != ptr || !ashlar_pagemap_claim(ptr, span))
        return ASHLAR_LARGE_NOT_A_BLOCK;
    uint64_t now_ms = ashlar_os_now_ms();
    ashlar_account_set_surplus(extent, 0);
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
    return extent->base == ptr ? ashlar_extent_asked_bytes(extent) : 0;
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
