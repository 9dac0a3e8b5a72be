/*
 * common.h - what the benchmarks share: numbers by chance, blocks with checked contents, threads
 *
 * Purpose     Contents are one word a page (large) or at both ends (small): enough to notice a
 *             block that was handed out twice, and little beside the cost of malloc.
 */
#ifndef ASHLAR_BENCH_COMMON_H
#define ASHLAR_BENCH_COMMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_shim.h"

enum { STRIDE_BYTES = 4096 };

static const size_t KIB = 1024;
static const size_t MIB = (size_t)1 << 20;

enum touch { TOUCH_NONE, TOUCH_FIRST, TOUCH_PAGES };

/* xorshift64*; each thread has a state of its own. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dULL;
}

static inline uint64_t seeded(uint64_t seed)
{
    return seed * 0x9e3779b97f4a7c15ULL + 1;
}

/* Evenly over [low, high). */
static inline size_t random_between(uint64_t *state, size_t low, size_t high)
{
    return low + (size_t)(next_random(state) >> 16) % (high - low);
}

/* Evenly over the doublings from 2^log2 on. */
static inline size_t random_doubling(uint64_t *state, unsigned log2, unsigned doublings)
{
    size_t base = (size_t)1 << (log2 + (unsigned)(next_random(state) >> 40) % doublings);
    return base + (size_t)(next_random(state) >> 16) % base;
}

struct block {
    unsigned char *bytes;
    size_t size;
    uint64_t stamp;
};

static inline void write_pages(const struct block *block, size_t from)
{
    for (size_t at = from; at + sizeof(uint64_t) <= block->size; at += STRIDE_BYTES) {
        uint64_t word = block->stamp ^ at;
        memcpy(block->bytes + at, &word, sizeof word);
    }
}

static inline bool check_pages(const struct block *block)
{
    for (size_t at = 0; at + sizeof(uint64_t) <= block->size; at += STRIDE_BYTES) {
        uint64_t word;
        memcpy(&word, block->bytes + at, sizeof word);
        if (word != (block->stamp ^ at))
            return false;
    }
    return true;
}

/* Small blocks: the size at the front, as far as it fits, and a byte at the end. */
static inline void *small_new(size_t size)
{
    unsigned char *bytes = malloc(size);
    if (bytes == NULL)
        abort();
    uint32_t word = (uint32_t)size;
    memcpy(bytes, &word, size < sizeof word ? size : sizeof word);
    bytes[size - 1] = size > sizeof word ? (unsigned char)(size * 7) : bytes[size - 1];
    return bytes;
}

static inline bool small_is_whole(const void *block, size_t size)
{
    const unsigned char *bytes = block;
    uint32_t word = (uint32_t)size;
    return memcmp(bytes, &word, size < sizeof word ? size : sizeof word) == 0 &&
           (size <= sizeof word || bytes[size - 1] == (unsigned char)(size * 7));
}

static inline void lost(void)
{
    fputs("bench: contents lost\n", stderr);
    abort();
}

static inline void small_drop(void *block, size_t size)
{
    if (!small_is_whole(block, size))
        lost();
    free(block);
}

/* Runs body(argument i) in n threads and waits for all. */
static inline void in_threads(unsigned n, void *(*body)(void *), void *arguments, size_t argument_bytes)
{
    pthread_t threads[64];
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, body, (char *)arguments + i * argument_bytes) != 0)
            abort();
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* Resident memory of this process now. */
static inline double rss_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        abort();
    fclose(file);
    return (double)pages * 4096;
}

#endif
