/*
 * check.h - what must be true, and how the library stops when it is not
 *
 * Purpose     ashlar_assert: only we can break it; checked with --enable-debug.
 *             ashlar_check: always on, for a kernel answer or a state we cannot go on from.
 *             Crimes of the program's user are named by harden/misuse.h instead.
 * Invariants  Nothing here allocates or takes a lock. Every message is one line, written by
 *             one write(2) and starting "ashlar: ".
 * Locking     None.
 * Layer       base/. Used by everybody.
 */
#ifndef ASHLAR_BASE_CHECK_H
#define ASHLAR_BASE_CHECK_H

#include "base/base.h"

/* Writes "ashlar: <message>\n" to stderr and raises SIGABRT. Formats as ashlar_emit_format. */
ASHLAR_NORETURN ASHLAR_COLD ASHLAR_PRINTF(1, 2) void ashlar_fatal(const char *format, ...);

/* Writes "ashlar: <message>\n" to stderr and returns. errno is left as it was. */
ASHLAR_COLD ASHLAR_PRINTF(1, 2) void ashlar_warn(const char *format, ...);

/* The false branch of ashlar_check and ashlar_assert. */
ASHLAR_NORETURN ASHLAR_COLD void ashlar_check_failed(const char *condition, const char *file,
                                                     int line);

#define ashlar_check(condition)                                      \
    do {                                                             \
        if (ASHLAR_UNLIKELY(!(condition)))                           \
            ashlar_check_failed(#condition, __FILE__, __LINE__);     \
    } while (0)

#ifdef ASHLAR_DEBUG
#define ASHLAR_IS_DEBUG 1
#else
#define ASHLAR_IS_DEBUG 0
#endif

/* Compiled (so that it cannot rot) in every build, evaluated in debug builds only. */
#define ashlar_assert(condition)                       \
    do {                                               \
        if (ASHLAR_IS_DEBUG)                           \
            ashlar_check(condition);                   \
    } while (0)

#endif
