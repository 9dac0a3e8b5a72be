/*
 * test_guard.c - inaccessible pages between large blocks
 *
 * Purpose     On 128 pages of a real region: whether a guard stands is asked of the kernel. The
 *             process may have few kernel mappings here, so that the budget ends within a test.
 */
#include "unit/testing.h"

#include <pthread.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "unit/fake_os.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define PAGES 128

/* An inaccessible page in the middle of a mapping makes three of one. */
#define PROTECT_MAPPINGS 2
#define BUDGET 40

static struct ashlar_region *region;
static char *block;

static void use(enum ashlar_guard_mode mode)
{
    assert_true(ashlar_option_set(ASHLAR_OPTION_guard, mode));
}

static int begin(void **state)
{
    (void)state;
    size_t taken_bytes;
    fake_os_reset();
    fake_os_max_map_count = 2 * BUDGET;
    use(ASHLAR_GUARD_AUTO);
    block = ashlar_region_take(PAGES * PAGE, PAGE, ASHLAR_PAGES_BASE, &region, &taken_bytes);
    assert_non_null(block);
    memset(block, 1, PAGES * PAGE);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    assert_true(ashlar_guard_clear(region, block, block + PAGES * PAGE));
    assert_int_equal(ashlar_count_read(guard_mappings), 0);
    assert_true(ashlar_region_retire(region, region->payload, region->edge));
    assert_true(ashlar_region_unmap(region));
    return 0;
}

static char *page_at(size_t i)
{
    return block + i * PAGE;
}

static bool has_bit(const _Atomic uint64_t *map, size_t i)
{
    return ashlar_bitmap_get(map, ashlar_region_bit(region, page_at(i), PAGE));
}

static bool is_fenced(size_t i)
{
    bool is_known = has_bit(region->marked, i) || has_bit(region->protect, i);
    assert_int_equal(test_is_readable(page_at(i)), !is_known);
    return is_known;
}

static void expect_open(size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        assert_false(is_fenced(i));
}

static size_t mappings(void)
{
    return ashlar_count_read(guard_mappings);
}

static void a_guard_is_one_page_by_the_means_that_options_name(void **state)
{
    (void)state;
    static const enum ashlar_guard_mode modes[] = {ASHLAR_GUARD_AUTO, ASHLAR_GUARD_MADVISE,
                                                   ASHLAR_GUARD_MPROTECT, ASHLAR_GUARD_OFF};
    for (size_t m = 0; m < 4; m++) {
        use(modes[m]);
        bool is_marker = ashlar_os_facts.has_guard_markers && modes[m] <= ASHLAR_GUARD_MADVISE;
        bool is_protect = modes[m] == ASHLAR_GUARD_MPROTECT ||
                          (modes[m] == ASHLAR_GUARD_AUTO && !is_marker);
        ashlar_guard_set(region, page_at(5));
        assert_int_equal(has_bit(region->marked, 5), is_marker);
        assert_int_equal(has_bit(region->protect, 5), is_protect);
        assert_int_equal(is_fenced(5), is_marker || is_protect);
        assert_int_equal(mappings(), is_protect ? PROTECT_MAPPINGS : 0);
        expect_open(0, 5);
        expect_open(6, PAGES - 6);
        assert_true(ashlar_guard_clear(region, page_at(5), page_at(6)));
        expect_open(0, PAGES);
        memset(page_at(5), 2, PAGE);
    }
}

static void without_guards_the_kernel_is_not_asked(void **state)
{
    (void)state;
    use(ASHLAR_GUARD_OFF);
    unsigned calls = fake_os_count_all();
    ashlar_guard_set(region, page_at(5));
    assert_int_equal(fake_os_count_all(), calls);
    assert_true(ashlar_guard_clear(region, block, page_at(PAGES)));
    assert_int_equal(fake_os_count_all(), calls);
}

static void a_guard_that_stands_is_not_set_again(void **state)
{
    (void)state;
    for (int mode = ASHLAR_GUARD_AUTO; mode <= ASHLAR_GUARD_MPROTECT; mode += 2) {
        use((enum ashlar_guard_mode)mode);
        ashlar_guard_set(region, page_at(5));
        unsigned calls = fake_os_count_all();
        size_t spent = mappings();
        ashlar_guard_set(region, page_at(5));
        assert_int_equal(fake_os_count_all(), calls);
        assert_int_equal(mappings(), spent);
        assert_true(ashlar_guard_clear(region, page_at(5), page_at(6)));
    }
}

static void a_kernel_without_markers_gets_mprotect_if_options_let_us(void **state)
{
    (void)state;
    ashlar_os_facts.has_guard_markers = false;
    ashlar_guard_set(region, page_at(5));
    assert_true(has_bit(region->protect, 5));
    assert_true(is_fenced(5));
    use(ASHLAR_GUARD_MADVISE);
    uint64_t skipped = ashlar_count_read(guard_skipped);
    ashlar_guard_set(region, page_at(7));
    assert_false(is_fenced(7));
    assert_int_equal(ashlar_count_read(guard_skipped), skipped + 1);
    assert_int_equal(fake_os_count(FAKE_OS_GUARD_INSTALL), 0);
}

/* Mlocked memory takes no markers: it is asked for each page. */
static void a_page_that_takes_no_marker_gets_mprotect_and_the_next_a_marker(void **state)
{
    (void)state;
    if (!ashlar_os_facts.has_guard_markers)
        skip();
    fake_os_fail(FAKE_OS_GUARD_INSTALL, 0, 1, EINVAL);
    ashlar_guard_set(region, page_at(5));
    ashlar_guard_set(region, page_at(7));
    assert_true(is_fenced(5) && has_bit(region->protect, 5));
    assert_true(is_fenced(7) && has_bit(region->marked, 7));
}

static void a_guard_that_the_kernel_refuses_is_left_out_and_counted(void **state)
{
    (void)state;
    uint64_t skipped = ashlar_count_read(guard_skipped);
    fake_os_fail(FAKE_OS_GUARD_INSTALL, 0, 1, ENOMEM);
    fake_os_fail(FAKE_OS_PROTECT, 0, 1, ENOMEM);
    ashlar_guard_set(region, page_at(5));
    assert_false(is_fenced(5));
    assert_int_equal(ashlar_count_read(guard_skipped), skipped + 1);
    assert_int_equal(mappings(), 0);
    ashlar_guard_set(region, page_at(5)); /* the next try is as good as any */
    assert_true(is_fenced(5));
}

static void the_budget_is_half_of_the_mappings_and_not_one_more(void **state)
{
    (void)state;
    assert_true(ashlar_guard_spend_mappings(BUDGET - 1));
    assert_false(ashlar_guard_spend_mappings(2));
    assert_int_equal(mappings(), BUDGET - 1); /* what was refused is not spent */
    assert_true(ashlar_guard_spend_mappings(1));
    assert_false(ashlar_guard_spend_mappings(1));
    ashlar_guard_return_mappings(3);
    assert_false(ashlar_guard_spend_mappings(4));
    assert_true(ashlar_guard_spend_mappings(3));
    ashlar_guard_return_mappings(BUDGET);
}

static void guards_beyond_the_budget_are_left_out_until_others_are_gone(void **state)
{
    (void)state;
    uint64_t skipped = ashlar_count_read(guard_skipped);
    use(ASHLAR_GUARD_MPROTECT);
    for (size_t i = 0; i < BUDGET / PROTECT_MAPPINGS; i++)
        ashlar_guard_set(region, page_at(2 * i));
    assert_int_equal(mappings(), BUDGET);
    assert_int_equal(ashlar_count_read(guard_skipped), skipped);
    ashlar_guard_set(region, page_at(PAGES - 1));
    assert_false(is_fenced(PAGES - 1));
    assert_int_equal(ashlar_count_read(guard_skipped), skipped + 1);
    assert_true(ashlar_guard_clear(region, page_at(4), page_at(5)));
    ashlar_guard_set(region, page_at(PAGES - 1));
    assert_true(is_fenced(PAGES - 1));
    assert_int_equal(ashlar_count_read(guard_skipped), skipped + 1);
}

static void a_spent_budget_does_not_keep_markers_out(void **state)
{
    (void)state;
    if (!ashlar_os_facts.has_guard_markers)
        skip();
    assert_true(ashlar_guard_spend_mappings(BUDGET));
    ashlar_guard_set(region, page_at(5));
    assert_true(is_fenced(5));
    ashlar_guard_return_mappings(BUDGET);
}

static void clearing_takes_the_guards_of_a_range_and_no_others(void **state)
{
    (void)state;
    static const size_t guards[] = {9, 10, 11, 15, 19, 20};
    for (int mode = ASHLAR_GUARD_AUTO; mode <= ASHLAR_GUARD_MPROTECT; mode += 2) {
        use((enum ashlar_guard_mode)mode);
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(guards); i++)
            ashlar_guard_set(region, page_at(guards[i]));
        assert_true(ashlar_guard_clear(region, page_at(12), page_at(12)));
        assert_true(ashlar_guard_clear(region, page_at(10), page_at(20)));
        expect_open(10, 10);
        memset(page_at(10), 3, 10 * PAGE);
        assert_true(is_fenced(9));
        assert_true(is_fenced(20));
        assert_int_equal(mappings(), ashlar_guard_count_mappings(region, block, page_at(PAGES)));
        assert_true(ashlar_guard_clear(region, block, page_at(PAGES)));
        assert_int_equal(mappings(), 0);
    }
}

static void one_kernel_call_clears_a_run_and_none_an_open_range(void **state)
{
    (void)state;
    use(ASHLAR_GUARD_MPROTECT);
    unsigned calls = fake_os_count_all();
    assert_true(ashlar_guard_clear(region, block, page_at(PAGES)));
    assert_int_equal(fake_os_count_all(), calls);
    for (size_t i = 3; i < 9; i++)
        ashlar_guard_set(region, page_at(i));
    calls = fake_os_count_all();
    assert_true(ashlar_guard_clear(region, block, page_at(PAGES)));
    assert_int_equal(fake_os_count_all(), calls + 1);
}

/* A call costs what walking some forty pages does. The pages between lose nothing. */
static void markers_that_are_close_go_by_one_kernel_call(void **state)
{
    (void)state;
    static const size_t guards[] = {3, 4, 20, 53, 87, 127};
    if (!ashlar_os_facts.has_guard_markers)
        skip();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(guards); i++)
        ashlar_guard_set(region, page_at(guards[i]));
    memset(page_at(5), 5, 15 * PAGE);
    memset(page_at(54), 6, 33 * PAGE);
    unsigned calls = fake_os_count_all();
    assert_true(ashlar_guard_clear(region, block, page_at(PAGES - 1)));
    assert_int_equal(fake_os_count_all(), calls + 2); /* 3 to 53, 87 */
    expect_open(0, PAGES - 1);
    assert_true(is_fenced(PAGES - 1));
    for (size_t at = 5 * PAGE; at < 20 * PAGE; at++)
        assert_int_equal(block[at], 5);
    for (size_t at = 54 * PAGE; at < 87 * PAGE; at++)
        assert_int_equal(block[at], 6);
}

static void a_guard_that_cannot_be_removed_is_still_known(void **state)
{
    (void)state;
    for (int mode = ASHLAR_GUARD_AUTO; mode <= ASHLAR_GUARD_MPROTECT; mode += 2) {
        use((enum ashlar_guard_mode)mode);
        for (size_t i = 2; i < PAGES; i += 50)
            ashlar_guard_set(region, page_at(i));
        size_t spent = mappings();
        fake_os_fail_nth(1);
        assert_false(ashlar_guard_clear(region, block, page_at(PAGES)));
        fake_os_obey();
        size_t standing = 0;
        for (size_t i = 0; i < PAGES; i++)
            standing += is_fenced(i);
        assert_int_equal(standing, 2);
        assert_int_equal(mappings(), spent / 3 * 2);
        assert_true(ashlar_guard_clear(region, block, page_at(PAGES)));
        expect_open(0, PAGES);
        assert_int_equal(mappings(), 0);
    }
}

static void mappings_are_counted_where_mprotect_guards_stand(void **state)
{
    (void)state;
    ashlar_guard_set(region, page_at(4));
    size_t marker = ashlar_os_facts.has_guard_markers ? 0 : PROTECT_MAPPINGS;
    use(ASHLAR_GUARD_MPROTECT);
    ashlar_guard_set(region, page_at(6));
    ashlar_guard_set(region, page_at(7));
    assert_int_equal(ashlar_guard_count_mappings(region, block, page_at(6)), marker);
    assert_int_equal(ashlar_guard_count_mappings(region, page_at(6), page_at(7)), 2);
    assert_int_equal(ashlar_guard_count_mappings(region, page_at(7), page_at(7)), 0);
    assert_int_equal(ashlar_guard_count_mappings(region, page_at(6), page_at(8)), 4);
    assert_int_equal(ashlar_guard_count_mappings(region, page_at(8), page_at(PAGES)), 0);
}

static void what_a_page_held_is_gone_when_it_was_emptied(void **state)
{
    (void)state;
    static const enum ashlar_guard_mode modes[] = {ASHLAR_GUARD_AUTO, ASHLAR_GUARD_MPROTECT,
                                                   ASHLAR_GUARD_OFF};
    for (size_t m = 0; m < 3; m++) {
        use(modes[m]);
        memset(page_at(4), 1, 3 * PAGE);
        ashlar_guard_set(region, page_at(5));
        bool was_fenced = is_fenced(5);
        size_t spent = mappings();
        assert_true(ashlar_guard_empty(region, page_at(5)));
        assert_int_equal(is_fenced(5), was_fenced);
        assert_int_equal(mappings(), spent);
        assert_true(ashlar_guard_clear(region, page_at(5), page_at(6)));
        assert_true(test_is_zero(page_at(5), PAGE));
        assert_true(page_at(4)[PAGE - 1] == 1 && page_at(6)[0] == 1);
        memset(page_at(5), 2, PAGE);
    }
}

static void a_page_that_cannot_be_emptied_stays_as_it_is(void **state)
{
    (void)state;
    fake_os_fail_from(0);
    fake_os_fail(FAKE_OS_PURGE, 0, 1, ENOMEM);
    assert_false(ashlar_guard_empty(region, page_at(5)));
    fake_os_obey();
    assert_int_equal(page_at(5)[0], 1);
    use(ASHLAR_GUARD_MPROTECT);
    ashlar_guard_set(region, page_at(5));
    fake_os_fail_from(0);
    assert_false(ashlar_guard_empty(region, page_at(5)));
    fake_os_obey();
    assert_true(is_fenced(5));
    assert_int_equal(mappings(), PROTECT_MAPPINGS);
}

static void forgotten_guards_cost_nothing_and_the_kernel_is_not_asked(void **state)
{
    (void)state;
    ashlar_guard_set(region, page_at(6));
    use(ASHLAR_GUARD_MPROTECT);
    for (size_t i = 7; i < 10; i++)
        ashlar_guard_set(region, page_at(i));
    assert_int_equal(ashlar_os_map_over(page_at(6), 3 * PAGE), 0);
    unsigned calls = fake_os_count_all();
    ashlar_guard_forget(region, page_at(6), page_at(9));
    assert_int_equal(fake_os_count_all(), calls);
    expect_open(0, 9);
    assert_true(is_fenced(9));
    assert_int_equal(mappings(), PROTECT_MAPPINGS);
}

/* The owners of the blocks on both sides of a page fence it at once. */
static pthread_barrier_t gate;

static void *fence_all(void *context)
{
    for (size_t i = 0; i < PAGES; i++) {
        (void)pthread_barrier_wait(&gate);
        ashlar_guard_set(region, page_at(i));
    }
    return context;
}

static void a_guard_that_two_threads_set_at_once_is_paid_for_once(void **state)
{
    (void)state;
    pthread_t thread;
    use(ASHLAR_GUARD_MPROTECT);
    for (int round = 0; round < 10; round++) {
        assert_int_equal(pthread_barrier_init(&gate, NULL, 2), 0);
        assert_int_equal(pthread_create(&thread, NULL, fence_all, NULL), 0);
        for (size_t i = 0; i < PAGES; i++) {
            (void)pthread_barrier_wait(&gate);
            ashlar_guard_set(region, page_at(i));
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        pthread_barrier_destroy(&gate);
        assert_int_equal(mappings(), ashlar_guard_count_mappings(region, block, page_at(PAGES)));
        assert_true(mappings() <= BUDGET);
        assert_true(ashlar_guard_clear(region, block, page_at(PAGES)));
        assert_int_equal(mappings(), 0);
    }
}

/* The model of the random case: what stands on each page. */
enum fence { OPEN, MARKER, PROTECT };

static void expect_model(const enum fence *model)
{
    size_t spent = 0;
    for (size_t i = 0; i < PAGES; i++) {
        assert_int_equal(has_bit(region->marked, i), model[i] == MARKER);
        assert_int_equal(has_bit(region->protect, i), model[i] == PROTECT);
        assert_int_equal(is_fenced(i), model[i] != OPEN);
        spent += model[i] == PROTECT ? PROTECT_MAPPINGS : 0;
    }
    assert_int_equal(mappings(), spent);
    assert_int_equal(ashlar_guard_count_mappings(region, block, page_at(PAGES)), spent);
}

static void random_guards_stand_where_the_bits_say(void **state)
{
    (void)state;
    enum fence model[PAGES] = {OPEN};
    uint64_t seed = 1;
    for (int step = 0; step < 2000; step++) {
        size_t i = test_random_below(&seed, PAGES);
        size_t count = 1 + test_random_below(&seed, PAGES - i) / 4;
        bool is_protect = test_random_below(&seed, 2) != 0 || !ashlar_os_facts.has_guard_markers;
        switch (test_random_below(&seed, 8)) {
        case 0:
            assert_true(ashlar_guard_clear(region, page_at(i), page_at(i + count)));
            memset(&model[i], OPEN, count * sizeof model[0]);
            break;
        case 1:
            assert_int_equal(ashlar_os_map_over(page_at(i), count * PAGE), 0);
            ashlar_guard_forget(region, page_at(i), page_at(i + count));
            memset(&model[i], OPEN, count * sizeof model[0]);
            break;
        case 2:
            assert_true(ashlar_guard_empty(region, page_at(i)));
            break;
        default:
            use(is_protect ? ASHLAR_GUARD_MPROTECT : ASHLAR_GUARD_MADVISE);
            if (model[i] == OPEN && (!is_protect || mappings() + PROTECT_MAPPINGS <= BUDGET))
                model[i] = is_protect ? PROTECT : MARKER;
            ashlar_guard_set(region, page_at(i));
        }
        expect_model(model);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_guard_is_one_page_by_the_means_that_options_name),
        CASE(without_guards_the_kernel_is_not_asked),
        CASE(a_guard_that_stands_is_not_set_again),
        CASE(a_kernel_without_markers_gets_mprotect_if_options_let_us),
        CASE(a_page_that_takes_no_marker_gets_mprotect_and_the_next_a_marker),
        CASE(a_guard_that_the_kernel_refuses_is_left_out_and_counted),
        CASE(the_budget_is_half_of_the_mappings_and_not_one_more),
        CASE(guards_beyond_the_budget_are_left_out_until_others_are_gone),
        CASE(a_spent_budget_does_not_keep_markers_out),
        CASE(clearing_takes_the_guards_of_a_range_and_no_others),
        CASE(one_kernel_call_clears_a_run_and_none_an_open_range),
        CASE(markers_that_are_close_go_by_one_kernel_call),
        CASE(a_guard_that_cannot_be_removed_is_still_known),
        CASE(mappings_are_counted_where_mprotect_guards_stand),
        CASE(what_a_page_held_is_gone_when_it_was_emptied),
        CASE(a_page_that_cannot_be_emptied_stays_as_it_is),
        CASE(forgotten_guards_cost_nothing_and_the_kernel_is_not_asked),
        CASE(a_guard_that_two_threads_set_at_once_is_paid_for_once),
        CASE(random_guards_stand_where_the_bits_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
