/*
 * test_purger.c - the purge thread, run by hand
 *
 * Purpose     The fake kernel starts no thread but hands its body over; the test runs it, and where
 *             it would sleep changes the world, or ends it.
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "front/purger.h"
#include "large/large.h"
#include "map/pagemap.h"
#include "small/arena.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

#define BLOCK_BYTES (4 * ASHLAR_MIB)

static int sleeps;

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    (void)ashlar_large_trim();
    atomic_store(&ashlar_purger_state, ASHLAR_PURGER_NONE);
    sleeps = 0;
    return 0;
}

static char *make(size_t size)
{
    char *block = ashlar_large_alloc(size, ashlar_os_facts.page_bytes, ASHLAR_FILL_ANY);
    assert_non_null(block);
    return block;
}

static void drop(char *block)
{
    assert_int_equal(ashlar_large_free(ashlar_pagemap_find(block), block), ASHLAR_LARGE_DONE);
}

static bool has_started(void)
{
    fake_os_thread_body = NULL;
    ashlar_purger_start();
    return fake_os_thread_body != NULL;
}

static void it_is_started_once_when_the_options_say_so(void **state)
{
    (void)state;
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_ON;
    uint64_t started = ashlar_count_read(purge_threads);
    assert_true(has_started());
    assert_false(has_started());
    assert_int_equal(ashlar_count_read(purge_threads), started + 1);
    ashlar_purger_fork_child();
    assert_true(has_started());
}

static void off_and_no_decay_time_mean_none(void **state)
{
    (void)state;
    static const int64_t decays[] = {0, -1};
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_OFF;
    fake_os_has_threads = true;
    assert_false(has_started());
    for (size_t i = 0; i < 2; i++) {
        atomic_store(&ashlar_purger_state, ASHLAR_PURGER_NONE);
        ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_ON;
        ashlar_opt.decay_ms = decays[i];
        assert_false(has_started());
    }
}

static void auto_wants_threads_and_some_memory(void **state)
{
    (void)state;
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_AUTO;
    char *block = make(16 * ASHLAR_MIB);
    assert_false(has_started());
    fake_os_has_threads = true;
    assert_true(has_started());
    drop(block);
}

static void auto_leaves_small_programs_alone(void **state)
{
    (void)state;
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_AUTO;
    fake_os_has_threads = true;
    if (ashlar_count_read(region_committed_bytes) > 8 * ASHLAR_MIB)
        skip(); /* the cases before have left too much */
    assert_false(has_started());
}

static void end_after_some(int ms)
{
    (void)ms;
    if (++sleeps == 100)
        ashlar_purger_quit();
}

static void what_is_kept_goes_within_the_decay_time_and_a_second(void **state)
{
    (void)state;
    static const int64_t decays[] = {10, 1000, 60000};
    for (size_t i = 0; i < 3; i++) {
        begin(NULL);
        ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_ON;
        ashlar_opt.decay_ms = decays[i];
        drop(make(BLOCK_BYTES));
        assert_true(ashlar_large_usage().kept_bytes >= BLOCK_BYTES);
        assert_true(has_started());
        uint64_t start_ms = ashlar_os_now_ms();
        for (int n = 0; ashlar_large_usage().kept_bytes != 0; n++) {
            /* A look at a time: each run of the body ends at its first pause. */
            atomic_store(&ashlar_purger_state, ASHLAR_PURGER_AWAKE);
            sleeps = 99;
            fake_os_sleeper = end_after_some;
            fake_os_thread_body();
            assert_true(n < 1000);
        }
        assert_true(ashlar_os_now_ms() - start_ms <= (uint64_t)decays[i] + 1000);
    }
}

static char *freed_in_sleep;
static bool has_slept_soundly;

static void free_when_asleep(int ms)
{
    if (ms < 0 && !has_slept_soundly) {
        has_slept_soundly = true;
        assert_int_equal(atomic_load(&ashlar_purger_state), ASHLAR_PURGER_ASLEEP);
        drop(freed_in_sleep);
        ashlar_purger_wake();
        assert_int_equal(atomic_load(&ashlar_purger_state), ASHLAR_PURGER_AWAKE);
    } else if (has_slept_soundly && ashlar_large_usage().kept_bytes == 0) {
        ashlar_purger_quit();
    }
    assert_true(++sleeps < 1000);
}

static void it_sleeps_while_nothing_is_kept_and_a_free_wakes_it(void **state)
{
    (void)state;
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_ON;
    freed_in_sleep = make(BLOCK_BYTES);
    assert_true(has_started());
    fake_os_sleeper = free_when_asleep;
    fake_os_thread_body();
    assert_true(has_slept_soundly);
    assert_int_equal(fake_os_count_wakes(), 2);
    assert_int_equal(ashlar_large_usage().kept_bytes, 0);
    assert_int_equal(atomic_load(&ashlar_purger_state), ASHLAR_PURGER_NONE);
}

static void free_unseen(int ms)
{
    if (atomic_load(&ashlar_purger_state) == ASHLAR_PURGER_ASLEEP && freed_in_sleep != NULL) {
        assert_true(ms > 0); /* the pause before the sound sleep */
        drop(freed_in_sleep);
        freed_in_sleep = NULL;
    } else if (freed_in_sleep == NULL && ashlar_large_usage().kept_bytes == 0) {
        ashlar_purger_quit();
    }
    assert_true(++sleeps < 1000);
}

static void what_is_freed_by_one_who_saw_it_awake_is_found(void **state)
{
    (void)state;
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_ON;
    freed_in_sleep = make(BLOCK_BYTES);
    assert_true(has_started());
    fake_os_sleeper = free_unseen;
    fake_os_thread_body();
    assert_null(freed_in_sleep);
    assert_int_equal(ashlar_large_usage().kept_bytes, 0);
}

/* The only object of a slab whose owner does not look again. */
static struct ashlar_slab *emptied_in_sleep;
static struct ashlar_slab_owner idle_owner;

static void empty_unseen(int ms)
{
    if (atomic_load(&ashlar_purger_state) == ASHLAR_PURGER_ASLEEP && emptied_in_sleep != NULL) {
        assert_true(ms > 0);
        char *object = ashlar_slab_pop(emptied_in_sleep);
        assert_int_equal(ashlar_slab_push_remote(emptied_in_sleep, object), ASHLAR_REMOTE_EMPTIED);
        (void)ashlar_arena_note_emptied();
        emptied_in_sleep = NULL;
    } else if (emptied_in_sleep == NULL && ashlar_count_read(slabs) == 0 &&
               ashlar_count_read(arena_dirty_bytes) == 0) {
        ashlar_purger_quit();
    }
    assert_true(++sleeps < 1000);
}

static void a_slab_emptied_by_one_who_saw_it_awake_is_found(void **state)
{
    (void)state;
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_ON;
    struct ashlar_slab *slab = ashlar_arena_get(ashlar_arena_at(0), ASHLAR_CLASS_COUNT - 1,
                                                &idle_owner);
    assert_true(slab != NULL && ashlar_slab_carve(slab));
    emptied_in_sleep = slab;
    assert_true(has_started());
    fake_os_sleeper = empty_unseen;
    fake_os_thread_body();
    assert_null(emptied_in_sleep);
    assert_int_equal(ashlar_count_read(slabs), 0);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
    ashlar_arena_bury(slab);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(auto_leaves_small_programs_alone),
        CASE(it_is_started_once_when_the_options_say_so),
        CASE(off_and_no_decay_time_mean_none),
        CASE(auto_wants_threads_and_some_memory),
        CASE(what_is_kept_goes_within_the_decay_time_and_a_second),
        CASE(it_sleeps_while_nothing_is_kept_and_a_free_wakes_it),
        CASE(what_is_freed_by_one_who_saw_it_awake_is_found),
        CASE(a_slab_emptied_by_one_who_saw_it_awake_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
