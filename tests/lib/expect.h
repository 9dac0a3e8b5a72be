/*
 * expect.h - what every black-box test program is made of
 *
 * Purpose     EXPECT, SKIP, a watchdog, patterns to fill and check blocks with, figures from
 *             /proc, and the question which allocator the program really runs on.
 * Rules       Exit status 0 pass, 1 fail, 77 skip (with a reason), 99 the test itself is broken.
 *             Nothing here calls malloc behind the test's back, so that a test may count calls,
 *             faults and bytes, and may report from inside a broken heap.
 * Use         #define _GNU_SOURCE first, then include this file; call test_begin in main.
 */
#ifndef ASHLAR_TESTS_EXPECT_H
#define ASHLAR_TESTS_EXPECT_H

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define UNUSED_OK __attribute__((unused))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

enum { TEST_PASS = 0, TEST_FAIL = 1, TEST_SKIP = 77, TEST_HARD_ERROR = 99 };

/* ---- verdicts ---- */

__attribute__((format(printf, 1, 2))) UNUSED_OK static void note(const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len > sizeof(line) - 2)
        len = sizeof(line) - 2;
    line[len] = '\n';
    if (write(STDERR_FILENO, line, (size_t)len + 1) < 0)
        return;
}

/* _exit, since the heap that exit handlers would use may be the thing that broke. */
#define EXPECT(condition, ...)                                           \
    do {                                                                 \
        if (!(condition)) {                                              \
            note("%s:%d: not true: %s", __FILE__, __LINE__, #condition); \
            note("    " __VA_ARGS__);                                    \
            _exit(TEST_FAIL);                                            \
        }                                                                \
    } while (0)

#define SKIP(...)                   \
    do {                            \
        note("skip: " __VA_ARGS__); \
        _exit(TEST_SKIP);           \
    } while (0)

/* The times that tests name are those of an idle machine, generously; a busy one gets more. */
#define PATIENCE 4

/* A hang must fail. The runner has a time limit too; this one says which program it was. */
UNUSED_OK static void watchdog(unsigned seconds)
{
    alarm(seconds * PATIENCE);
}

/* Hides from the compiler where a pointer comes from, so that it neither warns nor optimises. */
UNUSED_OK static void *launder(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr) : : "memory");
    return ptr;
}

/* ---- which allocator is this? ---- */

/* The file that the program's malloc comes from. */
UNUSED_OK static const char *malloc_file(void)
{
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "malloc");
    if (symbol == NULL || dladdr(symbol, &info) == 0 || info.dli_fname == NULL)
        return "";
    return info.dli_fname;
}

/*
 * True when promises beyond the malloc manual are asked for: with ASHLAR_LIB set, on whatever it
 * names (which shows that these checks can fail); else where the program is linked to Ashlar.
 */
UNUSED_OK static bool on_ashlar(void)
{
#ifdef ASHLAR_PREFIXED
    return true;
#else
    const char *wanted = getenv("ASHLAR_LIB");
    if (wanted != NULL && wanted[0] != '\0')
        return strcmp(wanted, "none") != 0;
    return dlsym(RTLD_DEFAULT, "ashlar_malloc") != NULL;
#endif
}

/* Call first in main: a preloaded library that was not loaded must not look like a pass. */
UNUSED_OK static void test_begin(unsigned seconds)
{
    watchdog(seconds);
#ifndef ASHLAR_PREFIXED
    const char *wanted = getenv("ASHLAR_LIB");
    if (wanted == NULL || wanted[0] == '\0' || strcmp(wanted, "none") == 0)
        return;
    const char *slash = strrchr(wanted, '/');
    if (strstr(malloc_file(), slash != NULL ? slash + 1 : wanted) == NULL) {
        note("malloc comes from %s, not from %s", malloc_file(), wanted);
        _exit(TEST_HARD_ERROR);
    }
#endif
}

/* ---- numbers and patterns ---- */

/* xorshift64*: good enough to choose sizes by, and the same everywhere. The seed is not zero. */
UNUSED_OK static uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

UNUSED_OK static size_t random_below(uint64_t *state, size_t limit)
{
    return (size_t)(random_next(state) >> 11) % limit;
}

/* Log-uniform, so that small sizes are as likely as large ones. */
UNUSED_OK static size_t random_size(uint64_t *state, size_t max)
{
    unsigned bits = 0;
    while (((size_t)2 << bits) <= max)
        bits++;
    size_t top = (size_t)1 << random_below(state, bits + 1);
    return (top + random_below(state, top)) % (max + 1);
}

/* A byte that depends on the seed and the place, so that moved, lost and mixed bytes all show. */
UNUSED_OK static unsigned char pattern_byte(uint64_t seed, size_t at)
{
    uint64_t word = (seed + at / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned char)(word >> (8 * (at % 8)));
}

/* Blocks above this length get their pattern in places only: both ends and each page's start. */
#define PATTERN_FULL_BYTES (64 * KIB)
#define PATTERN_STEP_BYTES 4096
#define PATTERN_END_BYTES 256

/* The next place after `at` that holds the pattern. */
UNUSED_OK static size_t pattern_next(size_t at, size_t len)
{
    at++;
    if (len <= PATTERN_FULL_BYTES || at < PATTERN_END_BYTES || at >= len - PATTERN_END_BYTES)
        return at;
    size_t page = (at + PATTERN_STEP_BYTES - 1) / PATTERN_STEP_BYTES * PATTERN_STEP_BYTES;
    return page < len - PATTERN_END_BYTES ? page : len - PATTERN_END_BYTES;
}

UNUSED_OK static void pattern_fill(void *ptr, size_t len, uint64_t seed)
{
    unsigned char *bytes = (unsigned char *)launder(ptr);
    for (size_t at = 0; at < len; at = pattern_next(at, len))
        bytes[at] = pattern_byte(seed, at);
}

/* The first place that does not hold the pattern of a block that was filled with `filled_len`
   bytes, looking at the first `len` of them; `len` when all is well. */
UNUSED_OK static size_t pattern_broken(const void *ptr, size_t len, size_t filled_len,
                                       uint64_t seed)
{
    const unsigned char *bytes = (const unsigned char *)ptr;
    for (size_t at = 0; at < len; at = pattern_next(at, filled_len)) {
        if (bytes[at] != pattern_byte(seed, at))
            return at;
    }
    return len;
}

UNUSED_OK static bool pattern_holds(const void *ptr, size_t len, uint64_t seed)
{
    return pattern_broken(ptr, len, len, seed) == len;
}

UNUSED_OK static bool is_zero(const void *ptr, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)ptr;
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

UNUSED_OK static bool is_aligned(const void *ptr, size_t align)
{
    return (uintptr_t)ptr % align == 0;
}

UNUSED_OK static void touch_pages(void *ptr, size_t len)
{
    volatile char *bytes = (volatile char *)ptr;
    for (size_t at = 0; at < len; at += 4096)
        bytes[at] = 1;
}

/* ---- figures of the process ---- */

/* Reads a /proc file in one go; the count of bytes read. No stdio: it allocates. */
UNUSED_OK static size_t read_file(const char *path, char *text, size_t capacity)
{
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && len < capacity - 1) {
        ssize_t got = read(fd, text + len, capacity - 1 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    if (fd >= 0)
        close(fd);
    text[len] = '\0';
    return len;
}

/* A field "Name:   123 kB" of a /proc file, in bytes; 0 when it is not there. */
UNUSED_OK static size_t proc_field_bytes(const char *path, const char *name)
{
    char text[8192];
    read_file(path, text, sizeof(text));
    const char *found = strstr(text, name);
    return found == NULL ? 0 : (size_t)strtoull(found + strlen(name), NULL, 10) * KIB;
}

/* Exact, unlike VmRSS, which the kernel sums up lazily. */
UNUSED_OK static size_t rss_bytes(void)
{
    size_t exact = proc_field_bytes("/proc/self/smaps_rollup", "\nRss:");
    return exact != 0 ? exact : proc_field_bytes("/proc/self/status", "\nVmRSS:");
}

/* Where the kernel has no guard markers, fences cost mappings. */
UNUSED_OK static bool has_guard_markers(void)
{
    enum { ADVICE_GUARD_INSTALL = 102 };
    return madvise(NULL, 0, ADVICE_GUARD_INSTALL) == 0;
}

UNUSED_OK static size_t map_count(void)
{
    char text[65536];
    size_t lines = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    ssize_t got;
    while (fd >= 0 && (got = read(fd, text, sizeof(text))) > 0) {
        for (ssize_t at = 0; at < got; at++)
            lines += text[at] == '\n';
    }
    if (fd >= 0)
        close(fd);
    return lines;
}

UNUSED_OK static long minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

UNUSED_OK static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

UNUSED_OK static void sleep_ms(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

#endif
