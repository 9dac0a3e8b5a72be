/*
 * chunk.h - a run of slices that slabs are cut from
 *
 * Purpose     The state of up to 64 slices of 64 KiB in three words of bits, and the kernel's
 *             side of it: mapping, purging, unmapping.
 * Invariants  dirty is a subset of free, aged of dirty. A slice in a slab, or being purged, is in
 *             none of them. A chunk is idle when all its slices are free and clean.
 * Locking     The words belong to the arena, under its lock; left_clean and left_dirty are
 *             atomic. map, unmap and purge call the kernel and want no lock held.
 * Layer       small/. Uses map, conf. Used by arena.
 */
#ifndef ASHLAR_SMALL_CHUNK_H
#define ASHLAR_SMALL_CHUNK_H

#include <stdatomic.h>

#include "base/list.h"

#define ASHLAR_SLICE_BYTES ((size_t)65536)
#define ASHLAR_CHUNK_SLICES 64u

/* Chunks are kept apart by the longest slab they can still hold: 16, 4, 1 or 0 slices. */
#define ASHLAR_CHUNK_FITS 4u

struct ashlar_arena;

struct ashlar_chunk {
    struct ashlar_list link;      /* arena's list number `fit` */
    struct ashlar_arena *arena;   /* constant */
    char *base;                   /* constant */
    unsigned nslices;             /* constant: 64, fewer when address space is short */
    unsigned fit;                 /* see ashlar_chunk_fit */
    uint64_t free;                /* slices not in a slab */
    uint64_t dirty;               /* free slices that may hold pages */
    uint64_t aged;                /* dirty slices that were so at the last tick */
    _Atomic uint64_t left_clean;  /* slices whose purger met a shut lock: purged */
    _Atomic uint64_t left_dirty;  /* and not purged */
};

/* A fresh chunk on no list, of at least `need_slices`. Under RLIMIT_AS it shrinks rather than
   fails. NULL: out of memory, or a fork under way. Its range is prepared in the page map. */
struct ashlar_chunk *ashlar_chunk_map(struct ashlar_arena *arena, unsigned need_slices);

/* Gives an idle chunk back; false when the kernel would not: the chunk is still there. */
bool ashlar_chunk_unmap(struct ashlar_chunk *chunk);

/* Slices a list of chunks promises in one run. */
unsigned ashlar_chunk_fit_slices(unsigned fit);

/* The list a chunk belongs on: the smallest number whose promise it keeps. */
unsigned ashlar_chunk_fit(const struct ashlar_chunk *chunk);

/* Takes a run of `len` slices (1, 4 or 16; there is one), with pages if possible; the first. */
unsigned ashlar_chunk_take(struct ashlar_chunk *chunk, unsigned len);

/* Puts a run back; `dirty` are those of its slices that may hold pages. */
void ashlar_chunk_put(struct ashlar_chunk *chunk, uint64_t run, uint64_t dirty);

/* Marks what is dirty now as aged. */
void ashlar_chunk_age(struct ashlar_chunk *chunk);

enum ashlar_idle_choice { ASHLAR_IDLE_AGED, ASHLAR_IDLE_ALL };

/* Takes dirty slices out of reach to be purged; 0: none. */
uint64_t ashlar_chunk_detach(struct ashlar_chunk *chunk, enum ashlar_idle_choice choice);

/* Purges detached slices; those that have no pages now (fewer when the kernel was short). The
   caller puts them back. */
uint64_t ashlar_chunk_purge(const struct ashlar_chunk *chunk, uint64_t slices);

/* For a purger that cannot have the arena's lock: leaves its slices for the next collect, and does
   not touch the chunk again. */
void ashlar_chunk_leave(struct ashlar_chunk *chunk, uint64_t clean, uint64_t dirty);
void ashlar_chunk_collect(struct ashlar_chunk *chunk);

bool ashlar_chunk_is_idle(const struct ashlar_chunk *chunk);

#endif
