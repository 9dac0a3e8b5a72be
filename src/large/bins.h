/*
 * bins.h - freed extents by length
 *
 * Purpose     Finds the extent that fits a length best, in constant time whatever their number.
 * Invariants  Bin b holds the extents whose pages n satisfy ashlar_bins_of(n) == b: one bin per
 *             page up to 16 pages, then eight per doubling. A bit of `filled` is set when its bin
 *             is not empty. Within a bin the last one put is the first one found: its pages are
 *             warm.
 * Locking     The caller's (LARGE).
 * Layer       large/. Used by mapcache.
 */
#ifndef ASHLAR_LARGE_BINS_H
#define ASHLAR_LARGE_BINS_H

#include "base/bits.h"
#include "base/list.h"
#include "large/extent.h"

/* Pages up to 2^36 (256 TiB of 4 KiB pages). */
#define ASHLAR_BINS_COUNT 280u

struct ashlar_bins {
    struct ashlar_list bin[ASHLAR_BINS_COUNT];
    _Atomic uint64_t filled[ASHLAR_BITMAP_WORDS(ASHLAR_BINS_COUNT)];
};

unsigned ashlar_bins_of(size_t npages);

void ashlar_bins_insert(struct ashlar_bins *bins, struct ashlar_extent *extent);
void ashlar_bins_remove(struct ashlar_bins *bins, struct ashlar_extent *extent);

/* An extent in which `len_bytes` of payload fit at a multiple of `align`; NULL: none found among
   those looked at. */
struct ashlar_extent *ashlar_bins_find(struct ashlar_bins *bins, size_t len_bytes, size_t align);

/* Whether an extent will do for `len_bytes` at a multiple of `align`. */
typedef bool ashlar_bins_fits(const struct ashlar_extent *extent, size_t len_bytes, size_t align);

/* A long extent that fits, of the bin of `least_bytes` or a higher one; NULL: none among those
   looked at. */
struct ashlar_extent *ashlar_bins_longest(struct ashlar_bins *bins, size_t least_bytes,
                                          ashlar_bins_fits *fits, size_t len_bytes, size_t align);

/* Where a payload of `len_bytes` begins in `extent`: leaves the front empty or at least a page and
   a guard. NULL: it does not fit. */
char *ashlar_bins_place(const struct ashlar_extent *extent, size_t len_bytes, size_t align);

#endif
