/*
 * recycle.h - pages of freed blocks moved under new ones
 *
 * Purpose     When freed pages are kept, but no kept extent is long enough for a request, whole
 *             units of them are moved under the new block instead of faulting fresh pages: 4 to 11
 *             us a MiB against 350 to 480 (doc/decisions). It also keeps the law of mapcache.h by
 *             itself: what a new block drains was kept, so live + kept only grows with live.
 * Invariants  Only whole units move, to unit-aligned places from unit-aligned places: arbitrary
 *             pieces crumble, and every piece is a kernel mapping of its own until it is purged.
 *             Whole page tables (2 MiB) go to places of whole page tables as far as there are any:
 *             the kernel moves a table without looking into it.
 *             Mappings are spent from guard's budget; with the budget spent nothing moves.
 * Locking     plan: LARGE, held by the caller. run: no lock; it calls the kernel.
 * Layer       large/. Uses mapcache, guard. Used by large.
 */
#ifndef ASHLAR_LARGE_RECYCLE_H
#define ASHLAR_LARGE_RECYCLE_H

#include "large/extent.h"

/* See doc/decisions/0009: smaller units leave fewer leftovers, but more kernel mappings. */
#define ASHLAR_RECYCLE_UNIT_BYTES (256 * ASHLAR_KIB)

/* Runs of units moved for one request, at most. */
#define ASHLAR_RECYCLE_RUNS 16

struct ashlar_recycle_plan {
    struct ashlar_extent *runs[ASHLAR_RECYCLE_RUNS]; /* BUSY; each begins with whole units */
    size_t run_bytes[ASHLAR_RECYCLE_RUNS];           /* how much of it moves */
    size_t count;
};

/* Chooses kept units for a payload of `len_bytes`, from `offset_bytes` on. What will hold it is to
   begin at a multiple of ashlar_recycle_align. */
void ashlar_recycle_plan_locked(struct ashlar_recycle_plan *plan, size_t len_bytes,
                                size_t offset_bytes);
size_t ashlar_recycle_align(const struct ashlar_recycle_plan *plan);

/* Moves what was planned. The bytes from `offset_bytes` on that hold old contents now. */
size_t ashlar_recycle_run(const struct ashlar_recycle_plan *plan, struct ashlar_extent *extent,
                          size_t offset_bytes);

/* Moves pages by the calls that cost least; how many bytes, from the first on, have gone before the
   kernel would not any more. The caller has a mapping of guard's budget for it. */
size_t ashlar_recycle_move(char *from, char *to, size_t len_bytes);

/* Keeps what was planned where it is. */
void ashlar_recycle_cancel(const struct ashlar_recycle_plan *plan);

#endif
