/*
 * sample.c - how much of a range is in memory, from a few of its pages
 *
 * Purpose     See sample.h.
 * Invariants  See sample.h.
 * Locking     None.
 * Layer       large/.
 */
#include "large/sample.h"

#include "os/os.h"

/* Evenly spread, and none where the range begins: many a block is written there only. */
#define SAMPLES 4

enum ashlar_sample ashlar_sample_range(const char *base, size_t len_bytes)
{
    unsigned resident = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t at = len_bytes / SAMPLES * i + len_bytes / (2 * SAMPLES);
        resident += ashlar_os_is_resident(base + at) ? 1 : 0;
        if (resident != 0 && resident != i + 1)
            return ASHLAR_SAMPLE_MIXED;
    }
    return resident == 0 ? ASHLAR_SAMPLE_EMPTY : ASHLAR_SAMPLE_DENSE;
}
