/*
 * survey.h - what is where in small memory
 *
 * Purpose     Passes the slabs of an arena, and says what is at an address; for statistics and
 *             diagnosis.
 * Invariants  What is said is true while the arena's lock is held, and may not be afterwards.
 * Locking     The arena's lock, one arena at a time.
 * Layer       small/. Used by front.
 */
#ifndef ASHLAR_SMALL_SURVEY_H
#define ASHLAR_SMALL_SURVEY_H

#include "small/arena.h"

/* Calls `visit` for each slab of the arena, under its lock, which is waited for while a fork is
   under way. False: the calling thread holds it already. */
bool ashlar_survey_slabs(struct ashlar_arena *arena,
                         void (*visit)(const struct ashlar_slab *slab, void *context),
                         void *context);

enum ashlar_survey_place {
    ASHLAR_SURVEY_NOWHERE, /* in no chunk, or a fork is under way */
    ASHLAR_SURVEY_IDLE,    /* in a chunk, where no slab is */
    ASHLAR_SURVEY_IN_SLAB, /* in a slab, be there an object or not yet */
};

/* Where an address is. Slow; for diagnosis. */
enum ashlar_survey_place ashlar_survey_place_of(const void *address);

#endif
