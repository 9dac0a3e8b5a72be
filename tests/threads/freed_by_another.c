/*
 * freed_by_another.c - memory that its owner does not look at again is of use when others freed it
 *
 * Symptom: one thread filled 100 MB with small blocks and waited; another freed them. All of it
 * stayed resident for good, and when the second thread allocated as much there were 200 MB. So it
 * did when the first thread had freed every tenth block itself ("part"), and others the rest, or
 * the other way round ("late").
 *
 * The owner wakes up in the end, allocates on, and exits.
 *
 * run: ASHLAR_CONF=purge_thread:on,decay_ms:500 wait
 * run: ASHLAR_CONF=purge_thread:on,decay_ms:2000 wait
 * run: ASHLAR_CONF=decay_ms:0 wait
 * run: ASHLAR_CONF=purge_thread:on,decay_ms:500 wait part
 * run: ASHLAR_CONF=decay_ms:0 wait part
 * run: ASHLAR_CONF=purge_thread:on,decay_ms:500 wait late
 * run: reuse
 * run: ASHLAR_CONF=purge_thread:off reuse
 * run: ASHLAR_CONF=decay_ms:-1,arenas:1 reuse
 * run: ASHLAR_CONF=decay_ms:-1 trim
 * run: ASHLAR_CONF=purge_thread:off trim
 * run: reuse part
 * run: ASHLAR_CONF=decay_ms:-1 trim part
 * run: reuse late
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "expect.h"

#define BLOCKS 190000
#define MOST_BYTES 1040 /* 100 MB in all */
#define SLACK_BYTES (16 * MIB)

/* The decay time and a second, and what frees that come late add. */
#define WAIT_SECONDS 3.5

static struct {
    char *block;
    size_t len;
} blocks[BLOCKS];

/* Of so many blocks the owner frees one itself. */
#define OWN_PART 10

static pthread_barrier_t barrier;
static bool is_part, is_late;

static void fill(uint64_t tag)
{
    uint64_t state = tag;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i].len = 16 + random_below(&state, MOST_BYTES - 16);
        blocks[i].block = malloc(blocks[i].len);
        EXPECT(blocks[i].block != NULL);
        pattern_fill(blocks[i].block, blocks[i].len, i + tag);
    }
}

/* Frees each of so many blocks, from the first one on; those that were freed before are NULL. */
static void drop_each(size_t first, size_t step, uint64_t tag)
{
    for (size_t i = first; i < BLOCKS; i += step) {
        if (blocks[i].block == NULL)
            continue;
        EXPECT(pattern_holds(blocks[i].block, blocks[i].len, i + tag), "block %zu", i);
        free(blocks[i].block);
        blocks[i].block = NULL;
    }
}

static void drop(uint64_t tag)
{
    drop_each(0, 1, tag);
}

static void *drop_odd(void *unused)
{
    drop_each(1, 2, 1);
    return unused;
}

/* What the owner will not free itself. */
static void drop_others(void)
{
    for (size_t first = 1; first < OWN_PART; first++)
        drop_each(first, OWN_PART, 1);
}

/* What the owner has left, by two threads. */
static void drop_rest(void)
{
    pthread_t helper;
    EXPECT(pthread_create(&helper, NULL, drop_odd, NULL) == 0);
    drop_each(0, 2, 1);
    pthread_join(helper, NULL);
}

static void *own(void *unused)
{
    fill(1);
    if (is_part)
        drop_each(0, OWN_PART, 1);
    pthread_barrier_wait(&barrier);
    if (is_late) {
        pthread_barrier_wait(&barrier);
        drop_each(0, OWN_PART, 1);
        pthread_barrier_wait(&barrier);
    }
    pthread_barrier_wait(&barrier); /* idle meanwhile */
    fill(3);
    drop(3);
    return unused;
}

static void expect_at_most(size_t limit, const char *what)
{
    size_t now = rss_bytes();
    EXPECT(now <= limit, "%s: %zu MiB of at most %zu", what, now / MIB, limit / MIB);
}

static void check(const char *how, size_t before, size_t full)
{
    if (strcmp(how, "wait") == 0) {
        double start = now_seconds();
        while (rss_bytes() > before + SLACK_BYTES &&
               now_seconds() - start < WAIT_SECONDS * PATIENCE)
            sleep_ms(20);
        expect_at_most(before + SLACK_BYTES, "all is freed");
    } else if (strcmp(how, "trim") == 0) {
        EXPECT(malloc_trim(0) == 1);
        expect_at_most(before + SLACK_BYTES, "trimmed by another thread");
    } else {
        fill(2);
        expect_at_most(full + SLACK_BYTES, "allocated where it was freed");
        drop(2);
    }
}

int main(int argc, char **argv)
{
    test_begin(60);
    if (!on_ashlar())
        SKIP("memory that another thread has freed may stay with its owner");
    is_part = argc > 2 && strcmp(argv[2], "part") == 0;
    is_late = argc > 2 && strcmp(argv[2], "late") == 0;
    touch_pages((char *)blocks, sizeof(blocks));
    pthread_t owner;
    EXPECT(pthread_barrier_init(&barrier, NULL, 2) == 0);
    size_t before = rss_bytes();
    EXPECT(pthread_create(&owner, NULL, own, NULL) == 0);
    pthread_barrier_wait(&barrier);
    size_t full = rss_bytes();
    EXPECT(full > before + 90 * MIB);
    const char *how = argc > 1 ? argv[1] : "reuse";
    if (strcmp(how, "wait") == 0)
        sleep_ms(1000); /* nothing is kept: a purge thread is asleep by now */
    if (is_late) {
        drop_others();
        sleep_ms(1000); /* whoever looks has looked */
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    } else if (is_part) {
        drop_rest();
    } else {
        drop(1);
    }
    check(how, before, full);
    pthread_barrier_wait(&barrier);
    pthread_join(owner, NULL);
    return TEST_PASS;
}
