/*
 * test_pieces.c - the kernel mappings that moves make
 *
 * Purpose     On 64 pages of a real region. What is noted is compared with a model that knows the
 *             move that each page came by: where two pages side by side did not come by the same
 *             one there is a cut.
 */
#include "unit/testing.h"

#include "base/bits.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "large/pieces.h"
#include "large/purge.h"
#include "large/recycle.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define PAGES 64
#define BUDGET 40

static struct ashlar_region *region;
static char *block;

/* The number of the move that a page came by; 0: it is a fresh one, as those beside the block. */
static unsigned came_by[PAGES];
static unsigned last_move;

static char *page_at(size_t i)
{
    return block + i * PAGE;
}

/* A page in front of the block, and one behind it, are never moved. */
static int begin(void **state)
{
    (void)state;
    size_t taken_bytes;
    fake_os_reset();
    test_restore_defaults();
    fake_os_max_map_count = 2 * BUDGET;
    memset(came_by, 0, sizeof came_by);
    char *base = ashlar_region_take((PAGES + 2) * PAGE, PAGE, ASHLAR_PAGES_BASE, &region,
                                    &taken_bytes);
    assert_non_null(base);
    block = base + PAGE;
    return 0;
}

static size_t mappings(void)
{
    assert_int_equal(ashlar_count_read(guard_mappings), ashlar_count_read(move_mappings));
    return ashlar_count_read(move_mappings);
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    assert_true(ashlar_pieces_renew(region, block, page_at(PAGES)));
    assert_int_equal(mappings(), 0);
    assert_int_equal(ashlar_pieces_count(region), 0);
    assert_true(ashlar_region_retire(region, region->payload, region->edge));
    assert_true(ashlar_region_unmap(region));
    return 0;
}

static bool is_cut(size_t i)
{
    unsigned before = i != 0 ? came_by[i - 1] : 0;
    unsigned behind = i != PAGES ? came_by[i] : 0;
    return before != behind;
}

static void expect_model(void)
{
    size_t cuts = 0;
    for (size_t i = 0; i <= PAGES; i++) {
        size_t bit = ashlar_region_bit(region, page_at(i), PAGE);
        if (ashlar_bitmap_get(region->cut, bit) != is_cut(i))
            fail_msg("page %zu is%s cut off", i, is_cut(i) ? " not" : "");
        if (i < PAGES)
            assert_int_equal(ashlar_bitmap_get(region->moved, bit), came_by[i] != 0);
        cuts += is_cut(i);
    }
    assert_int_equal(ashlar_pieces_count(region), cuts);
    assert_int_equal(mappings(), cuts);
}

static void note(size_t first, size_t end_page)
{
    last_move++;
    for (size_t i = first; i < end_page; i++)
        came_by[i] = last_move;
    ashlar_pieces_note_moved(region, page_at(first), page_at(end_page));
    expect_model();
}

static void renew(size_t first, size_t end_page)
{
    for (size_t i = first; i < end_page; i++)
        came_by[i] = 0;
    assert_true(ashlar_pieces_renew(region, page_at(first), page_at(end_page)));
    expect_model();
}

static bool is_any(size_t first, size_t end_page)
{
    return ashlar_pieces_is_any(region, page_at(first), page_at(end_page));
}

/* The page before which the mapping of page `i` ends, `end_page` at most. */
static size_t next(size_t i, size_t end_page)
{
    return (size_t)(ashlar_pieces_next(region, page_at(i), page_at(end_page)) - block) / PAGE;
}

static void a_moved_range_is_cut_off_at_both_ends(void **state)
{
    (void)state;
    assert_int_equal(mappings(), 0);
    note(8, 24);
    assert_int_equal(mappings(), 2);
    assert_true(is_any(0, PAGES));
    assert_true(is_any(23, 30));
    assert_true(is_any(5, 9));
    assert_false(is_any(0, 8));
    assert_false(is_any(24, PAGES));
    assert_false(is_any(10, 10));
    note(0, 1); /* one page, too */
    note(PAGES - 1, PAGES);
    assert_int_equal(mappings(), 6);
}

static void ranges_side_by_side_share_a_cut(void **state)
{
    (void)state;
    note(8, 16);
    note(16, 24);
    assert_int_equal(mappings(), 3);
    note(4, 8);
    assert_int_equal(mappings(), 4);
}

static void a_range_inside_another_cuts_it_in_two(void **state)
{
    (void)state;
    note(8, 32);
    note(12, 20);
    assert_int_equal(mappings(), 4);
    note(20, 32); /* what was left of the first one behind it */
    assert_int_equal(mappings(), 4);
    note(8, 12);
    assert_int_equal(mappings(), 4);
}

static void a_range_over_others_takes_the_place_of_their_cuts(void **state)
{
    (void)state;
    for (size_t i = 8; i < 40; i += 4)
        note(i, i + 4);
    assert_int_equal(mappings(), 9);
    note(10, 38);
    assert_int_equal(mappings(), 4);
    note(8, 40);
    assert_int_equal(mappings(), 2);
    note(8, 40);
    assert_int_equal(mappings(), 2);
}

static void a_renewed_range_is_joined_with_what_lies_beside_it(void **state)
{
    (void)state;
    note(8, 24);
    renew(8, 24);
    assert_int_equal(mappings(), 0);
    assert_false(is_any(0, PAGES));
    note(8, 24);
    renew(4, 40); /* with fresh pages on both sides */
    assert_int_equal(mappings(), 0);
}

static void a_part_renewed_at_an_end_moves_the_cut(void **state)
{
    (void)state;
    note(8, 24);
    renew(8, 12);
    assert_int_equal(mappings(), 2);
    renew(20, 24);
    assert_int_equal(mappings(), 2);
    assert_int_equal(next(8, PAGES), 12);
    assert_int_equal(next(12, PAGES), 20);
}

/* Symptom: the mappings on both sides of a purged piece of a moved block were not counted, and a
   later move asked for both by one call. */
static void a_part_renewed_in_the_middle_leaves_two(void **state)
{
    (void)state;
    note(8, 24);
    renew(12, 16);
    assert_int_equal(mappings(), 4);
    assert_int_equal(next(8, 24), 12);
    assert_int_equal(next(16, 24), 24);
    renew(8, 12);
    assert_int_equal(mappings(), 2);
}

static void beside_a_moved_range_a_renewed_one_stays_cut_off(void **state)
{
    (void)state;
    note(8, 16);
    note(16, 24);
    renew(8, 16);
    assert_int_equal(mappings(), 2);
    note(8, 16);
    renew(16, 24);
    assert_int_equal(mappings(), 2);
    renew(8, 16);
    assert_int_equal(mappings(), 0);
}

static void a_fresh_range_renewed_changes_nothing(void **state)
{
    (void)state;
    renew(0, PAGES);
    note(8, 16);
    renew(16, 24);
    renew(4, 8);
    renew(40, 41);
    assert_int_equal(mappings(), 2);
}

static void what_the_kernel_will_not_renew_stays_as_it_is(void **state)
{
    (void)state;
    note(8, 16);
    fake_os_fail(FAKE_OS_MAP_OVER, 0, 1, ENOMEM);
    assert_false(ashlar_pieces_renew(region, page_at(8), page_at(16)));
    fake_os_obey();
    expect_model();
}

static void a_renewed_range_has_no_guards(void **state)
{
    (void)state;
    for (int mode = ASHLAR_GUARD_AUTO; mode <= ASHLAR_GUARD_MPROTECT; mode += 2) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, mode);
        note(8, 16);
        ashlar_guard_set(region, page_at(10));
        assert_false(test_is_readable(page_at(10)));
        renew(8, 16); /* what the guard has cost is returned, too */
        assert_true(test_is_readable(page_at(10)));
        assert_int_equal(mappings(), 0);
    }
}

static void the_next_cut_ends_a_mapping(void **state)
{
    (void)state;
    assert_int_equal(next(0, PAGES), PAGES);
    note(8, 16);
    note(16, 24);
    assert_int_equal(next(0, PAGES), 8);
    assert_int_equal(next(7, PAGES), 8);
    assert_int_equal(next(8, PAGES), 16);
    assert_int_equal(next(8, 16), 16);
    assert_int_equal(next(8, 12), 12);
    assert_int_equal(next(10, PAGES), 16);
    assert_int_equal(next(16, PAGES), 24);
    assert_int_equal(next(24, PAGES), PAGES);
    assert_int_equal(next(12, 12), 12);
}

static void there_is_room_for_a_move_while_two_mappings_are_left(void **state)
{
    (void)state;
    assert_true(ashlar_pieces_has_room());
    assert_int_equal(mappings(), 0); /* asking spends nothing */
    assert_true(ashlar_guard_spend_mappings(BUDGET - 4));
    ashlar_pieces_note_moved(region, page_at(8), page_at(16));
    assert_true(ashlar_pieces_has_room());
    ashlar_pieces_note_moved(region, page_at(16), page_at(17));
    assert_false(ashlar_pieces_has_room());
    ashlar_guard_return_mappings(BUDGET - 4);
    assert_int_equal(mappings(), 3);
}

static void a_patchwork_that_is_moved_keeps_its_cuts(void **state)
{
    (void)state;
    static const size_t from_pages[] = {20, 4, 12, 8};
    for (size_t i = 0; i < PAGES; i++)
        memset(page_at(i), (int)i + 1, PAGE);
    for (size_t i = 0; i < 4; i++) {
        char *from = page_at(from_pages[i]);
        assert_int_equal(ashlar_recycle_move(region, from, region, page_at(40 + 2 * i), 2 * PAGE),
                         2 * PAGE);
    }
    assert_true(ashlar_pieces_renew(region, block, page_at(32)));
    assert_int_equal(mappings(), 5);
    assert_int_equal(ashlar_recycle_move(region, page_at(38), region, page_at(2), 12 * PAGE),
                     12 * PAGE);
    assert_true(ashlar_pieces_renew(region, page_at(38), page_at(50)));
    /* Four pieces, and two pages on either side of them. */
    assert_int_equal(mappings(), 7);
    for (size_t i = 2; i < 14; i++)
        assert_int_equal(next(i, 14), i / 2 * 2 + 2);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(*page_at(4 + i), from_pages[i / 2] + i % 2 + 1);
    assert_int_equal(*page_at(2), 38 + 1);
    assert_int_equal(*page_at(13), 49 + 1);
    assert_true(test_is_zero(page_at(38), 12 * PAGE));
}

static void what_a_retired_region_had_is_returned(void **state)
{
    (void)state;
    size_t taken_bytes;
    struct ashlar_extent *extent = ashlar_extent_new();
    /* Too long for the other region. */
    extent->base = ashlar_region_take(ASHLAR_GIB, PAGE, ASHLAR_PAGES_BASE, &extent->region,
                                      &taken_bytes);
    assert_non_null(extent->base);
    assert_ptr_not_equal(extent->region, region);
    extent->len_bytes = taken_bytes - PAGE;
    note(8, 16);
    assert_int_equal(ashlar_recycle_move(region, block, extent->region, extent->base, 4 * PAGE),
                     4 * PAGE);
    ashlar_pieces_note_moved(extent->region, extent->base + 9 * PAGE, extent->base + 12 * PAGE);
    assert_int_equal(ashlar_pieces_count(extent->region), 4);
    assert_int_equal(mappings(), 4 + 4);
    ashlar_mapcache_put(extent, ASHLAR_EXTENT_DIRTY, ashlar_os_now_ms());
    fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
    (void)ashlar_purge_all();
    assert_int_equal(mappings(), 4 + 4);
    fake_os_obey();
    assert_true(ashlar_purge_all());
    assert_int_equal(mappings(), 4);
    assert_int_equal(ashlar_pieces_count(region), 4);
}

static void random_moves_and_renewals_are_counted_exactly(void **state)
{
    (void)state;
    uint64_t seed = 1;
    size_t most = 0;
    for (int step = 0; step < 5000; step++) {
        size_t first = test_random_below(&seed, PAGES);
        size_t len = 1 + test_random_below(&seed, 12);
        size_t end_page = ashlar_min_size(first + len, PAGES);
        if (test_random_below(&seed, 5) < 3)
            note(first, end_page);
        else
            renew(first, end_page);
        most = ashlar_max_size(most, mappings());
        size_t from = test_random_below(&seed, PAGES);
        size_t to = from + 1;
        while (to < PAGES && !is_cut(to))
            to++;
        assert_int_equal(next(from, PAGES), to);
    }
    assert_true(most > 15);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_moved_range_is_cut_off_at_both_ends),
        CASE(ranges_side_by_side_share_a_cut),
        CASE(a_range_inside_another_cuts_it_in_two),
        CASE(a_range_over_others_takes_the_place_of_their_cuts),
        CASE(a_renewed_range_is_joined_with_what_lies_beside_it),
        CASE(a_part_renewed_at_an_end_moves_the_cut),
        CASE(a_part_renewed_in_the_middle_leaves_two),
        CASE(beside_a_moved_range_a_renewed_one_stays_cut_off),
        CASE(a_fresh_range_renewed_changes_nothing),
        CASE(what_the_kernel_will_not_renew_stays_as_it_is),
        CASE(a_renewed_range_has_no_guards),
        CASE(the_next_cut_ends_a_mapping),
        CASE(there_is_room_for_a_move_while_two_mappings_are_left),
        CASE(a_patchwork_that_is_moved_keeps_its_cuts),
        CASE(what_a_retired_region_had_is_returned),
        CASE(random_moves_and_renewals_are_counted_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
