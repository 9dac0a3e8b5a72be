/*
 * test_options.c - what the user may choose, parsed before main
 */
#include "unit/testing.h"

#include "conf/options.h"

static int restore_defaults(void **state)
{
    (void)state;
    for (unsigned id = 0; id < ASHLAR_OPTION_COUNT; id++) {
        int64_t value = ashlar_option_row((enum ashlar_option_id)id)->default_value;
        if (!ashlar_option_set((enum ashlar_option_id)id, value))
            return -1;
    }
    return 0;
}

static bool are_defaults(void)
{
    for (unsigned id = 0; id < ASHLAR_OPTION_COUNT; id++)
        if (ashlar_option_get((enum ashlar_option_id)id) !=
            ashlar_option_row((enum ashlar_option_id)id)->default_value)
            return false;
    return true;
}

static void every_option_starts_at_its_default(void **state)
{
    (void)state;
    assert_true(are_defaults());
    assert_int_equal(ashlar_opt.decay_ms, ashlar_option_row(ASHLAR_OPTION_decay_ms)->default_value);
    assert_int_equal(ashlar_opt.arenas, ashlar_option_row(ASHLAR_OPTION_arenas)->default_value);
}

static void every_row_is_complete(void **state)
{
    (void)state;
    for (unsigned id = 0; id < ASHLAR_OPTION_COUNT; id++) {
        const struct ashlar_option_row *row = ashlar_option_row((enum ashlar_option_id)id);
        assert_true(strlen(row->name) > 0);
        assert_true(strlen(row->help) > 10);
        assert_true(row->min <= row->default_value && row->default_value <= row->max);
        assert_int_equal(row->words != NULL, row->kind == ASHLAR_OPTION_ENUM);
        for (int64_t i = 0; row->words != NULL && i <= row->max; i++)
            assert_true(strlen(row->words[i]) > 0);
        for (unsigned other = 0; other < id; other++)
            assert_string_not_equal(row->name,
                                    ashlar_option_row((enum ashlar_option_id)other)->name);
    }
}

static void a_value_is_taken_up_to_both_ends_of_its_range_and_not_beyond(void **state)
{
    (void)state;
    for (unsigned n = 0; n < ASHLAR_OPTION_COUNT; n++) {
        enum ashlar_option_id id = (enum ashlar_option_id)n;
        const struct ashlar_option_row *row = ashlar_option_row(id);
        assert_true(ashlar_option_set(id, row->min));
        assert_int_equal(ashlar_option_get(id), row->min);
        assert_true(ashlar_option_set(id, row->max));
        assert_int_equal(ashlar_option_get(id), row->max);
        assert_false(ashlar_option_set(id, row->max + 1));
        assert_false(ashlar_option_set(id, row->min - 1));
        assert_int_equal(ashlar_option_get(id), row->max);
    }
}

static const char *text_of(enum ashlar_option_id id, int64_t value)
{
    static struct ashlar_emit emit;
    ashlar_emit_begin(&emit, -1);
    ashlar_option_emit_value(&emit, id, value);
    emit.buf[emit.used] = '\0';
    return emit.buf;
}

/* What the report prints can be typed back. */
static void every_value_written_out_reads_back(void **state)
{
    (void)state;
    for (unsigned n = 0; n < ASHLAR_OPTION_COUNT; n++) {
        enum ashlar_option_id id = (enum ashlar_option_id)n;
        const struct ashlar_option_row *row = ashlar_option_row(id);
        const int64_t values[] = {row->min, row->max, row->default_value, row->min + 1,
                                  (row->min + row->max) / 2};
        for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++) {
            char part[1200];
            if (values[i] > row->max)
                continue;
            snprintf(part, sizeof part, "%s:%s", row->name, text_of(id, values[i]));
            assert_true(ashlar_option_set(id, values[i] == row->min ? row->max : row->min));
            ashlar_options_parse(part);
            assert_int_equal(ashlar_option_get(id), values[i]);
        }
    }
}

static void sizes_take_suffixes_and_are_written_with_them(void **state)
{
    (void)state;
    ashlar_options_parse("cache_max:3k");
    assert_int_equal(ashlar_opt.cache_max, 3 * 1024);
    ashlar_options_parse("cache_max:5M");
    assert_int_equal(ashlar_opt.cache_max, 5 * 1024 * 1024);
    ashlar_options_parse("cache_max:2g,large_threshold:64K");
    assert_int_equal(ashlar_opt.cache_max, INT64_C(2) << 30);
    assert_int_equal(ashlar_opt.large_threshold, 65536);
    ashlar_options_parse("cache_max:0");
    assert_int_equal(ashlar_opt.cache_max, 0);
    assert_string_equal(text_of(ASHLAR_OPTION_cache_max, 0), "0");
    assert_string_equal(text_of(ASHLAR_OPTION_cache_max, 1000), "1000");
    assert_string_equal(text_of(ASHLAR_OPTION_cache_max, 3072), "3k");
    assert_string_equal(text_of(ASHLAR_OPTION_cache_max, INT64_C(5) << 30), "5g");
    assert_string_equal(text_of(ASHLAR_OPTION_decay_ms, -1), "-1");
    assert_string_equal(text_of(ASHLAR_OPTION_guard, ASHLAR_GUARD_MPROTECT), "mprotect");
}

static void parts_are_taken_in_order_and_empty_ones_skipped(void **state)
{
    (void)state;
    ashlar_options_parse(",,decay_ms:5,,decay_ms:7,junk:on,");
    assert_int_equal(ashlar_opt.decay_ms, 7);
    assert_int_equal(ashlar_opt.junk, ASHLAR_JUNK_ON);
    ashlar_options_parse("");
    ashlar_options_parse(NULL);
    assert_int_equal(ashlar_opt.decay_ms, 7);
}

struct bad {
    const char *list;
    const char *complaint;
    bool changes_something;
};

static void parse_bad(void *context)
{
    const struct bad *bad = context;
    errno = EDOM;
    ashlar_options_parse(bad->list);
    if (errno != EDOM)
        _exit(2);
    if (are_defaults() == bad->changes_something)
        _exit(3);
}

static void garbage_gets_one_warning_line_and_is_ignored(void **state)
{
    (void)state;
    static const struct bad bads[] = {
        {"nonsense", "no ':' in 'nonsense'", false},
        {"nonsense:1", "unknown option in 'nonsense:1'", false},
        {":", "unknown option in ':'", false},
        {":5", "unknown option in ':5'", false},
        {"decay_ms", "no ':' in 'decay_ms'", false},
        {"decay_ms:", "bad value in 'decay_ms:'", false},
        {"decay_ms:-", "bad value", false},
        {"decay_ms:--1", "bad value", false},
        {"decay_ms:+1", "bad value", false},
        {"decay_ms: 1", "bad value", false},
        {"decay_ms:1 ", "bad value", false},
        {"decay_ms:1s", "bad value", false},
        {"decay_ms:0x10", "bad value", false},
        {"decay_ms:-2", "decay_ms: -1 to 3600000", false},
        {"decay_ms:3600001", "decay_ms: -1 to 3600000", false},
        {"decay_ms:9223372036854775807", "bad value", false},
        {"decay_ms:9223372036854775808", "bad value", false},
        {"decay_ms:18446744073709551615", "bad value", false},
        {"decay_ms:18446744073709551616", "bad value", false},
        {"decay_ms:-18446744073709551617", "bad value", false},
        {"decay_ms:99999999999999999999999999999999999999", "bad value", false},
        {"Decay_ms:1", "unknown option", false},
        {"decay_m:1", "unknown option", false},
        {"decay_mss:1", "unknown option", false},
        {"cache_max:1kk", "bad value", false},
        {"cache_max:k", "bad value", false},
        {"cache_max:-1", "bad value", false},
        {"cache_max:1t", "bad value", false},
        {"cache_max:8589934592g", "bad value", false},
        {"cache_max:9007199254740992k", "bad value", false},
        {"cache_max:17179869184g", "bad value", false},
        {"large_threshold:4095", "large_threshold: 4k to 128k", false},
        {"guard:on", "guard: auto, madvise, mprotect, off", false},
        {"guard:", "bad value", false},
        {"guard:Auto", "bad value", false},
        {"guard:autoo", "bad value", false},
        {"guard:0", "bad value", false},
        {"zero:on:off", "bad value in 'zero:on:off'", false},
        {"guard:off,bad,junk:on", "no ':' in 'bad'", true},
        {"\x01\xff\n:\x7f", "'\\x01\\xff\\x0a:\\x7f'", false},
    };
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        struct bad bad = bads[i];
        struct test_outcome outcome = test_in_child(parse_bad, &bad);
        if (!test_went_well(&outcome) || test_count_lines(outcome.text) != 1 ||
            strncmp(outcome.text, "ashlar: ASHLAR_CONF: ", 21) != 0 ||
            strstr(outcome.text, bad.complaint) == NULL)
            fail_msg("'%s' gave status %x and '%s'", bad.list, outcome.status, outcome.text);
    }
}

static void a_long_bad_part_is_quoted_in_part(void **state)
{
    (void)state;
    static char list[100000];
    memset(list, 'a', sizeof list - 1);
    struct bad bad = {list, NULL, false};
    struct test_outcome outcome = test_in_child(parse_bad, &bad);
    assert_true(test_went_well(&outcome));
    assert_int_equal(test_count_lines(outcome.text), 1);
    assert_true(strlen(outcome.text) < 200);
    assert_non_null(strstr(outcome.text, "aaa...'"));
}

static void parse_noise(void *context)
{
    uint64_t seed = 11;
    (void)context;
    static const char letters[] = "decay_ms:cachmx,guroflj-0123456789kKmMgG \n\xff";
    for (int i = 0; i < 2000; i++) {
        char list[120];
        size_t len = test_random_below(&seed, sizeof list - 1);
        for (size_t at = 0; at < len; at++)
            list[at] = letters[test_random_below(&seed, sizeof letters - 1)];
        list[len] = '\0';
        ashlar_options_parse(list);
        for (unsigned id = 0; id < ASHLAR_OPTION_COUNT; id++) {
            const struct ashlar_option_row *row = ashlar_option_row((enum ashlar_option_id)id);
            int64_t value = ashlar_option_get((enum ashlar_option_id)id);
            if (value < row->min || value > row->max)
                _exit(1);
        }
    }
}

static void no_noise_brings_a_value_out_of_its_range(void **state)
{
    (void)state;
    struct test_outcome outcome = test_in_child(parse_noise, NULL);
    assert_true(test_went_well(&outcome));
}

static void the_variable_is_found_in_any_environment(void **state)
{
    (void)state;
    char other[] = "ASHLAR_CONFIG=1";
    char shorter[] = "ASHLAR_CON=2";
    char bare[] = "ASHLAR_CONF";
    char wanted[] = "ASHLAR_CONF=decay_ms:3";
    char later[] = "ASHLAR_CONF=decay_ms:4";
    char *with[] = {other, shorter, bare, wanted, later, NULL};
    char *without[] = {other, shorter, bare, NULL};
    char *none[] = {NULL};
    assert_string_equal(ashlar_options_find_env(with), "decay_ms:3");
    assert_null(ashlar_options_find_env(without));
    assert_null(ashlar_options_find_env(none));
    assert_null(ashlar_options_find_env(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_starts_at_its_default),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test_teardown(a_value_is_taken_up_to_both_ends_of_its_range_and_not_beyond,
                                  restore_defaults),
        cmocka_unit_test_teardown(every_value_written_out_reads_back, restore_defaults),
        cmocka_unit_test_teardown(sizes_take_suffixes_and_are_written_with_them, restore_defaults),
        cmocka_unit_test_teardown(parts_are_taken_in_order_and_empty_ones_skipped,
                                  restore_defaults),
        cmocka_unit_test(garbage_gets_one_warning_line_and_is_ignored),
        cmocka_unit_test(a_long_bad_part_is_quoted_in_part),
        cmocka_unit_test(no_noise_brings_a_value_out_of_its_range),
        cmocka_unit_test(the_variable_is_found_in_any_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
