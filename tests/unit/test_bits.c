/*
 * test_bits.c - bit scans and atomic bitmaps
 */
#include "unit/testing.h"

#include "base/bits.h"

static void scans_find_each_single_bit(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t word = (uint64_t)1 << bit;
        assert_int_equal(ashlar_bit_lowest(word), bit);
        assert_int_equal(ashlar_bit_highest(word), bit);
        assert_int_equal(ashlar_bit_lowest(word | (uint64_t)1 << 63), bit);
        assert_int_equal(ashlar_bit_highest(word | 1), bit);
        assert_int_equal(ashlar_bit_count(word | 1), bit == 0 ? 1 : 2);
    }
    assert_int_equal(ashlar_bit_count(UINT64_MAX), 64);
    assert_int_equal(ashlar_bit_count(0), 0);
}

static void a_run_has_its_length_wherever_it_starts(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 64; first++) {
        for (unsigned len = 1; first + len <= 64; len++) {
            uint64_t run = ashlar_bit_run(first, len);
            assert_int_equal(ashlar_bit_count(run), len);
            assert_int_equal(ashlar_bit_lowest(run), first);
            assert_int_equal(ashlar_bit_highest(run), first + len - 1);
        }
    }
    assert_int_equal(ashlar_bit_run(5, 0), 0);
}

static void a_bitmap_needs_a_word_for_each_64_bits(void **state)
{
    (void)state;
    assert_int_equal(ASHLAR_BITMAP_WORDS(0), 0);
    assert_int_equal(ASHLAR_BITMAP_WORDS(1), 1);
    assert_int_equal(ASHLAR_BITMAP_WORDS(64), 1);
    assert_int_equal(ASHLAR_BITMAP_WORDS(65), 2);
}

#define MODEL_BITS 300

static void a_bitmap_remembers_what_a_plain_array_does(void **state)
{
    (void)state;
    _Atomic uint64_t map[ASHLAR_BITMAP_WORDS(MODEL_BITS)] = {0};
    bool model[MODEL_BITS] = {false};
    uint64_t seed = 7;

    for (int round = 0; round < 3000; round++) {
        size_t bit = test_random_below(&seed, MODEL_BITS);
        bool is_set = test_random_below(&seed, 3) == 0;
        if (is_set)
            assert_int_equal(ashlar_bitmap_set(map, bit), !model[bit]);
        else
            assert_int_equal(ashlar_bitmap_clear(map, bit), model[bit]);
        model[bit] = is_set;
        assert_int_equal(ashlar_bitmap_get(map, bit), is_set);

        size_t from = test_random_below(&seed, MODEL_BITS);
        size_t end = from + test_random_below(&seed, MODEL_BITS - from + 1);
        size_t expected = from;
        while (expected < end && !model[expected])
            expected++;
        assert_int_equal(ashlar_bitmap_next(map, from, end), expected);
        expected = end;
        for (size_t at = from; at < end; at++)
            expected = model[at] ? at : expected;
        assert_int_equal(ashlar_bitmap_last(map, from, end), expected);
    }
    for (size_t bit = 0; bit < MODEL_BITS; bit++)
        assert_int_equal(ashlar_bitmap_get(map, bit), model[bit]);
}

static size_t set_run(_Atomic uint64_t *map, size_t first, size_t end, bool is_set)
{
    return is_set ? ashlar_bitmap_set_run(map, first, end)
                  : ashlar_bitmap_clear_run(map, first, end);
}

static void a_run_of_bits_tells_how_many_have_changed(void **state)
{
    (void)state;
    _Atomic uint64_t map[ASHLAR_BITMAP_WORDS(MODEL_BITS)] = {0};
    bool model[MODEL_BITS] = {false};
    uint64_t seed = 7;

    for (int round = 0; round < 3000; round++) {
        bool is_set = test_random_below(&seed, 2);
        size_t first = test_random_below(&seed, MODEL_BITS);
        size_t end = first + test_random_below(&seed, MODEL_BITS - first + 1);
        size_t expected = 0;
        for (size_t bit = first; bit < end; bit++) {
            expected += model[bit] != is_set;
            model[bit] = is_set;
        }
        assert_int_equal(set_run(map, first, end, is_set), expected);
        assert_int_equal(set_run(map, first, end, is_set), 0);
        for (size_t bit = 0; bit < MODEL_BITS; bit++)
            assert_int_equal(ashlar_bitmap_get(map, bit), model[bit]);
    }
}

static void a_run_of_whole_words_leaves_those_beside_it_alone(void **state)
{
    (void)state;
    for (size_t first = 0; first <= 256; first += 64) {
        for (size_t end = first; end <= 256; end += 64) {
            _Atomic uint64_t map[4] = {0};
            assert_int_equal(ashlar_bitmap_set_run(map, first, end), end - first);
            for (size_t i = 0; i < 4; i++)
                assert_true(map[i] == (i >= first / 64 && i < end / 64 ? UINT64_MAX : 0));
            assert_int_equal(ashlar_bitmap_set_run(map, 0, 256), 256 - (end - first));
            assert_int_equal(ashlar_bitmap_clear_run(map, first, end), end - first);
            for (size_t i = 0; i < 4; i++)
                assert_true(map[i] == (i >= first / 64 && i < end / 64 ? 0 : UINT64_MAX));
        }
    }
}

static void an_empty_run_changes_nothing(void **state)
{
    (void)state;
    _Atomic uint64_t map[1] = {5};
    assert_int_equal(ashlar_bitmap_set_run(map, 1, 1), 0);
    assert_int_equal(ashlar_bitmap_clear_run(map, 2, 2), 0);
    assert_true(map[0] == 5);
}

static void a_search_in_an_empty_map_ends_at_the_end(void **state)
{
    (void)state;
    _Atomic uint64_t map[4] = {0};
    assert_int_equal(ashlar_bitmap_next(map, 0, 256), 256);
    assert_int_equal(ashlar_bitmap_next(map, 100, 100), 100);
    assert_int_equal(ashlar_bitmap_last(map, 0, 256), 256);
    assert_int_equal(ashlar_bitmap_last(map, 100, 100), 100);
    ashlar_bitmap_set(map, 200);
    assert_int_equal(ashlar_bitmap_next(map, 0, 200), 200);
    assert_int_equal(ashlar_bitmap_next(map, 0, 201), 200);
    assert_int_equal(ashlar_bitmap_next(map, 0, 199), 199);
    assert_int_equal(ashlar_bitmap_last(map, 0, 256), 200);
    assert_int_equal(ashlar_bitmap_last(map, 0, 201), 200);
    assert_int_equal(ashlar_bitmap_last(map, 0, 200), 200);
    assert_int_equal(ashlar_bitmap_last(map, 200, 201), 200);
    assert_int_equal(ashlar_bitmap_last(map, 201, 256), 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans_find_each_single_bit),
        cmocka_unit_test(a_run_has_its_length_wherever_it_starts),
        cmocka_unit_test(a_bitmap_needs_a_word_for_each_64_bits),
        cmocka_unit_test(a_bitmap_remembers_what_a_plain_array_does),
        cmocka_unit_test(a_run_of_bits_tells_how_many_have_changed),
        cmocka_unit_test(a_run_of_whole_words_leaves_those_beside_it_alone),
        cmocka_unit_test(an_empty_run_changes_nothing),
        cmocka_unit_test(a_search_in_an_empty_map_ends_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
