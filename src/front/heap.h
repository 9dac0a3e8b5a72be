/*
 * heap.h - route by size, free by owner
 *
 * Purpose     The allocator as the api layer sees it: one call per need, NULL for out of memory,
 *             misuse named on the way.
 * Invariants  Every result is 16-byte aligned at least and has ashlar_heap_usable_size bytes that
 *             may be written. No call changes errno. Zero sizes give a unique pointer.
 * Locking     All calls are thread-safe and usable at any time in the life of a process (before
 *             main, in TLS destructors, while another thread forks, in its child).
 * Layer       front/. Uses small, large, map, conf. Used by api.
 */
#ifndef ASHLAR_FRONT_HEAP_H
#define ASHLAR_FRONT_HEAP_H

#include "base/base.h"
#include "small/sizeclass.h"

/* Most bytes of a request; more is refused as the C standard's ptrdiff_t asks. */
#define ASHLAR_SIZE_MAX ((size_t)PTRDIFF_MAX)

void *ashlar_heap_malloc(size_t size);

/* `size` zero bytes. */
void *ashlar_heap_calloc(size_t size);

/* `align` is a power of two. */
void *ashlar_heap_malloc_aligned(size_t align, size_t size);

/* realloc for ptr != NULL and size != 0; NULL leaves the old block as it was. */
void *ashlar_heap_realloc(void *ptr, size_t size);

/* NULL is allowed. */
void ashlar_heap_free(void *ptr);

/* Frees a block that the caller says was asked for with `size` bytes: a size the block cannot have
   had is a size mismatch. */
void ashlar_heap_free_sized(void *ptr, size_t size);

/* 0 for NULL. */
size_t ashlar_heap_usable_size(const void *ptr);

/* Gives every idle page back to the kernel; true when there was one. */
bool ashlar_heap_trim(void);

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

void ashlar_heap_usage(struct ashlar_usage *usage);

#endif
