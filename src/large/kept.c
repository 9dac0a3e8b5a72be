/*
 * kept.c - the freed extents by state, length and age
 *
 * Purpose     See kept.h.
 * Invariants  See kept.h.
 * Locking     See kept.h.
 * Layer       large/.
 */
#include "large/kept.h"

#include "conf/counters.h"

static struct ashlar_bins dirty_bins;
static struct ashlar_bins clean_bins[ASHLAR_PAGES_COUNT]; /* by the region's pages */
static struct ashlar_list ages;
static size_t dirty_bytes;

static struct ashlar_bins *bins_of(const struct ashlar_extent *extent)
{
    return extent->state == ASHLAR_EXTENT_DIRTY ? &dirty_bins : &clean_bins[extent->region->pages];
}

void ashlar_kept_insert(struct ashlar_extent *extent)
{
    ashlar_bins_insert(bins_of(extent), extent);
    if (extent->state != ASHLAR_EXTENT_DIRTY)
        return;
    dirty_bytes += ashlar_extent_full_bytes(extent);
    ashlar_count_add(cache_kept_bytes, ashlar_extent_full_bytes(extent));
}

void ashlar_kept_remove(struct ashlar_extent *extent)
{
    ashlar_bins_remove(bins_of(extent), extent);
    if (extent->state != ASHLAR_EXTENT_DIRTY)
        return;
    dirty_bytes -= ashlar_extent_full_bytes(extent);
    ashlar_count_sub(cache_kept_bytes, ashlar_extent_full_bytes(extent));
}

static uint64_t freed_ms_of(struct ashlar_list *age)
{
    return ASHLAR_CONTAINER_OF(age, struct ashlar_extent, age)->freed_ms;
}

void ashlar_kept_list_by_age(struct ashlar_extent *extent)
{
    if (ages.next == NULL)
        ashlar_list_init(&ages);
    /* Mostly it is the youngest; but what comes from a thread's front, or was not moved after all,
       was freed a while ago, and is the oldest as often as not. */
    struct ashlar_list *where = ages.prev;
    if (where != &ages && extent->freed_ms < freed_ms_of(ages.next))
        where = &ages;
    while (where != &ages && freed_ms_of(where) > extent->freed_ms)
        where = where->prev;
    ashlar_list_insert_after(where, &extent->age);
}

void ashlar_kept_insert_piece(struct ashlar_extent *piece, struct ashlar_extent *origin)
{
    if (piece->state == ASHLAR_EXTENT_DIRTY)
        ashlar_list_insert_after(&origin->age, &piece->age);
    ashlar_kept_insert(piece);
}

struct ashlar_extent *ashlar_kept_find_dirty(size_t len_bytes, size_t align)
{
    return ashlar_bins_find(&dirty_bins, len_bytes, align);
}

struct ashlar_extent *ashlar_kept_find_clean(enum ashlar_region_pages pages, size_t len_bytes,
                                             size_t align)
{
    return ashlar_bins_find(&clean_bins[pages], len_bytes, align);
}

struct ashlar_extent *ashlar_kept_longest_dirty(size_t least_bytes, ashlar_bins_fits *fits,
                                                size_t len_bytes, size_t align)
{
    return ashlar_bins_longest(&dirty_bins, least_bytes, fits, len_bytes, align);
}

struct ashlar_extent *ashlar_kept_oldest(void)
{
    struct ashlar_list *oldest = ashlar_list_first(&ages);
    return oldest != NULL ? ASHLAR_CONTAINER_OF(oldest, struct ashlar_extent, age) : NULL;
}

size_t ashlar_kept_bytes(void)
{
    return dirty_bytes;
}
