/*
 * check.c - how the library speaks up, and how it stops
 *
 * Purpose     Warnings and fatal messages, one line each.
 * Invariants  A line leaves in one write(2), so that lines of several threads or processes do not
 *             mix; what does not fit the emitter's buffer is cut.
 * Locking     None. (abort of glibc takes a lock of its own, which only abort uses.)
 * Layer       base/. Uses emit.
 */
#include "base/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/emit.h"

/* The line is put together in memory first: an emitter with a descriptor would write a long line
   in pieces. */
ASHLAR_PRINTF(1, 0)
static void write_line(const char *format, va_list args)
{
    struct ashlar_emit emit;

    ashlar_emit_begin(&emit, -1);
    ashlar_emit_format(&emit, "ashlar: ");
    ashlar_emit_vformat(&emit, format, args);
    if (emit.used == sizeof emit.buf)
        emit.used--;
    emit.buf[emit.used++] = '\n';
    emit.fd = STDERR_FILENO;
    ashlar_emit_flush(&emit);
}

void ashlar_fatal(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(format, args);
    va_end(args);
    abort();
}

void ashlar_warn(const char *format, ...)
{
    int saved_errno = errno;
    va_list args;

    va_start(args, format);
    write_line(format, args);
    va_end(args);
    errno = saved_errno;
}

void ashlar_check_failed(const char *condition, const char *file, int line)
{
    ashlar_fatal("check failed: %s (%s:%d)", condition, file, line);
}
