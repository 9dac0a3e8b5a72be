/*
 * junk.h - contents that nobody mistakes for data
 *
 * Purpose     Option junk: reads of memory never written, or freed, show a pattern that stands out
 *             in a debugger and makes a pointer that faults.
 * Invariants  The two bytes are those that jemalloc made known: 0xa5 fresh, 0x5a freed.
 * Locking     None.
 * Layer       harden/. Used by front/route.
 */
#ifndef ASHLAR_HARDEN_JUNK_H
#define ASHLAR_HARDEN_JUNK_H

#include <string.h>

#include "base/base.h"

#define ASHLAR_JUNK_FRESH 0xa5
#define ASHLAR_JUNK_FREED 0x5a

static inline void ashlar_junk_fill_fresh(void *ptr, size_t len_bytes)
{
    memset(ptr, ASHLAR_JUNK_FRESH, len_bytes);
}

static inline void ashlar_junk_fill_freed(void *ptr, size_t len_bytes)
{
    memset(ptr, ASHLAR_JUNK_FREED, len_bytes);
}

#endif
