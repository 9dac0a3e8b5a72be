/*
 * slicemap.h - a bit for each slice of a chunk
 *
 * Purpose     Sets of slices: runs are found, marked and walked through a word at a time.
 * Invariants  Bits from ASHLAR_CHUNK_SLICES up do not exist; a run never crosses the end.
 * Locking     The caller's.
 * Layer       small/. Used by chunk.
 */
#ifndef ASHLAR_SMALL_SLICEMAP_H
#define ASHLAR_SMALL_SLICEMAP_H

#include "base/base.h"
#include "base/bits.h"

#define ASHLAR_CHUNK_SLICES 1024u
#define ASHLAR_SLICEMAP_WORDS ASHLAR_BITMAP_WORDS(ASHLAR_CHUNK_SLICES)

/* Longest run that is looked for, or measured. */
#define ASHLAR_RUN_MAX 32u

/* No such run. */
#define ASHLAR_SLICE_NONE UINT32_MAX

struct ashlar_slicemap {
    uint64_t words[ASHLAR_SLICEMAP_WORDS];
};

struct ashlar_run {
    unsigned first;
    unsigned len;
};

/* First slice of the first run of `len` ones, 1 <= len <= ASHLAR_RUN_MAX, that starts in a word
   whose bound is `len` at least; ASHLAR_SLICE_NONE. */
unsigned ashlar_slicemap_find(const struct ashlar_slicemap *map, unsigned len,
                              const uint8_t bounds[ASHLAR_SLICEMAP_WORDS]);

/* Adds a run to a map, takes it out; how many of its slices that changed. */
unsigned ashlar_slicemap_add(struct ashlar_slicemap *map, struct ashlar_run run);
unsigned ashlar_slicemap_remove(struct ashlar_slicemap *map, struct ashlar_run run);

/* The first run of ones at or behind `from`, to its end. len 0: none. */
struct ashlar_run ashlar_slicemap_next_run(const struct ashlar_slicemap *map, unsigned from);

/* The run of ones that `run`, all ones, is part of; it begins no more than ASHLAR_RUN_MAX slices in
   front of that. */
struct ashlar_run ashlar_slicemap_around(const struct ashlar_slicemap *map, struct ashlar_run run);

/* How many slices of the run there are up to the last one in the map; 0: none is. */
unsigned ashlar_slicemap_last_in(const struct ashlar_slicemap *map, struct ashlar_run run);

unsigned ashlar_slicemap_count(const struct ashlar_slicemap *map);

#endif
