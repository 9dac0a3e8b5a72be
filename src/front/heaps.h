/*
 * heaps.h - which thread has which cache
 *
 * Purpose     A thread gets a cache with its first request and loses it when it exits; caches are
 *             used again. Threads past their end share the late cache.
 * Invariants  self is what the fast path uses: the shared empty cache before the first request,
 *             after thread exit, and when options want to see every request. real is the cache
 *             behind it.
 * Locking     Thread-safe. The list of caches and the late cache are guarded by HEAPS.
 * Layer       front/. Uses tcache, purger. Used by route, api/boot, api/fork.
 */
#ifndef ASHLAR_FRONT_HEAPS_H
#define ASHLAR_FRONT_HEAPS_H

#include "base/lock.h"
#include "front/tcache.h"

/* The library's two words of thread-local storage. */
extern ASHLAR_TLS struct ashlar_tcache *ashlar_heaps_self;
extern ASHLAR_TLS struct ashlar_tcache *ashlar_heaps_real;

extern struct ashlar_lock ashlar_heaps_lock;

/* Start-up, once, from a constructor: thread exit is noticed from now on. */
void ashlar_heaps_boot(void);

/* Provided by api/boot.c, called before a thread's first request: the one call up the stair. */
void ashlar_boot(void);

/* An object of the class from the calling thread's cache, when the fast path found none. NULL: out
   of memory, or a fork under way. */
void *ashlar_heaps_alloc(unsigned class_id);

/* A slab of the calling thread's has fallen empty, or wakes: see ashlar_tcache_emptied. */
void ashlar_heaps_emptied(struct ashlar_slab *slab);

/* Frees an object of any slab, whoever owns it. */
enum ashlar_tcache_result ashlar_heaps_free(struct ashlar_slab *slab, char *object);

/* Gives back the calling thread's empty slabs and purges what is due. */
void ashlar_heaps_tick(uint64_t now_ms);

/* The same when half the decay time has passed since the last tick; once in a step of the decay
   time only purges. */
void ashlar_heaps_tick_if_due(void);

/* Gives back every empty slab of the calling thread's. */
void ashlar_heaps_trim(void);

/* Thread caches in use. */
unsigned ashlar_heaps_count(void);

/* In the child of a fork: only the calling thread's cache is in use any more. */
void ashlar_heaps_fork_child(void);

#endif
