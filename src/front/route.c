/*
 * route.c - route by size, free by owner
 *
 * Purpose     See route.h.
 * Invariants  A request that fails while no lock was refused has failed for want of memory, and
 *             only after everything idle went back to the kernel.
 * Locking     None of its own.
 * Layer       front/.
 */
#include "front/route.h"

#include <string.h>

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "front/emergency.h"
#include "front/purger.h"
#include "harden/junk.h"
#include "harden/misuse.h"
#include "large/large.h"
#include "large/resize.h"
#include "os/os.h"
#include "small/arena.h"
#include "small/survey.h"

/* Slab bases are slice aligned, so objects can be no more than that. */
#define SMALL_ALIGN_MAX ASHLAR_SLICE_BYTES

/* Up to here a block that grows gets a quarter more than it had. */
#define HEAD_ROOM_MAX_BYTES 1024

/* Time between two looks, on large calls, at what the small side could give back. */
#define SMALL_TICK_MS 50

/* ---- taking -------------------------------------------------------------------------------- */

static bool is_small(size_t size)
{
    return size < (size_t)ashlar_opt.large_threshold;
}

static void tick_sometimes(void)
{
    static _Atomic uint64_t next_ms;
    uint64_t now_ms = ashlar_os_now_ms();
    if (now_ms < atomic_load_explicit(&next_ms, memory_order_relaxed))
        return;
    atomic_store_explicit(&next_ms, now_ms + SMALL_TICK_MS, memory_order_relaxed);
    ashlar_heaps_tick_if_due();
}

static void *alloc_small(size_t size)
{
    unsigned class_id = ashlar_class_of(size);
    void *object = ashlar_slab_pop(ashlar_heaps_self->active[class_id]);
    return object != NULL ? object : ashlar_heaps_alloc(class_id);
}

static void *alloc_large(size_t size, size_t align, enum ashlar_large_fill fill)
{
    ashlar_boot();
    tick_sometimes();
    void *ptr = ashlar_large_alloc(size, align, fill);
    ashlar_purger_give_small_if_wanted();
    return ptr;
}

/* Frees what was put off while a fork was under way. */
static void free_deferred(void)
{
    if (ASHLAR_LIKELY(!ashlar_emergency_has_deferred()) || ashlar_lock_is_shut(&ashlar_heaps_lock))
        return;
    void *ptr = ashlar_emergency_take_deferred();
    while (ptr != NULL) {
        void *next = *(void **)ptr;
        ashlar_route_free_slow(ptr, ashlar_pagemap_find(ptr));
        ptr = next;
    }
}

/* One try of a request; the alignment is a power of two. */
static void *alloc_once(size_t size, size_t align, enum ashlar_large_fill fill)
{
    if (align <= ASHLAR_MIN_ALIGN_BYTES)
        return is_small(size) ? alloc_small(size)
                              : alloc_large(size, ashlar_os_facts.page_bytes, fill);
    /* A class that serves a multiple of the alignment is one: see sizeclass.h. */
    size_t rounded = ashlar_align_up(size != 0 ? size : 1, align);
    if (align <= SMALL_ALIGN_MAX && is_small(rounded))
        return alloc_small(rounded);
    return alloc_large(size, ashlar_max_size(align, ashlar_os_facts.page_bytes), fill);
}

/* A block whatever the state of the process; NULL: out of memory. Large ones are zero if asked. */
static void *alloc(size_t size, size_t align, enum ashlar_large_fill fill)
{
    if (size > ASHLAR_SIZE_MAX || align > ASHLAR_SIZE_MAX / 2 || size > ASHLAR_SIZE_MAX - align)
        return NULL;
    free_deferred();
    uint64_t refusals = ashlar_lock_refusals();
    uint64_t purged = ashlar_count_read(purge_bytes);
    uint64_t reserved = ashlar_count_read(region_reserved_bytes);
    void *ptr = alloc_once(size, align, fill);
    if (ASHLAR_LIKELY(ptr != NULL))
        return ptr;
    /* What another thread has given back meanwhile may be enough, too. */
    if (ashlar_lock_refusals() == refusals &&
        (ashlar_route_trim() || ashlar_count_read(purge_bytes) != purged ||
         ashlar_count_read(region_reserved_bytes) != reserved))
        ptr = alloc_once(size, align, fill);
    if (ptr == NULL && ashlar_lock_refusals() != refusals)
        ptr = ashlar_emergency_malloc(align, size);
    return ptr;
}

/* What options zero and junk do to a block handed out without promise about its contents. */
static void *dress(void *ptr)
{
    if (ptr == NULL)
        return NULL;
    if (ASHLAR_LIKELY(!ashlar_options_fill_blocks()))
        return ptr;
    if (ashlar_opt.zero == ASHLAR_ZERO_ON)
        memset(ptr, 0, ashlar_route_usable_size(ptr));
    else
        ashlar_junk_fill_fresh(ptr, ashlar_route_usable_size(ptr));
    return ptr;
}

void *ashlar_route_malloc_slow(size_t size)
{
    if (ASHLAR_LIKELY(is_small(size))) {
        unsigned class_id = ashlar_class_of(size);
        void *object = ashlar_slab_pop(ashlar_heaps_self->active[class_id]);
        if (ASHLAR_LIKELY(object != NULL))
            return object; /* there is none on this path when blocks are filled: see heaps.h */
        if (!ashlar_emergency_has_deferred())
            object = ashlar_heaps_alloc(class_id);
        if (ASHLAR_UNLIKELY(object == NULL))
            object = alloc(size, ASHLAR_MIN_ALIGN_BYTES, ASHLAR_FILL_ANY);
        return dress(object);
    }
    if (ASHLAR_LIKELY(!ashlar_options_fill_blocks())) {
        void *kept = ashlar_large_take_kept(size);
        if (ASHLAR_LIKELY(kept != NULL))
            return kept;
    }
    enum ashlar_large_fill fill = ashlar_opt.zero == ASHLAR_ZERO_ON ? ASHLAR_FILL_ZERO
                                                                    : ASHLAR_FILL_ANY;
    void *ptr = alloc(size, ASHLAR_MIN_ALIGN_BYTES, fill);
    return fill == ASHLAR_FILL_ZERO ? ptr : dress(ptr);
}

void *ashlar_route_calloc(size_t size)
{
    if (!is_small(size)) {
        void *ptr = alloc(size, ASHLAR_MIN_ALIGN_BYTES, ASHLAR_FILL_ZERO);
        return ptr;
    }
    void *object = ashlar_slab_pop(ashlar_heaps_self->active[ashlar_class_of(size)]);
    if (ASHLAR_UNLIKELY(object == NULL))
        object = alloc(size, ASHLAR_MIN_ALIGN_BYTES, ASHLAR_FILL_ANY);
    return object != NULL ? memset(object, 0, size) : NULL;
}

void *ashlar_route_malloc_aligned(size_t align, size_t size)
{
    return dress(alloc(size, align, ASHLAR_FILL_ANY));
}

/* ---- giving back --------------------------------------------------------------------------- */

/* Names the crime of a pointer that is no live block. */
static ASHLAR_COLD void accuse(const void *ptr, enum ashlar_crime crime_if_live)
{
    const char *what = "it was never allocated";
    enum ashlar_crime crime = crime_if_live;
    struct ashlar_span *span = ashlar_pagemap_find(ptr);
    bool is_in_slab = span != NULL && ashlar_span_kind(span) == ASHLAR_SPAN_SLAB;
    enum ashlar_survey_place small = is_in_slab ? ASHLAR_SURVEY_IN_SLAB
                                                : ashlar_survey_place_of(ptr);
    enum ashlar_large_place large = ashlar_large_diagnose(ptr);
    if (small == ASHLAR_SURVEY_IN_SLAB) {
        what = "it is not the start of a block";
    } else if (large == ASHLAR_PLACE_INTERIOR) {
        what = "it points into a large block";
    } else if (large == ASHLAR_PLACE_FREED || small == ASHLAR_SURVEY_IDLE) {
        what = "the block is free already";
        if (crime == ASHLAR_CRIME_INVALID_FREE)
            crime = ASHLAR_CRIME_DOUBLE_FREE;
        else
            crime = ASHLAR_CRIME_USE_AFTER_FREE;
    }
    ashlar_misuse(crime, ptr, "%s", what);
}

static void free_small(struct ashlar_slab *slab, void *ptr)
{
    if (ASHLAR_UNLIKELY(ashlar_opt.junk == ASHLAR_JUNK_ON) &&
        ashlar_slab_is_start(slab, (uint64_t)((char *)ptr - slab->base)) &&
        !ashlar_slab_looks_free(slab, ptr))
        ashlar_junk_fill_freed(ptr, ashlar_slab_object_bytes(slab));
    switch (ashlar_heaps_free(slab, ptr)) {
    case ASHLAR_TCACHE_DONE:
        break;
    case ASHLAR_TCACHE_INTERIOR:
        accuse(ptr, ASHLAR_CRIME_INVALID_FREE);
        break;
    case ASHLAR_TCACHE_DOUBLE_FREE:
        ashlar_misuse(ASHLAR_CRIME_DOUBLE_FREE, ptr, "the block of %zu bytes is free already",
                      ashlar_slab_object_bytes(slab));
        break;
    case ASHLAR_TCACHE_REFUSED:
        ashlar_emergency_defer(ptr);
        break;
    }
}

static void free_large(struct ashlar_span *span, void *ptr)
{
    if (ASHLAR_UNLIKELY(ashlar_opt.junk == ASHLAR_JUNK_ON))
        ashlar_junk_fill_freed(ptr, ashlar_large_usable_size(span, ptr));
    switch (ashlar_large_free(span, ptr)) {
    case ASHLAR_LARGE_DONE:
        ashlar_purger_wake();
        break;
    case ASHLAR_LARGE_NOT_A_BLOCK:
        accuse(ptr, ASHLAR_CRIME_INVALID_FREE);
        break;
    }
}

void ashlar_route_free_slow(void *ptr, struct ashlar_span *span)
{
    if (ptr == NULL)
        return;
    if (span == NULL) {
        accuse(ptr, ASHLAR_CRIME_INVALID_FREE);
        return;
    }
    if (ashlar_span_kind(span) == ASHLAR_SPAN_SLAB) {
        free_small(ashlar_slab_of(span), ptr);
    } else if (ashlar_span_kind(span) == ASHLAR_SPAN_LARGE) {
        free_large(span, ptr);
    } else if (!ashlar_emergency_owns(span)) {
        accuse(ptr, ASHLAR_CRIME_INVALID_FREE);
    } else if (!ashlar_emergency_free(ptr)) {
        ashlar_misuse(ASHLAR_CRIME_DOUBLE_FREE, ptr, "the block is free already");
    }
    free_deferred();
}

/* Usable bytes of a live block; 0: no block starts there. */
static size_t live_bytes(const struct ashlar_span *span, const void *ptr)
{
    if (span == NULL)
        return 0;
    if (ashlar_span_kind(span) == ASHLAR_SPAN_LARGE)
        return ashlar_large_usable_size(span, ptr);
    if (ashlar_span_kind(span) != ASHLAR_SPAN_SLAB)
        return ashlar_emergency_owns(span) ? ashlar_emergency_usable_size(ptr) : 0;
    const struct ashlar_slab *slab = (const struct ashlar_slab *)span;
    uint64_t offset = (uint64_t)((const char *)ptr - slab->base);
    return ashlar_slab_is_start(slab, offset) ? ashlar_slab_object_bytes(slab) : 0;
}

size_t ashlar_route_usable_size(const void *ptr)
{
    if (ptr == NULL)
        return 0;
    size_t usable = live_bytes(ashlar_pagemap_find(ptr), ptr);
    if (ASHLAR_UNLIKELY(usable == 0))
        accuse(ptr, ASHLAR_CRIME_INVALID_POINTER);
    return usable;
}

/* Whether a block of the span can have been asked for with `size` bytes. */
static bool can_have_size(const struct ashlar_span *span, size_t size, size_t usable)
{
    if (ashlar_span_kind(span) == ASHLAR_SPAN_LARGE)
        return size <= usable && usable - ashlar_max_size(size, 1) < ashlar_os_facts.page_bytes;
    if (ashlar_span_kind(span) != ASHLAR_SPAN_SLAB)
        return size <= usable;
    /* realloc leaves a block where it is down to half its size. */
    return size <= usable && (size >= usable / 2 || usable == ASHLAR_MIN_ALIGN_BYTES);
}

void ashlar_route_free_sized_slow(struct ashlar_span *span, void *ptr, size_t size)
{
    size_t usable = live_bytes(span, ptr);
    if (ASHLAR_UNLIKELY(usable != 0 && !can_have_size(span, size, usable))) {
        ashlar_misuse(ASHLAR_CRIME_SIZE_MISMATCH, ptr,
                      "freed with size %zu, but its usable size is %zu", size, usable);
    }
    ashlar_route_free_of(span, ptr);
}

/* ---- realloc ------------------------------------------------------------------------------- */

/* What is grown once is mostly grown again: a quarter more than it was, while copying costs more
   than the bytes do. */
static size_t with_head_room(size_t old_usable, size_t size)
{
    size_t roomy = ashlar_min_size(old_usable + old_usable / 4, HEAD_ROOM_MAX_BYTES);
    return size > old_usable ? ashlar_max_size(size, roomy) : size;
}

static void *realloc_by_copy(struct ashlar_span *span, void *ptr, size_t old_usable, size_t size)
{
    void *moved = ashlar_route_malloc(with_head_room(old_usable, size));
    if (moved == NULL)
        return NULL;
    size_t len = ashlar_min_size(old_usable, size);
    if (!is_small(size))
        ashlar_large_expect_writes(moved, len);
    memcpy(moved, ptr, len);
    ashlar_route_free_of(span, ptr);
    return moved;
}

static void *realloc_large(struct ashlar_span *span, void *ptr, size_t usable, size_t size)
{
    uint64_t refusals = ashlar_lock_refusals();
    void *moved = ashlar_resize(span, ptr, size);
    ashlar_purger_give_small_if_wanted();
    if (moved == NULL && ashlar_lock_refusals() == refusals && ashlar_route_trim())
        moved = ashlar_resize(span, ptr, size);
    if (moved == NULL && ashlar_lock_refusals() != refusals)
        return realloc_by_copy(span, ptr, usable, size);
    if (moved != NULL && size > usable && ashlar_opt.zero == ASHLAR_ZERO_ON)
        memset((char *)moved + usable, 0, ashlar_route_usable_size(moved) - usable);
    return moved;
}

void *ashlar_route_realloc_slow(struct ashlar_span *span, void *ptr, size_t size)
{
    size_t usable = live_bytes(span, ptr);
    if (ASHLAR_UNLIKELY(usable == 0)) {
        accuse(ptr, ASHLAR_CRIME_INVALID_POINTER);
        return NULL;
    }
    if (size > ASHLAR_SIZE_MAX)
        return NULL;
    if (ashlar_span_kind(span) == ASHLAR_SPAN_LARGE && !is_small(size))
        return realloc_large(span, ptr, usable, size);
    if (ashlar_span_kind(span) != ASHLAR_SPAN_LARGE && ashlar_route_stays_small(usable, size))
        return ptr;
    return realloc_by_copy(span, ptr, usable, size);
}

/* ---- the whole ----------------------------------------------------------------------------- */

bool ashlar_route_trim(void)
{
    uint64_t purged = ashlar_count_read(purge_bytes);
    free_deferred();
    ashlar_heaps_trim();
    ashlar_arena_trim_all();
    bool has_unmapped = ashlar_large_trim();
    return has_unmapped || ashlar_count_read(purge_bytes) != purged;
}

static void add_slab(const struct ashlar_slab *slab, void *context)
{
    struct ashlar_usage *usage = context;
    struct ashlar_class_usage *one = &usage->classes[slab->class_id];
    size_t live = ashlar_slab_live_objects(slab);
    one->slabs++;
    one->live_objects += live;
    usage->small_live_bytes += live * one->object_bytes;
    usage->small_slab_bytes += slab->nslices * ASHLAR_SLICE_BYTES;
}

void ashlar_route_usage(struct ashlar_usage *usage)
{
    memset(usage, 0, sizeof *usage);
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++)
        usage->classes[i].object_bytes = ashlar_class_size(i);
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        (void)ashlar_survey_slabs(ashlar_arena_at(i), add_slab, usage);
    usage->small_idle_bytes = ashlar_count_read(arena_dirty_bytes);
    struct ashlar_large_usage large = ashlar_large_usage();
    usage->large_live_bytes = large.live_bytes;
    usage->large_live_blocks = large.live_blocks;
    usage->large_kept_bytes = large.kept_bytes;
    usage->meta_bytes = ashlar_count_read(meta_bytes);
    usage->reserved_bytes = ashlar_count_read(region_reserved_bytes);
    usage->committed_bytes = ashlar_count_read(region_committed_bytes);
    usage->arenas = ashlar_arena_count();
    usage->heaps = ashlar_heaps_count();
}
