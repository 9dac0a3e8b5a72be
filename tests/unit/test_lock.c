/*
 * test_lock.c - ranked mutexes that a fork can close without anybody hanging
 */
#include "unit/testing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/check.h"
#include "base/lock.h"

#define THREADS 4
#define ROUNDS 20000

/* Long enough for another thread to fall asleep on a lock, were it allowed to. */
static void let_others_run(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static struct ashlar_lock lock = ASHLAR_LOCK_INIT(META);

static void a_lock_is_mine_between_take_and_release(void **state)
{
    (void)state;
    assert_false(ashlar_lock_is_mine(&lock));
    assert_true(ashlar_lock_take(&lock));
    assert_true(ashlar_lock_is_mine(&lock));
    ashlar_lock_release(&lock);
    assert_false(ashlar_lock_is_mine(&lock));
    assert_true(ashlar_lock_take_patiently(&lock));
    assert_true(ashlar_lock_is_mine(&lock));
    ashlar_lock_release(&lock);
}

static void a_lock_held_by_the_same_thread_is_refused(void **state)
{
    (void)state;
    uint64_t refusals = ashlar_lock_refusals();
    assert_true(ashlar_lock_take(&lock));
    assert_int_equal(ashlar_lock_refusals(), refusals);
    assert_false(ashlar_lock_take(&lock));
    assert_int_equal(ashlar_lock_refusals(), refusals + 1);
    assert_false(ashlar_lock_take_patiently(&lock));
    assert_int_equal(ashlar_lock_refusals(), refusals + 2);
    assert_true(ashlar_lock_is_mine(&lock));
    ashlar_lock_release(&lock);
    assert_true(ashlar_lock_take(&lock));
    ashlar_lock_release(&lock);
}

static void an_initialised_lock_is_free_whatever_it_was(void **state)
{
    (void)state;
    struct ashlar_lock made;
    memset(&made, 0xff, sizeof made);
    ashlar_lock_init(&made, ASHLAR_RANK_REPORT);
    assert_int_equal(made.rank, ASHLAR_RANK_REPORT);
    assert_false(ashlar_lock_is_shut(&made));
    assert_true(ashlar_lock_take(&made));
    ashlar_lock_release(&made);
}

static volatile uint64_t counted; /* guarded by lock; a plain number, so that a race shows */

static void *count_under_lock(void *context)
{
    bool is_patient = context != NULL;
    for (int i = 0; i < ROUNDS; i++) {
        bool is_taken = is_patient ? ashlar_lock_take_patiently(&lock) : ashlar_lock_take(&lock);
        if (!is_taken)
            return &lock;
        counted = counted + 1;
        ashlar_lock_release(&lock);
    }
    return NULL;
}

static void threads_exclude_each_other(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    counted = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_under_lock, i % 2 ? &lock : NULL),
                         0);
    for (int i = 0; i < THREADS; i++) {
        void *refused;
        pthread_join(threads[i], &refused);
        assert_null(refused);
    }
    assert_int_equal(counted, THREADS * ROUNDS);
}

static _Atomic int outcome; /* -1: not known yet */

static void *take_impatiently(void *context)
{
    (void)context;
    bool is_taken = ashlar_lock_take(&lock);
    if (is_taken)
        ashlar_lock_release(&lock);
    outcome = is_taken;
    return NULL;
}

static void *take_patiently(void *context)
{
    (void)context;
    bool is_taken = ashlar_lock_take_patiently(&lock);
    if (is_taken)
        ashlar_lock_release(&lock);
    outcome = is_taken;
    return NULL;
}

static void a_held_lock_is_waited_for(void **state)
{
    (void)state;
    pthread_t thread;
    outcome = -1;
    assert_true(ashlar_lock_take(&lock));
    pthread_create(&thread, NULL, take_impatiently, NULL);
    let_others_run();
    assert_int_equal(outcome, -1);
    ashlar_lock_release(&lock);
    pthread_join(thread, NULL);
    assert_int_equal(outcome, 1);
}

static void a_shut_lock_is_refused_at_once_to_everyone(void **state)
{
    (void)state;
    pthread_t thread;
    assert_false(ashlar_lock_is_shut(&lock));
    ashlar_lock_shut(&lock);
    assert_true(ashlar_lock_is_shut(&lock));
    assert_false(ashlar_lock_is_mine(&lock));
    assert_false(ashlar_lock_take(&lock));
    outcome = -1;
    pthread_create(&thread, NULL, take_impatiently, NULL);
    pthread_join(thread, NULL);
    assert_int_equal(outcome, 0);
    ashlar_lock_reopen(&lock, false);
    assert_false(ashlar_lock_is_shut(&lock));
    assert_true(ashlar_lock_take(&lock));
    ashlar_lock_release(&lock);
}

static void a_patient_thread_waits_until_the_lock_is_reopened(void **state)
{
    (void)state;
    pthread_t thread;
    outcome = -1;
    ashlar_lock_shut(&lock);
    pthread_create(&thread, NULL, take_patiently, NULL);
    let_others_run();
    assert_int_equal(outcome, -1);
    ashlar_lock_reopen(&lock, false);
    pthread_join(thread, NULL);
    assert_int_equal(outcome, 1);
}

static void shutting_sends_waiting_threads_away(void **state)
{
    (void)state;
    pthread_t thread;
    outcome = -1;
    /* Shut by the holder itself, as a fork in a signal handler does. */
    assert_true(ashlar_lock_take(&lock));
    pthread_create(&thread, NULL, take_impatiently, NULL);
    let_others_run();
    ashlar_lock_shut(&lock);
    pthread_join(thread, NULL);
    assert_int_equal(outcome, 0);
    assert_true(ashlar_lock_is_mine(&lock));
    ashlar_lock_reopen(&lock, false);
    assert_true(ashlar_lock_is_mine(&lock));
    ashlar_lock_release(&lock);
    assert_true(ashlar_lock_take(&lock));
    ashlar_lock_release(&lock);
}

static void in_the_child_a_lock_opens_with_nobody_waiting(void **state)
{
    (void)state;
    pthread_t thread;
    outcome = -1;
    ashlar_lock_shut(&lock);
    pthread_create(&thread, NULL, take_patiently, NULL);
    let_others_run();
    pid_t child = fork();
    if (child == 0) {
        ashlar_lock_reopen(&lock, true);
        if (atomic_load(&lock.word) != 0 || !ashlar_lock_take(&lock))
            _exit(1);
        ashlar_lock_release(&lock);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ashlar_lock_reopen(&lock, false);
    pthread_join(thread, NULL);
    assert_int_equal(outcome, 1);
}

static _Atomic bool is_over;
static _Atomic uint64_t taken;
static _Atomic uint64_t refused;

static void *want_the_lock(void *context)
{
    bool is_patient = context != NULL;
    while (!is_over) {
        if (is_patient ? ashlar_lock_take_patiently(&lock) : ashlar_lock_take(&lock)) {
            counted = counted + 1;
            atomic_fetch_add(&taken, 1);
            for (volatile int i = 0; i < 2000; i = i + 1)
                ;
            ashlar_lock_release(&lock);
        } else {
            atomic_fetch_add(&refused, 1);
            sched_yield();
        }
    }
    return NULL;
}

/* A thread left asleep would never be joined; the time limit of the test run would tell. */
static void nobody_is_left_asleep_when_a_busy_lock_is_shut_and_reopened(void **state)
{
    (void)state;
    pthread_t threads[2 * THREADS];
    is_over = false;
    counted = 0;
    taken = 0;
    refused = 0;
    for (int i = 0; i < 2 * THREADS; i++)
        pthread_create(&threads[i], NULL, want_the_lock, i % 4 == 0 ? &lock : NULL);
    for (int i = 0; i < 100; i++) {
        ashlar_lock_shut(&lock);
        uint64_t before = taken;
        sched_yield();
        assert_int_equal(taken, before);
        ashlar_lock_reopen(&lock, false);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    is_over = true;
    for (int i = 0; i < 2 * THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(taken > 0);
    assert_int_equal(counted, taken);
}

#define SLEEPERS 3

/*
 * Symptom of a lost wake: of two sleeping threads release wakes one; that one finds the lock shut and
 * leaves, and the other has nobody left to wake it. Here it would not be joined.
 */
static void all_sleepers_are_sent_away_by_a_release_and_a_shut(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        pthread_t threads[SLEEPERS];
        assert_true(ashlar_lock_take(&lock));
        for (int i = 0; i < SLEEPERS; i++)
            pthread_create(&threads[i], NULL, take_impatiently, NULL);
        let_others_run();
        ashlar_lock_release(&lock);
        ashlar_lock_shut(&lock);
        for (int i = 0; i < SLEEPERS; i++)
            pthread_join(threads[i], NULL);
        ashlar_lock_reopen(&lock, false);
    }
}

static struct ashlar_lock second = ASHLAR_LOCK_INIT(HEAPS);

static void take_out_of_order(void *context)
{
    (void)context;
    (void)!ashlar_lock_take(&lock);
    (void)!ashlar_lock_take(&second);
}

static void take_in_order(void *context)
{
    (void)context;
    (void)!ashlar_lock_take(&second);
    (void)!ashlar_lock_take(&lock);
    ashlar_lock_release(&second);
    ashlar_lock_release(&lock);
}

static void debug_builds_stop_at_locks_taken_out_of_order(void **state)
{
    (void)state;
    struct test_outcome result = test_in_child(take_out_of_order, NULL);
    if (ASHLAR_IS_DEBUG) {
        assert_true(test_was_aborted(&result));
        assert_non_null(strstr(result.text, "check failed"));
    } else {
        assert_true(test_went_well(&result));
    }
    result = test_in_child(take_in_order, NULL);
    assert_true(test_went_well(&result));
}

static void calls_leave_errno_alone(void **state)
{
    (void)state;
    pthread_t thread;
    outcome = -1;
    errno = EDOM;
    assert_true(ashlar_lock_take(&lock));
    pthread_create(&thread, NULL, take_impatiently, NULL);
    let_others_run();
    errno = EDOM;
    ashlar_lock_release(&lock);
    assert_int_equal(errno, EDOM);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_is_mine_between_take_and_release),
        cmocka_unit_test(a_lock_held_by_the_same_thread_is_refused),
        cmocka_unit_test(an_initialised_lock_is_free_whatever_it_was),
        cmocka_unit_test(threads_exclude_each_other),
        cmocka_unit_test(a_held_lock_is_waited_for),
        cmocka_unit_test(a_shut_lock_is_refused_at_once_to_everyone),
        cmocka_unit_test(a_patient_thread_waits_until_the_lock_is_reopened),
        cmocka_unit_test(shutting_sends_waiting_threads_away),
        cmocka_unit_test(in_the_child_a_lock_opens_with_nobody_waiting),
        cmocka_unit_test(nobody_is_left_asleep_when_a_busy_lock_is_shut_and_reopened),
        cmocka_unit_test(all_sleepers_are_sent_away_by_a_release_and_a_shut),
        cmocka_unit_test(debug_builds_stop_at_locks_taken_out_of_order),
        cmocka_unit_test(calls_leave_errno_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
