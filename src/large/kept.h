/*
 * kept.h - the freed extents by state, length and age
 *
 * Purpose     What mapcache chooses from.
 * Invariants  Each DIRTY extent is in the bins of DIRTY ones and on the list of ages, oldest first;
 *             each CLEAN one in the bins of its region's kind of pages. Counter cache_kept_bytes
 *             has the pages of the DIRTY ones (and, by mapcache, of the BUSY ones).
 * Locking     LARGE, held by the caller.
 * Layer       large/. Uses bins, extent. Used by mapcache.
 */
#ifndef ASHLAR_LARGE_KEPT_H
#define ASHLAR_LARGE_KEPT_H

#include "large/bins.h"
#include "large/extent.h"

/* Into the bins, and out of them: before a member's length, holes or state change. A DIRTY one's
   place in the order of ages is the caller's, by one of the next two. */
void ashlar_kept_insert(struct ashlar_extent *extent);
void ashlar_kept_remove(struct ashlar_extent *extent);

/* Into the order of ages, by freed_ms. */
void ashlar_kept_list_by_age(struct ashlar_extent *extent);

/* Inserts a piece of a freed extent; where that stood in the order of ages. */
void ashlar_kept_insert_piece(struct ashlar_extent *piece, struct ashlar_extent *origin);

/* As ashlar_bins_find and ashlar_bins_longest. */
struct ashlar_extent *ashlar_kept_find_dirty(size_t len_bytes, size_t align);
struct ashlar_extent *ashlar_kept_find_clean(enum ashlar_region_pages pages, size_t len_bytes,
                                             size_t align);
struct ashlar_extent *ashlar_kept_longest_dirty(size_t least_bytes, ashlar_bins_fits *fits,
                                                size_t len_bytes, size_t align);

/* The DIRTY one that was freed first; NULL: there is none. */
struct ashlar_extent *ashlar_kept_oldest(void);

/* Payload of the DIRTY ones, without their holes. */
size_t ashlar_kept_bytes(void);

#endif
