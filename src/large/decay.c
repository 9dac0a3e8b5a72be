/*
 * decay.c - how long a freed extent is kept, and that not all go at once
 *
 * Purpose     See decay.h.
 * Invariants  See decay.h.
 * Locking     See decay.h.
 * Layer       large/.
 */
#include "large/decay.h"

#include "conf/options.h"

/* Where the slope begins, out of ASHLAR_DECAY_STEPS. */
#define SLOPE_FROM_STEP 12

static uint64_t next_step_ms;
static size_t due_bytes; /* of the step under way */

/* `now_ms` less some steps of the decay time; 0: there is none, or time is not that old. */
static uint64_t before(uint64_t now_ms, unsigned steps)
{
    uint64_t age_ms = (uint64_t)ashlar_opt.decay_ms * steps / ASHLAR_DECAY_STEPS;
    return ashlar_opt.decay_ms >= 0 && now_ms >= age_ms ? now_ms - age_ms : 0;
}

uint64_t ashlar_decay_too_old_ms(uint64_t now_ms)
{
    return before(now_ms, ASHLAR_DECAY_STEPS);
}

uint64_t ashlar_decay_old_ms(uint64_t now_ms)
{
    return before(now_ms, SLOPE_FROM_STEP);
}

size_t ashlar_decay_due_locked(size_t kept_bytes, uint64_t oldest_ms, uint64_t now_ms)
{
    if (oldest_ms > ashlar_decay_old_ms(now_ms))
        return 0;
    if (now_ms >= next_step_ms) {
        uint64_t step_ms = ashlar_options_decay_step_ms();
        uint64_t too_old_ms = ashlar_decay_too_old_ms(now_ms);
        uint64_t left_ms = oldest_ms > too_old_ms ? oldest_ms - too_old_ms : 0;
        next_step_ms = now_ms + step_ms;
        due_bytes = kept_bytes / (size_t)(left_ms / step_ms + 1);
    }
    return ashlar_min_size(due_bytes, kept_bytes);
}

void ashlar_decay_note_locked(size_t bytes)
{
    due_bytes -= ashlar_min_size(due_bytes, bytes);
}
