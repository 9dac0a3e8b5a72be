/*
 * pieces.h - the kernel mappings that moves make
 *
 * Purpose     Pages that were moved lie in a kernel mapping of their own until a fresh one is laid
 *             over their place. Remembers where, so that such places are renewed when they are
 *             purged, and the mappings are counted, not guessed: moves end when too many are there.
 * Invariants  region->moved has the pages in such mappings; region->cut the pages before which the
 *             kernel splits a mapping because of them. Counter move_mappings is the number of bits
 *             in cut, and part of guard_mappings, on which guard's budget is. The kernel may have
 *             joined two of them: then there are fewer.
 * Locking     The maps are atomic; a range is noted by who owns it, without a lock. Two owners of
 *             neighbours at once may leave the cut between them wrong until one is noted again.
 * Layer       large/. Uses guard, map, conf. Used by recycle, purge, resize.
 */
#ifndef ASHLAR_LARGE_PIECES_H
#define ASHLAR_LARGE_PIECES_H

#include "map/region.h"

/* False when the budget for mappings leaves no room for one more move. */
bool ashlar_pieces_has_room(void);

/* [start, end) lies in a mapping of its own now: pages were moved there, or from there. */
void ashlar_pieces_note_moved(struct ashlar_region *region, const char *start, const char *end);

/* Lays fresh pages over the payload [start, end) that nobody uses. The guards inside are gone.
   False: the kernel would not, nothing has changed. */
bool ashlar_pieces_renew(struct ashlar_region *region, char *start, char *end);

/* True when some of [start, end) lies in a mapping that a move made. */
bool ashlar_pieces_is_any(const struct ashlar_region *region, const char *start, const char *end);

/* The first cut behind `place`, `end` at most: up to there it is one mapping, as far as moves are
   concerned. */
const char *ashlar_pieces_next(const struct ashlar_region *region, const char *place,
                               const char *end);

/* Mappings made by moves in the region; returned: they go with it. */
size_t ashlar_pieces_count(const struct ashlar_region *region);
void ashlar_pieces_return(size_t n);

#endif
