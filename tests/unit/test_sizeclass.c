/*
 * test_sizeclass.c - which object size serves a request, recomputed from the rule
 */
#include "unit/testing.h"

#include "small/sizeclass.h"

/* The rule, said once more: 16 apart up to 128, then eight steps per doubling. */
static size_t next_size(size_t size)
{
    size_t doubling = 128;
    if (size < 128)
        return size + 16;
    while (doubling * 2 <= size)
        doubling *= 2;
    return size + doubling / 8;
}

static void class_sizes_follow_the_rule(void **state)
{
    (void)state;
    size_t size = 16;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        assert_int_equal(ashlar_class_size(class_id), size);
        assert_int_equal(size % ASHLAR_MIN_ALIGN_BYTES, 0);
        size = next_size(size);
    }
    assert_int_equal(ashlar_class_size(ASHLAR_CLASS_COUNT - 1), ASHLAR_SMALL_MAX_BYTES);
}

static void every_request_gets_the_smallest_class_that_holds_it(void **state)
{
    (void)state;
    unsigned expected = 0;
    for (size_t size = 0; size <= ASHLAR_SMALL_MAX_BYTES; size++) {
        while (ashlar_class_sizes[expected] < size)
            expected++;
        if (ashlar_class_of(size) != expected)
            fail_msg("size %zu: class %u, not %u", size, ashlar_class_of(size), expected);
    }
}

static void table_and_arithmetic_meet_without_a_seam(void **state)
{
    (void)state;
    for (size_t i = 0; i <= ASHLAR_CLASS_TABLE_MAX_BYTES / 16; i++) {
        assert_true(ashlar_class_sizes[ashlar_class_table[i]] >= i * 16);
        assert_true(i == 0 || ashlar_class_sizes[ashlar_class_table[i]] - i * 16 <= i * 2);
    }
    assert_int_equal(ashlar_class_of_medium(ASHLAR_CLASS_TABLE_MAX_BYTES),
                     ashlar_class_of(ASHLAR_CLASS_TABLE_MAX_BYTES));
    assert_int_equal(ashlar_class_of(ASHLAR_CLASS_TABLE_MAX_BYTES + 1),
                     ashlar_class_of(ASHLAR_CLASS_TABLE_MAX_BYTES) + 1);
}

static void at_most_an_eighth_of_the_request_is_wasted_above_128_bytes(void **state)
{
    (void)state;
    for (size_t size = 1; size <= ASHLAR_SMALL_MAX_BYTES; size++) {
        size_t waste = ashlar_class_size(ashlar_class_of(size)) - size;
        if (size <= 128 ? waste > 15 : waste * 8 > size)
            fail_msg("size %zu wastes %zu", size, waste);
    }
}

static void a_size_rounded_to_an_alignment_gets_a_class_of_that_alignment(void **state)
{
    (void)state;
    for (size_t align = 16; align <= 65536; align *= 2) {
        for (size_t size = align; size <= ASHLAR_SMALL_MAX_BYTES; size += align) {
            size_t object = ashlar_class_size(ashlar_class_of(size));
            if (object % align != 0)
                fail_msg("size %zu, align %zu: objects of %zu", size, align, object);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_sizes_follow_the_rule),
        cmocka_unit_test(every_request_gets_the_smallest_class_that_holds_it),
        cmocka_unit_test(table_and_arithmetic_meet_without_a_seam),
        cmocka_unit_test(at_most_an_eighth_of_the_request_is_wasted_above_128_bytes),
        cmocka_unit_test(a_size_rounded_to_an_alignment_gets_a_class_of_that_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
