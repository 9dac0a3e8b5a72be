/*
 * tcache.h - a thread's own slabs
 *
 * Purpose     One slab per size class that the thread allocates from with plain loads and stores,
 *             and the slabs behind it. No object is cached apart from its slab: the slab's free
 *             list is the cache, so nothing has to be flushed and memory shrinks with its slabs.
 * Invariants  Each slab of a cache is exactly one of: active (one per class), available (on the
 *             list of its class: has free objects, or room to carve some), asleep (neither: on the
 *             list of exhausted ones until other threads are asked to tell what they free into
 *             it; then in no list). A class that has no active slab has the shared empty one, so
 *             the fast path needs no test: it finds nothing there.
 * Locking     A cache belongs to one thread; other threads touch only owner.pending.
 * Layer       front/. Uses idle, purger, small, map, conf, os. Used by heaps, route.
 */
#ifndef ASHLAR_FRONT_TCACHE_H
#define ASHLAR_FRONT_TCACHE_H

#include "front/idle.h"
#include "map/pagemap.h"
#include "small/arena.h"
#include "small/slab.h"

struct ashlar_tcache {
    _Alignas(ASHLAR_CACHE_LINE_BYTES) struct ashlar_slab_owner owner; /* first: see span owner */
    _Alignas(ASHLAR_CACHE_LINE_BYTES) struct ashlar_slab *active[ASHLAR_CLASS_COUNT];
    struct ashlar_list available[ASHLAR_CLASS_COUNT];
    struct ashlar_idle idle;    /* slabs that fell empty */
    struct ashlar_list slabs;   /* all slabs of this cache */
    struct ashlar_list exhausted; /* asleep, and others have not been asked to tell */
    struct ashlar_arena *arena; /* where new ones come from */
    struct ashlar_tcache *next; /* HEAPS: list of caches without a thread */
    uint64_t next_tick_ms;      /* when empty slabs are given back */
    uint64_t next_look_ms;      /* when to look for what is due */
    unsigned slow_calls;        /* so far */
    unsigned exit_rounds;       /* thread exit put off so often */
};

/* The empty slab of classes without an active one. */
extern struct ashlar_slab ashlar_tcache_nobody;

void ashlar_tcache_init(struct ashlar_tcache *cache);

/* An object of the class. NULL: out of memory, or a fork under way. */
void *ashlar_tcache_alloc(struct ashlar_tcache *cache, unsigned class_id);

enum ashlar_tcache_result {
    ASHLAR_TCACHE_DONE,
    ASHLAR_TCACHE_INTERIOR,    /* no object starts there */
    ASHLAR_TCACHE_DOUBLE_FREE, /* the object is free already */
    ASHLAR_TCACHE_REFUSED,     /* a fork is under way: nothing done */
};

/* Frees an object of any slab, whoever owns it; `cache` is the calling thread's, or NULL. */
enum ashlar_tcache_result ashlar_tcache_free(struct ashlar_tcache *cache, struct ashlar_slab *slab,
                                             char *object);

/* The owner's free has made `used` of a slab 0: it has no object in use, or was asleep and has a
   few free ones now. */
void ashlar_tcache_emptied(struct ashlar_tcache *cache, struct ashlar_slab *slab);

/* Notes a slab of the cache that may have no object in use, active or available, as empty; what
   this makes too many or too much is given back, the oldest first. */
void ashlar_tcache_settle(struct ashlar_tcache *cache, struct ashlar_slab *slab);

/* Gives back every empty slab. */
void ashlar_tcache_give_back(struct ashlar_tcache *cache);

/* Gives up all slabs of an exiting thread's cache but those in flight. */
void ashlar_tcache_abandon(struct ashlar_tcache *cache);

#endif
