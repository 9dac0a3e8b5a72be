/*
 * account.h - how much large memory is live, and how much may be kept
 *
 * Purpose     The arithmetic of the law of memory (P2): live + kept <= recent peak of live *
 *             (1 + cache_slack) + 32 KiB for each recent block (1 MiB at least, 16 MiB at most),
 *             and kept <= cache_max, and nothing is kept above 7/8 of the cgroup's limit.
 * Invariants  live is the payload of the extents whose is_counted is set, and the slabs of small
 *             objects; kept are freed large extents and idle slices of arenas. So what one side
 *             has freed is not kept beside what the other has taken instead. What waits in a
 *             thread's front is counted as live; it is subtracted where that matters. The recent
 *             peak is that of the running window of one decay time and the one before it; of all
 *             time when nothing is ever given back (decay_ms:-1).
 * Locking     LARGE, held by the caller, for all calls named _locked.
 * Layer       large/. Uses extent, front, conf. Used by mapcache, purge, take,
 *             resize, large.
 */
#ifndef ASHLAR_LARGE_ACCOUNT_H
#define ASHLAR_LARGE_ACCOUNT_H

#include "large/extent.h"

/* A block comes to life, and goes; the latter does nothing to one that was not counted. */
void ashlar_account_count_locked(struct ashlar_extent *extent, uint64_t now_ms);
void ashlar_account_uncount_locked(struct ashlar_extent *extent, uint64_t now_ms);

/* A counted block has become longer, or shorter. */
void ashlar_account_grow_locked(size_t more_bytes, uint64_t now_ms);
void ashlar_account_shrink_locked(size_t less_bytes, uint64_t now_ms);

/*
 * Surplus: by how much longer than asked a kept extent may be that serves a request as it is, with
 * its rear guard where it stands; 0: no longer. Allowed to a program that takes so many blocks that
 * moving guards would cost it a percent of its time and more, and paid out of the 16 MiB above
 * (doc/decisions/0021). For callers without the lock; set_surplus is for the owner of the extent.
 */
size_t ashlar_account_surplus_allowed(size_t len_bytes);
void ashlar_account_set_surplus(struct ashlar_extent *extent, size_t surplus_bytes);

/* Asks the kernel, once and when it begins to matter, how much memory the process may use: nothing
   is kept from seven eighths of that on. For callers without the lock. */
void ashlar_account_learn_limit(void);

/* What is live now may be a new peak: also without a large block that came or went. */
void ashlar_account_note_locked(uint64_t now_ms);

/* True when the law asks for some of `dirty_bytes` kept, or of the threads' fronts, to go. */
bool ashlar_account_is_too_much_locked(size_t dirty_bytes);

/* So many bytes of them. */
size_t ashlar_account_excess_locked(size_t dirty_bytes);

/* True, once, when the law asks for kept memory to go and none of it is large. */
bool ashlar_account_wants_small(void);

/* True when the law lets so many bytes more come to life without any of `dirty_bytes` going. */
bool ashlar_account_has_room_locked(size_t dirty_bytes, size_t more_bytes);

#endif
