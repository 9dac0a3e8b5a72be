/*
 * recycle.h - pages of freed blocks moved under new ones
 *
 * Purpose     When the law leaves no room for fresh pages, or a block grows, and no kept extent
 *             is long enough, kept pages are moved under the block instead of purging them and
 *             faulting others: 4 to 11 us a MiB against 400 to 530 (doc/decisions/0009). It also
 *             keeps the law of account.h by itself: what a new block drains was kept, so live +
 *             kept only grows with live.
 * Invariants  Pages go in runs as long as can be had, and the more mappings moves have made the
 *             longer a run has to be. With the budget for mappings spent nothing moves.
 * Locking     plan: LARGE, held by the caller. run: no lock; it calls the kernel.
 * Layer       large/. Uses mapcache, guard, pieces. Used by take, resize.
 */
#ifndef ASHLAR_LARGE_RECYCLE_H
#define ASHLAR_LARGE_RECYCLE_H

#include "large/extent.h"

/* Runs moved for one request, at most. */
#define ASHLAR_RECYCLE_RUNS 16

struct ashlar_recycle_plan {
    struct ashlar_extent *runs[ASHLAR_RECYCLE_RUNS]; /* BUSY */
    size_t run_bytes[ASHLAR_RECYCLE_RUNS];           /* how much of it moves, from its base on */
    size_t count;
};

/* Chooses kept pages for a payload of `len_bytes`, from `offset_bytes` on. */
void ashlar_recycle_plan_locked(struct ashlar_recycle_plan *plan, size_t len_bytes,
                                size_t offset_bytes);

/* Moves what was planned. The bytes from `offset_bytes` on that hold old contents now. */
size_t ashlar_recycle_run(const struct ashlar_recycle_plan *plan, struct ashlar_extent *extent,
                          size_t offset_bytes);

/* Moves pages by the calls that cost least; how many bytes, from the first on, have gone before the
   kernel would not any more, or 0: too many mappings are spent. */
size_t ashlar_recycle_move(struct ashlar_region *from_region, char *from,
                           struct ashlar_region *to_region, char *to, size_t len_bytes);

/* Keeps what was planned where it is. */
void ashlar_recycle_cancel(const struct ashlar_recycle_plan *plan);

#endif
