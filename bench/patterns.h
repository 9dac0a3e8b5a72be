/*
 * patterns.h - four ways in which programs ask for small blocks, for one thread
 *
 * Purpose     Shared by the benchmarks of small.c, which time them, and instructions.c, which is
 *             run under callgrind. Each does `pairs` times malloc and free.
 */
#ifndef ASHLAR_BENCH_PATTERNS_H
#define ASHLAR_BENCH_PATTERNS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { REPLACE_SLOTS = 4096, BATCH_BLOCKS = 1000, SKEWED_SLOTS = 1024, SIZES = 8192 };

/* Sizes are drawn before the clock runs. */
struct pattern_sizes {
    uint32_t replace[SIZES]; /* 16 to 1,024 evenly */
    uint32_t skewed[SIZES];  /* up to 32 KiB; the larger the rarer */
    uint16_t slot[SIZES];
};

static inline uint64_t pattern_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 33;
}

static inline void pattern_sizes_draw(struct pattern_sizes *sizes)
{
    uint64_t random = 42;
    for (unsigned i = 0; i < SIZES; i++) {
        sizes->replace[i] = (uint32_t)(16 + pattern_random(&random) % 1009);
        /* The chance of each doubling above 16 bytes is 5/8 of that of the one before. */
        unsigned log2 = 4;
        while (log2 < 14 && pattern_random(&random) % 8 < 5)
            log2++;
        sizes->skewed[i] = (uint32_t)((1u << log2) + pattern_random(&random) % (1u << log2));
        sizes->slot[i] = (uint16_t)pattern_random(&random);
    }
}

static inline void pattern_keep(void *ptr)
{
    __asm__ volatile("" : : "r"(ptr) : "memory");
}

static inline void pattern_tight(size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        void *ptr = malloc(64);
        pattern_keep(ptr);
        free(ptr);
    }
}

static inline void pattern_slots(size_t pairs, void **slots, unsigned nslots, const uint32_t *sizes,
                                 const uint16_t *slot)
{
    for (size_t i = 0; i < pairs; i++) {
        unsigned at = slot[i % SIZES] % nslots;
        free(slots[at]);
        slots[at] = malloc(sizes[(i + i / SIZES) % SIZES]);
        *(volatile char *)slots[at] = 1;
    }
}

static inline void pattern_batch(size_t pairs)
{
    void *blocks[BATCH_BLOCKS];
    for (size_t i = 0; i < pairs; i += BATCH_BLOCKS) {
        for (unsigned j = 0; j < BATCH_BLOCKS; j++)
            blocks[j] = malloc(64);
        pattern_keep(blocks);
        for (unsigned j = 0; j < BATCH_BLOCKS; j++)
            free(blocks[j]);
    }
}

#endif
