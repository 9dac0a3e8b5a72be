/*
 * test_kept.c - the freed extents by state, length and age
 *
 * Purpose     Extents of two made-up regions, whose memory nobody looks at.
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "large/kept.h"
#include "unit/fake_os.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define EXTENTS 8
#define DIRTY ASHLAR_EXTENT_DIRTY
#define CLEAN ASHLAR_EXTENT_CLEAN

static struct ashlar_region base_region = {.pages = ASHLAR_PAGES_BASE};
static struct ashlar_region huge_region = {.pages = ASHLAR_PAGES_HUGE};
static struct ashlar_extent extents[EXTENTS];

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    memset(extents, 0, sizeof extents);
    return 0;
}

static struct ashlar_extent *make(size_t i, size_t npages, enum ashlar_extent_state state)
{
    extents[i].base = (char *)((i + 1) * 1024 * ASHLAR_GIB);
    extents[i].len_bytes = npages * PAGE;
    extents[i].region = &base_region;
    extents[i].state = state;
    return &extents[i];
}

/* A DIRTY extent freed at `freed_ms`, with so many holes. */
static struct ashlar_extent *keep(size_t i, size_t npages, size_t hole_pages, uint64_t freed_ms)
{
    struct ashlar_extent *extent = make(i, npages, DIRTY);
    extent->hole_bytes = hole_pages * PAGE;
    extent->freed_ms = freed_ms;
    ashlar_kept_list_by_age(extent);
    ashlar_kept_insert(extent);
    return extent;
}

static void drop(struct ashlar_extent *extent)
{
    ashlar_kept_remove(extent);
    ashlar_extent_forget_age(extent);
}

static size_t kept_pages(void)
{
    assert_int_equal(ashlar_count_read(cache_kept_bytes), ashlar_kept_bytes());
    return ashlar_kept_bytes() / PAGE;
}

/* Drops the oldest one after the other: they have to be these. */
static void expect_ages(size_t count, const size_t *order)
{
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(ashlar_kept_oldest(), &extents[order[i]]);
        drop(&extents[order[i]]);
    }
    assert_null(ashlar_kept_oldest());
    assert_int_equal(kept_pages(), 0);
}

static void nothing_is_kept_at_first(void **state)
{
    (void)state;
    assert_null(ashlar_kept_oldest());
    assert_null(ashlar_kept_find_dirty(PAGE, PAGE));
    assert_null(ashlar_kept_find_clean(ASHLAR_PAGES_BASE, PAGE, PAGE));
    assert_int_equal(kept_pages(), 0);
}

static void dirty_pages_count_without_holes_and_clean_ones_do_not(void **state)
{
    (void)state;
    struct ashlar_extent *full = keep(0, 20, 0, 1);
    struct ashlar_extent *holey = keep(1, 10, 4, 2);
    struct ashlar_extent *clean = make(2, 30, CLEAN);
    assert_int_equal(kept_pages(), 26);
    ashlar_kept_insert(clean);
    assert_int_equal(kept_pages(), 26);
    drop(full);
    assert_int_equal(kept_pages(), 6);
    drop(holey);
    ashlar_kept_remove(clean);
    assert_int_equal(kept_pages(), 0);
}

static void who_asks_for_one_state_gets_no_other(void **state)
{
    (void)state;
    struct ashlar_extent *dirty = keep(0, 20, 0, 1);
    struct ashlar_extent *clean = make(1, 20, CLEAN);
    struct ashlar_extent *huge = make(2, 20, CLEAN);
    huge->region = &huge_region;
    ashlar_kept_insert(clean);
    ashlar_kept_insert(huge);
    assert_ptr_equal(ashlar_kept_find_dirty(20 * PAGE, PAGE), dirty);
    assert_ptr_equal(ashlar_kept_find_clean(ASHLAR_PAGES_BASE, 20 * PAGE, PAGE), clean);
    assert_ptr_equal(ashlar_kept_find_clean(ASHLAR_PAGES_HUGE, 20 * PAGE, PAGE), huge);
    assert_null(ashlar_kept_find_dirty(21 * PAGE, PAGE));
    ashlar_kept_remove(huge);
    assert_null(ashlar_kept_find_clean(ASHLAR_PAGES_HUGE, PAGE, PAGE));
    drop(dirty);
    assert_null(ashlar_kept_find_dirty(PAGE, PAGE));
    ashlar_kept_remove(clean);
}

static bool has_even_pages(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    (void)align;
    return extent->len_bytes >= len_bytes && extent->len_bytes / PAGE % 2 == 0;
}

static void the_longest_is_dirty_and_fits(void **state)
{
    (void)state;
    struct ashlar_extent *clean = make(3, 400, CLEAN);
    ashlar_kept_insert(clean);
    assert_null(ashlar_kept_longest_dirty(PAGE, has_even_pages, PAGE, PAGE));
    keep(0, 20, 0, 1);
    keep(1, 40, 0, 2);
    keep(2, 81, 0, 3);
    assert_ptr_equal(ashlar_kept_longest_dirty(PAGE, has_even_pages, PAGE, PAGE), &extents[1]);
    assert_null(ashlar_kept_longest_dirty(PAGE, has_even_pages, 41 * PAGE, PAGE));
    assert_null(ashlar_kept_longest_dirty(60 * PAGE, has_even_pages, PAGE, PAGE));
    ashlar_kept_remove(clean);
    expect_ages(3, (const size_t[]){0, 1, 2});
}

static void the_oldest_goes_first_whatever_the_order_they_came_in(void **state)
{
    (void)state;
    static const uint64_t freed_ms[] = {30, 10, 20, 40, 10};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(freed_ms); i++)
        keep(i, 5 + i, 0, freed_ms[i]);
    expect_ages(5, (const size_t[]){1, 4, 2, 0, 3});
}

static void a_piece_stands_behind_what_it_was_cut_from(void **state)
{
    (void)state;
    keep(0, 5, 0, 10);
    struct ashlar_extent *origin = keep(1, 5, 0, 20);
    keep(2, 5, 0, 20);
    ashlar_kept_remove(origin);
    struct ashlar_extent *piece = make(3, 7, DIRTY);
    piece->freed_ms = origin->freed_ms;
    ashlar_kept_insert_piece(piece, origin);
    assert_int_equal(kept_pages(), 17);
    ashlar_kept_insert(origin); /* where it stood before */
    assert_ptr_equal(ashlar_kept_find_dirty(7 * PAGE, PAGE), piece);
    expect_ages(4, (const size_t[]){0, 1, 3, 2});
    origin = make(4, 9, CLEAN);
    piece = make(5, 8, CLEAN);
    ashlar_kept_insert_piece(piece, origin);
    assert_null(ashlar_kept_oldest()); /* clean ones have no age */
    assert_ptr_equal(ashlar_kept_find_clean(ASHLAR_PAGES_BASE, 8 * PAGE, PAGE), piece);
    ashlar_kept_remove(piece);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_kept_at_first),
        CASE(dirty_pages_count_without_holes_and_clean_ones_do_not),
        CASE(who_asks_for_one_state_gets_no_other),
        CASE(the_longest_is_dirty_and_fits),
        CASE(the_oldest_goes_first_whatever_the_order_they_came_in),
        CASE(a_piece_stands_behind_what_it_was_cut_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
