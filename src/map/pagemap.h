/*
 * pagemap.h - who owns this address
 *
 * Purpose     Address to span, for any address whatever, ours or not, without a lock.
 * Invariants  Two levels over 48 bits of address: root[address >> 30], then a leaf entry per
 *             4 KiB granule (a constant, whatever the page size). An entry is NULL unless a span
 *             of ours claims the granule: those of a slab in which its objects start, the first
 *             one of a large block.
 *             Addresses above 48 bits are nobody's.
 * Locking     None. Entries are written by whoever owns the memory; a leaf is put in place by one
 *             compare-exchange (once per GiB of address space), so the map grows also while a
 *             fork is under way.
 * Layer       map/. Uses os, base.
 */
#ifndef ASHLAR_MAP_PAGEMAP_H
#define ASHLAR_MAP_PAGEMAP_H

#include "base/base.h"
#include "map/span.h"

#define ASHLAR_GRANULE_SHIFT 12
#define ASHLAR_GRANULE_BYTES ((size_t)1 << ASHLAR_GRANULE_SHIFT)

/* A leaf of 2 MiB for each GiB: longer ones weigh under a small RLIMIT_AS, where a program whose
   mappings lie on both sides of a boundary pays for two. */
#define ASHLAR_PAGEMAP_LEAF_SHIFT 30
#define ASHLAR_PAGEMAP_ROOT_COUNT ((size_t)1 << (48 - ASHLAR_PAGEMAP_LEAF_SHIFT))
#define ASHLAR_PAGEMAP_LEAF_COUNT ((size_t)1 << (ASHLAR_PAGEMAP_LEAF_SHIFT - ASHLAR_GRANULE_SHIFT))

typedef _Atomic(struct ashlar_span *) ashlar_pagemap_entry;

extern _Atomic(ashlar_pagemap_entry *) ashlar_pagemap_root[ASHLAR_PAGEMAP_ROOT_COUNT];

/* The leaf of an address of up to 48 bits; NULL: nothing of ours is that near. */
static inline ashlar_pagemap_entry *ashlar_pagemap_leaf(uintptr_t address)
{
    return atomic_load_explicit(&ashlar_pagemap_root[address >> ASHLAR_PAGEMAP_LEAF_SHIFT],
                                memory_order_acquire);
}

/* The entry of an address in its leaf. */
static inline size_t ashlar_pagemap_index(uintptr_t address)
{
    return address >> ASHLAR_GRANULE_SHIFT & (ASHLAR_PAGEMAP_LEAF_COUNT - 1);
}

/* The entry of any address; NULL: nothing of ours is near. */
ASHLAR_INLINE ashlar_pagemap_entry *ashlar_pagemap_entry_of(const void *address)
{
    uintptr_t a = (uintptr_t)address;
    if (ASHLAR_UNLIKELY(a >> ASHLAR_PAGEMAP_LEAF_SHIFT >= ASHLAR_PAGEMAP_ROOT_COUNT))
        return NULL;
    ashlar_pagemap_entry *leaf = ashlar_pagemap_leaf(a);
    return ASHLAR_LIKELY(leaf != NULL) ? &leaf[ashlar_pagemap_index(a)] : NULL;
}

/* The span that claims the granule of `address`, or NULL. */
ASHLAR_INLINE struct ashlar_span *ashlar_pagemap_find(const void *address)
{
    ashlar_pagemap_entry *entry = ashlar_pagemap_entry_of(address);
    return entry != NULL ? atomic_load_explicit(entry, memory_order_acquire) : NULL;
}

/* Makes sure that entries for the range can be set; false: out of memory. */
bool ashlar_pagemap_prepare(const void *start, size_t len_bytes);

/* Takes `span` off the granule of `start`; false when somebody else has done so: of two threads
   that free the same block, one is told. */
bool ashlar_pagemap_claim(const void *start, struct ashlar_span *span);

/* Points the granule of `start`, which is prepared, at `span`. */
static inline void ashlar_pagemap_set_one(const void *start, struct ashlar_span *span)
{
    uintptr_t a = (uintptr_t)start;
    atomic_store_explicit(&ashlar_pagemap_leaf(a)[ashlar_pagemap_index(a)], span,
                          memory_order_release);
}

/* Points every granule of a prepared range at `span` (NULL: nobody). */
void ashlar_pagemap_set(const void *start, size_t len_bytes, struct ashlar_span *span);

#endif
