/*
 * misuse.h - crimes of the program's user, named in one line
 *
 * Purpose     One place that words, counts and punishes a detected misuse as option misuse says.
 * Invariants  The line starts "ashlar: " and holds one of the fixed words of
 *             ashlar_misuse_name. With misuse:abort the call does not return.
 * Locking     None. May be called with any lock held: it only formats and writes.
 * Layer       harden/. Uses base, conf. Used by small, large, front.
 */
#ifndef ASHLAR_HARDEN_MISUSE_H
#define ASHLAR_HARDEN_MISUSE_H

#include "base/base.h"

enum ashlar_crime {
    ASHLAR_CRIME_DOUBLE_FREE,     /* "double free" */
    ASHLAR_CRIME_INVALID_FREE,    /* "invalid free": a pointer into a block, or never a block */
    ASHLAR_CRIME_INVALID_POINTER, /* "invalid pointer": the same, given to realloc or usable_size */
    ASHLAR_CRIME_SIZE_MISMATCH,   /* "size mismatch": sized free with another size */
    ASHLAR_CRIME_CORRUPTED,       /* "corrupted": a free block was written to */
    ASHLAR_CRIME_USE_AFTER_FREE,  /* "use after free" */
    ASHLAR_CRIME_OVERFLOW,        /* "buffer overflow" */
};

/* The fixed word of a crime. */
const char *ashlar_misuse_name(enum ashlar_crime crime);

/*
 * Reports a crime around `ptr`: "ashlar: <crime>: <detail> (ptr 0x...)". `detail` is formatted as
 * by ashlar_emit_format. misuse:abort raises SIGABRT; report prints and returns; ignore returns.
 * After a return the caller drops the request (a free does nothing, a malloc avoids the block).
 */
ASHLAR_COLD ASHLAR_PRINTF(3, 4)
void ashlar_misuse(enum ashlar_crime crime, const void *ptr, const char *detail, ...);

#endif
