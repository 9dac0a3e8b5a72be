/*
 * test_check.c - how the library speaks up, and how it stops
 */
#include "unit/testing.h"

#include "base/check.h"
#include "base/emit.h"

static void warn_and_return(void *context)
{
    (void)context;
    errno = EDOM;
    ashlar_warn("%d apples and a %s", 3, "pear");
    if (errno != EDOM)
        _exit(1);
}

static void a_warning_is_one_line_and_leaves_errno(void **state)
{
    (void)state;
    struct test_outcome outcome = test_in_child(warn_and_return, NULL);
    assert_true(test_went_well(&outcome));
    assert_string_equal(outcome.text, "ashlar: 3 apples and a pear\n");
}

static void die(void *context)
{
    (void)context;
    ashlar_fatal("no more %s", "pears");
}

static void a_fatal_message_is_one_line_and_then_sigabrt(void **state)
{
    (void)state;
    struct test_outcome outcome = test_in_child(die, NULL);
    assert_true(test_was_aborted(&outcome));
    assert_string_equal(outcome.text, "ashlar: no more pears\n");
}

static void warn_at_length(void *context)
{
    (void)context;
    static char text[3000];
    memset(text, 'x', sizeof text - 1);
    ashlar_warn("%s", text);
}

static void a_warning_too_long_is_cut_but_still_a_line(void **state)
{
    (void)state;
    struct test_outcome outcome = test_in_child(warn_at_length, NULL);
    assert_true(test_went_well(&outcome));
    assert_int_equal(strlen(outcome.text), ASHLAR_EMIT_BUFFER_BYTES);
    assert_int_equal(test_count_lines(outcome.text), 1);
    assert_int_equal(outcome.text[ASHLAR_EMIT_BUFFER_BYTES - 1], '\n');
}

static void break_a_check(void *context)
{
    ashlar_check(context != NULL);
}

static void a_failed_check_says_what_and_where(void **state)
{
    (void)state;
    struct test_outcome outcome = test_in_child(break_a_check, NULL);
    assert_true(test_was_aborted(&outcome));
    assert_non_null(strstr(outcome.text, "ashlar: check failed: context != "));
    assert_non_null(strstr(outcome.text, "test_check.c:"));
    outcome = test_in_child(break_a_check, &outcome);
    assert_true(test_went_well(&outcome));
    assert_string_equal(outcome.text, "");
}

static unsigned evaluations;

static bool evaluate(void)
{
    evaluations++;
    return true;
}

static void an_assertion_is_evaluated_in_debug_builds_only(void **state)
{
    (void)state;
    evaluations = 0;
    ashlar_assert(evaluate());
    assert_int_equal(evaluations, ASHLAR_IS_DEBUG ? 1 : 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_warning_is_one_line_and_leaves_errno),
        cmocka_unit_test(a_fatal_message_is_one_line_and_then_sigabrt),
        cmocka_unit_test(a_warning_too_long_is_cut_but_still_a_line),
        cmocka_unit_test(a_failed_check_says_what_and_where),
        cmocka_unit_test(an_assertion_is_evaluated_in_debug_builds_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
