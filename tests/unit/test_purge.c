/*
 * test_purge.c - kept blocks given back to the kernel
 *
 * Purpose     Blocks are made and freed by large.h, which is what fills the cache; what is purged
 *             is read off the counters, the kernel's calls and the blocks' contents.
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "large/front.h"
#include "large/large.h"
#include "large/mapcache.h"
#include "large/purge.h"
#include "map/pagemap.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"
#include "unit/large_checks.h"

#define PAGE (ashlar_os_facts.page_bytes)

static char *pin; /* keeps the region from being unmapped */

static char *make(size_t size)
{
    char *block = ashlar_large_alloc(size, PAGE, ASHLAR_FILL_ANY);
    assert_non_null(block);
    memset(block, 0xee, size);
    return block;
}

static void drop(char *block)
{
    assert_int_equal(ashlar_large_free(ashlar_pagemap_find(block), block), ASHLAR_LARGE_DONE);
}

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    pin = make(PAGE);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    drop(pin);
    large_check_nothing_held();
    return 0;
}

static size_t kept_bytes(void)
{
    return ashlar_large_usage().kept_bytes;
}

static void what_is_older_than_the_decay_time_goes(void **state)
{
    (void)state;
    ashlar_opt.recycle = ASHLAR_RECYCLE_OFF; /* the second block would take the first one's pages */
    drop(make(ASHLAR_MIB));
    fake_os_pass_time(450);
    drop(make(3 * ASHLAR_MIB));
    fake_os_pass_time(299);
    ashlar_purge_due(ashlar_os_now_ms());
    assert_int_equal(kept_bytes(), 4 * ASHLAR_MIB); /* three quarters of the time are not over */
    fake_os_pass_time(250);
    assert_int_equal(kept_bytes(), 4 * ASHLAR_MIB);
    fake_os_pass_time(1);
    ashlar_purge_due(ashlar_os_now_ms());
    assert_int_equal(kept_bytes(), 3 * ASHLAR_MIB);
    fake_os_pass_time(450);
    ashlar_purge_due(ashlar_os_now_ms());
    assert_int_equal(kept_bytes(), 0);
}

/* Symptom: one call took as long as purging all of it takes. */
static void no_look_purges_much_more_than_a_fifth_of_a_burst(void **state)
{
    (void)state;
    enum { COUNT = 40, LEN_BYTES = 512 * 1024 };
    char *burst[COUNT];
    for (int i = 0; i < COUNT; i++)
        burst[i] = make(LEN_BYTES);
    for (int i = 0; i < COUNT; i++)
        drop(burst[i]);
    size_t burst_bytes = kept_bytes();
    /* They were joined; what is cut off is a sixteenth of the whole or so too long. */
    size_t most_bytes = burst_bytes / 5 + burst_bytes / 8;
    unsigned steps = 0;
    assert_true(burst_bytes >= (size_t)COUNT * LEN_BYTES);
    for (int64_t age_ms = 0; age_ms <= ashlar_opt.decay_ms; age_ms++) {
        uint64_t purged = ashlar_count_read(purge_bytes);
        size_t before = kept_bytes();
        ashlar_purge_if_due(ashlar_os_now_ms());
        assert_true(age_ms >= ashlar_opt.decay_ms * 3 / 4 || kept_bytes() == before);
        assert_true(before - kept_bytes() <= most_bytes);
        assert_true(ashlar_count_read(purge_bytes) - purged <= most_bytes);
        steps += ashlar_count_read(purge_bytes) != purged;
        fake_os_pass_time(1);
    }
    assert_int_equal(steps, 5);
    assert_int_equal(kept_bytes(), 0);
}

/* Symptom: the fronts kept such a block to the end of its time, when it went whole. */
static void a_large_block_that_waits_in_a_front_goes_in_steps(void **state)
{
    (void)state;
    enum { LEN_MIB = 40 };
    size_t len_bytes = LEN_MIB * ASHLAR_MIB;
    unsigned steps = 0;
    ashlar_opt.decay_ms = 800;
    drop(make(len_bytes));
    for (int64_t age_ms = 0; age_ms <= ashlar_opt.decay_ms; age_ms++) {
        size_t before = kept_bytes();
        assert_int_equal(ashlar_front_blocks(), age_ms <= 600 ? 1 : 0);
        ashlar_purge_if_due(ashlar_os_now_ms());
        size_t gone = before - kept_bytes();
        assert_true(gone == 0 || (age_ms >= 600 && age_ms % 50 == 0));
        /* A step, and what is cut off is a sixteenth of the block or so too long. */
        assert_in_range(gone, 0, len_bytes / 5 + len_bytes / 8);
        steps += gone != 0;
        fake_os_pass_time(1);
    }
    assert_int_equal(steps, 5);
    assert_int_equal(kept_bytes(), 0);
}

static void what_has_waited_in_a_front_for_less_than_that_stays_there(void **state)
{
    (void)state;
    char *young = make(3 * ASHLAR_MIB);
    ashlar_opt.decay_ms = 800;
    drop(make(ASHLAR_MIB / 2));
    fake_os_pass_time(1);
    drop(young);
    fake_os_pass_time(599);
    ashlar_purge_if_due(ashlar_os_now_ms());
    assert_int_equal(ashlar_front_blocks(), 1);
    assert_int_equal(kept_bytes(), 3 * ASHLAR_MIB);
    fake_os_pass_time(1);
    ashlar_purge_if_due(ashlar_os_now_ms());
    assert_int_equal(ashlar_front_blocks(), 0);
}

static void everything_goes_when_asked(void **state)
{
    (void)state;
    char *low = make(ASHLAR_MIB);
    char *middle = make(ASHLAR_MIB);
    drop(low);
    uint64_t purged = ashlar_count_read(purge_bytes);
    assert_true(ashlar_purge_all());
    assert_int_equal(ashlar_count_read(purge_bytes), purged + ASHLAR_MIB);
    assert_false(ashlar_purge_all());
    drop(middle);
    assert_true(ashlar_purge_all());
    assert_int_equal(kept_bytes(), 0);
}

static void a_region_of_which_nothing_is_left_is_unmapped(void **state)
{
    (void)state;
    uint64_t regions = ashlar_count_read(regions);
    char *huge = make(200 * ASHLAR_MIB); /* too long for the region of the pin */
    assert_int_equal(ashlar_count_read(regions), regions + 1);
    drop(huge);
    fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
    (void)ashlar_purge_all();
    assert_int_equal(ashlar_count_read(regions), regions + 1);
    fake_os_obey();
    assert_true(ashlar_purge_all());
    assert_int_equal(ashlar_count_read(regions), regions);
}

static void a_purge_that_failed_is_not_counted_and_keeps_the_memory(void **state)
{
    (void)state;
    drop(make(ASHLAR_MIB));
    uint64_t purged = ashlar_count_read(purge_bytes);
    fake_os_fail(FAKE_OS_PURGE, 0, 1000, ENOMEM);
    assert_false(ashlar_purge_all());
    assert_int_equal(ashlar_count_read(purge_bytes), purged);
    assert_int_equal(kept_bytes(), ASHLAR_MIB);
}

static void mlocked_memory_is_given_back_by_a_fresh_mapping(void **state)
{
    (void)state;
    char *block = make(ASHLAR_MIB);
    drop(block);
    unsigned mapped = fake_os_count(FAKE_OS_MAP_OVER);
    fake_os_fail(FAKE_OS_PURGE, 0, 1, EINVAL);
    assert_true(ashlar_purge_all());
    fake_os_obey();
    assert_int_equal(fake_os_count(FAKE_OS_MAP_OVER), mapped + 1);
    char *again = ashlar_large_alloc(ASHLAR_MIB, PAGE, ASHLAR_FILL_ZERO);
    assert_true(test_is_zero(again, ASHLAR_MIB));
    drop(again);
}

static void calloc_does_not_get_old_contents_when_mlocked_memory_could_not_be_purged(void **state)
{
    (void)state;
    drop(make(ASHLAR_MIB));
    fake_os_fail(FAKE_OS_PURGE, 0, 1, EINVAL);
    fake_os_fail(FAKE_OS_MAP_OVER, 0, 1, ENOMEM);
    (void)ashlar_purge_all();
    assert_true(fake_os_has_failed());
    fake_os_obey();
    char *again = ashlar_large_alloc(ASHLAR_MIB, PAGE, ASHLAR_FILL_ZERO);
    assert_true(test_is_zero(again, ASHLAR_MIB));
    drop(again);
}

static void what_could_not_be_purged_is_not_due_for_ever_without_decay(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = -1;
    drop(make(ASHLAR_MIB));
    fake_os_fail(FAKE_OS_PURGE, 0, 1000, ENOMEM);
    (void)ashlar_purge_all();
    fake_os_obey();
    assert_true(ashlar_mapcache_lock());
    assert_false(ashlar_mapcache_is_due_locked(ashlar_os_now_ms()));
    ashlar_mapcache_unlock();
}

static void nothing_waits_for_a_lock_shut_by_a_fork(void **state)
{
    (void)state;
    drop(make(ASHLAR_MIB));
    ashlar_lock_shut(&ashlar_large_lock);
    ashlar_purge_due(ashlar_os_now_ms() + 100000);
    assert_false(ashlar_purge_all());
    ashlar_lock_reopen(&ashlar_large_lock, false);
    assert_true(ashlar_purge_all());
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_older_than_the_decay_time_goes),
        CASE(no_look_purges_much_more_than_a_fifth_of_a_burst),
        CASE(a_large_block_that_waits_in_a_front_goes_in_steps),
        CASE(what_has_waited_in_a_front_for_less_than_that_stays_there),
        CASE(everything_goes_when_asked),
        CASE(a_region_of_which_nothing_is_left_is_unmapped),
        CASE(a_purge_that_failed_is_not_counted_and_keeps_the_memory),
        CASE(mlocked_memory_is_given_back_by_a_fresh_mapping),
        CASE(calloc_does_not_get_old_contents_when_mlocked_memory_could_not_be_purged),
        CASE(what_could_not_be_purged_is_not_due_for_ever_without_decay),
        CASE(nothing_waits_for_a_lock_shut_by_a_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
