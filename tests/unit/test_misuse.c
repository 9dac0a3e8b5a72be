/*
 * test_misuse.c - crimes of the program's user, named in one line
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "harden/misuse.h"

static const struct {
    enum ashlar_crime crime;
    const char *word;
} crimes[] = {
    {ASHLAR_CRIME_DOUBLE_FREE, "double free"},
    {ASHLAR_CRIME_INVALID_FREE, "invalid free"},
    {ASHLAR_CRIME_INVALID_POINTER, "invalid pointer"},
    {ASHLAR_CRIME_SIZE_MISMATCH, "size mismatch"},
    {ASHLAR_CRIME_CORRUPTED, "corrupted"},
    {ASHLAR_CRIME_USE_AFTER_FREE, "use after free"},
    {ASHLAR_CRIME_OVERFLOW, "buffer overflow"},
};

#define CRIMES (sizeof crimes / sizeof crimes[0])

static void every_crime_has_its_fixed_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < CRIMES; i++)
        assert_string_equal(ashlar_misuse_name(crimes[i].crime), crimes[i].word);
}

struct deed {
    enum ashlar_crime crime;
    int64_t mode;
};

static void commit_crime(void *context)
{
    const struct deed *deed = context;
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, deed->mode);
    uint64_t before = ashlar_count_read(misuses);
    ashlar_misuse(deed->crime, (void *)0x1230, "a block of %zu bytes", (size_t)48);
    if (ashlar_count_read(misuses) != before + 1)
        _exit(1);
}

static void abort_names_the_crime_and_stops(void **state)
{
    (void)state;
    for (size_t i = 0; i < CRIMES; i++) {
        struct deed deed = {crimes[i].crime, ASHLAR_MISUSE_ABORT};
        char expected[200];
        struct test_outcome outcome = test_in_child(commit_crime, &deed);
        assert_true(test_was_aborted(&outcome));
        snprintf(expected, sizeof expected, "ashlar: %s: a block of 48 bytes (ptr 0x1230)\n",
                 crimes[i].word);
        assert_string_equal(outcome.text, expected);
    }
}

static void report_names_the_crime_and_goes_on(void **state)
{
    (void)state;
    struct deed deed = {ASHLAR_CRIME_DOUBLE_FREE, ASHLAR_MISUSE_REPORT};
    struct test_outcome outcome = test_in_child(commit_crime, &deed);
    assert_true(test_went_well(&outcome));
    assert_string_equal(outcome.text,
                        "ashlar: double free: a block of 48 bytes (ptr 0x1230)\n");
}

static void ignore_only_counts(void **state)
{
    (void)state;
    struct deed deed = {ASHLAR_CRIME_DOUBLE_FREE, ASHLAR_MISUSE_IGNORE};
    struct test_outcome outcome = test_in_child(commit_crime, &deed);
    assert_true(test_went_well(&outcome));
    assert_string_equal(outcome.text, "");
}

static void commit_wordily(void *context)
{
    (void)context;
    static char detail[5000];
    memset(detail, 'x', sizeof detail - 1);
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_REPORT);
    ashlar_misuse(ASHLAR_CRIME_CORRUPTED, (void *)0x40, "%s", detail);
}

static void the_pointer_is_named_however_long_the_detail_is(void **state)
{
    (void)state;
    struct test_outcome outcome = test_in_child(commit_wordily, NULL);
    assert_true(test_went_well(&outcome));
    assert_int_equal(test_count_lines(outcome.text), 1);
    assert_non_null(strstr(outcome.text, "xx (ptr 0x40)\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crime_has_its_fixed_words),
        cmocka_unit_test(abort_names_the_crime_and_stops),
        cmocka_unit_test(report_names_the_crime_and_goes_on),
        cmocka_unit_test(ignore_only_counts),
        cmocka_unit_test(the_pointer_is_named_however_long_the_detail_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
