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

static bool all_are(bool is_resident, const char *base, size_t len_bytes)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t at = len_bytes / SAMPLES * i + len_bytes / (2 * SAMPLES);
        if (ashlar_os_is_resident(base + at) != is_resident)
            return false;
    }
    return true;
}

bool ashlar_sample_is_empty(const char *base, size_t len_bytes)
{
    return all_are(false, base, len_bytes);
}

bool ashlar_sample_is_dense(const char *base, size_t len_bytes)
{
    return all_are(true, base, len_bytes);
}
