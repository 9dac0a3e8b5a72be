/*
 * guard.h - inaccessible pages between large blocks
 *
 * Purpose     Sets and removes guards by the means of option guard, and remembers where they stand,
 *             so that exactly the stale ones are removed (walking the range costs six times more).
 * Invariants  A bit in region->marked or region->protect says that a guard stands on that page.
 *             mprotect guards and other splits of kernel mappings are kept within half of
 *             vm.max_map_count: the rest is the program's. A guard that cannot be had is left out
 *             and counted; it never fails an allocation.
 * Locking     The maps are atomic; a page's bit is changed only by who owns the page. The kernel is
 *             called without any lock.
 * Layer       large/. Uses map, conf, os. Used by pieces, purge, recycle, take, resize.
 */
#ifndef ASHLAR_LARGE_GUARD_H
#define ASHLAR_LARGE_GUARD_H

#include "map/region.h"

/* Makes the page at `page` inaccessible, if the options and the kernel let us. */
void ashlar_guard_set(struct ashlar_region *region, char *page);

/* Makes [start, end) accessible again throughout. False: the kernel would not (mapping count). */
bool ashlar_guard_clear(struct ashlar_region *region, char *start, const char *end);

/* Kernel mappings spent on the guards of [start, end). */
size_t ashlar_guard_count_mappings(const struct ashlar_region *region, const char *start,
                                   const char *end);

/* Drops what the page at `page` held before it became a guard; it stays one. False: the kernel was
   short. A marker drops it by itself, and mlocked memory is dropped only by a fresh mapping, which
   must not open an mprotect guard. */
bool ashlar_guard_empty(struct ashlar_region *region, char *page);

/* Forgets guards of [start, end): a fresh mapping was laid over them. */
void ashlar_guard_forget(struct ashlar_region *region, const char *start, const char *end);

/* Asks for `n` kernel mappings out of the budget; false when it is spent. return: gives them
   back. */
bool ashlar_guard_spend_mappings(size_t n);
void ashlar_guard_return_mappings(size_t n);

#endif
