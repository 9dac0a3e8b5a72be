/*
 * test_counters.c - numbers the library keeps about itself
 */
#include "unit/testing.h"

#include <pthread.h>

#include "conf/counters.h"

static void every_row_says_what_it_counts(void **state)
{
    (void)state;
    for (unsigned id = 0; id < ASHLAR_COUNTER_COUNT; id++) {
        const struct ashlar_counter_row *row = ashlar_counter_row((enum ashlar_counter_id)id);
        assert_true(strlen(row->name) > 0);
        assert_true(strlen(row->help) > 5);
        assert_true(row->kind == ASHLAR_COUNTER_TOTAL || row->kind == ASHLAR_COUNTER_LEVEL);
        assert_non_null(row->unit);
        for (unsigned other = 0; other < id; other++)
            assert_string_not_equal(row->name,
                                    ashlar_counter_row((enum ashlar_counter_id)other)->name);
    }
}

static void a_number_is_found_by_its_row(void **state)
{
    (void)state;
    uint64_t before = ashlar_counter_value(ASHLAR_COUNTER_misuses);
    uint64_t neighbour = ashlar_counter_value(ASHLAR_COUNTER_emergency_allocs);
    ashlar_count(misuses);
    ashlar_count_add(misuses, 10);
    assert_int_equal(ashlar_counter_value(ASHLAR_COUNTER_misuses), before + 11);
    ashlar_count_sub(misuses, 4);
    assert_int_equal(ashlar_count_read(misuses), before + 7);
    assert_int_equal(ashlar_counter_value(ASHLAR_COUNTER_emergency_allocs), neighbour);
    assert_string_equal(ashlar_counter_row(ASHLAR_COUNTER_misuses)->name, "misuses");
    assert_int_equal(ashlar_counter_row(ASHLAR_COUNTER_misuses)->kind, ASHLAR_COUNTER_TOTAL);
    assert_int_equal(ashlar_counter_row(ASHLAR_COUNTER_heaps)->kind, ASHLAR_COUNTER_LEVEL);
}

static void *count(void *context)
{
    for (int i = 0; i < 50000; i++) {
        ashlar_count(heaps);
        ashlar_count_add(slab_bytes, 3);
        ashlar_count_sub(slab_bytes, 2);
    }
    return context;
}

static void no_count_is_lost_between_threads(void **state)
{
    (void)state;
    pthread_t threads[3];
    uint64_t heaps = ashlar_count_read(heaps);
    uint64_t bytes = ashlar_count_read(slab_bytes);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(ashlar_count_read(heaps), heaps + 150000);
    assert_int_equal(ashlar_count_read(slab_bytes), bytes + 150000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_says_what_it_counts),
        cmocka_unit_test(a_number_is_found_by_its_row),
        cmocka_unit_test(no_count_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
