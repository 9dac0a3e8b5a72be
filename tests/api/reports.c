/*
 * reports.c - mallinfo, malloc_info, malloc_stats, malloc_trim and mallopt tell the truth
 *
 * run:
 * run: ASHLAR_CONF=large_threshold:4096
 * run: ASHLAR_CONF=decay_ms:0
 */
#define _GNU_SOURCE
#include <errno.h>

#include "expect.h"

/* Bytes the program holds, as mallinfo2 sees them. */
static size_t live_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Live bytes go up by what is allocated and down again by what is freed. */
static void check_live_bytes(size_t size, size_t count)
{
    void **blocks = malloc(count * sizeof(*blocks));
    for (size_t i = 0; i < 10; i++) /* whatever the first ones set up is not counted */
        free(malloc(size));
    size_t before = live_bytes();
    for (size_t i = 0; i < count; i++)
        blocks[i] = malloc(size);
    size_t during = live_bytes();
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    size_t after = live_bytes();
    size_t asked = size * count;
    EXPECT(during >= before + asked, "%zu of %zu bytes: from %zu to %zu", count, size, before,
           during);
    EXPECT(during <= before + asked * 5 / 4 + count * 4096 + 256 * KIB,
           "%zu of %zu bytes: from %zu to %zu", count, size, before, during);
    EXPECT(after <= before + asked / 20 + 256 * KIB, "%zu of %zu bytes: %zu, then %zu", count, size,
           before, after);
    free(blocks);
}

/* The old call counts in int; it must at least agree while the figures are small. */
static void check_mallinfo_agrees(void)
{
    struct mallinfo2 wide = mallinfo2();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    EXPECT((size_t)(unsigned)narrow.uordblks == (unsigned)wide.uordblks, "%d, %zu", narrow.uordblks,
           wide.uordblks);
    EXPECT((size_t)(unsigned)narrow.hblkhd == (unsigned)wide.hblkhd, "%d, %zu", narrow.hblkhd,
           wide.hblkhd);
}

static bool has_command(const char *name)
{
    char command[128];
    snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

/* The XML is one document, whole, also with live blocks of every sort around. */
static void check_malloc_info(void)
{
    char *text = NULL;
    size_t len = 0;
    void *live[] = {malloc(1), malloc(100), malloc(5000), malloc(200000), malloc(5000000)};
    FILE *stream = open_memstream(&text, &len);
    EXPECT(malloc_info(0, stream) == 0);
    fclose(stream);
    EXPECT(len > 20 && strncmp(text, "<malloc", 7) == 0, "%.40s", text);
    EXPECT(strstr(text, "</malloc>") != NULL);

    const char *checker =
        has_command("xmllint") ? "xmllint --noout -"
        : has_command("python3")
            ? "python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.stdin.buffer)'"
            : NULL;
    if (checker != NULL) {
        FILE *pipe = popen(checker, "w");
        EXPECT(pipe != NULL && fwrite(text, 1, len, pipe) == len);
        EXPECT(pclose(pipe) == 0, "%s refused: %.200s", checker, text);
    } else {
        note("no XML parser here; malloc_info checked by its ends only");
    }
    free(text);
    for (size_t i = 0; i < COUNT_OF(live); i++)
        free(live[i]);

    errno = 0;
    FILE *null = fopen("/dev/null", "w");
    EXPECT(malloc_info(1, null) != 0, "options other than 0 are an error");
    fclose(null);
}

/* Something readable on standard error, and nowhere else. */
static void check_malloc_stats(void)
{
    char text[65536] = "";
    char *path = strdup("/tmp/ashlar-stats.XXXXXX");
    int file = mkstemp(path);
    EXPECT(file >= 0);
    int saved = dup(STDERR_FILENO);
    fflush(stderr);
    dup2(file, STDERR_FILENO);
    malloc_stats();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(file);
    size_t len = read_file(path, text, sizeof(text));
    unlink(path);
    free(path);
    EXPECT(len > 20 && text[len - 1] == '\n', "%zu bytes", len);
}

/* Trimming gives 200 MB of freed blocks back, large or small, and says so. */
static void check_trim(size_t size)
{
    size_t count = 200 * MIB / size;
    malloc_trim(0); /* what is kept from before would be reused below, and hide the growth */
    void **blocks = malloc(count * sizeof(*blocks));
    touch_pages(blocks, count * sizeof(*blocks));
    size_t before = rss_bytes();
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(size);
        memset(launder(blocks[i]), 1, size);
    }
    EXPECT(rss_bytes() >= before + 190 * MIB);
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    size_t freed = rss_bytes();
    int gave = malloc_trim(0);
    size_t trimmed = rss_bytes();
    EXPECT(trimmed < before + 12 * MIB, "blocks of %zu: %zu KiB before, %zu freed, %zu trimmed",
           size, before / KIB, freed / KIB, trimmed / KIB);
    EXPECT(gave == 1 || freed < trimmed + 4 * MIB, "it gave %zu KiB back but returned %d",
           (freed - trimmed) / KIB, gave);
    EXPECT(gave == 0 || gave == 1);
    free(blocks);
}

/* mallopt answers 1 or 0, keeps its promises where it has some, and never breaks the heap. */
static void check_mallopt(void)
{
    EXPECT(mallopt(M_MMAP_THRESHOLD, 65536) == 1);
    EXPECT(mallopt(M_ARENA_MAX, 2) == 1);
    EXPECT(mallopt(M_MXFAST, 1 << 20) == 0, "a value out of range");
    EXPECT(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    for (int parameter = -20; parameter <= 10; parameter++) {
        if (parameter == M_PERTURB || parameter == M_MMAP_MAX)
            continue;
        int answer = mallopt(parameter, 64);
        EXPECT(answer == 0 || answer == 1, "mallopt(%d) gave %d", parameter, answer);
    }
    for (size_t size = 1; size < 4 * MIB; size = size * 2 + 1) {
        void *ptr = malloc(size);
        pattern_fill(ptr, size, size);
        ptr = realloc(ptr, size * 2);
        EXPECT(pattern_broken(ptr, size, size, size) == size);
        free(ptr);
    }
}

int main(void)
{
    test_begin(60);
    check_live_bytes(64, 100000);
    check_live_bytes(1000, 20000);
    check_live_bytes(20000, 2000);
    check_live_bytes(200000, 300);
    check_live_bytes(10 * MIB, 20);
    check_mallinfo_agrees();
    check_malloc_info();
    check_malloc_stats();
    check_trim(10 * MIB);
    check_trim(40000);
    check_trim(100);
    check_mallopt();
    check_malloc_info();
    return TEST_PASS;
}
