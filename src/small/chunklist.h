/*
 * chunklist.h - the chunks of an arena, by their longest free run
 *
 * Purpose     Finds a run of slices in the chunk where it leaves long ones whole.
 * Invariants  A chunk is on the list number `listed`, and no run of it is longer than that, or than
 *             its `longest` since: whoever frees slices of a chunk settles it.
 * Locking     The caller's: that of the arena.
 * Layer       small/. Uses chunk. Used by arena.
 */
#ifndef ASHLAR_SMALL_CHUNKLIST_H
#define ASHLAR_SMALL_CHUNKLIST_H

#include "base/list.h"
#include "small/chunk.h"

struct ashlar_chunklist {
    struct ashlar_list by_longest[ASHLAR_RUN_MAX + 1];
};

void ashlar_chunklist_add(struct ashlar_chunklist *chunks, struct ashlar_chunk *chunk);

/* Puts the chunk on the list where its free runs belong. */
void ashlar_chunklist_relist(struct ashlar_chunklist *chunks, struct ashlar_chunk *chunk);

/* Lists the chunk anew after slices came free; takes it off and gives it when it is idle. */
struct ashlar_chunk *ashlar_chunklist_settle(struct ashlar_chunklist *chunks,
                                             struct ashlar_chunk *chunk);

/* A run of slices, from the chunk with the shortest that will do: so that long runs stay whole, and
   chunks with little in use fall idle. The first slice, or ASHLAR_SLICE_NONE. */
unsigned ashlar_chunklist_take_run(struct ashlar_chunklist *chunks, unsigned len,
                                   struct ashlar_chunk **chunk, unsigned *ndirty);

/* Calls `visit` for each chunk until it says stop. One that is listed anew meanwhile may be visited
   twice. */
typedef bool ashlar_chunklist_visitor(struct ashlar_chunk *chunk, void *context);
void ashlar_chunklist_visit(struct ashlar_chunklist *chunks, ashlar_chunklist_visitor *visit,
                            void *context);

#endif
