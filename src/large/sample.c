/*
 * sample.c - how much of a range is in memory, from a few of its pages
 *
 * Purpose     See sample.h.
 * Invariants  See sample.h.
 * Locking     Atomics.
 * Layer       large/.
 */
#include "large/sample.h"

#include <stdatomic.h>

#include "os/os.h"

/* Evenly spread, and none where the range begins: many a block is written there only. */
#define SAMPLES 4

#define EMPTY_RUNS_BORNE 8u

static _Atomic unsigned empty_runs; /* on end; a lost update does no harm */

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

void ashlar_sample_note_freed(bool is_empty)
{
    unsigned before = atomic_load_explicit(&empty_runs, memory_order_relaxed);
    unsigned after = !is_empty ? 0 : before < EMPTY_RUNS_BORNE ? before + 1 : before;
    atomic_store_explicit(&empty_runs, after, memory_order_relaxed);
}

bool ashlar_sample_are_freed_empty(void)
{
    return atomic_load_explicit(&empty_runs, memory_order_relaxed) >= EMPTY_RUNS_BORNE;
}
