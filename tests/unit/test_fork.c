/*
 * test_fork.c - start-up, and what happens to the allocator at fork
 */
#include "unit/testing.h"

#include <pthread.h>
#include <sched.h>

#include "api/boot.h"
#include "api/fork.h"
#include "api/report.h"
#include "front/emergency.h"
#include "front/route.h"
#include "large/mapcache.h"
#include "map/meta.h"
#include "map/region.h"
#include "unit/fake_os.h"

#define ROUNDS 40
#define THREADS 2

static struct ashlar_lock *const locks[] = {&ashlar_boot_lock,   &ashlar_heaps_lock,
                                            &ashlar_large_lock,  &ashlar_region_lock,
                                            &ashlar_meta_lock};

static bool are_all_shut(bool are_shut)
{
    bool is_so = true;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(locks); i++)
        is_so = is_so && ashlar_lock_is_shut(locks[i]) == are_shut;
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        is_so = is_so && ashlar_lock_is_shut(&ashlar_arena_at(i)->lock) == are_shut;
    return is_so;
}

/* A child says what went wrong by the line where it did. */
#define CHILD_CHECK(condition)                               \
    do {                                                     \
        if (!(condition))                                    \
            _exit(__LINE__ % 256 != 0 ? __LINE__ % 256 : 1); \
    } while (0)

static void expect_child(void (*body)(void *context), void *context)
{
    struct test_outcome outcome = test_in_child(body, context);
    if (!test_went_well(&outcome))
        fail_msg("child: status %#x, %s", (unsigned)outcome.status, outcome.text);
}

static bool can_use(size_t size)
{
    char *block = ashlar_route_malloc(size);
    if (block == NULL || ashlar_emergency_owns(ashlar_pagemap_find(block)))
        return false;
    memset(block, 1, size);
    ashlar_route_free(block);
    return true;
}

static bool can_use_both_sides(void)
{
    return can_use(100) && can_use(20000) && can_use(300000);
}

/* ---- inside the gate ------------------------------------------------------------------------- */

static bool is_watching;       /* this fork is to be looked at */
static bool was_all_shut;
static bool were_signals_blocked;
static char *block_of_before;  /* freed inside the gate */
static char *block_from_gate;

static void look_around(void)
{
    sigset_t blocked;
    if (!is_watching)
        return;
    was_all_shut = are_all_shut(true);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    were_signals_blocked = sigismember(&blocked, SIGTERM) == 1;
    block_from_gate = ashlar_route_malloc_aligned(16, 7000);
    ashlar_route_free(block_of_before);
}

/* Handlers registered earlier than the library's run inside its gate. */
__attribute__((constructor(101))) static void register_first(void)
{
    (void)pthread_atfork(look_around, NULL, NULL);
}

static void use_what_the_gate_gave(void *context)
{
    (void)context;
    CHILD_CHECK(are_all_shut(false));
    CHILD_CHECK(block_from_gate != NULL);
    memset(block_from_gate, 2, 7000);
    ashlar_route_free(block_from_gate);
    CHILD_CHECK(can_use_both_sides());
    CHILD_CHECK(!ashlar_emergency_has_deferred());
}

static void *leave_a_block(void *context)
{
    block_of_before = ashlar_route_malloc(12345);
    return context;
}

static void while_a_fork_is_under_way_all_locks_are_shut_and_requests_are_served(void **state)
{
    (void)state;
    pthread_t thread;
    /* Of an exited thread: its free wants a lock. */
    assert_int_equal(pthread_create(&thread, NULL, leave_a_block, NULL), 0);
    pthread_join(thread, NULL);
    block_from_gate = NULL;
    is_watching = true;
    expect_child(use_what_the_gate_gave, NULL);
    is_watching = false;
    assert_true(was_all_shut);
    assert_true(were_signals_blocked);
    assert_true(ashlar_emergency_owns(ashlar_pagemap_find(block_from_gate)));
    assert_true(are_all_shut(false));
    ashlar_route_free(block_from_gate);
    assert_true(can_use_both_sides());
    assert_false(ashlar_emergency_has_deferred());
}

/* ---- behind it ------------------------------------------------------------------------------- */

static void use_the_blocks_of_before(void *context)
{
    char **blocks = context;
    CHILD_CHECK(blocks[0][99] == 1 && blocks[1][199999] == 2);
    blocks[0] = ashlar_route_realloc(blocks[0], 5000);
    CHILD_CHECK(blocks[0] != NULL && blocks[0][99] == 1);
    ashlar_route_free(blocks[0]);
    ashlar_route_free(blocks[1]);
    CHILD_CHECK(can_use_both_sides());
    (void)ashlar_route_trim();
}

static void the_child_has_the_blocks_of_before_as_copies(void **state)
{
    (void)state;
    char *blocks[2] = {ashlar_route_malloc(100), ashlar_route_malloc(200000)};
    memset(blocks[0], 1, 100);
    memset(blocks[1], 2, 200000);
    expect_child(use_the_blocks_of_before, blocks);
    assert_int_equal(blocks[0][99], 1);
    assert_int_equal(blocks[1][199999], 2);
    ashlar_route_free(blocks[0]);
    ashlar_route_free(blocks[1]);
}

static void expect_mask_with_sigusr1_only(void *context)
{
    (void)context;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    CHILD_CHECK(sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGTERM) == 0);
}

static void the_signal_mask_is_as_it_was_on_both_sides(void **state)
{
    (void)state;
    sigset_t before;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    expect_child(expect_mask_with_sigusr1_only, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGUSR1), 1);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void expect_lock_held_and_release(void *context)
{
    struct ashlar_lock *lock = context;
    CHILD_CHECK(!ashlar_lock_is_shut(lock));
    CHILD_CHECK(ashlar_lock_is_mine(lock));
    ashlar_lock_release(lock);
    CHILD_CHECK(can_use_both_sides());
}

/* As in a signal handler that interrupted the allocator. */
static void a_fork_by_the_holder_of_a_lock_leaves_it_held_on_both_sides(void **state)
{
    (void)state;
    for (size_t i = 1; i < ASHLAR_ARRAY_LEN(locks); i++) {
        assert_true(ashlar_lock_take(locks[i]));
        expect_child(expect_lock_held_and_release, locks[i]);
        assert_true(ashlar_lock_is_mine(locks[i]));
        ashlar_lock_release(locks[i]);
        assert_true(can_use_both_sides());
    }
}

/* ---- among other threads --------------------------------------------------------------------- */

static _Atomic bool is_over;
static pthread_barrier_t barrier;

static void *stay_busy(void *context)
{
    uint64_t seed = (uintptr_t)&context;
    pthread_barrier_wait(&barrier);
    while (!is_over) {
        size_t size = test_random_below(&seed, (size_t)1 << (5 + test_random_below(&seed, 14)));
        char *block = ashlar_route_malloc(size);
        if (block == NULL)
            return &barrier;
        test_mark(block, size, size);
        if (!test_is_marked(block, size, size, true))
            return &barrier;
        ashlar_route_free(block);
    }
    return NULL;
}

static void use_and_count(void *context)
{
    (void)context;
    alarm(20); /* whoever hangs is told */
    CHILD_CHECK(are_all_shut(false));
    CHILD_CHECK(ashlar_heaps_count() == 1);
    for (int i = 0; i < 20; i++)
        CHILD_CHECK(can_use_both_sides());
    CHILD_CHECK(ashlar_lock_take(&ashlar_report_lock));
    ashlar_lock_release(&ashlar_report_lock);
}

static void do_nothing(void *context)
{
    (void)context;
}

static _Atomic bool has_large;
static _Atomic bool has_meta;
static _Atomic bool has_forked;

/* As a free does that cuts an extent: LARGE is held, and a descriptor is wanted. */
static void *want_meta_under_large(void *context)
{
    if (!ashlar_lock_take(&ashlar_large_lock))
        return context;
    has_large = true;
    if (ashlar_lock_take(&ashlar_meta_lock)) {
        has_meta = true;
        ashlar_lock_release(&ashlar_meta_lock);
    }
    ashlar_lock_release(&ashlar_large_lock);
    /* One that has ended, and is not joined, is a leak to ThreadSanitizer in the child. */
    while (!has_forked)
        sched_yield();
    return NULL;
}

/* fork in a signal handler that interrupted the store of descriptors: it waited for LARGE, whose
   holder waited for META (tests/fork/fork_signal, threaded: Alarm clock, one run in twenty). */
static void a_fork_by_the_holder_of_a_lock_does_not_wait_for_who_waits_for_that(void **state)
{
    (void)state;
    pthread_t thread;
    void *refused;
    assert_true(ashlar_lock_take(&ashlar_meta_lock));
    assert_int_equal(pthread_create(&thread, NULL, want_meta_under_large, &has_large), 0);
    while (!has_large)
        sched_yield();
    usleep(20000); /* long enough for it to fall asleep */
    expect_child(do_nothing, NULL);
    has_forked = true;
    assert_true(ashlar_lock_is_mine(&ashlar_meta_lock));
    ashlar_lock_release(&ashlar_meta_lock);
    pthread_join(thread, &refused);
    assert_null(refused);
    assert_false(has_meta);
}

static void a_child_of_busy_threads_is_whole_and_has_one_cache(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    is_over = false;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stay_busy, NULL), 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < ROUNDS; i++) {
        assert_true(can_use_both_sides());
        expect_child(use_and_count, NULL);
    }
    is_over = true;
    for (int i = 0; i < THREADS; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
    pthread_barrier_destroy(&barrier);
}

static void *hold_the_report(void *context)
{
    bool is_taken = ashlar_lock_take(&ashlar_report_lock);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    if (is_taken)
        ashlar_lock_release(&ashlar_report_lock);
    return is_taken ? NULL : context;
}

static void a_report_under_way_does_not_hold_up_a_fork_or_its_child(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold_the_report, &barrier), 0);
    pthread_barrier_wait(&barrier);
    assert_true(can_use_both_sides());
    char *block = ashlar_route_malloc(10); /* so that this thread has a cache */
    struct test_outcome outcome = test_in_child(use_and_count, NULL);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    ashlar_route_free(block);
    assert_true(test_went_well(&outcome));
    assert_false(ashlar_lock_is_shut(&ashlar_report_lock));
}

/* ---- start-up -------------------------------------------------------------------------------- */

static void booting_again_changes_nothing(void **state)
{
    (void)state;
    size_t page_bytes = ashlar_os_facts.page_bytes;
    ashlar_os_facts.page_bytes = 4711; /* were it to ask the kernel again, this would go */
    ashlar_boot();
    assert_int_equal(ashlar_os_facts.page_bytes, 4711);
    ashlar_os_facts.page_bytes = page_bytes;
    assert_true(ashlar_lock_take(&ashlar_boot_lock));
    ashlar_boot(); /* needs no lock any more */
    ashlar_lock_release(&ashlar_boot_lock);
}

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    return can_use_both_sides() ? 0 : -1;
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(while_a_fork_is_under_way_all_locks_are_shut_and_requests_are_served),
        CASE(the_child_has_the_blocks_of_before_as_copies),
        CASE(the_signal_mask_is_as_it_was_on_both_sides),
        CASE(a_fork_by_the_holder_of_a_lock_leaves_it_held_on_both_sides),
        CASE(a_fork_by_the_holder_of_a_lock_does_not_wait_for_who_waits_for_that),
        CASE(a_child_of_busy_threads_is_whole_and_has_one_cache),
        CASE(a_report_under_way_does_not_hold_up_a_fork_or_its_child),
        CASE(booting_again_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
