/*
 * sample.h - how much of a range is in memory, from a few of its pages
 *
 * Purpose     A freed block may have been written from end to end or hardly at all, and nobody says
 *             so. Up to four pages asked of the kernel (a microsecond each) tell the two apart well
 *             enough to choose between ways that are both right.
 * Invariants  Nothing is touched.
 * Locking     None; what was noted is atomic. The first two calls ask the kernel.
 * Layer       large/. Uses os. Used by huge, mapcache, recycle, large.
 */
#ifndef ASHLAR_LARGE_SAMPLE_H
#define ASHLAR_LARGE_SAMPLE_H

#include "base/base.h"

/* True when none of the pages looked at is in memory; a range that is gone is empty, too. One page
   that is ends the search, so a written block costs one question. */
bool ashlar_sample_is_empty(const char *base, size_t len_bytes);

/* True when all of them are. */
bool ashlar_sample_is_dense(const char *base, size_t len_bytes);

/*
 * Moves, and sparing the rest of what is purged, pay only where freed blocks hold pages: a run
 * that was written spares faults of ten to thirty times the cost, one that was not is lost. So each
 * moved run is sampled and noted; after eight empty ones on end freed blocks are taken for empty
 * until one is not (doc/decisions/0012).
 */
void ashlar_sample_note_freed(bool is_empty);
bool ashlar_sample_are_freed_empty(void);

#endif
