/*
 * test_rng.c - a small seeded generator
 */
#include "unit/testing.h"

#include "base/bits.h"
#include "base/rng.h"

static void the_numbers_are_those_of_splitmix64(void **state)
{
    (void)state;
    /* The reference implementation's first numbers from seed 1234567. */
    uint64_t seed = 1234567;
    assert_true(ashlar_rng_next(&seed) == UINT64_C(6457827717110365317));
    assert_true(ashlar_rng_next(&seed) == UINT64_C(3203168211198807973));
    assert_true(ashlar_rng_next(&seed) == UINT64_C(9817491932198370423));
}

static void equal_seeds_give_equal_numbers(void **state)
{
    (void)state;
    uint64_t one = 42;
    uint64_t other = 42;
    uint64_t different = 43;
    for (int i = 0; i < 100; i++) {
        uint64_t number = ashlar_rng_next(&one);
        assert_true(number == ashlar_rng_next(&other));
        assert_true(number != ashlar_rng_next(&different));
    }
}

static void a_shared_generator_gives_the_same_numbers_as_an_owned_one(void **state)
{
    (void)state;
    uint64_t own = 5;
    _Atomic uint64_t shared = 5;
    for (int i = 0; i < 100; i++)
        assert_true(ashlar_rng_next(&own) == ashlar_rng_shared(&shared));
}

static void every_bit_is_set_about_half_the_time(void **state)
{
    (void)state;
    uint64_t seed = 0;
    unsigned set[64] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t number = ashlar_rng_next(&seed);
        for (unsigned bit = 0; bit < 64; bit++)
            set[bit] += (unsigned)(number >> bit) & 1u;
    }
    for (unsigned bit = 0; bit < 64; bit++)
        assert_in_range(set[bit], 4700, 5300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_are_those_of_splitmix64),
        cmocka_unit_test(equal_seeds_give_equal_numbers),
        cmocka_unit_test(a_shared_generator_gives_the_same_numbers_as_an_owned_one),
        cmocka_unit_test(every_bit_is_set_about_half_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
