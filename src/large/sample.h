/*
 * sample.h - how much of a range is in memory, from a few of its pages
 *
 * Purpose     A freed block may have been written from end to end or hardly at all, and nobody says
 *             so. Four pages asked of the kernel (a microsecond or two) tell the two apart well
 *             enough to choose between ways that are both right.
 * Invariants  Nothing is touched.
 * Locking     None. It calls the kernel.
 * Layer       large/. Uses os. Used by huge, recycle, large.
 */
#ifndef ASHLAR_LARGE_SAMPLE_H
#define ASHLAR_LARGE_SAMPLE_H

#include "base/base.h"

enum ashlar_sample {
    ASHLAR_SAMPLE_EMPTY, /* none of the pages looked at is in memory */
    ASHLAR_SAMPLE_MIXED,
    ASHLAR_SAMPLE_DENSE, /* all of them are */
};

/* The range may be gone: it is empty then. */
enum ashlar_sample ashlar_sample_range(const char *base, size_t len_bytes);

#endif
