/*
 * testing.h - what every unit test begins with
 *
 * Purpose     cmocka with the headers it forgets, and questions that the tests share: whether an
 *             address can be touched, and what a child that misbehaves says and dies of.
 */
#ifndef ASHLAR_TESTS_UNIT_TESTING_H
#define ASHLAR_TESTS_UNIT_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A random number from a generator the test seeds: the same run every time. */
static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline size_t test_random_below(uint64_t *state, size_t limit)
{
    return (size_t)(test_random(state) % limit);
}

/* True when the byte at `address` can be read. Asked of the kernel, so nothing faults. */
static inline bool test_is_readable(const void *address)
{
    static int ends[2];
    char byte;

    if (ends[1] == 0 && pipe(ends) != 0)
        abort();
    if (write(ends[1], address, 1) != 1)
        return false;
    return read(ends[0], &byte, 1) == 1;
}

#define TEST_MARK_STEP 4096

/* Marks each page of a block, and its last byte, so that a lost or mixed up page shows. */
static inline void test_mark(char *block, size_t len_bytes, uint64_t tag)
{
    for (size_t at = 0; at + sizeof tag <= len_bytes; at += TEST_MARK_STEP) {
        uint64_t word = tag * UINT64_C(0x9e3779b97f4a7c15) + at;
        memcpy(block + at, &word, sizeof word);
    }
    if (len_bytes != 0)
        block[len_bytes - 1] = (char)tag;
}

/* True when the first `len_bytes` of the block are as test_mark left them; `is_whole`: its last byte
   is among them. */
static inline bool test_is_marked(const char *block, size_t len_bytes, uint64_t tag, bool is_whole)
{
    for (size_t at = 0; at + sizeof tag <= len_bytes; at += TEST_MARK_STEP) {
        uint64_t word = tag * UINT64_C(0x9e3779b97f4a7c15) + at;
        uint64_t seen;
        memcpy(&seen, block + at, sizeof seen);
        if (seen != word && !(is_whole && at + sizeof word >= len_bytes))
            return false;
    }
    return !is_whole || len_bytes == 0 || block[len_bytes - 1] == (char)tag;
}

static inline bool test_is_zero(const char *block, size_t len_bytes)
{
    return len_bytes == 0 || (block[0] == 0 && memcmp(block, block + 1, len_bytes - 1) == 0);
}

/* What a child process said on standard error and how it ended. */
struct test_outcome {
    int status; /* as from waitpid */
    char text[4096];
};

/* Runs `body` in a child and listens to it. */
static inline struct test_outcome test_in_child(void (*body)(void *context), void *context)
{
    struct test_outcome outcome = {0};
    size_t used = 0;
    int ends[2];

    fflush(NULL);
    if (pipe(ends) != 0)
        abort();
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        for (int signal_number = 1; signal_number < 32; signal_number++)
            (void)signal(signal_number, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body(context);
        _exit(0);
    }
    close(ends[1]);
    for (;;) {
        char rest[512]; /* what does not fit is read and dropped */
        size_t room = sizeof outcome.text - 1 - used;
        ssize_t got = read(ends[0], room != 0 ? outcome.text + used : rest,
                           room != 0 ? room : sizeof rest);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        used += room != 0 ? (size_t)got : 0;
    }
    close(ends[0]);
    outcome.text[used] = '\0';
    if (waitpid(child, &outcome.status, 0) != child)
        abort();
    return outcome;
}

static inline bool test_was_aborted(const struct test_outcome *outcome)
{
    return WIFSIGNALED(outcome->status) && WTERMSIG(outcome->status) == SIGABRT;
}

static inline bool test_went_well(const struct test_outcome *outcome)
{
    return WIFEXITED(outcome->status) && WEXITSTATUS(outcome->status) == 0;
}

/* Lines of a text. */
static inline unsigned test_count_lines(const char *text)
{
    unsigned count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

#endif
