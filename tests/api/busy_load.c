/*
 * busy_load.c - a program that takes large blocks by the thousand hardly waits for their fences
 *
 * It did: each block of another length had a page of the one before it fenced off, which was
 * faulted again later, and told to every processor the program ran on.
 *
 * run:
 * run: ASHLAR_CONF=guard:madvise
 * run: ASHLAR_CONF=guard:mprotect
 */
#define _GNU_SOURCE
#include "expect.h"

enum { LIVE = 16, OPERATIONS = 20000, PROBE_EVERY = 50 };

#define LOW_BYTES (200 * KIB)
#define HIGH_BYTES (1000 * KIB)

/* A fence may stand so much of a block's length behind its end, and so many bytes, at most. */
#define PART 4
#define MOST_BYTES (256 * KIB)

/* Beside the peak of live bytes and 5 percent of it: the law's 16 MiB, and the program itself. */
#define SLACK_BYTES (20 * MIB)

static struct {
    char *bytes;
    size_t len;
    uint64_t seed;
} live[LIVE];

static int probe[2];

/* The kernel looks, so that nothing needs to be caught. */
static bool is_readable(const char *address)
{
    char byte;
    return write(probe[1], address, 1) == 1 && read(probe[0], &byte, 1) == 1;
}

static void check_fences(const char *block, size_t len, bool is_exact)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t asked = (len + page - 1) / page * page;
    size_t most = asked / PART < MOST_BYTES ? asked / PART : MOST_BYTES;
    EXPECT(!is_readable(block - 1), "no fence before a block of %zu bytes", len);
    EXPECT(malloc_usable_size((void *)(uintptr_t)block) == asked);
    size_t at = asked;
    while (!is_exact && at <= asked + most && is_readable(block + at))
        at += page;
    EXPECT(at <= asked + most && !is_readable(block + at), "no fence behind a block of %zu bytes",
           len);
}

int main(void)
{
    test_begin(60);
    const char *conf = getenv("ASHLAR_CONF");
    bool is_exact = conf != NULL && strstr(conf, "guard:") != NULL;
    EXPECT(pipe(probe) == 0);
    uint64_t random = 1;
    size_t live_bytes = 0, peak_bytes = 0, peak_rss = 0;
    long before = 0;
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        if (i == OPERATIONS / 2)
            before = minor_faults();
        size_t at = random_below(&random, LIVE);
        EXPECT(pattern_holds(live[at].bytes, live[at].len, live[at].seed), "operation %zu",
               (size_t)i);
        free(live[at].bytes);
        live_bytes -= live[at].len;
        live[at].len = LOW_BYTES + random_below(&random, HIGH_BYTES - LOW_BYTES);
        live[at].seed = i;
        live[at].bytes = malloc(live[at].len);
        EXPECT(live[at].bytes != NULL);
        pattern_fill(live[at].bytes, live[at].len, i);
        live_bytes += live[at].len;
        peak_bytes = live_bytes > peak_bytes ? live_bytes : peak_bytes;
        if (i % PROBE_EVERY == 0 && on_ashlar())
            check_fences(live[at].bytes, live[at].len, is_exact);
        if (i % (OPERATIONS / 10) == 0)
            peak_rss = rss_bytes() > peak_rss ? rss_bytes() : peak_rss;
    }
    double faults = (double)(minor_faults() - before) / (OPERATIONS - OPERATIONS / 2);
    note("%.2f faults an operation, %zu KiB resident of %zu live", faults, peak_rss / KIB,
         peak_bytes / KIB);
    EXPECT(!on_ashlar() || faults < (is_exact ? 4 : 0.5), "%.2f faults an operation", faults);
    EXPECT(!on_ashlar() || peak_rss < peak_bytes + peak_bytes / 20 + SLACK_BYTES);
    for (size_t i = 0; i < LIVE; i++)
        free(live[i].bytes);
    return TEST_PASS;
}
