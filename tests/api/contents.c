/*
 * contents.c - calloc gives zeros however dirty the memory was, and realloc loses no byte
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0
 * run: ASHLAR_CONF=guard:mprotect
 * run: ASHLAR_CONF=large_threshold:65536
 * run: ASHLAR_CONF=junk:on
 */
#define _GNU_SOURCE
#include "expect.h"

/* Sizes on both sides of every border there may be: classes, pages, slabs, the large threshold. */
static const size_t sizes[] = {1,      16,     24,      100,     1000,    4095,          4096,
                               4097,   8192,   16384,   30000,   32768,   65535,         65536,
                               65537,  100000, 131071,  131072,  131073,  135168,        200000,
                               262144, 300000, 1 << 20, 1500000, 2 << 20, (2 << 20) + 1, 5 << 20};

static void dirty(void *ptr)
{
    memset(launder(ptr), 0xdb, malloc_usable_size(ptr));
}

static void check_calloc(size_t size)
{
    char *block = calloc(1, size);
    EXPECT(block != NULL);
    size_t usable = malloc_usable_size(block);
    EXPECT(is_zero(block, size), "calloc of %zu bytes", size);
    memset(launder(block), 0xdb, usable);
    free(block);
}

static void check_same_size_again(void)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (int round = 0; round < 5; round++) {
            void *ptr = malloc(sizes[i]);
            dirty(ptr);
            free(ptr);
            check_calloc(sizes[i]);
        }
    }
    void *huge = malloc(100 * MIB);
    dirty(huge);
    free(huge);
    check_calloc(100 * MIB);
}

/* A dirty block comes back whole, cut in pieces, or as a part of something longer. */
static void check_other_size_again(void)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t j = 0; j < COUNT_OF(sizes); j++) {
            void *ptr = malloc(sizes[i]);
            dirty(ptr);
            free(ptr);
            check_calloc(sizes[j]);
        }
    }
}

/* A block dirty in places only: what was never touched need not be cleared, the rest must be. */
static void check_partly_dirty(void)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *ptr = calloc(1, sizes[i]);
        ((char *)launder(ptr))[sizes[i] / 2] = 1;
        ((char *)launder(ptr))[sizes[i] - 1] = 1;
        free(ptr);
        check_calloc(sizes[i]);
    }
}

/* Grown and shrunk blocks leave dirt in their tails; trimming makes some of it clean again. */
static void check_after_realloc(void)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t j = 0; j < COUNT_OF(sizes); j += 3) {
            void *ptr = malloc(sizes[i]);
            dirty(ptr);
            ptr = realloc(ptr, sizes[j]);
            dirty(ptr);
            if ((i + j) % 5 == 0)
                malloc_trim(0);
            free(ptr);
            check_calloc(sizes[(i * 7 + j) % COUNT_OF(sizes)]);
        }
    }
}

static void check_calloc_random(void)
{
    enum { LIVE = 64, ROUNDS = 3000 };
    static char *live[LIVE];
    uint64_t state = 42;
    for (int round = 0; round < ROUNDS; round++) {
        size_t slot = random_below(&state, LIVE);
        free(live[slot]);
        size_t size = random_size(&state, round % 10 == 0 ? 4 * MIB : 64 * KIB);
        live[slot] = calloc(1, size);
        EXPECT(live[slot] != NULL && is_zero(live[slot], size), "calloc of %zu bytes", size);
        dirty(live[slot]);
    }
    for (size_t slot = 0; slot < LIVE; slot++)
        free(live[slot]);
}

/* One step from each size to each other, contents checked up to the shorter of the two. */
static void check_realloc_steps(void)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t j = 0; j < COUNT_OF(sizes); j++) {
            size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            char *ptr = malloc(sizes[i]);
            pattern_fill(ptr, sizes[i], i);
            ptr = realloc(ptr, sizes[j]);
            EXPECT(ptr != NULL);
            EXPECT(pattern_broken(ptr, kept, sizes[i], i) == kept,
                   "realloc from %zu to %zu bytes broke byte %zu", sizes[i], sizes[j],
                   pattern_broken(ptr, kept, sizes[i], i));
            free(ptr);
        }
    }
}

/* Growth by a factor and by a step, among neighbours that grow too, and all the way back. */
static void check_realloc_walks(void)
{
    enum { WALKERS = 3 };
    char *ptr[WALKERS] = {NULL, NULL, NULL};
    size_t len[WALKERS] = {0, 0, 0};
    uint64_t state = 7;
    for (int round = 0; round < 1500; round++) {
        size_t w = random_below(&state, WALKERS);
        size_t next;
        switch (random_below(&state, 4)) {
        case 0:
            next = len[w] + len[w] / 2 + 1;
            break;
        case 1:
            next = len[w] + 64 * KIB;
            break;
        case 2:
            next = len[w] - len[w] / 3 + (len[w] == 0);
            break;
        default:
            next = random_size(&state, 8 * MIB) + 1;
            break;
        }
        if (next > 32 * MIB)
            next = 10;
        size_t kept = len[w] < next ? len[w] : next;
        ptr[w] = realloc(ptr[w], next);
        EXPECT(ptr[w] != NULL);
        EXPECT(pattern_broken(ptr[w], kept, len[w], w) == kept, "from %zu to %zu bytes at %zu",
               len[w], next, pattern_broken(ptr[w], kept, len[w], w));
        len[w] = next;
        pattern_fill(ptr[w], len[w], w);
    }
    for (size_t w = 0; w < WALKERS; w++) {
        EXPECT(pattern_holds(ptr[w], len[w], w));
        free(ptr[w]);
    }
}

/* Large growth touches only what it must: the bytes in between stay as they are, also zero. */
static void check_realloc_of_calloc(void)
{
    for (size_t size = 4096; size <= 64 * MIB; size *= 4) {
        char *ptr = calloc(1, size);
        ptr[0] = 'a';
        ptr[size - 1] = 'z';
        ptr = realloc(ptr, size * 3);
        EXPECT(ptr != NULL && ptr[0] == 'a' && ptr[size - 1] == 'z');
        EXPECT(is_zero(ptr + 1, size - 2), "realloc of %zu zero bytes", size);
        ptr = realloc(ptr, size / 2);
        EXPECT(ptr != NULL && ptr[0] == 'a' && is_zero(ptr + 1, size / 2 - 1));
        free(ptr);
    }
}

int main(void)
{
    test_begin(120);
    check_same_size_again();
    check_other_size_again();
    check_partly_dirty();
    check_after_realloc();
    check_calloc_random();
    check_realloc_steps();
    check_realloc_walks();
    check_realloc_of_calloc();
    return TEST_PASS;
}
