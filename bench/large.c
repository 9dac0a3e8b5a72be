/*
 * large.c - benchmarks of large blocks
 *
 * Purpose     Every pattern under "large" of doc/design.md section 6: churn of one size, a mix on
 *             one and several threads, steady loads, array temporaries, vectors, producer and
 *             consumer, growth by realloc, calloc after free, aligned blocks, very many blocks, what
 *             is still resident after a free.
 */
#include <semaphore.h>
#include <unistd.h>

#include "common.h"

/* ---- churn of one size ---------------------------------------------------------------------- */

struct churn {
    size_t size;
    enum touch touch;
};

static void churn(struct bench_run *run)
{
    const struct churn *param = bench_param(run);
    struct block block = {NULL, param->size, 1};
    while (bench_next(run)) {
        block.stamp++;
        block.bytes = malloc(block.size);
        if (block.bytes == NULL) {
            bench_fail(run, "out of memory");
            return;
        }
        if (param->touch == TOUCH_FIRST)
            *(volatile unsigned char *)block.bytes = 1;
        if (param->touch == TOUCH_PAGES) {
            write_pages(&block, 0);
            if (!check_pages(&block))
                lost();
        }
        __asm__ volatile("" : : "r"(block.bytes) : "memory");
        free(block.bytes);
    }
}

/* ---- a mix of sizes ------------------------------------------------------------------------- */

enum { MIX_LIVE = 64, MIX_LOG2 = 17, MIX_DOUBLINGS = 8 }; /* 128 KiB to 32 MiB */

struct mix {
    unsigned operations; /* of all threads together */
    unsigned threads;
};

struct mix_thread {
    unsigned operations;
    unsigned live;
    uint64_t seed;
};

static void *mix_body(void *argument)
{
    const struct mix_thread *mine = argument;
    struct block blocks[MIX_LIVE] = {{NULL, 0, 0}};
    uint64_t random = seeded(mine->seed);
    for (unsigned i = 0; i < mine->operations; i++) {
        struct block *block = &blocks[next_random(&random) % mine->live];
        if (block->bytes != NULL && !check_pages(block))
            lost();
        free(block->bytes);
        block->size = random_doubling(&random, MIX_LOG2, MIX_DOUBLINGS);
        block->stamp = next_random(&random);
        block->bytes = malloc(block->size);
        if (block->bytes == NULL)
            abort();
        write_pages(block, 0);
    }
    for (unsigned i = 0; i < mine->live; i++)
        free(blocks[i].bytes);
    return NULL;
}

static void mix(struct bench_run *run)
{
    const struct mix *param = bench_param(run);
    struct mix_thread threads[64];
    for (unsigned i = 0; i < param->threads; i++)
        threads[i] = (struct mix_thread){param->operations / param->threads, MIX_LIVE / param->threads, i + 1};
    while (bench_next(run)) {
        if (param->threads == 1)
            mix_body(&threads[0]);
        else
            in_threads(param->threads, mix_body, threads, sizeof threads[0]);
    }
    bench_operations(run, param->operations);
}

/* ---- a steady load: sizes of one range, a full set of live blocks from the start ------------- */

enum { STEADY_LIVE = 200 };

struct steady {
    unsigned live;
    size_t low, high;
};

/* The load of one thread. */
struct steady_load {
    const struct steady *param;
    uint64_t random;
    unsigned filled;
    struct block blocks[STEADY_LIVE];
};

static void steady_step(struct steady_load *load)
{
    const struct steady *param = load->param;
    unsigned at = load->filled < param->live ? load->filled++ : (unsigned)(next_random(&load->random) % param->live);
    struct block *block = &load->blocks[at];
    if (block->bytes != NULL && !check_pages(block))
        lost();
    free(block->bytes);
    block->size = random_between(&load->random, param->low, param->high);
    block->stamp = next_random(&load->random);
    block->bytes = malloc(block->size);
    if (block->bytes == NULL)
        abort();
    write_pages(block, 0);
}

static void steady_end(struct steady_load *load)
{
    for (unsigned i = 0; i < load->param->live; i++)
        free(load->blocks[i].bytes);
}

static void steady(struct bench_run *run)
{
    struct steady_load load = {.param = bench_param(run), .random = seeded(21)};
    while (bench_next(run))
        steady_step(&load);
    steady_end(&load);
}

enum { STEADY_THREADS = 8, STEADY_EACH = 5000 };

static void *steady_body(void *argument)
{
    for (unsigned i = 0; i < STEADY_EACH; i++)
        steady_step(argument);
    steady_end(argument);
    return NULL;
}

static void steady_threads(struct bench_run *run)
{
    static struct steady_load loads[STEADY_THREADS];
    while (bench_next(run)) {
        for (unsigned i = 0; i < STEADY_THREADS; i++)
            loads[i] = (struct steady_load){.param = bench_param(run), .random = seeded(21 + i)};
        in_threads(STEADY_THREADS, steady_body, loads, sizeof loads[0]);
    }
    bench_operations(run, STEADY_THREADS * STEADY_EACH);
}

/* Arrays of three shapes and the results of sums of them, as array programs make and drop them. */
static void temporaries(struct bench_run *run)
{
    static const size_t shapes[] = {800000, 1600000, 6400000};
    uint64_t random = seeded(22);
    while (bench_next(run)) {
        size_t size = shapes[next_random(&random) % 3];
        struct block a = {malloc(size), size, 1}, b = {malloc(size), size, 2}, sum = {malloc(size), size, 3};
        if (a.bytes == NULL || b.bytes == NULL || sum.bytes == NULL)
            abort();
        write_pages(&a, 0);
        write_pages(&b, 0);
        write_pages(&sum, 0);
        free(a.bytes);
        struct block both = {malloc(2 * size), 2 * size, 4};
        if (both.bytes == NULL)
            abort();
        write_pages(&both, 0);
        if (!check_pages(&b) || !check_pages(&sum) || !check_pages(&both))
            lost();
        free(b.bytes);
        free(sum.bytes);
        free(both.bytes);
    }
}

/* Vectors that grow by half, side by side, each dropped when it is full. */
static void vectors(struct bench_run *run)
{
    enum { VECTORS = 8, FULL = 16 << 20 };
    struct block vectors[VECTORS] = {{NULL, 0, 0}};
    uint64_t random = seeded(23);
    while (bench_next(run)) {
        struct block *vector = &vectors[next_random(&random) % VECTORS];
        size_t size = vector->bytes != NULL ? vector->size + vector->size / 2 : 20000;
        if (size > FULL) {
            if (!check_pages(vector))
                lost();
            free(vector->bytes);
            *vector = (struct block){NULL, 0, vector->stamp + 1};
            continue;
        }
        size_t written = (vector->size + STRIDE_BYTES - 1) / STRIDE_BYTES * STRIDE_BYTES;
        vector->bytes = realloc(vector->bytes, size);
        if (vector->bytes == NULL)
            abort();
        vector->size = size;
        write_pages(vector, written);
    }
    for (unsigned i = 0; i < VECTORS; i++)
        free(vectors[i].bytes);
}

/* ---- producer and consumer ------------------------------------------------------------------ */

enum { RING = 16, HANDOVERS = 2000 };

static struct {
    struct block blocks[RING];
    sem_t filled, emptied;
} ring;

static void *produce(void *unused)
{
    uint64_t random = seeded(7);
    (void)unused;
    for (unsigned i = 0; i < HANDOVERS; i++) {
        struct block block = {NULL, random_doubling(&random, 18, 4), next_random(&random)};
        block.bytes = malloc(block.size);
        if (block.bytes == NULL)
            abort();
        write_pages(&block, 0);
        sem_wait(&ring.emptied);
        ring.blocks[i % RING] = block;
        sem_post(&ring.filled);
    }
    return NULL;
}

static void consume(void)
{
    for (unsigned i = 0; i < HANDOVERS; i++) {
        sem_wait(&ring.filled);
        struct block block = ring.blocks[i % RING];
        sem_post(&ring.emptied);
        if (!check_pages(&block))
            lost();
        free(block.bytes);
    }
}

static void handover(struct bench_run *run)
{
    sem_init(&ring.filled, 0, 0);
    sem_init(&ring.emptied, 0, RING);
    while (bench_next(run)) {
        pthread_t producer;
        if (pthread_create(&producer, NULL, produce, NULL) != 0)
            abort();
        consume();
        pthread_join(producer, NULL);
    }
    bench_operations(run, HANDOVERS);
}

/* ---- growth --------------------------------------------------------------------------------- */

struct growth {
    size_t start, end;
    size_t step; /* 0: by half */
};

static void grow(struct bench_run *run)
{
    const struct growth *param = bench_param(run);
    double steps = 0;
    while (bench_next(run)) {
        struct block block = {NULL, 0, 99};
        steps = 0;
        for (size_t size = param->start; size <= param->end; size += param->step ? param->step : size / 2) {
            size_t written = (block.size + STRIDE_BYTES - 1) / STRIDE_BYTES * STRIDE_BYTES;
            unsigned char *bytes = realloc(block.bytes, size);
            if (bytes == NULL) {
                bench_fail(run, "out of memory");
                free(block.bytes);
                return;
            }
            block.bytes = bytes;
            block.size = size;
            write_pages(&block, written);
            steps++;
        }
        if (!check_pages(&block))
            lost();
        free(block.bytes);
    }
    bench_operations(run, steps);
}

/* ---- calloc after free ---------------------------------------------------------------------- */

static void calloc_after_free(struct bench_run *run)
{
    size_t size = *(const size_t *)bench_param(run);
    while (bench_next(run)) {
        struct block dirty = {malloc(size), size, 3};
        if (dirty.bytes == NULL)
            abort();
        write_pages(&dirty, 0);
        free(dirty.bytes);
        unsigned char *clear = calloc(1, size);
        if (clear == NULL)
            abort();
        for (size_t at = 0; at < size; at += STRIDE_BYTES) {
            if (clear[at] != 0)
                lost();
            clear[at] = 1;
        }
        free(clear);
    }
}

/* ---- aligned -------------------------------------------------------------------------------- */

enum { ALIGNED_LIVE = 32 };

struct aligned {
    size_t alignment, low, high;
};

static void aligned(struct bench_run *run)
{
    const struct aligned *param = bench_param(run);
    struct block blocks[ALIGNED_LIVE] = {{NULL, 0, 0}};
    uint64_t random = seeded(11);
    while (bench_next(run)) {
        struct block *block = &blocks[next_random(&random) % ALIGNED_LIVE];
        if (block->bytes != NULL && *block->bytes != (unsigned char)block->stamp)
            lost();
        free(block->bytes);
        block->size = random_between(&random, param->low, param->high);
        block->stamp = next_random(&random);
        void *bytes;
        if (posix_memalign(&bytes, param->alignment, block->size) != 0 || (uintptr_t)bytes % param->alignment != 0) {
            bench_fail(run, "no aligned block");
            return;
        }
        block->bytes = bytes;
        *block->bytes = (unsigned char)block->stamp;
    }
    for (unsigned i = 0; i < ALIGNED_LIVE; i++)
        free(blocks[i].bytes);
}

/* ---- very many blocks ----------------------------------------------------------------------- */

static void many(struct bench_run *run)
{
    size_t count = *(const size_t *)bench_param(run), size = 128 * KIB;
    unsigned char **blocks = calloc(count, sizeof *blocks);
    if (blocks == NULL)
        abort();
    while (bench_next(run)) {
        for (size_t i = 0; i < count; i++) {
            blocks[i] = malloc(size);
            if (blocks[i] == NULL) {
                bench_fail(run, "out of memory");
                return;
            }
            memcpy(blocks[i], &i, sizeof i);
        }
        for (size_t i = 0; i < count; i++) {
            /* A stride that meets all, not in the order they were made. */
            size_t at = i * 7919 % count, word;
            memcpy(&word, blocks[at], sizeof word);
            if (word != at)
                lost();
            free(blocks[at]);
        }
    }
    free(blocks);
    bench_operations(run, (double)count);
}

/* ---- what stays resident -------------------------------------------------------------------- */

enum { KEPT_BLOCKS = 512 };

static void kept(struct bench_run *run)
{
    unsigned seconds = *(const unsigned *)bench_param(run);
    while (bench_next(run)) {
        struct block blocks[KEPT_BLOCKS];
        for (unsigned i = 0; i < KEPT_BLOCKS; i++) {
            blocks[i] = (struct block){malloc(MIB), MIB, i};
            if (blocks[i].bytes == NULL)
                abort();
            write_pages(&blocks[i], 0);
        }
        for (unsigned i = 0; i < KEPT_BLOCKS; i++)
            free(blocks[i].bytes);
        sleep(seconds);
        bench_value(run, "rss_later", rss_bytes());
    }
}

/* ---- the list ------------------------------------------------------------------------------- */

static const char *const touch_words[] = {"untouched", "first-byte", "pages"};

static void register_churn(const char *words, size_t size, enum touch touch)
{
    static struct churn params[16];
    static unsigned used;
    char name[64];
    snprintf(name, sizeof name, "churn/%s/%s", words, touch_words[touch]);
    params[used] = (struct churn){size, touch};
    /* Above 32 MiB glibc maps every block anew, which takes a while. */
    size_t iterations = touch == TOUCH_PAGES ? 1024 * MIB / size : size > 32 * MIB ? 2000 : 20000;
    bench_register(name, churn, &params[used++], (int64_t)iterations);
}

__attribute__((constructor)) static void list(void)
{
    static const size_t sizes[] = {64 << 10, 1 << 20, 16 << 20, 256 << 20};
    static const char *const words[] = {"64K", "1M", "16M", "256M"};
    for (enum touch touch = TOUCH_NONE; touch <= TOUCH_PAGES; touch++) {
        for (unsigned i = 0; i < 4; i++)
            register_churn(words[i], sizes[i], touch);
    }

    static const struct mix mix_100 = {100, 1}, mix_600 = {600, 1}, mix_3000 = {3000, 1}, mix_2 = {1200, 2}, mix_8 = {1200, 8};
    bench_register("mix/100", mix, &mix_100, 1);
    bench_register("mix/600", mix, &mix_600, 1);
    bench_register("mix/3000", mix, &mix_3000, 1);
    bench_register("mix/2-threads", mix, &mix_2, 1);
    bench_register("mix/8-threads", mix, &mix_8, 1);
    static const struct steady steady_30 = {30, 128 << 10, 4 << 20}, steady_200 = {200, 100000, 2000000};
    bench_register("steady/30", steady, &steady_30, 10000);
    bench_register("steady/200", steady, &steady_200, 10000);
    static const struct steady steady_16 = {16, 200000, 1000000};
    bench_register("steady/8-threads", steady_threads, &steady_16, 1);
    bench_register("temporaries", temporaries, NULL, 1000);
    bench_register("vectors", vectors, NULL, 3000);
    bench_register("handover", handover, NULL, 1);

    static const struct growth by_half = {4096, (size_t)1 << 30, 0}, by_64k = {65536, 32 << 20, 65536};
    bench_register("grow/by-half-to-1G", grow, &by_half, 1);
    bench_register("grow/by-64K-to-32M", grow, &by_64k, 2);

    static const size_t calloc_1m = 1 << 20, calloc_16m = 16 << 20;
    bench_register("calloc-after-free/1M", calloc_after_free, &calloc_1m, 600);
    bench_register("calloc-after-free/16M", calloc_after_free, &calloc_16m, 40);

    static const struct aligned to_64k = {64 << 10, 200 << 10, 2 << 20}, to_2m = {2 << 20, 1 << 20, 8 << 20};
    bench_register("aligned/64K", aligned, &to_64k, 20000);
    bench_register("aligned/2M", aligned, &to_2m, 10000);

    static const size_t many_200000 = 200000;
    bench_register("many/200000", many, &many_200000, 1);

    static const unsigned none = 0, one = 1, eleven = 11;
    bench_register("kept/0s", kept, &none, 1);
    bench_register("kept/1s", kept, &one, 1);
    bench_register("kept/11s", kept, &eleven, 1);
}
