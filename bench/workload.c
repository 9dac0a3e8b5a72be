/*
 * workload.c - the large-block workload that scripts/demo runs when it is given no command
 *
 * Purpose     workload [OPERATIONS [LIVE_BLOCKS [SEED]]]
 *             Churn: blocks of 128 KiB to 32 MiB, sizes spread evenly over the doublings; each
 *             operation frees one of the live blocks and allocates another. Growth: blocks that
 *             realloc grows from 4 KiB to 64 MiB by half. Every page is written when it is new
 *             and read back before the block goes.
 * Output      The same for a seed whichever malloc is underneath. Status 1 if contents were lost.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STRIDE_BYTES = 4096, /* one word written in each: the smallest page there is */
    SIZE_MIN_LOG2 = 17,  /* 128 KiB */
    SIZE_DOUBLINGS = 8,  /* up to 32 MiB */
    GROWTHS = 4,
};

static const size_t GROWTH_START_BYTES = 4096;
static const size_t GROWTH_END_BYTES = (size_t)64 << 20;

struct block {
    unsigned char *bytes;
    size_t len_bytes;
    uint64_t stamp;
};

static uint64_t random_state;

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t random_size(void)
{
    uint64_t doubling = next_random() % SIZE_DOUBLINGS;
    size_t base = (size_t)1 << (SIZE_MIN_LOG2 + doubling);
    return base + (size_t)(next_random() % base);
}

static void die(const char *what, size_t len_bytes)
{
    fprintf(stderr, "workload: %s (block of %zu bytes)\n", what, len_bytes);
    exit(1);
}

static void write_pages(const struct block *block, size_t from)
{
    for (size_t at = from; at + sizeof(uint64_t) <= block->len_bytes; at += STRIDE_BYTES) {
        uint64_t word = block->stamp ^ at;
        memcpy(block->bytes + at, &word, sizeof word);
    }
}

static void check_pages(const struct block *block)
{
    for (size_t at = 0; at + sizeof(uint64_t) <= block->len_bytes; at += STRIDE_BYTES) {
        uint64_t word;
        memcpy(&word, block->bytes + at, sizeof word);
        if (word != (block->stamp ^ at))
            die("contents lost", block->len_bytes);
    }
}

static void acquire(struct block *block)
{
    block->len_bytes = random_size();
    block->stamp = next_random();
    block->bytes = malloc(block->len_bytes);
    if (block->bytes == NULL)
        die(strerror(errno), block->len_bytes);
    write_pages(block, 0);
}

static void dispose(struct block *block)
{
    check_pages(block);
    free(block->bytes);
    block->bytes = NULL;
}

/* Gives the bytes that went through, which depend on the seed alone. */
static uint64_t churn(unsigned long operations, size_t live_blocks)
{
    struct block *blocks = calloc(live_blocks, sizeof *blocks);
    uint64_t total_bytes = 0;
    if (blocks == NULL)
        die(strerror(errno), live_blocks * sizeof *blocks);

    for (unsigned long i = 0; i < operations; i++) {
        struct block *block = &blocks[next_random() % live_blocks];
        if (block->bytes != NULL)
            dispose(block);
        acquire(block);
        total_bytes += block->len_bytes;
    }
    for (size_t i = 0; i < live_blocks; i++) {
        if (blocks[i].bytes != NULL)
            dispose(&blocks[i]);
    }
    free(blocks);
    return total_bytes;
}

static void grow(struct block *block, size_t len_bytes)
{
    /* The first page that is new as a whole: strides start at multiples of STRIDE_BYTES. */
    size_t written = (block->len_bytes + STRIDE_BYTES - 1) / STRIDE_BYTES * STRIDE_BYTES;
    unsigned char *bytes = realloc(block->bytes, len_bytes);
    if (bytes == NULL)
        die(strerror(errno), len_bytes);
    block->bytes = bytes;
    block->len_bytes = len_bytes;
    write_pages(block, written);
}

static unsigned growth(void)
{
    unsigned steps = 0;
    for (int i = 0; i < GROWTHS; i++) {
        struct block block = {NULL, 0, next_random()};
        for (size_t len = GROWTH_START_BYTES; len <= GROWTH_END_BYTES; len = len / 2 * 3) {
            grow(&block, len);
            steps++;
        }
        dispose(&block);
    }
    return steps;
}

static unsigned long number(int argc, char **argv, int index, unsigned long otherwise)
{
    return index < argc ? strtoul(argv[index], NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
    unsigned long operations = number(argc, argv, 1, 1000);
    size_t live_blocks = number(argc, argv, 2, 64);
    random_state = number(argc, argv, 3, 1);
    if (live_blocks == 0) {
        fprintf(stderr, "usage: workload [OPERATIONS [LIVE_BLOCKS [SEED]]]\n");
        return 2;
    }

    uint64_t total_bytes = churn(operations, live_blocks);
    printf("churn: %lu blocks, %llu MiB, all contents found again\n", operations,
           (unsigned long long)(total_bytes >> 20));
    unsigned steps = growth();
    printf("growth: %d blocks, %u steps, all contents found again\n", (int)GROWTHS, steps);
    return 0;
}
