/*
 * returns.c - freed memory goes back to the kernel when decay_ms says so
 *
 * run: ASHLAR_CONF=decay_ms:300 after-decay
 * run: ASHLAR_CONF=decay_ms:300 after-threads
 * run: ASHLAR_CONF=decay_ms:0 at-once
 * run: ASHLAR_CONF=decay_ms:-1 never
 * run: ASHLAR_CONF=decay_ms:300 small-only
 * run: ASHLAR_CONF=decay_ms:60000 by-turns
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "expect.h"

#define TOTAL_BYTES (500 * MIB)
#define RETURNED_SLACK_BYTES (24 * MIB) /* what may stay of 500 MB: caches, partly used slabs */

/* A longest wait that a busy machine does not break; the usual one is the decay time. */
#define RETURN_LIMIT_SECONDS 10.0

static void *filled_block(size_t size)
{
    char *block = malloc(size);
    EXPECT(block != NULL);
    touch_pages(block, size);
    block[size - 1] = 1;
    return block;
}

struct pile {
    size_t block_bytes;
    size_t count;
    void **blocks;
};

static struct pile pile_make(size_t block_bytes, size_t total_bytes)
{
    struct pile pile = {block_bytes, total_bytes / block_bytes, NULL};
    pile.blocks = malloc(pile.count * sizeof(*pile.blocks));
    for (size_t i = 0; i < pile.count; i++)
        pile.blocks[i] = filled_block(block_bytes);
    return pile;
}

static void pile_free(struct pile *pile)
{
    for (size_t i = 0; i < pile->count; i++)
        free(pile->blocks[i]);
    free(pile->blocks);
}

/* The program goes on, with little memory: the clock is looked at on its way. */
static void stay_active(void)
{
    static void *live[100];
    static uint64_t state = 1;
    for (int i = 0; i < 300; i++) {
        size_t slot = random_below(&state, COUNT_OF(live));
        free(live[slot]);
        live[slot] = filled_block(random_size(&state, i % 10 == 0 ? 200 * KIB : 2000) + 1);
    }
}

/* Seconds until RSS is at `wanted` or below, the program being active. */
static double seconds_until_rss(size_t wanted)
{
    double start = now_seconds();
    while (rss_bytes() > wanted && now_seconds() - start < RETURN_LIMIT_SECONDS) {
        stay_active();
        sleep_ms(5);
    }
    return now_seconds() - start;
}

static void check_after_decay(size_t block_bytes)
{
    stay_active();
    size_t before = rss_bytes();
    struct pile pile = pile_make(block_bytes, TOTAL_BYTES);
    EXPECT(rss_bytes() >= before + TOTAL_BYTES * 9 / 10);
    pile_free(&pile);
    double seconds = seconds_until_rss(before + RETURNED_SLACK_BYTES);
    EXPECT(seconds < RETURN_LIMIT_SECONDS, "blocks of %zu: %zu MiB before, still %zu MiB",
           block_bytes, before / MIB, rss_bytes() / MIB);
}

static void check_at_once(size_t block_bytes)
{
    stay_active();
    size_t before = rss_bytes();
    struct pile pile = pile_make(block_bytes, TOTAL_BYTES);
    pile_free(&pile);
    size_t after = rss_bytes();
    EXPECT(after <= before + RETURNED_SLACK_BYTES, "blocks of %zu: %zu MiB before, %zu MiB after",
           block_bytes, before / MIB, after / MIB);
}

/* decay_ms:-1 keeps what was freed, for the next time. */
static void check_never(void)
{
    size_t before = rss_bytes();
    struct pile pile = pile_make(MIB, TOTAL_BYTES);
    pile_free(&pile);
    for (int i = 0; i < 300; i++) {
        stay_active();
        sleep_ms(5);
    }
    EXPECT(!on_ashlar() || rss_bytes() >= before + TOTAL_BYTES * 8 / 10, "only %zu MiB left",
           rss_bytes() / MIB);
    long faults = minor_faults();
    pile = pile_make(MIB, TOTAL_BYTES);
    faults = minor_faults() - faults;
    EXPECT(!on_ashlar() || (size_t)faults < TOTAL_BYTES / 4096 / 10, "%ld faults", faults);
    pile_free(&pile);
    malloc_trim(0);
    EXPECT(rss_bytes() <= before + RETURNED_SLACK_BYTES, "trim works all the same");
}

static void *make_and_free_piles(void *unused)
{
    (void)unused;
    struct pile small = pile_make(120, 40 * MIB);
    struct pile large = pile_make(700 * KIB, 60 * MIB);
    pile_free(&small);
    pile_free(&large);
    return NULL;
}

static void *make_pile(void *out)
{
    *(struct pile *)out = pile_make(120, 50 * MIB);
    return NULL;
}

/* Memory of threads that are gone is returned too, whoever freed it. */
static void check_after_threads(void)
{
    enum { THREADS = 5 };
    pthread_t threads[THREADS];
    struct pile piles[THREADS];
    stay_active();
    size_t before = rss_bytes();
    for (int i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], NULL, make_and_free_piles, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    double seconds = seconds_until_rss(before + RETURNED_SLACK_BYTES);
    EXPECT(seconds < RETURN_LIMIT_SECONDS || !on_ashlar(),
           "freed by themselves: %zu MiB before, still %zu MiB", before / MIB, rss_bytes() / MIB);

    for (int i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], NULL, make_pile, &piles[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        pile_free(&piles[i]);
    seconds = seconds_until_rss(before + RETURNED_SLACK_BYTES);
    EXPECT(seconds < RETURN_LIMIT_SECONDS || !on_ashlar(),
           "freed by another: %zu MiB before, still %zu MiB", before / MIB, rss_bytes() / MIB);
}

/* Symptom: a program that made small requests only kept what was large for good. */
static void check_small_only(void)
{
    void *volatile block;
    size_t before = rss_bytes();
    free(filled_block(TOTAL_BYTES));
    double start = now_seconds();
    while (rss_bytes() > before + RETURNED_SLACK_BYTES &&
           now_seconds() - start < RETURN_LIMIT_SECONDS) {
        struct pile pile = pile_make(2000, MIB);
        block = filled_block(100);
        free(block);
        pile_free(&pile);
        sleep_ms(5);
    }
    EXPECT(rss_bytes() <= before + RETURNED_SLACK_BYTES || !on_ashlar(), "still %zu MiB",
           rss_bytes() / MIB);
}

/* What one side has freed goes when the other takes as much. Time plays no part. */
static void check_by_turns(void)
{
    static const size_t block_bytes[] = {MIB, 640, 3 * MIB, 5120, 300 * KIB};
    stay_active();
    size_t before = rss_bytes();
    for (size_t i = 0; i < COUNT_OF(block_bytes); i++) {
        struct pile pile = pile_make(block_bytes[i], TOTAL_BYTES);
        size_t most = before + TOTAL_BYTES * 108 / 100 + RETURNED_SLACK_BYTES;
        EXPECT(rss_bytes() <= most || !on_ashlar(), "%zu MiB at turn %zu", rss_bytes() / MIB, i);
        pile_free(&pile);
    }
}

/* For cgroup.sh: MiB left of 160 to standard output. */
static void show_what_is_kept(void)
{
    struct pile pile = pile_make(4 * MIB, 160 * MIB);
    pile_free(&pile);
    free(filled_block(200 * KIB));
    printf("%zu\n", rss_bytes() / MIB);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    test_begin(120);
    const char *mode = argc > 1 ? argv[1] : "after-decay";
    if (strcmp(mode, "after-decay") == 0) {
        check_after_decay(MIB + 100);
        check_after_decay(20 * MIB);
        check_after_decay(1000);
    } else if (strcmp(mode, "after-threads") == 0) {
        check_after_threads();
    } else if (strcmp(mode, "at-once") == 0) {
        check_at_once(MIB + 100);
        check_at_once(20 * MIB);
        check_at_once(50000);
        check_at_once(1000);
    } else if (strcmp(mode, "small-only") == 0) {
        check_small_only();
    } else if (strcmp(mode, "limited") == 0) {
        show_what_is_kept();
    } else if (strcmp(mode, "by-turns") == 0) {
        check_by_turns();
    } else {
        check_never();
    }
    return TEST_PASS;
}
