/*
 * arena.h - slabs for thread caches, pages back to the kernel
 *
 * Purpose     Cuts chunks of address space into slabs, takes empty ones back, keeps the slabs that
 *             exited threads left behind, and purges what stays unused.
 * Invariants  Every chunk of the arena is on the list of its longest run. Chunks whose slices are
 *             all free and purged are unmapped.
 * Locking     One mutex per arena, rank ARENA, touched once per slab and never per object. Mapping
 *             and purging are done without it. malloc and free never wait for a shut lock: what
 *             cannot be done then is refused, and what must not be lost waits in atomic words.
 * Layer       small/. Uses map, conf. Used by front.
 */
#ifndef ASHLAR_SMALL_ARENA_H
#define ASHLAR_SMALL_ARENA_H

#include "base/list.h"
#include "base/lock.h"
#include "small/chunklist.h"
#include "small/slab.h"

#define ASHLAR_ARENA_MAX 256

struct ashlar_arena {
    struct ashlar_lock lock;
    struct ashlar_chunklist chunks;                   /* lock */
    struct ashlar_list abandoned[ASHLAR_CLASS_COUNT]; /* lock: slabs without an owner */
    uint64_t tick_ms;                                 /* lock: the last look for idle pages */
    uint64_t purge_from_ms;                           /* lock: after a pause, when that goes on */
    unsigned turn;                                    /* lock: whose turn that was */
    unsigned next_chunk_turn;                         /* lock: for the next chunk */
};

/* Arena number `index`, made ready on first use. */
struct ashlar_arena *ashlar_arena_at(unsigned index);

/* Arenas in use so far: 0 .. ashlar_arena_count() - 1. */
unsigned ashlar_arena_count(void);

/*
 * A slab of a class for `owner`: an abandoned one, of whatever arena, else a fresh one; of another
 * arena rather than of a new chunk, if these hold much idle memory. It belongs to the caller, but
 * an abandoned one may have been emptied, and taken away again. NULL: out of memory, or a fork
 * under way.
 */
struct ashlar_slab *ashlar_arena_get(struct ashlar_arena *arena, unsigned class_id,
                                     struct ashlar_slab_owner *owner);

/* Takes back an empty slab of the caller's. False: a fork is under way, keep it. */
bool ashlar_arena_put(struct ashlar_slab *slab);

/*
 * Slabs of which other threads have freed all that was handed out (ashlar_slab_is_emptied), while
 * their owners, who are idle or have no use for them, have not looked. note_emptied notes one;
 * either number is of those noted and not looked for yet, some of which may be used again;
 * is_take_back_due: there are so many that a look at every slab is worth while.
 */
size_t ashlar_arena_note_emptied(void);
size_t ashlar_arena_emptied(void);
bool ashlar_arena_is_take_back_due(void);

/* Looks at every slab, if one was noted, and takes the memory of these away from their owners; the
   same not too often. */
void ashlar_arena_take_back_all(void);
void ashlar_arena_take_back_sometimes(uint64_t now_ms);

/* Lets go of the descriptor of a slab that is gone: its owner has come upon it. */
void ashlar_arena_bury(struct ashlar_slab *slab);

/* Takes over a slab with live objects from an exiting thread. Waits while a fork is under way. */
void ashlar_arena_abandon(struct ashlar_slab *slab);

/* Frees an object of an abandoned slab. */
enum ashlar_arena_free {
    ASHLAR_FREE_DONE,    /* freed */
    ASHLAR_FREE_RETRY,   /* somebody adopted the slab: push it remotely */
    ASHLAR_FREE_REFUSED, /* a fork is under way: do it later */
};
enum ashlar_arena_free ashlar_arena_free_abandoned(struct ashlar_slab *slab, char *object);

/* Purges slices idle for the decay time. Cheap when there is nothing to do. */
void ashlar_arena_tick(struct ashlar_arena *arena, uint64_t now_ms);

/* Purges all idle slices; true when there were some. */
bool ashlar_arena_trim(struct ashlar_arena *arena);

/* The same for every arena in use. */
void ashlar_arena_trim_all(void);

#endif
