/*
 * faults.c - freeing and allocating again costs no page fault for memory the program had already
 *
 * run:
 * run: ASHLAR_CONF=guard:mprotect
 * run: ASHLAR_CONF=guard:off
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "expect.h"

/* Faults that are nobody's fault: a new slab descriptor, a stack page, a counter. */
#define STRAY_FAULTS 40

static void expect_few_faults(long faults, size_t operations, const char *what, size_t size)
{
    EXPECT(!on_ashlar() || faults <= STRAY_FAULTS + (long)(operations / 20),
           "%s, %zu bytes: %ld faults in %zu operations", what, size, faults, operations);
}

static void use_block(void *(*make)(size_t), size_t size)
{
    void *block = make(size);
    EXPECT(block != NULL);
    touch_pages(block, size);
    free(block);
}

static void *make_by_calloc(size_t size)
{
    return calloc(1, size);
}

static void check_one_size(void *(*make)(size_t), size_t size, const char *what)
{
    size_t rounds = size > 16 * MIB ? 30 : 200;
    for (int i = 0; i < 10; i++)
        use_block(make, size);
    long before = minor_faults();
    for (size_t i = 0; i < rounds; i++)
        use_block(make, size);
    expect_few_faults(minor_faults() - before, rounds, what, size);
}

/* Several blocks of one size live at once, freed in the order in which they came. */
static void check_queue(size_t size)
{
    enum { LIVE = 8, ROUNDS = 400 };
    void *live[LIVE] = {NULL};
    long before = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        if (round == 4 * LIVE)
            before = minor_faults();
        free(live[round % LIVE]);
        live[round % LIVE] = malloc(size);
        touch_pages(live[round % LIVE], size);
    }
    expect_few_faults(minor_faults() - before, ROUNDS - 4 * LIVE, "queue", size);
    for (size_t i = 0; i < LIVE; i++)
        free(live[i]);
}

/* A program with a loop: the same mixed sizes, made and freed in each turn. */
static void check_mixed_rounds(void)
{
    enum { LIVE = 24, ROUNDS = 40 };
    void *live[LIVE];
    long before = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        if (round == 10)
            before = minor_faults();
        for (size_t i = 0; i < LIVE; i++) {
            size_t size = 128 * KIB + i * 61 * KIB;
            live[i] = malloc(size);
            touch_pages(live[i], size);
        }
        for (size_t i = 0; i < LIVE; i++)
            free(live[(i * 7) % LIVE]);
    }
    expect_few_faults(minor_faults() - before, (ROUNDS - 10) * LIVE, "mixed rounds", 0);
}

/* One long block gone, a shorter one wanted: its pages are there. */
static void check_shorter_after_longer(void)
{
    for (int i = 0; i < 5; i++) {
        use_block(malloc, 4 * MIB);
        use_block(malloc, 3 * MIB);
    }
    long before = minor_faults();
    for (int i = 0; i < 100; i++) {
        use_block(malloc, 4 * MIB);
        use_block(malloc, 3 * MIB);
    }
    /* A page that becomes a guard loses what it holds, so the turn back costs one fault. */
    expect_few_faults(minor_faults() - before - 100, 200, "4 MiB and 3 MiB by turns", 0);
}

/* Small blocks, a whole heap of them by turns. */
static void check_small_waves(size_t size)
{
    enum { COUNT = 30000, ROUNDS = 20 };
    static void *live[COUNT];
    long before = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        if (round == 5)
            before = minor_faults();
        for (size_t i = 0; i < COUNT; i++)
            *(volatile char *)(live[i] = launder(malloc(size))) = 1;
        for (size_t i = 0; i < COUNT; i++)
            free(live[i]);
    }
    expect_few_faults(minor_faults() - before, 2000, "waves of small blocks", size);
}

static void *churn(void *unused)
{
    (void)unused;
    for (int i = 0; i < 500; i++)
        use_block(malloc, 300 * KIB);
    return NULL;
}

/* Threads do not lose their pages to each other. */
static void check_threads(void)
{
    pthread_t threads[4];
    for (int round = 0; round < 2; round++) {
        long before = minor_faults();
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            EXPECT(pthread_create(&threads[i], NULL, churn, NULL) == 0);
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            pthread_join(threads[i], NULL);
        if (round == 1)
            expect_few_faults(minor_faults() - before - 4 * 75, 2000, "4 threads", 300 * KIB);
    }
}

int main(void)
{
    test_begin(60);
    static const size_t sizes[] = {128 * KIB, 200000, MIB, 8 * MIB, 64 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        check_one_size(malloc, sizes[i], "malloc");
        if (sizes[i] <= MIB) /* above, fresh zero pages may beat clearing */
            check_one_size(make_by_calloc, sizes[i], "calloc");
    }
    check_queue(256 * KIB);
    check_queue(3 * MIB);
    check_mixed_rounds();
    check_shorter_after_longer();
    check_small_waves(100);
    check_small_waves(1500);
    check_threads();
    return TEST_PASS;
}
