/*
 * idle.h - the slabs of a thread that fell empty
 *
 * Purpose     A ring of notes. A program that swings around a slab's capacity finds the slab again;
 *             one that has left a size behind lends its pages to others, when the note is struck
 *             out.
 * Invariants  A slab is noted at most once, while its is_idle is set. A noted slab may be in use
 *             again. bytes is the sum of what was carved of the slabs when they were noted.
 * Locking     Belongs to the thread whose cache it is part of.
 * Layer       front/. Uses small. Used by tcache.
 */
#ifndef ASHLAR_FRONT_IDLE_H
#define ASHLAR_FRONT_IDLE_H

#include "small/slab.h"

/* Notes, and what may have been carved of the noted slabs: more for a thread that takes one slab
   after another from its arena, as one that goes through many sizes over and over does
   (doc/decisions/0014). */
#define ASHLAR_IDLE_SLABS 32u
#define ASHLAR_IDLE_BYTES (256 * ASHLAR_KIB)
#define ASHLAR_IDLE_FETCHED_BYTES (4 * ASHLAR_KIB)
#define ASHLAR_IDLE_MOST_BYTES (1 * ASHLAR_MIB)

struct ashlar_idle {
    struct {
        struct ashlar_slab *slab; /* NULL: none */
        size_t bytes;
    } notes[ASHLAR_IDLE_SLABS];
    unsigned oldest;
    unsigned fetched; /* slabs from the arena since all notes were struck out */
    size_t bytes;
};

static inline size_t ashlar_idle_most_bytes(const struct ashlar_idle *idle)
{
    return ashlar_min_size(ASHLAR_IDLE_BYTES + idle->fetched * ASHLAR_IDLE_FETCHED_BYTES,
                           ASHLAR_IDLE_MOST_BYTES);
}

/* Strikes the note number `i` out; its slab, or NULL. */
static inline struct ashlar_slab *ashlar_idle_strike_at(struct ashlar_idle *idle, unsigned i)
{
    struct ashlar_slab *slab = idle->notes[i].slab;
    idle->bytes -= idle->notes[i].bytes;
    idle->notes[i].slab = NULL;
    idle->notes[i].bytes = 0;
    if (slab != NULL)
        slab->is_idle = false;
    return slab;
}

/* Strikes the oldest note out; its slab, or NULL. */
static inline struct ashlar_slab *ashlar_idle_forget(struct ashlar_idle *idle)
{
    struct ashlar_slab *slab = ashlar_idle_strike_at(idle, idle->oldest);
    idle->oldest = (idle->oldest + 1) % ASHLAR_IDLE_SLABS;
    return slab;
}

/* Notes a slab that is not noted, in the place of the note struck out last. */
static inline void ashlar_idle_note(struct ashlar_idle *idle, struct ashlar_slab *slab)
{
    unsigned last = (idle->oldest + ASHLAR_IDLE_SLABS - 1) % ASHLAR_IDLE_SLABS;
    slab->is_idle = true;
    idle->notes[last].slab = slab;
    idle->notes[last].bytes = slab->carved;
    idle->bytes += slab->carved;
}

/* Strikes out the note of a slab that is about to go. */
static inline void ashlar_idle_strike(struct ashlar_idle *idle, const struct ashlar_slab *slab)
{
    for (unsigned i = 0; i < ASHLAR_IDLE_SLABS; i++) {
        if (idle->notes[i].slab == slab)
            (void)ashlar_idle_strike_at(idle, i);
    }
}

/* Strikes all notes out; the slabs stay where they are. */
static inline void ashlar_idle_forget_all(struct ashlar_idle *idle)
{
    for (unsigned i = 0; i < ASHLAR_IDLE_SLABS; i++)
        (void)ashlar_idle_forget(idle);
    idle->bytes = 0;
    idle->fetched = 0;
}

#endif
