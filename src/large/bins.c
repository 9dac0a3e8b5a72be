/*
 * bins.c - freed extents by length
 *
 * Purpose     See bins.h.
 * Invariants  See bins.h.
 * Locking     The caller's.
 * Layer       large/.
 */
#include "large/bins.h"

#include "base/check.h"

/* Extents of the request's own bin, which may be too short, looked at before taking a longer one: a
   bin spans an eighth, so a near fit is likely among a few. */
#define OWN_BIN_TRIES 8

/* Extents looked at for a long one, the longest bins first. */
#define LONGEST_TRIES 16

#define LINEAR_PAGES 16u

unsigned ashlar_bins_of(size_t npages)
{
    if (npages < LINEAR_PAGES)
        return (unsigned)npages;
    unsigned doubling = ashlar_bit_highest(npages); /* 4 and up */
    unsigned eighth = (unsigned)(npages >> (doubling - 3)) & 7u;
    unsigned bin = LINEAR_PAGES + (doubling - 4) * 8 + eighth;
    return bin < ASHLAR_BINS_COUNT ? bin : ASHLAR_BINS_COUNT - 1;
}

static unsigned bin_of(const struct ashlar_extent *extent)
{
    return ashlar_bins_of(extent->len_bytes / ashlar_os_facts.page_bytes);
}

void ashlar_bins_insert(struct ashlar_bins *bins, struct ashlar_extent *extent)
{
    unsigned bin = bin_of(extent);
    ashlar_list_push_front(&bins->bin[bin], &extent->bin);
    ashlar_bitmap_set(bins->filled, bin);
}

void ashlar_bins_remove(struct ashlar_bins *bins, struct ashlar_extent *extent)
{
    unsigned bin = bin_of(extent);
    ashlar_list_remove(&extent->bin);
    if (ashlar_list_is_empty(&bins->bin[bin]))
        ashlar_bitmap_clear(bins->filled, bin);
}

char *ashlar_bins_place(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    size_t page = ashlar_os_facts.page_bytes;
    uintptr_t base = (uintptr_t)extent->base;
    uintptr_t place = ashlar_align_up(base, align);
    if (place != base && place - base < 2 * page)
        place = ashlar_align_up(base + 2 * page, align);
    if (place - base > extent->len_bytes || extent->len_bytes - (place - base) < len_bytes)
        return NULL;
    return extent->base + (place - base);
}

static struct ashlar_extent *search_bin(struct ashlar_list *bin, size_t len_bytes, size_t align,
                                        int tries)
{
    for (struct ashlar_list *link = ashlar_list_first(bin); link != NULL && tries-- > 0;
         link = ashlar_list_next(bin, link)) {
        struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, bin);
        if (ashlar_bins_place(extent, len_bytes, align) != NULL)
            return extent;
    }
    return NULL;
}

struct ashlar_extent *ashlar_bins_find(struct ashlar_bins *bins, size_t len_bytes, size_t align)
{
    unsigned own = ashlar_bins_of(len_bytes / ashlar_os_facts.page_bytes);
    /* Higher bins hold only extents that are long enough; with a coarse alignment the first of
       them may still be badly placed, hence a few tries in each. */
    for (size_t bin = ashlar_bitmap_next(bins->filled, own, ASHLAR_BINS_COUNT);
         bin < ASHLAR_BINS_COUNT;
         bin = ashlar_bitmap_next(bins->filled, bin + 1, ASHLAR_BINS_COUNT)) {
        struct ashlar_extent *found = search_bin(&bins->bin[bin], len_bytes, align, OWN_BIN_TRIES);
        if (found != NULL)
            return found;
    }
    return NULL;
}

struct ashlar_extent *ashlar_bins_longest(struct ashlar_bins *bins, size_t least_bytes,
                                          ashlar_bins_fits *fits, size_t len_bytes, size_t align)
{
    unsigned least = ashlar_bins_of(least_bytes / ashlar_os_facts.page_bytes);
    int tries = LONGEST_TRIES;
    size_t end = ASHLAR_BINS_COUNT;
    size_t bin;
    for (; tries > 0 && (bin = ashlar_bitmap_last(bins->filled, least, end)) < end; end = bin) {
        struct ashlar_list *all = &bins->bin[bin];
        for (struct ashlar_list *link = ashlar_list_first(all); link != NULL && tries-- > 0;
             link = ashlar_list_next(all, link)) {
            struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, bin);
            if (fits(extent, len_bytes, align))
                return extent;
        }
    }
    return NULL;
}
