/*
 * bits.h - bit scans and atomic bitmaps
 *
 * Purpose     Names for the builtins, and maps of one bit per page that threads share.
 * Invariants  Scans of zero are the caller's mistake unless the name says otherwise.
 * Locking     The bitmap calls are atomic (relaxed): bits say where markers stand and are read
 *             by whoever owns the pages, which orders them by other means (a lock).
 * Layer       base/.
 */
#ifndef ASHLAR_BASE_BITS_H
#define ASHLAR_BASE_BITS_H

#include <stdatomic.h>

#include "base/base.h"

/* Index of the lowest set bit; x != 0. */
static inline unsigned ashlar_bit_lowest(uint64_t x)
{
    return (unsigned)__builtin_ctzll(x);
}

/* Index of the highest set bit, that is floor(log2 x); x != 0. */
static inline unsigned ashlar_bit_highest(uint64_t x)
{
    return 63u - (unsigned)__builtin_clzll(x);
}

/* Sums of pairs, nibbles and bytes at once: without the instruction for it, which not every x86-64
   has, the builtin is a call and eight loads. */
static inline unsigned ashlar_bit_count(uint64_t x)
{
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(x * UINT64_C(0x0101010101010101) >> 56);
}

/* `len` ones starting at bit `first`; first + len <= 64. */
static inline uint64_t ashlar_bit_run(unsigned first, unsigned len)
{
    return (len == 64 ? UINT64_MAX : ((uint64_t)1 << len) - 1) << first;
}

#define ASHLAR_BITMAP_WORDS(nbits) (((nbits) + 63) / 64)

/* True when the bit was clear. */
static inline bool ashlar_bitmap_set(_Atomic uint64_t *map, size_t bit)
{
    uint64_t mask = (uint64_t)1 << (bit % 64);
    return (atomic_fetch_or_explicit(&map[bit / 64], mask, memory_order_relaxed) & mask) == 0;
}

/* True when the bit was set. */
static inline bool ashlar_bitmap_clear(_Atomic uint64_t *map, size_t bit)
{
    uint64_t mask = (uint64_t)1 << (bit % 64);
    return (atomic_fetch_and_explicit(&map[bit / 64], ~mask, memory_order_relaxed) & mask) != 0;
}

static inline bool ashlar_bitmap_get(const _Atomic uint64_t *map, size_t bit)
{
    return (atomic_load_explicit(&map[bit / 64], memory_order_relaxed) >> (bit % 64)) & 1;
}

/* Sets, or clears, the bits [first, end); how many were otherwise before. Words that are so already
   are not written: most of a map of a big region is never touched. */
static inline size_t ashlar_bitmap_set_run(_Atomic uint64_t *map, size_t first, size_t end)
{
    size_t changed = 0;
    while (first < end) {
        size_t stop = ashlar_min_size(end, (first / 64 + 1) * 64);
        uint64_t mask = ashlar_bit_run((unsigned)(first % 64), (unsigned)(stop - first));
        uint64_t before = atomic_load_explicit(&map[first / 64], memory_order_relaxed);
        if ((mask & ~before) != 0)
            before = atomic_fetch_or_explicit(&map[first / 64], mask, memory_order_relaxed);
        changed += ashlar_bit_count(mask & ~before);
        first = stop;
    }
    return changed;
}

static inline size_t ashlar_bitmap_clear_run(_Atomic uint64_t *map, size_t first, size_t end)
{
    size_t changed = 0;
    while (first < end) {
        size_t stop = ashlar_min_size(end, (first / 64 + 1) * 64);
        uint64_t mask = ashlar_bit_run((unsigned)(first % 64), (unsigned)(stop - first));
        uint64_t before = atomic_load_explicit(&map[first / 64], memory_order_relaxed);
        if ((mask & before) != 0)
            before = atomic_fetch_and_explicit(&map[first / 64], ~mask, memory_order_relaxed);
        changed += ashlar_bit_count(mask & before);
        first = stop;
    }
    return changed;
}

/* First set bit in [from, end), or `end` when there is none. */
static inline size_t ashlar_bitmap_next(const _Atomic uint64_t *map, size_t from, size_t end)
{
    while (from < end) {
        uint64_t word = atomic_load_explicit(&map[from / 64], memory_order_relaxed) >> (from % 64);
        if (word != 0) {
            size_t found = from + ashlar_bit_lowest(word);
            return found < end ? found : end;
        }
        from = (from / 64 + 1) * 64;
    }
    return end;
}

/* Last set bit in [from, end), or `end` when there is none. */
static inline size_t ashlar_bitmap_last(const _Atomic uint64_t *map, size_t from, size_t end)
{
    for (size_t stop = end; stop > from; stop = (stop - 1) / 64 * 64) {
        size_t first = (stop - 1) / 64 * 64;
        uint64_t word = atomic_load_explicit(&map[first / 64], memory_order_relaxed) &
                        ashlar_bit_run(0, (unsigned)(stop - first));
        if (word != 0) {
            size_t found = first + ashlar_bit_highest(word);
            return found >= from ? found : end;
        }
    }
    return end;
}

#endif
