/*
 * rng.h - a small seeded generator
 *
 * Purpose     Keys of slabs and choices in tests: unpredictable enough when seeded from the
 *             kernel, repeatable when seeded by a test. No cryptography.
 * Invariants  SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
 *             generators", 2014): a full-period counter through a mixing function, so any seed
 *             will do.
 * Locking     ashlar_rng_next: the owner's. ashlar_rng_shared: atomic, any thread.
 * Layer       base/.
 */
#ifndef ASHLAR_BASE_RNG_H
#define ASHLAR_BASE_RNG_H

#include <stdatomic.h>

#include "base/base.h"

#define ASHLAR_RNG_STEP UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t ashlar_rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Next number of a generator owned by one thread. */
static inline uint64_t ashlar_rng_next(uint64_t *state)
{
    *state += ASHLAR_RNG_STEP;
    return ashlar_rng_mix(*state);
}

/* Next number of a generator shared by threads. */
static inline uint64_t ashlar_rng_shared(_Atomic uint64_t *state)
{
    uint64_t step = ASHLAR_RNG_STEP;
    return ashlar_rng_mix(atomic_fetch_add_explicit(state, step, memory_order_relaxed) + step);
}

#endif
