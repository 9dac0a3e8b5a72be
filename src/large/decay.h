/*
 * decay.h - how long a freed extent is kept, and that not all go at once
 *
 * Purpose     The decay time, with a slope at its end instead of a cliff: what has lain unused for
 *             three quarters of it goes in even steps until the whole has passed, so that no call
 *             of a program pays for purging all that a burst has freed (doc/decisions/0017).
 * Invariants  Nothing is asked for before three quarters of the decay time, and nothing is kept
 *             beyond a whole one.
 * Locking     LARGE, held by the caller, for all calls named _locked.
 * Layer       large/. Uses conf. Used by mapcache, purge, large.
 */
#ifndef ASHLAR_LARGE_DECAY_H
#define ASHLAR_LARGE_DECAY_H

#include "base/base.h"

/* What was freed up to then is too old at `now_ms`. Time starts at 1, so 0 means that nothing
   is. */
uint64_t ashlar_decay_too_old_ms(uint64_t now_ms);

/* What was freed up to then may have to go at `now_ms`; 0: nothing. */
uint64_t ashlar_decay_old_ms(uint64_t now_ms);

/*
 * How many of `kept_bytes`, the oldest of which were freed at `oldest_ms`, are to go at `now_ms`
 * although they are not too old: once in a step as many as come to none, in even steps, when the
 * oldest are. It stays due until it was noted as gone.
 */
size_t ashlar_decay_due_locked(size_t kept_bytes, uint64_t oldest_ms, uint64_t now_ms);

/* So many bytes go. */
void ashlar_decay_note_locked(size_t bytes);

#endif
