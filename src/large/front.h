/*
 * front.h - the last few freed large blocks of each thread
 *
 * Purpose     A program that frees a large block and asks for one of its length gets it back
 *             without a lock, a search or a system call: its fences still stand.
 * Invariants  Each thread uses one of LINES lines of slots, by a hash of its identity; threads that
 *             share a line, and whoever flushes, claim extents by atomic exchange, so
 *             a slot needs no owner. An extent in a slot is LIVE in its region (nobody joins it
 *             with its neighbours) but not in the page map (nobody can free it again). Its bytes
 *             count as live in mapcache's accounts until it is flushed; mapcache subtracts
 *             ashlar_front_bytes where that matters.
 * Locking     None: atomics.
 * Layer       large/. Uses extent. Used by mapcache, large.
 */
#ifndef ASHLAR_LARGE_FRONT_H
#define ASHLAR_LARGE_FRONT_H

#include "large/extent.h"

/* A kept extent of just this length, or the least longer by up to `surplus_bytes`, whose base is a
   multiple of `align`, the caller's now; or NULL. *displaced, NULL as a rule: one that lost its
   slot to a race and has to go to the mapping cache. */
struct ashlar_extent *ashlar_front_take(size_t len_bytes, size_t surplus_bytes, size_t align,
                                        struct ashlar_extent **displaced);

/* True once in a few hundred hits, until the next one: time to go the long way, where the clock is
   looked at and what has grown old is given back. */
bool ashlar_front_is_look_due(void);

/* Keeps a freed extent. What has to go to the mapping cache instead, if anything: an older one, or
   the extent itself when options leave no room for it. */
struct ashlar_extent *ashlar_front_put(struct ashlar_extent *extent, uint64_t now_ms);

/* Takes back one extent that was freed at `until_ms` or before, and when; NULL: none. */
struct ashlar_extent *ashlar_front_flush(uint64_t until_ms, uint64_t *freed_ms);

/* When the oldest extent of all was freed; UINT64_MAX: there is none. */
uint64_t ashlar_front_oldest_ms(void);

/* Extents taken so far. */
size_t ashlar_front_hits(void);

/* Bytes, and number, of all extents in slots. */
size_t ashlar_front_bytes(void);
size_t ashlar_front_blocks(void);

#endif
