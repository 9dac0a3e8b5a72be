/*
 * test_junk.c - contents that nobody mistakes for data
 */
#include "unit/testing.h"

#include "harden/junk.h"

static void fresh_and_freed_memory_look_different_and_nothing_beside_is_touched(void **state)
{
    (void)state;
    unsigned char block[64];
    memset(block, 0, sizeof block);
    ashlar_junk_fill_fresh(block + 1, 30);
    ashlar_junk_fill_freed(block + 32, 31);
    assert_int_equal(block[0], 0);
    assert_int_equal(block[1], 0xa5);
    assert_int_equal(block[30], 0xa5);
    assert_int_equal(block[31], 0);
    assert_int_equal(block[32], 0x5a);
    assert_int_equal(block[62], 0x5a);
    assert_int_equal(block[63], 0);
    ashlar_junk_fill_fresh(block, 0);
    assert_int_equal(block[0], 0);
}

static void a_pointer_of_junk_is_no_address(void **state)
{
    (void)state;
    uintptr_t fresh;
    uintptr_t freed;
    ashlar_junk_fill_fresh(&fresh, sizeof fresh);
    ashlar_junk_fill_freed(&freed, sizeof freed);
    assert_true(fresh >> 47 != 0 && freed >> 47 != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_and_freed_memory_look_different_and_nothing_beside_is_touched),
        cmocka_unit_test(a_pointer_of_junk_is_no_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
