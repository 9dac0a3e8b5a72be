/*
 * growth.c - benchmarks of how cost grows: with live blocks, with the size of a block, with threads
 *
 * Purpose     Each point is a benchmark of its own, named CURVE/X; bench/run.py fits and draws the
 *             curves. What an operation costs should not depend on how many others there are.
 */
#include "common.h"

/* ---- live blocks: replace one of many ------------------------------------------------------- */

struct point {
    size_t live;
    size_t size;
    unsigned threads;
};

static void live_blocks(struct bench_run *run)
{
    const struct point *point = bench_param(run);
    struct block *blocks = calloc(point->live, sizeof *blocks);
    uint64_t random = seeded(21);
    if (blocks == NULL)
        abort();
    for (size_t i = 0; i < point->live; i++) {
        blocks[i] = (struct block){malloc(point->size), point->size, i};
        if (blocks[i].bytes == NULL)
            abort();
        *blocks[i].bytes = (unsigned char)i;
    }
    while (bench_next(run)) {
        size_t at = next_random(&random) % point->live;
        if (*blocks[at].bytes != (unsigned char)at)
            lost();
        free(blocks[at].bytes);
        blocks[at].bytes = malloc(point->size + at % 16 * (point->size / 32));
        if (blocks[at].bytes == NULL)
            abort();
        *blocks[at].bytes = (unsigned char)at;
    }
    for (size_t i = 0; i < point->live; i++)
        free(blocks[i].bytes);
    free(blocks);
}

/* ---- size of a block: one is had, its first byte written, and freed, beside three others ---- */

static void block_size(struct bench_run *run)
{
    const struct point *point = bench_param(run);
    void *others[3];
    for (unsigned i = 0; i < 3; i++) {
        others[i] = malloc(point->size);
        if (others[i] == NULL)
            abort();
        *(volatile char *)others[i] = 1;
    }
    while (bench_next(run)) {
        volatile char *bytes = malloc(point->size);
        if (bytes == NULL)
            abort();
        *bytes = 1;
        free((void *)(uintptr_t)bytes);
    }
    for (unsigned i = 0; i < 3; i++)
        free(others[i]);
}

/* ---- threads: the same work in all, divided among more and more ------------------------------ */

enum { THREAD_STEPS = 1 << 20, THREAD_LIVE = 200 };

struct worker {
    unsigned steps;
    unsigned seed;
};

static void *work(void *argument)
{
    const struct worker *worker = argument;
    void *live[THREAD_LIVE] = {NULL};
    size_t sizes[THREAD_LIVE] = {0};
    uint64_t random = seeded(worker->seed);
    for (unsigned i = 0; i < worker->steps; i++) {
        unsigned at = (unsigned)(next_random(&random) % THREAD_LIVE);
        if (live[at] != NULL)
            small_drop(live[at], sizes[at]);
        sizes[at] = random_between(&random, 16, 512);
        live[at] = small_new(sizes[at]);
    }
    for (unsigned i = 0; i < THREAD_LIVE; i++) {
        if (live[i] != NULL)
            small_drop(live[i], sizes[i]);
    }
    return NULL;
}

static void threads(struct bench_run *run)
{
    const struct point *point = bench_param(run);
    struct worker workers[64];
    for (unsigned i = 0; i < point->threads; i++)
        workers[i] = (struct worker){THREAD_STEPS / point->threads, i + 1};
    while (bench_next(run))
        in_threads(point->threads, work, workers, sizeof workers[0]);
    bench_operations(run, THREAD_STEPS);
}

/* ---- the list ------------------------------------------------------------------------------- */

static void register_point(const char *curve, size_t x, bench_body *body, struct point point, int64_t iterations)
{
    static struct point points[64];
    static unsigned used;
    char name[64];
    snprintf(name, sizeof name, "%s/%zu", curve, x);
    points[used] = point;
    bench_register(name, body, &points[used++], iterations);
}

__attribute__((constructor)) static void list(void)
{
    static const size_t counts[] = {10, 100, 1000, 10000, 50000, 200000};
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        register_point("live-large", counts[i], live_blocks, (struct point){counts[i], 160 * KIB, 0}, 20000);
        register_point("live-small", counts[i], live_blocks, (struct point){counts[i], 64, 0}, 20000);
    }
    for (size_t size = 4 * KIB; size <= 1024 * MIB; size *= 8)
        register_point("block-size", size, block_size, (struct point){0, size, 0}, size > 64 * MIB ? 200 : 5000);
    for (unsigned n = 1; n <= 64; n *= 2)
        register_point("threads", n, threads, (struct point){0, 0, n}, 1);
}
