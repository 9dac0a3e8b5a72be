/*
 * steady_load.c - a steady load of blocks of many lengths hardly faults, however long it goes on
 *
 * It did: freed pages lay in pieces that fitted nobody, were purged and faulted again, and after
 * some thousands of blocks the kernel mappings that moves are allowed were thought to be spent.
 *
 * run:
 * run: ASHLAR_CONF=guard:mprotect
 * run: ASHLAR_CONF=guard:off
 */
#define _GNU_SOURCE
#include "expect.h"

#define MAX_LIVE 200

/* Beside the peak of live bytes and 5 percent of it: the law's 16 MiB, pages behind the blocks, and
   the program itself. */
#define SLACK_BYTES (24 * MIB)

struct load {
    const char *what;
    size_t live;
    size_t low_bytes, high_bytes;
    size_t operations;
    double faults_each; /* most, over the second half */
};

static struct {
    char *bytes;
    size_t len;
    char tag;
} live[MAX_LIVE];

/* The first byte of each page tells whose it is. */
static void write_tag(size_t i)
{
    for (size_t at = 0; at < live[i].len; at += 4 * KIB)
        live[i].bytes[at] = live[i].tag;
}

static void check_tag(size_t i)
{
    for (size_t at = 0; at < live[i].len; at += 4 * KIB)
        EXPECT(live[i].bytes[at] == live[i].tag, "byte %zu of %zu is another block's", at,
               live[i].len);
}

/* A guard by mprotect makes mappings of its own, also when it is stale. */
static size_t most_maps(void)
{
    const char *conf = getenv("ASHLAR_CONF");
    bool is_protected = conf != NULL && strstr(conf, "guard:mprotect") != NULL;
    return is_protected || !has_guard_markers() ? 4000 : 2000;
}

static void check_load(const struct load *load)
{
    uint64_t random = 1;
    size_t live_bytes = 0, peak_bytes = 0;
    long before = 0;
    for (size_t i = 0; i < load->operations; i++) {
        if (i == load->operations / 2)
            before = minor_faults();
        size_t at = random_below(&random, load->live);
        check_tag(at);
        free(live[at].bytes);
        live_bytes -= live[at].len;
        live[at].len = load->low_bytes + random_below(&random, load->high_bytes - load->low_bytes);
        live[at].tag = (char)i;
        live[at].bytes = malloc(live[at].len);
        EXPECT(live[at].bytes != NULL);
        write_tag(at);
        live_bytes += live[at].len;
        peak_bytes = live_bytes > peak_bytes ? live_bytes : peak_bytes;
    }
    double faults = (double)(minor_faults() - before) /
                    (double)(load->operations - load->operations / 2);
    EXPECT(!on_ashlar() || faults <= load->faults_each, "%s: %.1f faults an operation", load->what,
           faults);
    size_t maps = map_count();
    EXPECT(!on_ashlar() || maps < most_maps(), "%s: %zu kernel mappings", load->what, maps);
    struct rusage usage;
    EXPECT(getrusage(RUSAGE_SELF, &usage) == 0);
    size_t most = peak_bytes + peak_bytes / 20 + SLACK_BYTES;
    EXPECT(!on_ashlar() || (size_t)usage.ru_maxrss * KIB <= most,
           "%s: %ld KiB resident, %zu live at the peak", load->what, usage.ru_maxrss,
           peak_bytes / KIB);
    for (size_t i = 0; i < load->live; i++) {
        free(live[i].bytes);
        live[i].bytes = NULL;
        live[i].len = 0;
    }
}

int main(void)
{
    test_begin(120);
    /* From the least peak to the greatest: the peak of the process is looked at. Before the mend it
       was 14, 11 and 27 faults. */
    static const struct load loads[] = {
        {"30 of 128 KiB to 4 MiB", 30, 128 * KIB, 4 * MIB, 20000, 3},
        {"200 of 100 KiB to 2 MiB", 200, 100 * KIB, 2 * MIB, 20000, 3},
        {"100 of 512 KiB to 8 MiB", 100, 512 * KIB, 8 * MIB, 20000, 12},
    };
    for (size_t i = 0; i < COUNT_OF(loads); i++)
        check_load(&loads[i]);
    return TEST_PASS;
}
