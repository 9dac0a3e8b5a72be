/*
 * many_blocks.c - 200,000 live large blocks under vm.max_map_count, and few mappings for many
 *
 * run: untouched
 * run: first-byte
 * run: ASHLAR_CONF=guard:mprotect untouched
 * run: ASHLAR_CONF=guard:mprotect first-byte
 * run: ASHLAR_CONF=guard:off untouched
 * run: lines
 * run: ASHLAR_CONF=recycle:off lines
 */
#define _GNU_SOURCE

#include "expect.h"

enum { MANY = 200000, SOME = 10000 };

/* A few hundred kernel mappings for 10,000 blocks, those of the program and its libraries in it. */
#define MOST_LINES 300

/* Pages moved from freed blocks under new ones cost mappings, but no more than a small part of
   what vm.max_map_count allows. */
#define MOST_LINES_MOVED 4000

#define MEMORY_WANTED_BYTES (3 * GIB)

static struct block {
    char *start;
    size_t len;
} blocks[MANY];

static uint64_t state = 11;

static void make_block(size_t i)
{
    blocks[i].len = 128 * KIB + random_below(&state, 896 * KIB);
    blocks[i].start = malloc(blocks[i].len);
    EXPECT(blocks[i].start != NULL, "block %zu of %zu bytes, %zu mappings", i, blocks[i].len,
           map_count());
}

static void mark(size_t i)
{
    *(size_t *)launder(blocks[i].start) = i;
}

static int by_address(const void *a, const void *b)
{
    const struct block *left = a, *right = b;
    return (left->start > right->start) - (left->start < right->start);
}

static void check_no_overlap(size_t count)
{
    qsort(blocks, count, sizeof(blocks[0]), by_address);
    for (size_t i = 1; i < count; i++)
        EXPECT(blocks[i - 1].start + blocks[i - 1].len <= blocks[i].start,
               "blocks %p and %p overlap", (void *)blocks[i - 1].start, (void *)blocks[i].start);
}

static void check_many(bool is_touched)
{
    char text[64];
    read_file("/proc/sys/vm/max_map_count", text, sizeof(text));
    size_t most_maps = strtoull(text, NULL, 10);
    if (is_touched && proc_field_bytes("/proc/meminfo", "MemAvailable:") < MEMORY_WANTED_BYTES)
        SKIP("less than %zu MiB of memory available", MEMORY_WANTED_BYTES / MIB);

    for (size_t i = 0; i < MANY; i++) {
        make_block(i);
        if (is_touched)
            mark(i);
    }
    EXPECT(map_count() < most_maps);
    for (size_t i = 0; is_touched && i < MANY; i++)
        EXPECT(*(size_t *)blocks[i].start == i, "block %zu lost its contents", i);

    /* Every third goes and another comes: the mappings must not pile up. */
    for (size_t i = 0; i < MANY; i += 3)
        free(blocks[i].start);
    for (size_t i = 0; i < MANY; i += 3) {
        make_block(i);
        if (is_touched)
            mark(i);
    }
    /* The process can still map something of its own. */
    FILE *stream = fopen("/proc/self/maps", "r");
    EXPECT(stream != NULL && map_count() < most_maps);
    fclose(stream);
    for (size_t i = 0; is_touched && i < MANY; i++)
        EXPECT(*(size_t *)blocks[i].start == i, "block %zu lost its contents", i);
    check_no_overlap(MANY);
    for (size_t i = 0; i < MANY; i++)
        free(blocks[i].start);
    make_block(0);
    mark(0);
    free(blocks[0].start);
}

static void check_lines(void)
{
    size_t before = map_count();
    for (size_t i = 0; i < SOME; i++) {
        make_block(i);
        mark(i);
    }
    size_t live = map_count();
    for (size_t i = 0; i < SOME; i += 2)
        free(blocks[i].start);
    size_t holes = map_count();
    for (size_t i = 0; i < SOME; i += 2)
        make_block(i);
    size_t again = map_count();
    check_no_overlap(SOME);
    for (size_t i = 0; i < SOME; i++)
        free(blocks[i].start);
    size_t after = map_count();
    const char *conf = getenv("ASHLAR_CONF");
    bool moves_pages = conf == NULL || strstr(conf, "recycle:off") == NULL;
    size_t most = moves_pages ? MOST_LINES_MOVED : MOST_LINES;
    if (on_ashlar())
        EXPECT(live < MOST_LINES && holes < MOST_LINES && again < most && after < most,
               "mappings: %zu before, %zu with %d blocks, %zu with half of them freed, %zu with "
               "others in their place, %zu at the end",
               before, live, SOME, holes, again, after);
}

int main(int argc, char **argv)
{
    test_begin(120);
    const char *mode = argc > 1 ? argv[1] : "untouched";
    if (strcmp(mode, "lines") != 0) {
        check_many(strcmp(mode, "first-byte") == 0);
    } else {
        if (!has_guard_markers())
            SKIP("this kernel has no guard markers");
        check_lines();
    }
    return TEST_PASS;
}
