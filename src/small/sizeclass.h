/*
 * sizeclass.h - which object size serves a request
 *
 * Purpose     Pure arithmetic between request sizes, class numbers and object sizes.
 * Invariants  Class sizes ascend and are multiples of 16. Spacing is 16 bytes up to 128, then
 *             eight classes per doubling, so an object above 128 bytes is at most 12.5 % longer
 *             than its request. The class of size s rounded up to a power-of-two alignment a is
 *             always a multiple of a, so aligned small requests need no path of their own.
 * Locking     None.
 * Layer       small/. Used by slab, arena, front.
 */
#ifndef ASHLAR_SMALL_SIZECLASS_H
#define ASHLAR_SMALL_SIZECLASS_H

#include "base/base.h"

#define ASHLAR_SMALL_MAX_BYTES ((size_t)131072)
#define ASHLAR_CLASS_COUNT 88u

/* Requests up to here find their class by one table load; below the least large_threshold. */
#define ASHLAR_CLASS_TABLE_MAX_BYTES 3840u

/* First class of medium objects: so long that one that lies idle weighs more than the few
   instructions which notice it. */
#define ASHLAR_CLASS_MEDIUM 56u

extern const uint8_t ashlar_class_table[ASHLAR_CLASS_TABLE_MAX_BYTES / 16 + 1];
extern const uint32_t ashlar_class_sizes[ASHLAR_CLASS_COUNT];

/* Class of a request of 128 < size <= ASHLAR_SMALL_MAX_BYTES, by arithmetic. */
static inline unsigned ashlar_class_of_medium(size_t size)
{
    /* With 2^k < size <= 2^(k+1) the doubling is cut in eight steps of 2^(k-3); classes 0..7 are
       16..128, so the doubling above 128 starts at class 8. */
    unsigned k = 63u - (unsigned)__builtin_clzll(size - 1);
    unsigned step = (unsigned)((size - 1) >> (k - 3)) & 7u;
    return (k - 7) * 8 + 8 + step;
}

/* Class of a request of 0 <= size <= ASHLAR_SMALL_MAX_BYTES. */
static inline unsigned ashlar_class_of(size_t size)
{
    if (ASHLAR_LIKELY(size <= ASHLAR_CLASS_TABLE_MAX_BYTES))
        return ashlar_class_table[(size + 15) >> 4];
    return ashlar_class_of_medium(size);
}

static inline size_t ashlar_class_size(unsigned class_id)
{
    return ashlar_class_sizes[class_id];
}

#endif
