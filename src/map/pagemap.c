/*
 * pagemap.c - who owns this address
 *
 * Purpose     See pagemap.h.
 * Invariants  A leaf, once in the root, stays: readers may hold its address for ever.
 * Locking     Atomics.
 * Layer       map/.
 */
#include "map/pagemap.h"

#include "base/check.h"
#include "os/os.h"

/* 2 MiB of address space in .bss, of which a program touches a page or two. */
_Atomic(ashlar_pagemap_entry *) ashlar_pagemap_root[ASHLAR_PAGEMAP_ROOT_COUNT];

/* The first leaf a program needs. Here since the program was loaded, so that a program which locks
   its memory (mlockall with MCL_FUTURE, 8 MiB allowed) does not need room for one more mapping. */
static ashlar_pagemap_entry first_leaf[ASHLAR_PAGEMAP_LEAF_COUNT];
static _Atomic bool is_first_used;

/* NULL: out of memory. */
static ashlar_pagemap_entry *make_leaf(void)
{
    if (!atomic_exchange_explicit(&is_first_used, true, memory_order_relaxed))
        return first_leaf;
    void *leaf;
    if (ashlar_os_map(sizeof first_leaf, &leaf) != 0)
        return NULL;
    ashlar_os_name(leaf, sizeof first_leaf, ASHLAR_OS_NAME_META);
    return leaf;
}

/* For a leaf that nobody has seen. */
static void drop_leaf(ashlar_pagemap_entry *leaf)
{
    if (leaf == first_leaf)
        atomic_store_explicit(&is_first_used, false, memory_order_relaxed);
    else
        (void)ashlar_os_unmap(leaf, sizeof first_leaf);
}

/* No lock: whoever forks needs the map to grow while every lock is shut, its own included. Two
   threads may both make a leaf, and the later one drops its own. */
static bool grow_leaf(size_t index)
{
    ashlar_pagemap_entry *leaf = make_leaf();
    ashlar_pagemap_entry *none = NULL;
    /* Release pairs with the acquire in ashlar_pagemap_find: the leaf is seen zero. */
    if (leaf != NULL &&
        !atomic_compare_exchange_strong_explicit(&ashlar_pagemap_root[index], &none, leaf,
                                                 memory_order_release, memory_order_relaxed))
        drop_leaf(leaf);
    return atomic_load_explicit(&ashlar_pagemap_root[index], memory_order_acquire) != NULL;
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
    uintptr_t at = (uintptr_t)start;
    uintptr_t end = at + len_bytes;
    while (at < end) {
        uintptr_t leaf_end = ((at >> ASHLAR_PAGEMAP_LEAF_SHIFT) + 1) << ASHLAR_PAGEMAP_LEAF_SHIFT;
        ashlar_pagemap_entry *leaf = ashlar_pagemap_leaf(at);
        ashlar_assert(leaf != NULL);
        uintptr_t stop = end < leaf_end ? end : leaf_end;
        size_t first = ashlar_pagemap_index(at);
        size_t last = ashlar_pagemap_index(stop - 1);
        for (size_t i = first; i <= last; i++)
            atomic_store_explicit(&leaf[i], span, memory_order_release);
        at = stop;
    }
}

bool ashlar_pagemap_claim(const void *start, struct ashlar_span *span)
{
    uintptr_t a = (uintptr_t)start;
    ashlar_pagemap_entry *entry = &ashlar_pagemap_leaf(a)[ashlar_pagemap_index(a)];
    return atomic_compare_exchange_strong_explicit(entry, &span, NULL, memory_order_acq_rel,
                                                   memory_order_relaxed);
}
