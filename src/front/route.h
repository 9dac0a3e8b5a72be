/*
 * route.h - route by size, free by owner
 *
 * Purpose     The allocator as the api layer sees it: one call per need, NULL for out of memory,
 *             misuse named on the way. What is fast is inline here: about twenty instructions for a
 *             malloc, thirty for a free.
 * Invariants  Every result is 16-byte aligned at least and has ashlar_route_usable_size bytes that
 *             may be written. No call changes errno. Zero sizes give a unique pointer.
 * Locking     All calls are thread-safe and usable at any time in the life of a process (before
 *             main, in TLS destructors, while another thread forks, in its child).
 * Layer       front/. Uses heaps, emergency, small, large, map, conf. Used by api.
 */
#ifndef ASHLAR_FRONT_ROUTE_H
#define ASHLAR_FRONT_ROUTE_H

#include "base/base.h"
#include "front/heaps.h"
#include "map/pagemap.h"
#include "small/sizeclass.h"
#include "small/slab.h"

/* Most bytes of a request: more than any process has address space for is refused without giving
   back what is kept and trying again. */
#define ASHLAR_SIZE_MAX (((size_t)1 << 47) - 1)

/* malloc and free when the inline part does not suffice. */
void *ashlar_route_malloc_slow(size_t size);
void ashlar_route_free_slow(void *ptr, struct ashlar_span *span);

ASHLAR_INLINE void *ashlar_route_malloc(size_t size)
{
    /* No option needs to be asked: the table ends below the least large_threshold. */
    if (ASHLAR_LIKELY(size <= ASHLAR_CLASS_TABLE_MAX_BYTES)) {
        unsigned class_id = ashlar_class_table[(size + 15) >> 4];
        void *object = ashlar_slab_pop(ashlar_heaps_self->active[class_id]);
        if (ASHLAR_LIKELY(object != NULL))
            return object;
    }
    return ashlar_route_malloc_slow(size);
}

/* Frees a block that, as the page map says, belongs to `span`. */
ASHLAR_INLINE void ashlar_route_free_of(struct ashlar_span *span, void *ptr)
{
    if (ASHLAR_UNLIKELY(span == NULL || ashlar_span_owner(span) != (uintptr_t)ashlar_heaps_self)) {
        ashlar_route_free_slow(ptr, span);
        return;
    }
    struct ashlar_slab *slab = ashlar_slab_of(span);
    char *object = ptr;
    if (ASHLAR_UNLIKELY(!ashlar_slab_is_start(slab, (uint64_t)(object - slab->base)) ||
                        ashlar_slab_looks_free(slab, object))) {
        ashlar_route_free_slow(ptr, span);
        return;
    }
    if (ASHLAR_UNLIKELY(ashlar_slab_push(slab, object) == 0))
        ashlar_heaps_emptied(slab);
}

/* NULL is allowed. */
ASHLAR_INLINE void ashlar_route_free(void *ptr)
{
    ashlar_pagemap_entry *entry = ashlar_pagemap_entry_of(ptr);
    if (ASHLAR_LIKELY(entry != NULL))
        ashlar_route_free_of(atomic_load_explicit(entry, memory_order_acquire), ptr);
    else
        ashlar_route_free_slow(ptr, NULL);
}

/* `size` zero bytes. */
void *ashlar_route_calloc(size_t size);

/* `align` is a power of two. */
void *ashlar_route_malloc_aligned(size_t align, size_t size);

void *ashlar_route_realloc_slow(struct ashlar_span *span, void *ptr, size_t size);

/* True when a small block serves the new size where it is: it fits, and not half is wasted. */
static inline bool ashlar_route_stays_small(size_t usable, size_t size)
{
    return size <= usable && size >= usable / 2;
}

/* realloc for ptr != NULL and size != 0; NULL leaves the old block as it was. */
ASHLAR_INLINE void *ashlar_route_realloc(void *ptr, size_t size)
{
    struct ashlar_span *span = ashlar_pagemap_find(ptr);
    if (ASHLAR_LIKELY(span != NULL && ashlar_span_kind(span) == ASHLAR_SPAN_SLAB)) {
        struct ashlar_slab *slab = ashlar_slab_of(span);
        if (ASHLAR_LIKELY(ashlar_slab_is_start(slab, (uint64_t)((char *)ptr - slab->base)) &&
                          ashlar_route_stays_small(ashlar_slab_object_bytes(slab), size)))
            return ptr;
    }
    return ashlar_route_realloc_slow(span, ptr, size);
}

void ashlar_route_free_sized_slow(struct ashlar_span *span, void *ptr, size_t size);

/* Frees a block that the caller says was asked for with `size` bytes: a size the block cannot have
   had is a size mismatch. */
ASHLAR_INLINE void ashlar_route_free_sized(void *ptr, size_t size)
{
    struct ashlar_span *span = ashlar_pagemap_find(ptr);
    /* Most blocks are of the class that the size has; others may have been resized. */
    if (ASHLAR_LIKELY(span != NULL && ashlar_span_kind(span) == ASHLAR_SPAN_SLAB &&
                      size <= ASHLAR_CLASS_TABLE_MAX_BYTES &&
                      ashlar_class_of(size) == ashlar_slab_of(span)->class_id))
        ashlar_route_free_of(span, ptr);
    else
        ashlar_route_free_sized_slow(span, ptr, size);
}

/* 0 for NULL. */
size_t ashlar_route_usable_size(const void *ptr);

/* Gives every idle page back to the kernel that the calling thread can reach; true when there was
   one. */
bool ashlar_route_trim(void);

struct ashlar_class_usage {
    size_t object_bytes;
    size_t slabs;
    size_t live_objects;
};

/* What is in use, as far as it can be known without stopping other threads. */
struct ashlar_usage {
    size_t small_live_bytes;    /* objects handed out, rounded to their class */
    size_t small_slab_bytes;    /* slabs that hold them */
    size_t small_idle_bytes;    /* freed slabs whose pages are still held */
    size_t large_live_bytes;    /* payload of live large blocks */
    size_t large_live_blocks;
    size_t large_kept_bytes;    /* freed large memory kept with its pages */
    size_t meta_bytes;          /* the library's own structures */
    size_t reserved_bytes;      /* address space held */
    size_t committed_bytes;     /* of it, writable */
    unsigned arenas;
    unsigned heaps;             /* thread heaps in use */
    struct ashlar_class_usage classes[ASHLAR_CLASS_COUNT];
};

void ashlar_route_usage(struct ashlar_usage *usage);

#endif
