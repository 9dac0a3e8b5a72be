/*
 * test_take.c - a live extent for a request, with its pages and its fences
 *
 * Purpose     Requests that find kept pages and clean space beside them: what they read, what they
 *             make resident, and what becomes of them when the kernel fails.
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "large/large.h"
#include "large/resize.h"
#include "large/take.h"
#include "map/pagemap.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"
#include "unit/large_blocks.h"
#include "unit/large_checks.h"

#define PINS 64

static const int64_t guard_modes[] = {ASHLAR_GUARD_AUTO, ASHLAR_GUARD_MPROTECT};
static const enum fake_os_mode fail_modes[] = {FAKE_OS_ONE_FAILS, FAKE_OS_REST_FAILS};

static size_t lent_bytes;

/* Whether the law leaves room for more: none as long as so much small memory is kept. */
static void set_room(bool has_room)
{
    ashlar_count_sub(arena_dirty_bytes, lent_bytes);
    lent_bytes = has_room ? 0 : 1024 * ASHLAR_GIB;
    ashlar_count_add(arena_dirty_bytes, lent_bytes);
}

static char *pins[PINS];
static size_t pin_count;

/* A live page behind what was made last. */
static void pin(void)
{
    assert_true(pin_count < PINS);
    pins[pin_count++] = alloc(PAGE);
}

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    /* Without the threads' fronts: every free reaches the mapping cache at once. */
    (void)ashlar_option_set(ASHLAR_OPTION_cache_max, 511 << 20);
    large_check_begin_peak();
    pin_count = 0;
    pin();
    return 0;
}

static void free_all(void)
{
    while (pin_count > 0)
        assert_int_equal(free_block(pins[--pin_count]), ASHLAR_LARGE_DONE);
    large_check_nothing_held();
}

static void start_over(void)
{
    free_all();
    pin();
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    set_room(true);
    free_all();
    return 0;
}

static size_t kept_pages(void)
{
    return ashlar_count_read(cache_kept_bytes) / PAGE;
}

/* A written block, freed, with clean space behind it, between live ones. Under the guard between
   them are old contents, where guards keep them. */
static char *keep_before_clean(size_t dirty_pages, size_t clean_pages, uint64_t tag)
{
    char *block = make(dirty_pages + 1 + clean_pages, tag);
    pin();
    assert_ptr_equal(resize(block, dirty_pages * PAGE), block);
    (void)ashlar_large_trim();
    free_block(block);
    assert_int_equal(kept_pages(), dirty_pages);
    return block;
}

/* The same with clean space in front of it. */
static char *keep_behind_clean(size_t dirty_pages, size_t clean_pages, uint64_t tag)
{
    char *clean = make(clean_pages, tag);
    char *block = make(dirty_pages, tag);
    pin();
    assert_ptr_equal(block, clean + (clean_pages + 1) * PAGE);
    free_block(clean);
    (void)ashlar_large_trim();
    free_block(block);
    assert_int_equal(kept_pages(), dirty_pages);
    return block;
}

static void expect_not_resident(const char *block, size_t first, size_t end_page)
{
    for (size_t i = first; i < end_page; i++)
        assert_false(ashlar_os_is_resident(block + i * PAGE));
}

static char *alloc_zero(size_t npages)
{
    char *block = ashlar_large_alloc(npages * PAGE, PAGE, ASHLAR_FILL_ZERO);
    assert_non_null(block);
    return block;
}

static void calloc_clears_kept_pages_and_does_not_touch_the_space_behind_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(guard_modes); i++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[i]);
        char *kept = keep_before_clean(20, 60, 7);
        uint64_t hits = ashlar_count_read(cache_hits);
        uint64_t part_hits = ashlar_count_read(cache_part_hits);
        char *zero = alloc_zero(50);
        assert_ptr_equal(zero, kept);
        assert_int_equal(ashlar_count_read(cache_part_hits), part_hits + 1);
        assert_int_equal(ashlar_count_read(cache_hits), hits + 1);
        expect_not_resident(zero, 21, 50);
        assert_true(test_is_zero(zero, 50 * PAGE));
        assert_true(is_fenced(zero));
        large_check(LARGE_CHECK_KERNEL);
        memset(zero, 1, 50 * PAGE);
        free_block(zero);
        start_over();
    }
}

static void calloc_does_not_touch_the_space_in_front_of_kept_pages_either(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(guard_modes); i++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[i]);
        char *kept = keep_behind_clean(20, 60, 7);
        uint64_t part_hits = ashlar_count_read(cache_part_hits);
        char *zero = alloc_zero(50);
        assert_ptr_equal(zero, kept - 30 * PAGE);
        assert_int_equal(ashlar_count_read(cache_part_hits), part_hits + 1);
        expect_not_resident(zero, 0, 30);
        assert_true(test_is_zero(zero, 50 * PAGE));
        assert_true(is_fenced(zero));
        large_check(LARGE_CHECK_KERNEL);
        memset(zero, 1, 50 * PAGE);
        free_block(zero);
        start_over();
    }
}

/* Clearing would make resident what was not. */
static void calloc_purges_kept_pages_that_were_hardly_written(void **state)
{
    (void)state;
    size_t npages = 2 * ASHLAR_MIB / PAGE;
    char *block = alloc((3 * npages + 1) * PAGE);
    pin();
    assert_ptr_equal(resize(block, npages * PAGE), block);
    (void)ashlar_large_trim();
    block[0] = 1;
    block[npages * PAGE - 1] = 1;
    free_block(block);
    char *zero = alloc_zero(2 * npages);
    assert_ptr_equal(zero, block);
    expect_not_resident(zero, 0, 2 * npages);
    assert_true(test_is_zero(zero, 2 * npages * PAGE));
    free_block(zero);
}

/* What a request for so many pages finds; the extent is freed again. */
static struct ashlar_request take(size_t npages)
{
    struct ashlar_request request = {
        .len_bytes = npages * PAGE,
        .align = PAGE,
        .want = ASHLAR_WANT_ANY,
    };
    struct ashlar_extent *extent = ashlar_take(&request);
    assert_non_null(extent);
    ashlar_take_publish(extent);
    assert_int_equal(extent->len_bytes, npages * PAGE);
    assert_true(is_fenced(extent->base));
    assert_int_equal(extent->is_born_empty, request.clean_bytes == npages * PAGE);
    expect_not_resident(extent->base, request.clean_at / PAGE,
                        (request.clean_at + request.clean_bytes) / PAGE);
    assert_true(test_is_zero(extent->base + request.clean_at, request.clean_bytes));
    large_check(LARGE_CHECK_KERNEL);
    free_block(extent->base);
    return request;
}

static void a_request_knows_which_part_of_it_reads_as_zero(void **state)
{
    (void)state;
    struct ashlar_request request = take(10); /* fresh */
    assert_int_equal(request.clean_at, 0);
    assert_int_equal(request.clean_bytes, 10 * PAGE);
    assert_int_equal(take(10).clean_bytes, 0); /* kept */
    (void)ashlar_large_trim();
    request = take(10); /* clean */
    assert_int_equal(request.clean_at, 0);
    assert_int_equal(request.clean_bytes, 10 * PAGE);
    start_over();
    (void)keep_before_clean(20, 60, 7);
    request = take(50);
    assert_int_equal(request.clean_at, 21 * PAGE);
    assert_int_equal(request.clean_bytes, 29 * PAGE);
    start_over();
    (void)keep_behind_clean(40, 100, 7);
    request = take(110);
    assert_int_equal(request.clean_at, 0);
    assert_int_equal(request.clean_bytes, 70 * PAGE);
}

/* Old contents, but for what a guard stood on. */
static void a_lengthened_block_has_its_old_contents_where_they_were(void **state)
{
    (void)state;
    (void)keep_before_clean(20, 60, 7);
    char *block = alloc(50 * PAGE);
    assert_true(test_is_marked(block, 20 * PAGE, 7, false));
    memset(block, 1, 50 * PAGE);
    free_block(block);
    start_over();
    (void)keep_behind_clean(20, 60, 8);
    block = alloc(50 * PAGE);
    assert_true(test_is_marked(block + 30 * PAGE, 20 * PAGE, 8, true));
    memset(block, 1, 50 * PAGE);
    free_block(block);
}

static void without_room_kept_pages_are_moved_into_the_clean_part(void **state)
{
    (void)state;
    for (int is_in_front = 0; is_in_front < 2; is_in_front++) {
        char *other = make(30, 5);
        pin();
        (void)(is_in_front ? keep_behind_clean(40, 80, 7) : keep_before_clean(40, 80, 7));
        free_block(other);
        uint64_t moved = ashlar_count_read(recycle_bytes);
        size_t clean = is_in_front ? 0 : 41;
        set_room(false);
        struct ashlar_request request = {.len_bytes = 100 * PAGE, .align = PAGE};
        struct ashlar_extent *extent = ashlar_take(&request);
        set_room(true);
        assert_non_null(extent);
        ashlar_take_publish(extent);
        char *block = extent->base;
        assert_int_equal(ashlar_count_read(recycle_bytes), moved + 30 * PAGE);
        assert_int_equal(request.clean_at, (clean + 30) * PAGE);
        assert_int_equal(request.clean_bytes, (is_in_front ? 60 - 30 : 100 - 41 - 30) * PAGE);
        assert_true(test_is_marked(block + clean * PAGE, 30 * PAGE, 5, true));
        assert_true(test_is_marked(block + (is_in_front ? 60 : 0) * PAGE, 40 * PAGE, 7, false));
        assert_true(test_is_zero(block + request.clean_at, request.clean_bytes));
        assert_int_equal(kept_pages(), 0);
        large_check(LARGE_CHECK_KERNEL);
        free_block(block);
        start_over();
    }
}

static void with_room_other_kept_pages_stay_where_they_are(void **state)
{
    (void)state;
    char *other = make(30, 5);
    pin();
    (void)keep_before_clean(40, 80, 7);
    free_block(other);
    uint64_t moves = ashlar_count_read(recycle_moves);
    char *block = alloc(100 * PAGE);
    assert_int_equal(ashlar_count_read(recycle_moves), moves);
    assert_int_equal(kept_pages(), 30);
    free_block(block);
}

/* A lengthened block into which pages are moved, with the kernel failing. */
struct attempt {
    bool is_in_front;
    char *block;
};

static void prepare(struct attempt *attempt)
{
    char *other = make(20, 5);
    pin();
    (void)(attempt->is_in_front ? keep_behind_clean(20, 40, 7) : keep_before_clean(20, 40, 7));
    free_block(other);
    set_room(false);
}

static bool try_alloc(void *context)
{
    struct attempt *attempt = context;
    attempt->block = ashlar_large_alloc(50 * PAGE, PAGE, ASHLAR_FILL_ZERO);
    return attempt->block != NULL;
}

static void check_alloc(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    set_room(true);
    struct large_totals totals = large_check(LARGE_CHECK_KERNEL);
    assert_int_equal(totals.live_blocks, pin_count + has_succeeded);
    if (has_succeeded) {
        assert_true(test_is_zero(attempt->block, 50 * PAGE));
        memset(attempt->block, 1, 50 * PAGE);
        free_block(attempt->block);
    }
    /* What is called clean reads as zero. */
    (void)ashlar_large_trim();
    char *zero = alloc_zero(61);
    assert_true(test_is_zero(zero, 61 * PAGE));
    free_block(zero);
    start_over();
    prepare(attempt);
}

static void a_block_that_is_lengthened_fails_cleanly_whichever_kernel_call_failed(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct attempt attempt = {.is_in_front = i / 4};
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[i % 2]);
        prepare(&attempt);
        assert_true(fake_os_fail_each(fail_modes[i / 2 % 2], try_alloc, check_alloc, &attempt) >=
                    4);
        set_room(true);
        start_over();
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(calloc_clears_kept_pages_and_does_not_touch_the_space_behind_them),
        CASE(calloc_does_not_touch_the_space_in_front_of_kept_pages_either),
        CASE(calloc_purges_kept_pages_that_were_hardly_written),
        CASE(a_request_knows_which_part_of_it_reads_as_zero),
        CASE(a_lengthened_block_has_its_old_contents_where_they_were),
        CASE(without_room_kept_pages_are_moved_into_the_clean_part),
        CASE(with_room_other_kept_pages_stay_where_they_are),
        CASE(a_block_that_is_lengthened_fails_cleanly_whichever_kernel_call_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
