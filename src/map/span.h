/*
 * span.h - what the page map points at
 *
 * Purpose     The head that every descriptor of memory of ours begins with, so that free can tell
 *             from one load what an address belongs to and whether it is the caller's own.
 * Invariants  owner is first. It equals the address of a thread's heap when that thread may free
 *             into the span without a lock or an atomic, and nothing any thread compares equal
 *             to otherwise (another heap's address, or 0).
 * Locking     owner is read by any thread, relaxed: a thread can only see its own heap there if
 *             it wrote it itself. kind is constant while the span is in the page map.
 * Layer       map/. Embedded in small/slab.h and large/extent.h.
 */
#ifndef ASHLAR_MAP_SPAN_H
#define ASHLAR_MAP_SPAN_H

#include <stdatomic.h>

#include "base/base.h"

enum ashlar_span_kind {
    ASHLAR_SPAN_NONE,
    ASHLAR_SPAN_SLAB,  /* struct ashlar_slab, found where its objects start */
    ASHLAR_SPAN_LARGE, /* struct ashlar_extent, found from its first page only */
};

struct ashlar_span {
    _Atomic uintptr_t owner;
    union {
        struct {
            uint32_t used;   /* slab: objects in use, see small/slab.h; owner only */
            uint16_t asleep; /* slab: what was taken from `used`; 0 but while asleep; owner only */
            uint16_t kind;   /* enum ashlar_span_kind */
        };
        uint64_t state; /* all three, for a look at one moment */
    };
};

/* Atomic, as the word it is part of may be written meanwhile, with the same. */
static inline enum ashlar_span_kind ashlar_span_kind(const struct ashlar_span *span)
{
    return (enum ashlar_span_kind)__atomic_load_n(&span->kind, __ATOMIC_RELAXED);
}

static inline uintptr_t ashlar_span_owner(const struct ashlar_span *span)
{
    return atomic_load_explicit(&span->owner, memory_order_relaxed);
}

static inline void ashlar_span_set_owner(struct ashlar_span *span, uintptr_t owner)
{
    atomic_store_explicit(&span->owner, owner, memory_order_relaxed);
}

#endif
