/*
 * pagemap.c - who owns this address
 *
 * Purpose     See pagemap.h.
 * Invariants  A leaf, once in the root, stays: readers may hold its address for ever.
 * Locking     PAGEMAP for growth.
 * Layer       map/.
 */
#include "map/pagemap.h"

#include "base/check.h"
#include "os/os.h"

/* 512 KiB of address space in .bss, of which a program touches a page or two. */
_Atomic(ashlar_pagemap_entry *) ashlar_pagemap_root[ASHLAR_PAGEMAP_ROOT_COUNT];

struct ashlar_lock ashlar_pagemap_lock = ASHLAR_LOCK_INIT(PAGEMAP);

/* The first leaf a program needs. Here since the program was loaded, so that a program which locks
   its memory (mlockall with MCL_FUTURE, 8 MiB allowed) does not need room for one more mapping. */
static ashlar_pagemap_entry first_leaf[ASHLAR_PAGEMAP_LEAF_COUNT];
static bool is_first_used; /* PAGEMAP */

static bool map_leaf(void **leaf)
{
    if (is_first_used)
        return ashlar_os_map(sizeof first_leaf, leaf) == 0;
    is_first_used = true;
    *leaf = first_leaf;
    return true;
}

static bool grow_leaf(size_t index)
{
    if (!ashlar_lock_take(&ashlar_pagemap_lock))
        return false;
    bool has_leaf = ashlar_pagemap_root[index] != NULL;
    void *leaf;
    if (!has_leaf && map_leaf(&leaf)) {
        /* Pairs with the acquire in ashlar_pagemap_find: the leaf is seen zero. */
        atomic_store_explicit(&ashlar_pagemap_root[index], leaf, memory_order_release);
        has_leaf = true;
    }
    ashlar_lock_release(&ashlar_pagemap_lock);
    return has_leaf;
}

bool ashlar_pagemap_prepare(const void *start, size_t len_bytes)
{
    size_t first = (uintptr_t)start >> ASHLAR_PAGEMAP_LEAF_SHIFT;
    size_t last = ((uintptr_t)start + len_bytes - 1) >> ASHLAR_PAGEMAP_LEAF_SHIFT;
    if (last >= ASHLAR_PAGEMAP_ROOT_COUNT)
        return false;
    for (size_t i = first; i <= last; i++) {
        if (atomic_load_explicit(&ashlar_pagemap_root[i], memory_order_acquire) == NULL &&
            !grow_leaf(i))
            return false;
    }
    return true;
}

void ashlar_pagemap_set(const void *start, size_t len_bytes, struct ashlar_span *span)
{
    uintptr_t first = (uintptr_t)start >> ASHLAR_GRANULE_SHIFT;
    uintptr_t last = (uintptr_t)start + len_bytes + ASHLAR_GRANULE_BYTES - 1;
    uintptr_t end = last >> ASHLAR_GRANULE_SHIFT;
    for (uintptr_t granule = first; granule < end; granule++) {
        ashlar_pagemap_entry *leaf = atomic_load_explicit(
            &ashlar_pagemap_root[granule >> (ASHLAR_PAGEMAP_LEAF_SHIFT - ASHLAR_GRANULE_SHIFT)],
            memory_order_acquire);
        ashlar_assert(leaf != NULL);
        atomic_store_explicit(&leaf[granule % ASHLAR_PAGEMAP_LEAF_COUNT], span,
                              memory_order_release);
    }
}

bool ashlar_pagemap_claim(const void *start, struct ashlar_span *span)
{
    uintptr_t a = (uintptr_t)start;
    ashlar_pagemap_entry *leaf = atomic_load_explicit(
        &ashlar_pagemap_root[a >> ASHLAR_PAGEMAP_LEAF_SHIFT], memory_order_acquire);
    return atomic_compare_exchange_strong_explicit(&leaf[(uint32_t)a >> ASHLAR_GRANULE_SHIFT],
    &span,
                                                   NULL, memory_order_acq_rel,
                                                   memory_order_relaxed);
}
