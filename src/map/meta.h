/*
 * meta.h - memory for the library's own structures
 *
 * Purpose     Descriptors live apart from user memory, so that an overflow of a block cannot
 *             reach them. Bump allocation for what is never freed, pools for what comes and goes.
 * Invariants  Memory given out is zero and never goes back to the kernel: a stale pointer to a
 *             descriptor reads a descriptor, never a fault.
 * Locking     META, held while the store grows by a map call: growth is rare, and letting two
 *             threads grow at once would waste a mapping.
 * Layer       map/. Uses os, base.
 */
#ifndef ASHLAR_MAP_META_H
#define ASHLAR_MAP_META_H

#include "base/base.h"
#include "base/lock.h"

extern struct ashlar_lock ashlar_meta_lock;

/* `size` zero bytes on a cache line boundary; NULL: out of memory, or a fork is under way. */
void *ashlar_meta_alloc(size_t size);

/* Same-sized descriptors. A zero-initialised pool with its size set is ready. */
struct ashlar_meta_pool {
    size_t object_bytes;
    void *free; /* META: linked through the first word */
};

/* A descriptor, its contents as they were when it was put back (zero at first). */
void *ashlar_meta_get(struct ashlar_meta_pool *pool);
void ashlar_meta_put(struct ashlar_meta_pool *pool, void *object);

#endif
