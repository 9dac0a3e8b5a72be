/*
 * mapcache.h - freed extents kept for reuse
 *
 * Purpose     Spares the next large request its address space (CLEAN) and its page faults (DIRTY).
 *             What has been idle, or is too much, is chosen here and purged by purge.c.
 * Invariants  The law of account.h holds after each call and the purge that it asks for. kept:
 *             payload of DIRTY and BUSY extents without their holes.
 * Locking     LARGE for all calls named _locked; the caller holds it. The others take it
 *             themselves, and call the kernel without it. An insertion that meets a shut lock waits
 *             on a lock-free stack for the next holder.
 * Layer       large/. Uses account, kept, front, sample, map. Used by recycle, purge, take, resize.
 */
#ifndef ASHLAR_LARGE_MAPCACHE_H
#define ASHLAR_LARGE_MAPCACHE_H

#include "base/lock.h"
#include "large/extent.h"

extern struct ashlar_lock ashlar_large_lock;

/* LARGE, with what waited for it done. False as ashlar_lock_take. */
bool ashlar_mapcache_lock(void) __attribute__((warn_unused_result));
void ashlar_mapcache_unlock(void);

/* Which pages will do. */
enum ashlar_mapcache_want {
    ASHLAR_WANT_ANY, /* dirty ones; else clean ones of base pages */
    ASHLAR_WANT_DIRTY,
    ASHLAR_WANT_CLEAN,       /* of base pages */
    ASHLAR_WANT_CLEAN_ROOMY, /* the same, with clean space behind if there is any so long */
    ASHLAR_WANT_CLEAN_HUGE,  /* of a region of huge pages */
};

/*
 * An extent of `len_bytes` of payload at a multiple of `align`, cut from a freed one; LIVE. Tells
 * by *was_dirty whether it may hold old contents. Guards are the caller's to set. NULL: none fits.
 */
struct ashlar_extent *ashlar_mapcache_take_locked(size_t len_bytes, size_t align,
                                                  enum ashlar_mapcache_want want, bool *was_dirty);

/*
 * The same made of a DIRTY extent that is too short and the CLEAN one behind it, or in front of it.
 * *clean_bytes of the payload, from *clean_at on, hold no pages; those in front of them and behind
 * them may hold old contents. NULL: no such pair is worth it.
 */
struct ashlar_extent *ashlar_mapcache_take_longer_locked(size_t len_bytes, size_t align,
                                                         size_t *clean_at, size_t *clean_bytes);

/*
 * Takes a kept extent of which *run_bytes are to be moved, `least_bytes` and more, but no more than
 * `want_bytes`; BUSY. NULL: none is kept. It stays whole until it is put back: were what lies
 * behind the run given to another block meanwhile, that block's front guard would be set on the
 * run's last page.
 * put_run: the pages of the run, which is not the whole payload, are gone: it is clean now, and
 * what lies behind it DIRTY as before.
 */
struct ashlar_extent *ashlar_mapcache_detach_run_locked(size_t want_bytes, size_t least_bytes,
                                                        size_t *run_bytes);
void ashlar_mapcache_put_run(struct ashlar_extent *extent, size_t run_bytes, uint64_t now_ms);

/* Links a fresh extent into its region and cuts it to size; LIVE. False: no descriptor for what is
   cut off: the extent is kept as freed. */
bool ashlar_mapcache_cut_fresh_locked(struct ashlar_extent *extent, size_t len_bytes, size_t align);

/* Keeps a LIVE extent as freed, joined with its neighbours. */
void ashlar_mapcache_put_locked(struct ashlar_extent *extent, enum ashlar_extent_state state,
                                uint64_t now_ms);

/* The same, for callers without the lock; never fails, may be deferred. */
void ashlar_mapcache_put(struct ashlar_extent *extent, enum ashlar_extent_state state,
                         uint64_t now_ms);

/* Cuts the payload of a LIVE extent to `len_bytes`; what is behind the new guard is kept as
   freed. */
void ashlar_mapcache_shrink_locked(struct ashlar_extent *extent, size_t len_bytes, uint64_t now_ms);

/* Lengthens a LIVE extent to `len_bytes` at the expense of the freed one behind it; false: not
   enough there. *was_dirty: the new part may hold old contents. */
bool ashlar_mapcache_grow_locked(struct ashlar_extent *extent, size_t len_bytes, bool *was_dirty);

/* True when `len_bytes` of fresh pages may come without anything kept having to go. */
bool ashlar_mapcache_has_room_locked(size_t len_bytes);

/* True when something is too old or too much: call ashlar_purge_due after unlocking. */
bool ashlar_mapcache_is_due_locked(uint64_t now_ms);

enum ashlar_mapcache_victims { ASHLAR_VICTIMS_DUE, ASHLAR_VICTIMS_ALL };

/* Takes up to `room` DIRTY extents, oldest first, out of everybody's reach to be purged; BUSY.
   Their number. What is all of its region goes to the retired ones instead. */
size_t ashlar_mapcache_detach_locked(enum ashlar_mapcache_victims which, uint64_t now_ms,
                                     struct ashlar_extent **victims, size_t room);

/* A BUSY extent that is all of a region which is on no list any more: to be unmapped. NULL:
   none. */
struct ashlar_extent *ashlar_mapcache_next_retired_locked(void);

#endif
