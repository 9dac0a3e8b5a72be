/*
 * take_while_trimming.c - a request does not fail for what another thread is giving back
 *
 * Symptom: with little address space left, malloc gave NULL now and then, while the purge thread
 * was unmapping more than was asked for.
 *
 * run:
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "expect.h"

#define LEAST_BYTES (70 * MIB)
#define ROOM_BYTES (120 * MIB) /* for one block, and not for two */
#define TIMES 400

static atomic_bool is_over;

static void *trim(void *unused)
{
    (void)unused;
    while (!atomic_load(&is_over))
        malloc_trim(0);
    return NULL;
}

static size_t address_space_bytes(void)
{
    size_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    EXPECT(statm != NULL && fscanf(statm, "%zu", &pages) == 1);
    fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

int main(void)
{
    test_begin(30);
    pthread_t trimmer;
    EXPECT(pthread_create(&trimmer, NULL, trim, NULL) == 0);
    free(malloc(1000));
    size_t most = address_space_bytes() + ROOM_BYTES;
    struct rlimit limit = {most, most};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
    for (size_t i = 0; i < TIMES; i++) {
        char *block = malloc(LEAST_BYTES + i % 7 * MIB);
        EXPECT(block != NULL, "the block of time %zu", i);
        memset(block, 1, MIB);
        free(block);
    }
    atomic_store(&is_over, true);
    pthread_join(trimmer, NULL);
    return TEST_PASS;
}
