/*
 * test_bins.c - freed extents by length
 *
 * Purpose     Bins look at the base and the length of an extent and never at its memory, so the
 *             extents here stand for addresses that nobody touches.
 */
#include "unit/testing.h"

#include "large/bins.h"
#include "unit/fake_os.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define EXTENTS 64
#define LONGEST_TRIES 16

static struct ashlar_bins bins;
static struct ashlar_extent extents[EXTENTS];
static bool is_kept[EXTENTS];

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    memset(&bins, 0, sizeof bins);
    memset(extents, 0, sizeof extents);
    memset(is_kept, 0, sizeof is_kept);
    return 0;
}

static void keep_at(size_t i, uintptr_t base, size_t npages)
{
    extents[i].base = (char *)base;
    extents[i].len_bytes = npages * PAGE;
    ashlar_bins_insert(&bins, &extents[i]);
    is_kept[i] = true;
}

/* Keeps extent i with a length of its own, at an address with every alignment there is. */
static struct ashlar_extent *keep(size_t i, size_t npages)
{
    keep_at(i, (i + 1) * 1024 * ASHLAR_GIB, npages);
    return &extents[i];
}

static void drop(size_t i)
{
    ashlar_bins_remove(&bins, &extents[i]);
    is_kept[i] = false;
}

static struct ashlar_extent *find(size_t npages)
{
    return ashlar_bins_find(&bins, npages * PAGE, PAGE);
}

static bool can_hold(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    return ashlar_bins_place(extent, len_bytes, align) != NULL;
}

/* The longest one in which so much can be placed. */
static struct ashlar_extent *longest(size_t len_bytes, size_t align)
{
    return ashlar_bins_longest(&bins, len_bytes, can_hold, len_bytes, align);
}

static unsigned bin_of(const struct ashlar_extent *extent)
{
    return ashlar_bins_of(extent->len_bytes / PAGE);
}

static void expect_none_left(void)
{
    assert_int_equal(ashlar_bitmap_next(bins.filled, 0, ASHLAR_BINS_COUNT), ASHLAR_BINS_COUNT);
    for (size_t bin = 0; bin < ASHLAR_BINS_COUNT; bin++)
        assert_true(ashlar_list_is_empty(&bins.bin[bin]));
}

static void each_length_up_to_16_pages_has_a_bin_and_each_doubling_eight(void **state)
{
    (void)state;
    for (size_t npages = 2; npages <= 16; npages++)
        assert_true(ashlar_bins_of(npages) != ashlar_bins_of(npages - 1));
    for (size_t doubling = 16; doubling <= (size_t)1 << 36; doubling *= 2) {
        for (size_t eighth = 0; eighth < 8; eighth++) {
            size_t first = doubling + eighth * (doubling / 8);
            assert_int_equal(ashlar_bins_of(first), ashlar_bins_of(first - 1) + 1);
            assert_int_equal(ashlar_bins_of(first), ashlar_bins_of(first + doubling / 8 - 1));
        }
    }
}

static void the_longest_lengths_share_the_last_bin(void **state)
{
    (void)state;
    assert_int_equal(ashlar_bins_of(((size_t)1 << 37) - 1), ASHLAR_BINS_COUNT - 1);
    assert_int_equal(ashlar_bins_of((size_t)1 << 37), ASHLAR_BINS_COUNT - 1);
    assert_int_equal(ashlar_bins_of(SIZE_MAX), ASHLAR_BINS_COUNT - 1);
    /* One there may still be too short. */
    struct ashlar_extent *extent = keep(0, ((size_t)1 << 37) - 1);
    assert_ptr_equal(find(((size_t)1 << 37) - 1), extent);
    assert_null(find((size_t)1 << 37));
    assert_null(find(SIZE_MAX / PAGE));
}

static void nothing_is_found_where_nothing_was_put(void **state)
{
    (void)state;
    assert_null(find(1));
    assert_null(longest(PAGE, PAGE));
    keep(0, 5);
    drop(0);
    assert_null(find(1));
    assert_null(longest(PAGE, PAGE));
    expect_none_left();
}

static void an_extent_serves_its_own_length_and_none_above(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 35, 36, 1000, 65535, 65536};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(lengths); i++) {
        struct ashlar_extent *extent = keep(0, lengths[i]);
        assert_ptr_equal(find(lengths[i]), extent);
        assert_ptr_equal(find(1), extent);
        assert_null(find(lengths[i] + 1));
        assert_null(ashlar_bins_find(&bins, SIZE_MAX - PAGE + 1, PAGE));
        drop(0);
    }
}

static void the_shortest_that_fits_is_found(void **state)
{
    (void)state;
    struct ashlar_extent *three = keep(0, 3);
    struct ashlar_extent *nine = keep(1, 9);
    struct ashlar_extent *million = keep(2, 1000000);
    assert_ptr_equal(find(2), three);
    assert_ptr_equal(find(3), three);
    assert_ptr_equal(find(4), nine);
    assert_ptr_equal(find(10), million);
    drop(0);
    assert_ptr_equal(find(2), nine);
}

/* 32 to 35 pages are of one bin. */
static void one_of_the_same_bin_that_is_too_short_is_passed_over(void **state)
{
    (void)state;
    struct ashlar_extent *longer = keep(0, 100);
    struct ashlar_extent *fits = keep(1, 35);
    keep(2, 33);
    assert_int_equal(ashlar_bins_of(33), ashlar_bins_of(35));
    assert_ptr_equal(find(34), fits);
    drop(1);
    assert_ptr_equal(find(34), longer);
}

static void the_last_one_put_is_the_first_one_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXTENTS; i++)
        keep(i, 7);
    for (size_t i = EXTENTS; i-- > 0;) {
        assert_ptr_equal(find(7), &extents[i]);
        drop(i);
    }
    expect_none_left();
}

static void what_is_found_stays_until_it_is_removed(void **state)
{
    (void)state;
    struct ashlar_extent *extent = keep(0, 7);
    assert_ptr_equal(find(7), extent);
    assert_ptr_equal(find(7), extent);
    assert_true(ashlar_list_is_linked(&extent->bin));
    drop(0);
    assert_false(ashlar_list_is_linked(&extent->bin));
}

static void a_place_leaves_a_front_that_can_be_an_extent(void **state)
{
    (void)state;
    uintptr_t unit = 256 * ASHLAR_KIB;
    struct ashlar_extent *extent = &extents[0];
    extent->len_bytes = 2 * unit;
    extent->base = (char *)(64 * unit);
    assert_ptr_equal(ashlar_bins_place(extent, unit, unit), extent->base);
    assert_ptr_equal(ashlar_bins_place(extent, 2 * unit, unit), extent->base);
    assert_null(ashlar_bins_place(extent, 2 * unit + PAGE, unit));
    extent->base = (char *)(64 * unit - 2 * PAGE); /* room for a page and its guard */
    assert_ptr_equal(ashlar_bins_place(extent, unit, unit), (char *)(64 * unit));
    assert_ptr_equal(ashlar_bins_place(extent, 2 * unit - 2 * PAGE, unit), (char *)(64 * unit));
    assert_null(ashlar_bins_place(extent, 2 * unit - PAGE, unit));
    extent->base = (char *)(64 * unit - PAGE); /* not for both */
    assert_ptr_equal(ashlar_bins_place(extent, unit - PAGE, unit), (char *)(65 * unit));
    assert_null(ashlar_bins_place(extent, unit, unit));
    assert_null(ashlar_bins_place(extent, PAGE, (size_t)1 << 62));
}

static void a_coarse_alignment_is_found_where_it_fits(void **state)
{
    (void)state;
    uintptr_t unit = 256 * ASHLAR_KIB;
    size_t unit_pages = unit / PAGE;
    keep_at(0, 64 * unit + 2 * PAGE, unit_pages); /* long enough, but not at a multiple */
    assert_null(ashlar_bins_find(&bins, unit, unit));
    keep_at(1, 80 * unit + 2 * PAGE, 2 * unit_pages);
    assert_ptr_equal(ashlar_bins_find(&bins, unit, unit), &extents[1]);
    assert_ptr_equal(longest(unit, unit), &extents[1]);
    assert_null(longest(2 * unit, 2 * unit));
    /* From a multiple on there is less of it than it has. */
    assert_null(longest(2 * unit, unit));
    assert_ptr_equal(longest(2 * unit, PAGE), &extents[1]);
    assert_ptr_equal(longest(PAGE, unit), &extents[1]);
    keep_at(2, 96 * unit, unit_pages);
    assert_ptr_equal(ashlar_bins_find(&bins, unit, unit), &extents[2]);
    drop(1);
    keep_at(3, 112 * unit + 2 * PAGE, 2 * unit_pages - 4); /* longer, and badly placed again */
    assert_ptr_equal(ashlar_bins_find(&bins, unit, unit), &extents[2]);
    assert_ptr_equal(longest(unit, unit), &extents[2]);
}

static void the_longest_one_is_of_the_highest_bin(void **state)
{
    (void)state;
    keep(0, 20);
    struct ashlar_extent *longer = keep(1, 4000);
    keep(2, 256);
    assert_ptr_equal(longest(PAGE, PAGE), longer);
    assert_ptr_equal(longest(2048 * PAGE, PAGE), longer);
    assert_null(longest(4096 * PAGE, PAGE));
    drop(1);
    assert_ptr_equal(longest(PAGE, PAGE), &extents[2]);
    assert_ptr_equal(longest(256 * PAGE, PAGE), &extents[2]);
    assert_null(longest(512 * PAGE, PAGE));
    longer = keep(3, (size_t)1 << 37);
    assert_ptr_equal(longest(PAGE, PAGE), longer);
}

/* What the predicate below was asked about, in order, and what it says yes to. */
static const struct ashlar_extent *asked[EXTENTS];
static size_t asked_count;
static const struct ashlar_extent *wanted;

static bool is_wanted(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    assert_int_equal(len_bytes, 7 * PAGE);
    assert_int_equal(align, 2 * PAGE);
    assert_true(asked_count < EXTENTS);
    asked[asked_count++] = extent;
    return extent == wanted;
}

static struct ashlar_extent *search_longest(size_t least_pages)
{
    asked_count = 0;
    return ashlar_bins_longest(&bins, least_pages * PAGE, is_wanted, 7 * PAGE, 2 * PAGE);
}

static void the_asker_says_which_of_the_long_ones_will_do(void **state)
{
    (void)state;
    wanted = keep(0, 33);
    keep(1, 100);
    keep(2, 4000);
    keep(3, 20);
    assert_ptr_equal(search_longest(1), wanted);
    assert_int_equal(asked_count, 3); /* from the longest down, and no further than that */
    assert_ptr_equal(asked[0], &extents[2]);
    assert_ptr_equal(asked[1], &extents[1]);
    assert_ptr_equal(asked[2], &extents[0]);
    assert_ptr_equal(search_longest(34), wanted); /* whose bin it is of */
    assert_null(search_longest(36));
    assert_int_equal(asked_count, 2);
    assert_null(search_longest(4096));
    assert_int_equal(asked_count, 0);
    drop(0);
    assert_null(search_longest(1));
    assert_int_equal(asked_count, 3);
}

static void of_many_long_ones_some_are_looked_at(void **state)
{
    (void)state;
    wanted = keep(0, 4000);
    for (size_t i = 1; i < 40; i++)
        keep(i, i < 32 ? 4000 : 8000);
    assert_null(search_longest(1));
    assert_int_equal(asked_count, LONGEST_TRIES);
    for (size_t i = 0; i < LONGEST_TRIES; i++) /* warm ones first */
        assert_ptr_equal(asked[i], &extents[39 - i]);
    wanted = &extents[40 - LONGEST_TRIES];
    assert_ptr_equal(search_longest(1), wanted);
    wanted = &extents[39 - LONGEST_TRIES];
    assert_null(search_longest(1));
}

/* True when some multiple of `align` in the extent will do: tried page by page. */
static bool can_place(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    for (size_t front = 0; front + len_bytes <= extent->len_bytes; front += PAGE)
        if (front != PAGE && ashlar_is_aligned(extent->base + front, align))
            return true;
    return false;
}

static void expect_placed(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    const char *place = ashlar_bins_place(extent, len_bytes, align);
    if (!can_place(extent, len_bytes, align)) {
        assert_null(place);
        return;
    }
    assert_true(ashlar_is_aligned(place, align));
    assert_true(place == extent->base || place >= extent->base + 2 * PAGE);
    assert_true(place + len_bytes <= ashlar_extent_guard(extent));
}

static void random_places_are_found_when_there_are_any(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int step = 0; step < 20000; step++) {
        extents[0].base = (char *)(ASHLAR_GIB + test_random_below(&seed, 128) * PAGE);
        extents[0].len_bytes = (1 + test_random_below(&seed, 100)) * PAGE;
        expect_placed(&extents[0], (1 + test_random_below(&seed, 100)) * PAGE,
                      PAGE << test_random_below(&seed, 7));
    }
}

/* The shortest kept extent that fits, by looking at each of them; and whether bits and lists tell
   the same. */
static struct ashlar_extent *search_all(size_t len_bytes, size_t align)
{
    struct ashlar_extent *best = NULL;
    for (size_t i = 0; i < EXTENTS; i++)
        if (is_kept[i] && can_place(&extents[i], len_bytes, align) &&
            (best == NULL || extents[i].len_bytes < best->len_bytes))
            best = &extents[i];
    return best;
}

static size_t count_in_bin(unsigned bin)
{
    size_t count = 0;
    for (size_t i = 0; i < EXTENTS; i++)
        count += is_kept[i] && bin_of(&extents[i]) == bin;
    return count;
}

static void expect_bits_as_model(void)
{
    for (unsigned bin = 0; bin < ASHLAR_BINS_COUNT; bin++) {
        size_t count = 0;
        for (struct ashlar_list *link = ashlar_list_first(&bins.bin[bin]); link != NULL;
             link = ashlar_list_next(&bins.bin[bin], link))
            count++;
        assert_int_equal(count, count_in_bin(bin));
        assert_int_equal(ashlar_bitmap_get(bins.filled, bin), count != 0);
    }
}

/* Few in each bin: of many only some are looked at. */
static void keep_random(size_t i, uint64_t *seed)
{
    size_t npages = 1 + test_random_below(seed, (size_t)1 << (1 + test_random_below(seed, 12)));
    uintptr_t base = (i + 1) * 1024 * ASHLAR_GIB + test_random_below(seed, 64) * PAGE;
    if (count_in_bin(ashlar_bins_of(npages)) < 4)
        keep_at(i, base, npages);
}

static void what_is_found_is_of_the_bin_of_the_best_fit(void **state)
{
    (void)state;
    for (size_t page = 4096; page <= 65536; page *= 16) {
        uint64_t seed = page;
        (void)begin(NULL);
        ashlar_os_facts.page_bytes = page;
        for (int step = 0; step < 6000; step++) {
            size_t i = test_random_below(&seed, EXTENTS);
            if (is_kept[i])
                drop(i);
            else
                keep_random(i, &seed);
            size_t len = PAGE * (1 + test_random_below(&seed, 1u << test_random_below(&seed, 13)));
            size_t align = PAGE << (test_random_below(&seed, 3) * 4);
            struct ashlar_extent *best = search_all(len, align);
            struct ashlar_extent *found = ashlar_bins_find(&bins, len, align);
            assert_int_equal(found != NULL, best != NULL);
            if (step % 64 == 0)
                expect_bits_as_model();
            if (found == NULL)
                continue;
            assert_true(is_kept[found - extents]);
            assert_true(can_place(found, len, align));
            assert_int_equal(bin_of(found), bin_of(best));
        }
    }
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_length_up_to_16_pages_has_a_bin_and_each_doubling_eight),
        CASE(the_longest_lengths_share_the_last_bin),
        CASE(nothing_is_found_where_nothing_was_put),
        CASE(an_extent_serves_its_own_length_and_none_above),
        CASE(the_shortest_that_fits_is_found),
        CASE(one_of_the_same_bin_that_is_too_short_is_passed_over),
        CASE(the_last_one_put_is_the_first_one_found),
        CASE(what_is_found_stays_until_it_is_removed),
        CASE(a_place_leaves_a_front_that_can_be_an_extent),
        CASE(a_coarse_alignment_is_found_where_it_fits),
        CASE(the_longest_one_is_of_the_highest_bin),
        CASE(the_asker_says_which_of_the_long_ones_will_do),
        CASE(of_many_long_ones_some_are_looked_at),
        CASE(random_places_are_found_when_there_are_any),
        CASE(what_is_found_is_of_the_bin_of_the_best_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
