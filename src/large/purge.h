/*
 * purge.h - kept extents given back to the kernel
 *
 * Purpose     Purges what the law of memory (account.h) and the decay time ask for, and unmaps
 *             regions of which nothing is left.
 * Invariants  An extent being purged is BUSY: nobody takes or joins it meanwhile.
 * Locking     Thread-safe. LARGE is taken to choose and to put back, never over a kernel call.
 * Layer       large/. Uses mapcache, front, guard, map. Used by large.
 */
#ifndef ASHLAR_LARGE_PURGE_H
#define ASHLAR_LARGE_PURGE_H

#include "base/base.h"

/* Gives back what is too old or too much. */
void ashlar_purge_due(uint64_t now_ms);

/* The same if something is due. */
void ashlar_purge_if_due(uint64_t now_ms);

/* Gives back everything kept; true when there was something. */
bool ashlar_purge_all(void);

#endif
