/*
 * footprint.c - what the library costs a program that asks for next to nothing
 *
 * `true`, run with and without the library: peak resident memory at most 500 KiB apart.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "expect.h"

enum { RUNS = 9, MOST_KIB = 500 };

static int by_value(const void *a, const void *b)
{
    return *(const long *)a < *(const long *)b ? -1 : *(const long *)a > *(const long *)b;
}

/* Peak of one run in KiB. Between fork and exec the child has far less than it has later. */
static long peak_kib(const char *preload)
{
    struct rusage usage;
    int status;
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        char assignment[4096];
        snprintf(assignment, sizeof(assignment), "LD_PRELOAD=%s", preload);
        char *const arguments[] = {(char *)"true", NULL};
        char *const environment[] = {assignment, (char *)"PATH=/usr/bin:/bin", NULL};
        execvpe("true", arguments, environment);
        _exit(99);
    }
    EXPECT(wait4(child, &status, 0, &usage) == child && status == 0, "status %x", (unsigned)status);
    return usage.ru_maxrss;
}

/* Taken by turns, so that a change in the page cache hits both alike. */
static void medians(const char *preload, long *without, long *with)
{
    long plain[RUNS], preloaded[RUNS];
    peak_kib("");
    peak_kib(preload);
    for (int i = 0; i < RUNS; i++) {
        plain[i] = peak_kib("");
        preloaded[i] = peak_kib(preload);
    }
    qsort(plain, RUNS, sizeof(plain[0]), by_value);
    qsort(preloaded, RUNS, sizeof(preloaded[0]), by_value);
    *without = plain[RUNS / 2];
    *with = preloaded[RUNS / 2];
}

int main(void)
{
    test_begin(60);
    long without, with;
    const char *preload = getenv("LD_PRELOAD");
    medians(preload != NULL ? preload : "", &without, &with);
    note("true: peak %ld KiB on glibc, %ld KiB here", without, with);
    EXPECT(with - without <= MOST_KIB, "%ld KiB more", with - without);
    return TEST_PASS;
}
