/*
 * emergency.h - memory while the locks are shut
 *
 * Purpose     While one thread forks, and in a signal handler that interrupted the allocator, no
 *             lock can be had; yet a thread that holds a libc lock which fork wants must not wait.
 *             Here such a thread gets its block without any lock, and leaves what it wanted to
 *             free on a list.
 * Invariants  Blocks come from runs of pages mapped for the purpose, each with its own count of
 *             live blocks; a run goes back to the kernel with its last block. Always consistent: a
 *             fork at any moment copies a store that works.
 * Locking     None at all: atomics only.
 * Layer       front/. Uses os, map/pagemap. Used by heap.
 */
#ifndef ASHLAR_FRONT_EMERGENCY_H
#define ASHLAR_FRONT_EMERGENCY_H

#include "base/base.h"
#include "map/span.h"

/* A block of `size` bytes at a multiple of `align`. NULL: the kernel has no memory. */
void *ashlar_emergency_malloc(size_t align, size_t size);

/* True when `span`, found for an address in the page map, is that of the store. */
bool ashlar_emergency_owns(const struct ashlar_span *span);

/* False when the block was freed before. */
bool ashlar_emergency_free(void *ptr);
size_t ashlar_emergency_usable_size(const void *ptr);

/* Leaves a block, not of the store, to be freed later. Its first word is written. */
void ashlar_emergency_defer(void *ptr);

/* All blocks left so far, as a list through their first words; NULL: none. */
void *ashlar_emergency_take_deferred(void);

/* True when blocks are waiting. One relaxed load. */
bool ashlar_emergency_has_deferred(void);

#endif
