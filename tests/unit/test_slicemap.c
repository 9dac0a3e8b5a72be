/*
 * test_slicemap.c - a bit for each slice of a chunk, against a model of one byte for each
 */
#include "unit/testing.h"

#include "small/slicemap.h"

static struct ashlar_slicemap map;
static uint8_t bounds[ASHLAR_SLICEMAP_WORDS]; /* none: all words are looked at */
static bool model[ASHLAR_CHUNK_SLICES];

static int begin(void **state)
{
    (void)state;
    memset(&map, 0, sizeof map);
    memset(model, 0, sizeof model);
    memset(bounds, ASHLAR_RUN_MAX, sizeof bounds);
    return 0;
}

static unsigned model_find(unsigned len)
{
    unsigned ones = 0;
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES; i++) {
        ones = model[i] ? ones + 1 : 0;
        if (ones == len)
            return i + 1 - len;
    }
    return ASHLAR_SLICE_NONE;
}

static void expect_around(struct ashlar_run run)
{
    struct ashlar_run around = ashlar_slicemap_around(&map, run);
    unsigned first = run.first;
    unsigned end = run.first + run.len;
    while (first > 0 && run.first - first < ASHLAR_RUN_MAX && model[first - 1])
        first--;
    while (end < ASHLAR_CHUNK_SLICES && model[end])
        end++;
    assert_true(around.first == first || (around.first < first && model[around.first]));
    assert_int_equal(around.first + around.len, end);
}

static unsigned model_set(struct ashlar_run run, bool bit)
{
    unsigned changed = 0;
    for (unsigned i = run.first; i < run.first + run.len; i++) {
        changed += model[i] != bit;
        model[i] = bit;
    }
    return changed;
}

static void expect_as_in_model(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES; i++) {
        assert_int_equal(map.words[i / 64] >> (i % 64) & 1, model[i]);
        count += model[i];
    }
    assert_int_equal(ashlar_slicemap_count(&map), count);
    for (unsigned len = 1; len <= ASHLAR_RUN_MAX; len++)
        assert_int_equal(ashlar_slicemap_find(&map, len, bounds), model_find(len));
    unsigned slices = 0;
    unsigned end = 0;
    for (struct ashlar_run run = ashlar_slicemap_next_run(&map, 0); run.len != 0;
         run = ashlar_slicemap_next_run(&map, end)) {
        assert_true(end == 0 || run.first > end);
        end = run.first + run.len;
        assert_true(end == ASHLAR_CHUNK_SLICES || !model[end]);
        slices += run.len;
        expect_around(run);
    }
    assert_int_equal(slices, count);
}

static void an_empty_map_has_no_run_and_a_full_one_is_one(void **state)
{
    (void)state;
    expect_as_in_model();
    struct ashlar_run all = {0, ASHLAR_CHUNK_SLICES};
    assert_int_equal(ashlar_slicemap_add(&map, all), model_set(all, true));
    assert_int_equal(ashlar_slicemap_next_run(&map, 0).len, ASHLAR_CHUNK_SLICES);
    expect_as_in_model();
}

static void runs_of_every_length_are_found_across_words(void **state)
{
    (void)state;
    for (unsigned len = 1; len <= ASHLAR_RUN_MAX; len++) {
        for (unsigned first = 64 - len; first <= 64; first++) {
            begin(NULL);
            struct ashlar_run run = {first, len};
            assert_int_equal(ashlar_slicemap_add(&map, run), len);
            assert_int_equal(ashlar_slicemap_find(&map, len, bounds), first);
            if (len < ASHLAR_RUN_MAX)
                assert_int_equal(ashlar_slicemap_find(&map, len + 1, bounds), ASHLAR_SLICE_NONE);
            assert_int_equal(ashlar_slicemap_around(&map, (struct ashlar_run){first, 1}).len, len);
            assert_int_equal(ashlar_slicemap_remove(&map, run), len);
            assert_int_equal(ashlar_slicemap_count(&map), 0);
        }
    }
}

static void a_run_at_the_end_is_found_and_none_beyond_it(void **state)
{
    (void)state;
    struct ashlar_run last = {ASHLAR_CHUNK_SLICES - 5, 5};
    (void)ashlar_slicemap_add(&map, last);
    assert_int_equal(ashlar_slicemap_find(&map, 5, bounds), last.first);
    assert_int_equal(ashlar_slicemap_find(&map, 6, bounds), ASHLAR_SLICE_NONE);
}

static void a_word_of_a_lower_bound_is_passed_over(void **state)
{
    (void)state;
    (void)ashlar_slicemap_add(&map, (struct ashlar_run){60, 10});
    (void)ashlar_slicemap_add(&map, (struct ashlar_run){200, 10});
    bounds[0] = 5;
    assert_int_equal(ashlar_slicemap_find(&map, 5, bounds), 60);
    assert_int_equal(ashlar_slicemap_find(&map, 6, bounds), 64);
    assert_int_equal(ashlar_slicemap_find(&map, 7, bounds), 200);
}

static void the_last_slice_of_a_run_that_is_there_is_told(void **state)
{
    (void)state;
    struct ashlar_run run = {60, 30};
    assert_int_equal(ashlar_slicemap_last_in(&map, run), 0);
    (void)ashlar_slicemap_add(&map, (struct ashlar_run){50, 11});
    assert_int_equal(ashlar_slicemap_last_in(&map, run), 1);
    (void)ashlar_slicemap_add(&map, (struct ashlar_run){80, 1});
    assert_int_equal(ashlar_slicemap_last_in(&map, run), 21);
    (void)ashlar_slicemap_add(&map, (struct ashlar_run){85, 50});
    assert_int_equal(ashlar_slicemap_last_in(&map, run), 30);
}

static void random_runs_agree_with_the_model(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int step = 0; step < 3000; step++) {
        unsigned first = (unsigned)test_random_below(&seed, ASHLAR_CHUNK_SLICES);
        unsigned most = ASHLAR_CHUNK_SLICES - first < 150 ? ASHLAR_CHUNK_SLICES - first : 150;
        struct ashlar_run run = {first, 1 + (unsigned)test_random_below(&seed, most)};
        bool bit = test_random_below(&seed, 2) != 0;
        unsigned changed = bit ? ashlar_slicemap_add(&map, run) : ashlar_slicemap_remove(&map, run);
        assert_int_equal(changed, model_set(run, bit));
        if (bit)
            expect_around(run);
        if (step % 10 == 0)
            expect_as_in_model();
    }
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_empty_map_has_no_run_and_a_full_one_is_one),
        CASE(runs_of_every_length_are_found_across_words),
        CASE(a_run_at_the_end_is_found_and_none_beyond_it),
        CASE(a_word_of_a_lower_bound_is_passed_over),
        CASE(the_last_slice_of_a_run_that_is_there_is_told),
        CASE(random_runs_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
