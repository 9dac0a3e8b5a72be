/*
 * tcache.h - a thread's own slabs
 *
 * Purpose     One slab per size class that the thread allocates from with plain loads and stores,
 *             and the slabs behind it. No object is cached apart from its slab: the slab's free
 *             list is the cache, so nothing has to be flushed and memory shrinks with its slabs.
 * Invariants  Each slab of a cache is exactly one of: active (one per class), available (on the
 *             list of its class: has free objects, or room to carve some), parked (neither; in no
 *             list). A class that has no active slab has the shared empty one, so the fast path
 *             needs no test: it finds nothing there.
 * Locking     A cache belongs to one thread; other threads touch only owner.pending. The list of
 *             caches and the late cache (for threads past their end) are guarded by HEAPS.
 * Layer       front/. Uses small, map, conf.
 */
#ifndef ASHLAR_FRONT_TCACHE_H
#define ASHLAR_FRONT_TCACHE_H

#include "base/lock.h"
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
    struct ashlar_arena *arena; /* where new ones come from */
    struct ashlar_tcache *next; /* HEAPS: list of caches without a thread */
    uint64_t next_tick_ms;
    unsigned exit_rounds; /* thread exit put off so often */
};

/* The library's two words of thread-local storage. self: what the fast path uses; the shared empty
   cache before the first request, after thread exit, and when options want to see every request.
   real: the cache behind it. */
extern ASHLAR_TLS struct ashlar_tcache *ashlar_tcache_self;
extern ASHLAR_TLS struct ashlar_tcache *ashlar_tcache_real;

extern struct ashlar_lock ashlar_heaps_lock;

/* Start-up, once, from a constructor: thread exit is noticed from now on. */
void ashlar_tcache_boot(void);

/* Provided by api/boot.c, called before a thread's first request: the one call up the stair. */
void ashlar_boot(void);

/* An object of the class from the calling thread's cache, when the fast path found none. NULL: out
   of memory, or a fork under way. */
void *ashlar_tcache_alloc_slow(unsigned class_id);

/* A slab of the calling thread's has fallen empty. */
void ashlar_tcache_emptied(struct ashlar_slab *slab);

enum ashlar_tcache_result {
    ASHLAR_TCACHE_DONE,
    ASHLAR_TCACHE_INTERIOR,    /* no object starts there */
    ASHLAR_TCACHE_DOUBLE_FREE, /* the object is free already */
    ASHLAR_TCACHE_REFUSED,     /* a fork is under way: nothing done */
};

/* Frees an object of any slab, whoever owns it. */
enum ashlar_tcache_result ashlar_tcache_free_slow(struct ashlar_slab *slab, char *object);

/* Gives back the calling thread's empty slabs and purges what is due. */
void ashlar_tcache_tick(uint64_t now_ms);

/* The same when half the decay time has passed since the last tick, else nothing. */
void ashlar_tcache_tick_if_due(void);

/* Gives back every empty slab of the calling thread's. */
void ashlar_tcache_trim(void);

/* Thread caches in use. */
unsigned ashlar_tcache_count(void);

/* In the child of a fork: only the calling thread's cache is in use any more. */
void ashlar_tcache_fork_child(void);

#endif
