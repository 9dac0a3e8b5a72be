/*
 * misuse.c - crimes of the program's user, named in one line
 *
 * Purpose     Words, counts and punishes a detected misuse.
 * Invariants  One line, one write(2), whatever the detail is.
 * Locking     None.
 * Layer       harden/. Uses base, conf.
 */
#include "harden/misuse.h"

#include <stdarg.h>

#include "base/check.h"
#include "base/emit.h"
#include "conf/counters.h"
#include "conf/options.h"

/* Longest detail: leaves room in the line for the crime and the pointer. */
#define DETAIL_MAX_BYTES (ASHLAR_EMIT_BUFFER_BYTES - 128)

const char *ashlar_misuse_name(enum ashlar_crime crime)
{
    switch (crime) {
    case ASHLAR_CRIME_DOUBLE_FREE:
        return "double free";
    case ASHLAR_CRIME_INVALID_FREE:
        return "invalid free";
    case ASHLAR_CRIME_INVALID_POINTER:
        return "invalid pointer";
    case ASHLAR_CRIME_SIZE_MISMATCH:
        return "size mismatch";
    case ASHLAR_CRIME_CORRUPTED:
        return "corrupted";
    case ASHLAR_CRIME_USE_AFTER_FREE:
        return "use after free";
    case ASHLAR_CRIME_OVERFLOW:
        return "buffer overflow";
    default:
        return "misuse";
    }
}

void ashlar_misuse(enum ashlar_crime crime, const void *ptr, const char *detail, ...)
{
    int64_t mode = ashlar_option_get(ASHLAR_OPTION_misuse);

    ashlar_count(misuses);
    if (mode == ASHLAR_MISUSE_IGNORE)
        return;

    struct ashlar_emit text;
    va_list args;

    ashlar_emit_begin(&text, -1);
    va_start(args, detail);
    ashlar_emit_vformat(&text, detail, args);
    va_end(args);
    text.buf[ashlar_min_size(text.used, DETAIL_MAX_BYTES)] = '\0';

    if (mode == ASHLAR_MISUSE_REPORT)
        ashlar_warn("%s: %s (ptr %p)", ashlar_misuse_name(crime), text.buf, ptr);
    else
        ashlar_fatal("%s: %s (ptr %p)", ashlar_misuse_name(crime), text.buf, ptr);
}
