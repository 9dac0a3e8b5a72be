/*
 * test_decay.c - the decay time as a slope
 *
 * Purpose     Nothing is allocated: the slope is asked with bytes and times. A step under way
 *             lives on between cases, so each begins long after the one before.
 */
#include "unit/testing.h"

#include "conf/options.h"
#include "large/decay.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

#define KEPT_BYTES (1000 * ASHLAR_MIB)

static uint64_t freed_ms; /* the oldest */

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    freed_ms = ashlar_os_now_ms();
    return 0;
}

/* What is due of so many bytes when the oldest are so old. */
static size_t due_at(uint64_t age_ms, size_t kept_bytes)
{
    return ashlar_decay_due_locked(kept_bytes, freed_ms, freed_ms + age_ms);
}

/* All that is due goes; what stays of so many bytes. */
static size_t go(uint64_t age_ms, size_t kept_bytes)
{
    size_t due_bytes = due_at(age_ms, kept_bytes);
    ashlar_decay_note_locked(due_bytes);
    assert_int_equal(due_at(age_ms, kept_bytes - due_bytes), 0);
    return kept_bytes - due_bytes;
}

static void age_is_measured_by_the_decay_time(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 1000;
    assert_int_equal(ashlar_decay_too_old_ms(5000), 4000);
    assert_int_equal(ashlar_decay_too_old_ms(1000), 0);
    assert_int_equal(ashlar_decay_too_old_ms(999), 0);
    assert_int_equal(ashlar_decay_old_ms(5000), 4250);
    assert_int_equal(ashlar_decay_old_ms(751), 1);
    assert_int_equal(ashlar_decay_old_ms(750), 0);
    assert_int_equal(ashlar_decay_old_ms(749), 0);
    ashlar_opt.decay_ms = 0;
    assert_int_equal(ashlar_decay_too_old_ms(5000), 5000);
    assert_int_equal(ashlar_decay_old_ms(5000), 5000);
    ashlar_opt.decay_ms = -1;
    assert_int_equal(ashlar_decay_too_old_ms(5000), 0);
    assert_int_equal(ashlar_decay_old_ms(5000), 0);
}

/* Where the slope begins. */
static uint64_t slope_ms(void)
{
    return (uint64_t)ashlar_opt.decay_ms * 3 / 4;
}

static void nothing_goes_before_three_quarters_of_the_decay_time(void **state)
{
    (void)state;
    static const int64_t decays[] = {10, 1000, 1001, 60000};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(decays); i++) {
        begin(NULL);
        ashlar_opt.decay_ms = decays[i];
        assert_int_equal(due_at(0, KEPT_BYTES), 0);
        assert_int_equal(due_at(slope_ms() - 1, KEPT_BYTES), 0);
        assert_true(due_at(slope_ms(), KEPT_BYTES) > 0);
    }
}

static void five_even_steps_come_to_none_when_the_oldest_are_too_old(void **state)
{
    (void)state;
    static const int64_t decays[] = {16, 160, 800, 1000, 60000};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(decays); i++) {
        begin(NULL);
        ashlar_opt.decay_ms = decays[i];
        uint64_t step_ms = (uint64_t)decays[i] / ASHLAR_DECAY_STEPS;
        size_t kept_bytes = KEPT_BYTES;
        for (unsigned step = 0; step < 5; step++) {
            size_t left_bytes = go(slope_ms() + step * step_ms, kept_bytes);
            assert_int_equal(kept_bytes - left_bytes, KEPT_BYTES / 5);
            kept_bytes = left_bytes;
        }
        assert_int_equal(kept_bytes, 0);
        assert_in_range(slope_ms() + 4 * step_ms, (uint64_t)decays[i] - 4, (uint64_t)decays[i]);
    }
}

/* Whoever looks seldom takes what the steps between would have taken. */
static void a_look_that_comes_late_makes_up_for_the_steps_before(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    assert_int_equal(go(700, KEPT_BYTES), KEPT_BYTES / 3 * 2 + 1); /* of three that are left */
    begin(NULL);
    ashlar_opt.decay_ms = 800;
    assert_int_equal(go(799, KEPT_BYTES), 0);
    begin(NULL);
    ashlar_opt.decay_ms = 800;
    assert_int_equal(go(1000000, KEPT_BYTES), 0);
}

static void a_step_is_taken_once_in_its_time(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    size_t kept_bytes = go(600, KEPT_BYTES);
    for (uint64_t age_ms = 600; age_ms < 650; age_ms++)
        assert_int_equal(due_at(age_ms, kept_bytes), 0);
    assert_int_equal(due_at(650, kept_bytes), kept_bytes / 4);
    /* Nor does it begin anew for others that are as old. */
    begin(NULL);
    ashlar_opt.decay_ms = 800;
    (void)go(625, KEPT_BYTES);
    freed_ms -= 100;
    assert_int_equal(due_at(725 + 49, KEPT_BYTES), 0);
    assert_true(due_at(725 + 50, KEPT_BYTES) > 0);
}

static void what_is_due_stays_so_until_it_is_noted_as_gone(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    size_t due_bytes = due_at(600, KEPT_BYTES);
    assert_int_equal(due_bytes, KEPT_BYTES / 5);
    assert_int_equal(due_at(600, KEPT_BYTES), due_bytes);
    assert_int_equal(due_at(625, KEPT_BYTES), due_bytes);
    ashlar_decay_note_locked(due_bytes - 7);
    assert_int_equal(due_at(625, KEPT_BYTES - due_bytes + 7), 7);
    assert_int_equal(due_at(625, 3), 3); /* no more than there is */
    ashlar_decay_note_locked(100);       /* more than was due is no debt of the next step */
    assert_int_equal(due_at(625, KEPT_BYTES), 0);
    assert_int_equal(due_at(650, KEPT_BYTES), KEPT_BYTES / 4);
    /* What is left of a step does not add to the next. */
    assert_int_equal(due_at(700, KEPT_BYTES), KEPT_BYTES / 3);
}

static void what_comes_later_is_not_due_with_the_step_of_what_was_older(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    assert_true(due_at(600, KEPT_BYTES) > 0);
    freed_ms += 50; /* the oldest were taken by the program */
    assert_int_equal(due_at(599, KEPT_BYTES), 0);
    assert_true(due_at(600, KEPT_BYTES) > 0);
}

static void without_a_decay_time_all_goes_at_once_or_never(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 0;
    assert_int_equal(due_at(0, KEPT_BYTES), KEPT_BYTES);
    assert_int_equal(due_at(1, KEPT_BYTES), KEPT_BYTES);
    begin(NULL);
    ashlar_opt.decay_ms = -1;
    assert_int_equal(due_at(0, KEPT_BYTES), 0);
    assert_int_equal(due_at(1, KEPT_BYTES), 0);
    assert_int_equal(due_at(1000000000, KEPT_BYTES), 0);
}

/* A step is a millisecond then, as no clock is finer. */
static void a_decay_time_shorter_than_its_steps_keeps_its_word(void **state)
{
    (void)state;
    for (int64_t decay_ms = 1; decay_ms < (int64_t)ASHLAR_DECAY_STEPS; decay_ms++) {
        begin(NULL);
        ashlar_opt.decay_ms = decay_ms;
        size_t kept_bytes = KEPT_BYTES;
        size_t nsteps = (size_t)((uint64_t)decay_ms - slope_ms()) + 1;
        size_t most_bytes = KEPT_BYTES / nsteps + nsteps;
        for (uint64_t age_ms = 0; age_ms <= (uint64_t)decay_ms; age_ms++) {
            size_t left_bytes = go(age_ms, kept_bytes);
            assert_int_equal(left_bytes == kept_bytes, age_ms < slope_ms());
            assert_true(kept_bytes - left_bytes <= most_bytes);
            kept_bytes = left_bytes;
        }
        assert_int_equal(kept_bytes, 0);
    }
}

/* Another thread's free may have seen a later clock. */
static void what_was_freed_after_now_is_new(void **state)
{
    (void)state;
    static const int64_t decays[] = {1, 2, 800};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(decays); i++) {
        begin(NULL);
        ashlar_opt.decay_ms = decays[i];
        assert_int_equal(ashlar_decay_due_locked(KEPT_BYTES, freed_ms, freed_ms - 1), 0);
        assert_int_equal(ashlar_decay_due_locked(KEPT_BYTES, freed_ms, freed_ms - 1000), 0);
    }
}

static void of_nothing_nothing_is_due(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    assert_int_equal(due_at(600, 0), 0);
    assert_int_equal(due_at(800, 0), 0);
    ashlar_decay_note_locked(0);
    assert_int_equal(due_at(900, KEPT_BYTES), KEPT_BYTES);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(age_is_measured_by_the_decay_time),
        CASE(nothing_goes_before_three_quarters_of_the_decay_time),
        CASE(five_even_steps_come_to_none_when_the_oldest_are_too_old),
        CASE(a_look_that_comes_late_makes_up_for_the_steps_before),
        CASE(a_step_is_taken_once_in_its_time),
        CASE(what_is_due_stays_so_until_it_is_noted_as_gone),
        CASE(what_comes_later_is_not_due_with_the_step_of_what_was_older),
        CASE(without_a_decay_time_all_goes_at_once_or_never),
        CASE(a_decay_time_shorter_than_its_steps_keeps_its_word),
        CASE(what_was_freed_after_now_is_new),
        CASE(of_nothing_nothing_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
