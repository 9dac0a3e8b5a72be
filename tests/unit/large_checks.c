/*
 * large_checks.c - the laws of the large path, checked by walking everything
 *
 * Purpose     See large_checks.h.
 */
#include "unit/large_checks.h"

#include "unit/testing.h"

#include "base/bits.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/large.h"
#include "large/mapcache.h"
#include "map/pagemap.h"
#include "unit/fake_os.h"

#define RESERVATIONS_MAX 4096
#define FREE_SLACK_BYTES (16 * ASHLAR_MIB)

static size_t peak_bytes;

static void check_guard_bits(const struct ashlar_extent *extent, enum large_check_depth depth)
{
    const struct ashlar_region *region = extent->region;
    size_t page = ashlar_os_facts.page_bytes;
    size_t first = ashlar_region_bit(region, extent->base, page);
    size_t guard = ashlar_region_bit(region, ashlar_extent_guard(extent), page);
    size_t end = ashlar_region_bit(region, ashlar_extent_end(extent), page);
    bool is_live = extent->state == ASHLAR_EXTENT_LIVE;
    if (is_live) {
        assert_int_equal(ashlar_bitmap_next(region->marked, first, guard), guard);
        assert_int_equal(ashlar_bitmap_next(region->protect, first, guard), guard);
    }
    for (size_t bit = first; depth == LARGE_CHECK_KERNEL && bit < end; bit++) {
        /* Every page at the ends; in the middle the odd one. */
        if (bit > first + 2 && bit + 3 < guard && bit % 61 != 0)
            continue;
        bool is_fenced =
            ashlar_bitmap_get(region->marked, bit) || ashlar_bitmap_get(region->protect, bit);
        if (test_is_readable(region->base + bit * page) == is_fenced)
            fail_msg("page %zu of a region, bit of an extent of %zu bytes in state %d: %s", bit,
                     extent->len_bytes, (int)extent->state,
                     is_fenced ? "no guard stands there" : "a guard stands there");
    }
}

static void check_page_map(const struct ashlar_extent *extent)
{
    size_t page = ashlar_os_facts.page_bytes;
    const struct ashlar_span *expected =
        extent->state == ASHLAR_EXTENT_LIVE ? &extent->span : NULL;
    assert_ptr_equal(ashlar_pagemap_find(extent->base), expected);
    for (char *at = extent->base + page; at < ashlar_extent_end(extent); at += 67 * page)
        assert_null(ashlar_pagemap_find(at));
    assert_null(ashlar_pagemap_find(ashlar_extent_guard(extent)));
}

static void check_extent(const struct ashlar_extent *extent, enum large_check_depth depth,
                         struct large_totals *totals)
{
    size_t page = ashlar_os_facts.page_bytes;
    assert_int_equal((uintptr_t)extent->base % page, 0);
    assert_int_equal(extent->len_bytes % page, 0);
    assert_int_equal(extent->room_bytes % page, 0);
    assert_true(extent->len_bytes != 0);
    assert_true(extent->is_linked);
    assert_int_equal(extent->span.kind, ASHLAR_SPAN_LARGE);
    assert_int_equal(ashlar_list_is_linked(&extent->age), extent->state == ASHLAR_EXTENT_DIRTY);
    assert_int_equal(ashlar_list_is_linked(&extent->bin), extent->state != ASHLAR_EXTENT_LIVE);
    if (extent->state != ASHLAR_EXTENT_LIVE)
        assert_int_equal(extent->room_bytes + extent->surplus_bytes, 0);
    assert_true(extent->surplus_bytes < extent->len_bytes);
    switch (extent->state) {
    case ASHLAR_EXTENT_LIVE:
        totals->live_bytes += extent->len_bytes;
        totals->live_blocks++;
        break;
    case ASHLAR_EXTENT_DIRTY:
        assert_in_range(extent->hole_bytes, 0, extent->len_bytes);
        totals->dirty_bytes += extent->len_bytes - extent->hole_bytes;
        break;
    case ASHLAR_EXTENT_CLEAN:
        assert_int_equal(extent->hole_bytes, 0);
        totals->clean_bytes += extent->len_bytes;
        break;
    case ASHLAR_EXTENT_BUSY:
        fail_msg("an extent is busy though nobody is at work");
    }
    check_guard_bits(extent, depth);
    check_page_map(extent);
    totals->extents++;
}

static void check_region(struct ashlar_region *region, enum large_check_depth depth,
                         struct large_totals *totals)
{
    const struct ashlar_extent *before = NULL;
    const char *at = region->payload;
    for (struct ashlar_list *link = ashlar_list_first(&region->extents); link != NULL;
         link = ashlar_list_next(&region->extents, link)) {
        const struct ashlar_extent *extent =
            ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        assert_ptr_equal(extent->region, region);
        assert_ptr_equal(extent->base, at);
        check_extent(extent, depth, totals);
        if (before != NULL && before->state == extent->state &&
            extent->state != ASHLAR_EXTENT_LIVE)
            fail_msg("two %s neighbours were not joined",
                     extent->state == ASHLAR_EXTENT_DIRTY ? "dirty" : "clean");
        at = ashlar_extent_end(extent);
        before = extent;
    }
    assert_ptr_equal(at, region->edge);
    totals->regions++;
}

static size_t count_bits(const _Atomic uint64_t *map, const struct ashlar_region *region)
{
    size_t count = 0;
    for (size_t i = 0; i < ASHLAR_BITMAP_WORDS(region->npages); i++)
        count += ashlar_bit_count(map[i]);
    return count;
}

/* A mapping that a move made is cut off from what is not of it, and nothing else is cut. */
static void check_cuts(const struct ashlar_region *region)
{
    bool was_moved = false;
    for (size_t bit = 0; bit < region->npages; bit++) {
        if (!was_moved && bit % 64 == 0 && (region->moved[bit / 64] | region->cut[bit / 64]) == 0) {
            bit += 63;
            continue;
        }
        bool is_moved = ashlar_bitmap_get(region->moved, bit);
        bool is_cut = ashlar_bitmap_get(region->cut, bit);
        if (is_cut ? !is_moved && !was_moved : is_moved != was_moved)
            fail_msg("page %zu of a region is %s", bit, is_cut ? "cut off nothing" : "not cut off");
        was_moved = is_moved;
    }
}

struct large_totals large_check(enum large_check_depth depth)
{
    static void *starts[RESERVATIONS_MAX];
    size_t count = fake_os_reservations(starts, RESERVATIONS_MAX);
    struct large_totals totals = {0};
    size_t protected = 0;
    size_t cut = 0;
    for (size_t i = 0; i < count; i++) {
        struct ashlar_region *region = ashlar_region_find(starts[i]);
        assert_ptr_equal(region, starts[i]);
        check_region(region, depth, &totals);
        check_cuts(region);
        protected += count_bits(region->protect, region);
        cut += count_bits(region->cut, region);
    }
    assert_int_equal(totals.regions, ashlar_count_read(regions));
    assert_int_equal(totals.live_bytes, ashlar_count_read(large_counted_bytes));
    assert_int_equal(totals.live_blocks, ashlar_count_read(large_counted_blocks));
    assert_int_equal(totals.dirty_bytes, ashlar_count_read(cache_kept_bytes));
    assert_int_equal(cut, ashlar_count_read(move_mappings));
    assert_int_equal(2 * protected + cut, ashlar_count_read(guard_mappings));
    return totals;
}

void large_check_begin_peak(void)
{
    peak_bytes = ashlar_count_read(large_counted_bytes);
}

void large_check_note_peak(size_t live_bytes)
{
    peak_bytes = ashlar_max_size(peak_bytes, live_bytes);
}

void large_check_law(void)
{
    size_t live = ashlar_count_read(large_counted_bytes);
    size_t kept = ashlar_count_read(cache_kept_bytes);
    peak_bytes = ashlar_max_size(peak_bytes, live);
    size_t limit = peak_bytes + peak_bytes / 100 * (size_t)ashlar_opt.cache_slack;
    if (kept != 0 && live + kept > limit + FREE_SLACK_BYTES)
        fail_msg("live %zu and kept %zu are above the peak of %zu", live, kept, peak_bytes);
    assert_true(kept <= (size_t)ashlar_opt.cache_max);
}

static size_t page_map_bytes(void)
{
    size_t leaves = 0;
    for (size_t i = 0; i < ASHLAR_PAGEMAP_ROOT_COUNT; i++)
        leaves += ashlar_pagemap_root[i] != NULL;
    leaves -= leaves != 0; /* the first one is there from the start */
    return leaves * ASHLAR_PAGEMAP_LEAF_COUNT * sizeof(ashlar_pagemap_entry);
}

void large_check_nothing_held(void)
{
    while (ashlar_large_trim())
        ;
    struct large_totals totals = large_check(LARGE_CHECK_WALK);
    assert_int_equal(totals.live_blocks, 0);
    assert_int_equal(totals.regions, 0);
    assert_int_equal(ashlar_count_read(large_counted_bytes), 0);
    assert_int_equal(ashlar_count_read(surplus_bytes), 0);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 0);
    assert_int_equal(ashlar_count_read(guard_mappings), 0);
    assert_int_equal(ashlar_count_read(move_mappings), 0);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
    assert_int_equal(ashlar_count_read(region_committed_bytes), 0);
    assert_int_equal(fake_os_mapped_bytes(), ashlar_count_read(meta_bytes) + page_map_bytes());
}
