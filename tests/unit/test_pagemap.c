/*
 * test_pagemap.c - who owns this address
 */
#include "unit/testing.h"

#include <pthread.h>

#include "map/pagemap.h"
#include "unit/fake_os.h"

#define LEAF_SPAN ((uintptr_t)1 << ASHLAR_PAGEMAP_LEAF_SHIFT)

static struct ashlar_span span_one = {.kind = ASHLAR_SPAN_LARGE};
static struct ashlar_span span_two = {.kind = ASHLAR_SPAN_SLAB};

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    return 0;
}

/* The map looks at addresses only, so made-up ones will do. */
static void *at(uintptr_t address)
{
    return (void *)address;
}

static void any_address_whatever_may_be_asked_for(void **state)
{
    (void)state;
    int local;
    assert_null(ashlar_pagemap_find(NULL));
    assert_null(ashlar_pagemap_find(&local));
    assert_null(ashlar_pagemap_find(&span_one));
    assert_null(ashlar_pagemap_find(at(UINTPTR_MAX)));
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_null(ashlar_pagemap_find(at((uintptr_t)1 << bit)));
        assert_null(ashlar_pagemap_find(at(((uintptr_t)1 << bit) - 1)));
    }
    assert_int_equal(fake_os_count_all(), 0);
}

static void a_range_is_found_from_each_granule_and_nothing_beside_it(void **state)
{
    (void)state;
    uintptr_t base = 5 * LEAF_SPAN + 0x123000;
    assert_true(ashlar_pagemap_prepare(at(base), 0x10000));
    ashlar_pagemap_set(at(base), 0x10000, &span_one);
    for (uintptr_t a = base; a < base + 0x10000; a += 0x7ff)
        assert_ptr_equal(ashlar_pagemap_find(at(a)), &span_one);
    assert_ptr_equal(ashlar_pagemap_find(at(base + 0xffff)), &span_one);
    assert_null(ashlar_pagemap_find(at(base - 1)));
    assert_null(ashlar_pagemap_find(at(base + 0x10000)));
    ashlar_pagemap_set(at(base + 0x4000), 1, &span_two);
    assert_ptr_equal(ashlar_pagemap_find(at(base + 0x4fff)), &span_two);
    assert_ptr_equal(ashlar_pagemap_find(at(base + 0x5000)), &span_one);
    ashlar_pagemap_set(at(base), 0x10000, NULL);
    assert_null(ashlar_pagemap_find(at(base)));
    assert_null(ashlar_pagemap_find(at(base + 0x4000)));
}

static void an_entry_is_that_of_all_addresses_of_its_granule(void **state)
{
    (void)state;
    uintptr_t base = 7 * LEAF_SPAN - ASHLAR_GRANULE_BYTES; /* on both sides of a border */
    assert_true(ashlar_pagemap_prepare(at(base), 2 * ASHLAR_GRANULE_BYTES));
    ashlar_pagemap_entry *entry = ashlar_pagemap_entry_of(at(base));
    ashlar_pagemap_entry *next = ashlar_pagemap_entry_of(at(base + ASHLAR_GRANULE_BYTES));
    assert_true(entry != NULL && next != NULL && entry != next);
    assert_ptr_equal(ashlar_pagemap_entry_of(at(base + 1)), entry);
    assert_ptr_equal(ashlar_pagemap_entry_of(at(base + ASHLAR_GRANULE_BYTES - 1)), entry);
    assert_ptr_not_equal(ashlar_pagemap_entry_of(at(base - 1)), entry);
    assert_null(atomic_load(entry));
    ashlar_pagemap_set(at(base), ASHLAR_GRANULE_BYTES, &span_one);
    assert_ptr_equal(atomic_load(entry), &span_one);
    assert_null(atomic_load(next));
    ashlar_pagemap_set(at(base + ASHLAR_GRANULE_BYTES), 1, &span_two);
    assert_ptr_equal(atomic_load(entry), &span_one);
    assert_ptr_equal(atomic_load(next), &span_two);
    assert_true(ashlar_pagemap_claim(at(base), &span_one));
    assert_null(atomic_load(entry));
}

static void where_nothing_was_prepared_is_no_entry(void **state)
{
    (void)state;
    uintptr_t end_of_map = (uintptr_t)1 << 48;
    uintptr_t base = 40 * LEAF_SPAN;
    assert_null(ashlar_pagemap_entry_of(at(base)));
    assert_true(ashlar_pagemap_prepare(at(base), 1));
    assert_non_null(ashlar_pagemap_entry_of(at(base)));
    assert_non_null(ashlar_pagemap_entry_of(at(base + LEAF_SPAN - 1)));
    assert_null(ashlar_pagemap_entry_of(at(base - 1)));
    assert_null(ashlar_pagemap_entry_of(at(base + LEAF_SPAN)));
    assert_null(ashlar_pagemap_entry_of(at(end_of_map | base))); /* an entry below, none there */
    assert_null(ashlar_pagemap_entry_of(at(UINTPTR_MAX)));
}

static void a_range_may_cross_from_leaf_to_leaf(void **state)
{
    (void)state;
    uintptr_t base = 10 * LEAF_SPAN - 0x3000;
    assert_true(ashlar_pagemap_prepare(at(base), 2 * LEAF_SPAN));
    ashlar_pagemap_set(at(base), 0x6000, &span_one);
    assert_ptr_equal(ashlar_pagemap_find(at(base)), &span_one);
    assert_ptr_equal(ashlar_pagemap_find(at(base + 0x2fff)), &span_one);
    assert_ptr_equal(ashlar_pagemap_find(at(base + 0x3000)), &span_one);
    assert_ptr_equal(ashlar_pagemap_find(at(base + 0x5fff)), &span_one);
    assert_null(ashlar_pagemap_find(at(base + 0x6000)));
    assert_null(ashlar_pagemap_find(at(base + 2 * LEAF_SPAN - 1)));
    assert_int_equal(fake_os_count(FAKE_OS_MAP), 3);
}

static void a_leaf_is_made_once(void **state)
{
    (void)state;
    uintptr_t base = 20 * LEAF_SPAN;
    assert_true(ashlar_pagemap_prepare(at(base), 1));
    assert_int_equal(fake_os_count(FAKE_OS_MAP), 1);
    assert_true(ashlar_pagemap_prepare(at(base), 1));
    assert_true(ashlar_pagemap_prepare(at(base + LEAF_SPAN - 1), 1));
    assert_int_equal(fake_os_count(FAKE_OS_MAP), 1);
    assert_true(ashlar_pagemap_prepare(at(base + LEAF_SPAN - 1), 2));
    assert_int_equal(fake_os_count(FAKE_OS_MAP), 2);
}

static void out_of_memory_leaves_the_range_unprepared(void **state)
{
    (void)state;
    uintptr_t base = 30 * LEAF_SPAN;
    fake_os_fail(FAKE_OS_MAP, 1, 1, ENOMEM);
    assert_false(ashlar_pagemap_prepare(at(base), 3 * LEAF_SPAN));
    fake_os_obey();
    assert_null(ashlar_pagemap_find(at(base + LEAF_SPAN)));
    assert_true(ashlar_pagemap_prepare(at(base), 3 * LEAF_SPAN));
}

/* tests/api/limits got 28 MiB of 64, one run in 150, when mappings lay on both sides of a boundary
   between leaves: the second leaf took 8 MiB. */
static void a_second_leaf_leaves_room_under_a_small_limit(void **state)
{
    (void)state;
    size_t mapped = fake_os_mapped_bytes();
    assert_true(ashlar_pagemap_prepare(at(45 * LEAF_SPAN - 1), 2));
    assert_true(fake_os_mapped_bytes() - mapped <= 2 * 2 * ASHLAR_MIB);
}

static void addresses_above_48_bits_are_refused(void **state)
{
    (void)state;
    uintptr_t end = (uintptr_t)1 << 48;
    assert_false(ashlar_pagemap_prepare(at(end), 1));
    assert_false(ashlar_pagemap_prepare(at(end - 1), 2));
    assert_true(ashlar_pagemap_prepare(at(end - 1), 1));
}

static void *prepare_range(void *context)
{
    return ashlar_pagemap_prepare(at(50 * LEAF_SPAN), 20 * LEAF_SPAN) ? NULL : context;
}

static void threads_that_grow_the_map_at_once_keep_each_leaf_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    size_t mapped = fake_os_mapped_bytes();
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, prepare_range, &span_one);
    for (int i = 0; i < 4; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
    assert_true(fake_os_count(FAKE_OS_MAP) >= 20);
    assert_int_equal(fake_os_mapped_bytes() - mapped,
                     20 * ASHLAR_PAGEMAP_LEAF_COUNT * sizeof(ashlar_pagemap_entry));
    for (uintptr_t a = 50 * LEAF_SPAN; a < 70 * LEAF_SPAN; a += LEAF_SPAN) {
        ashlar_pagemap_set(at(a), 1, &span_one);
        assert_ptr_equal(ashlar_pagemap_find(at(a)), &span_one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(any_address_whatever_may_be_asked_for, begin),
        cmocka_unit_test_setup(a_range_is_found_from_each_granule_and_nothing_beside_it, begin),
        cmocka_unit_test_setup(an_entry_is_that_of_all_addresses_of_its_granule, begin),
        cmocka_unit_test_setup(where_nothing_was_prepared_is_no_entry, begin),
        cmocka_unit_test_setup(a_range_may_cross_from_leaf_to_leaf, begin),
        cmocka_unit_test_setup(a_leaf_is_made_once, begin),
        cmocka_unit_test_setup(out_of_memory_leaves_the_range_unprepared, begin),
        cmocka_unit_test_setup(a_second_leaf_leaves_room_under_a_small_limit, begin),
        cmocka_unit_test_setup(addresses_above_48_bits_are_refused, begin),
        cmocka_unit_test_setup(threads_that_grow_the_map_at_once_keep_each_leaf_once, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
