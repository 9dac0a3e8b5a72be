/*
 * test_meta.c - memory for the library's own structures
 */
#include "unit/testing.h"

#include <pthread.h>

#include "conf/counters.h"
#include "map/meta.h"
#include "unit/fake_os.h"

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    return 0;
}

static void memory_is_zero_and_on_a_cache_line_of_its_own(void **state)
{
    (void)state;
    char *last = NULL;
    for (size_t size = 1; size < 3000; size += 37) {
        char *got = ashlar_meta_alloc(size);
        assert_non_null(got);
        assert_true(ashlar_is_aligned(got, ASHLAR_CACHE_LINE_BYTES));
        assert_true(test_is_zero(got, ashlar_align_up(size, ASHLAR_CACHE_LINE_BYTES)));
        assert_true(got != last);
        memset(got, 0xff, size);
        last = got;
    }
}

static void a_request_longer_than_a_step_is_served(void **state)
{
    (void)state;
    char *got = ashlar_meta_alloc(3 * ASHLAR_MIB);
    assert_non_null(got);
    memset(got, 1, 3 * ASHLAR_MIB);
}

static void every_mapped_byte_is_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++)
        assert_non_null(ashlar_meta_alloc(10000));
    assert_int_equal(ashlar_count_read(meta_bytes), fake_os_mapped_bytes());
}

static void growth_is_rare(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++)
        assert_non_null(ashlar_meta_alloc(200));
    assert_true(fake_os_count(FAKE_OS_MAP) <= 5);
}

static void a_pool_gives_back_what_was_put(void **state)
{
    (void)state;
    struct ashlar_meta_pool pool = {.object_bytes = 96};
    char *one = ashlar_meta_get(&pool);
    char *two = ashlar_meta_get(&pool);
    assert_true(one != NULL && two != NULL && one != two);
    assert_true(test_is_zero(one, 96));
    memset(one, 7, 96);
    ashlar_meta_put(&pool, one);
    char *again = ashlar_meta_get(&pool);
    assert_ptr_equal(again, one);
    for (size_t i = sizeof(void *); i < 96; i++)
        assert_int_equal(again[i], 7);
    ashlar_meta_put(&pool, two);
    ashlar_meta_put(&pool, one);
    assert_ptr_equal(ashlar_meta_get(&pool), one);
    assert_ptr_equal(ashlar_meta_get(&pool), two);
}

/* Uses up what is mapped, so that the next request must map. */
static void use_up(void)
{
    unsigned maps = fake_os_count(FAKE_OS_MAP);
    while (fake_os_count(FAKE_OS_MAP) == maps)
        assert_non_null(ashlar_meta_alloc(4096));
    maps = fake_os_count(FAKE_OS_MAP);
    fake_os_fail(FAKE_OS_MAP, 0, 1000, ENOMEM);
    while (ashlar_meta_alloc(64) != NULL)
        ;
    fake_os_obey();
}

static void out_of_memory_gives_null_and_a_later_try_works(void **state)
{
    (void)state;
    use_up();
    fake_os_fail(FAKE_OS_MAP, 0, 1000, ENOMEM);
    assert_null(ashlar_meta_alloc(100));
    struct ashlar_meta_pool pool = {.object_bytes = 128};
    assert_null(ashlar_meta_get(&pool));
    fake_os_obey();
    assert_non_null(ashlar_meta_get(&pool));
    assert_non_null(ashlar_meta_alloc(100));
    assert_int_equal(ashlar_count_read(meta_bytes), fake_os_mapped_bytes());
}

static void when_memory_is_short_it_settles_for_less(void **state)
{
    (void)state;
    use_up();
    uint64_t before = ashlar_count_read(meta_bytes);
    fake_os_fail(FAKE_OS_MAP, 0, 3, ENOMEM);
    assert_non_null(ashlar_meta_alloc(100));
    assert_int_equal(fake_os_has_failed(), true);
    fake_os_obey();
    uint64_t step = ashlar_count_read(meta_bytes) - before;
    assert_true(step >= ashlar_os_facts.page_bytes);
    assert_int_equal(step % ashlar_os_facts.page_bytes, 0);
    use_up();
    /* Down to the last page: the smallest step is tried before giving up. */
    unsigned tries = fake_os_count(FAKE_OS_MAP);
    fake_os_fail(FAKE_OS_MAP, 0, 1000, ENOMEM);
    assert_null(ashlar_meta_alloc(100));
    fake_os_obey();
    tries = fake_os_count(FAKE_OS_MAP) - tries;
    use_up();
    before = ashlar_count_read(meta_bytes);
    fake_os_fail(FAKE_OS_MAP, 0, tries - 1, ENOMEM);
    assert_non_null(ashlar_meta_alloc(100));
    fake_os_obey();
    assert_int_equal(ashlar_count_read(meta_bytes) - before, ashlar_os_facts.page_bytes);
}

static void a_shut_store_refuses_and_loses_what_is_put(void **state)
{
    (void)state;
    struct ashlar_meta_pool pool = {.object_bytes = 64};
    void *one = ashlar_meta_get(&pool);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(ashlar_meta_alloc(64));
    assert_null(ashlar_meta_get(&pool));
    ashlar_meta_put(&pool, one);
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_null(pool.free);
    assert_non_null(ashlar_meta_get(&pool));
}

static struct ashlar_meta_pool shared_pool = {.object_bytes = 64};

static void *get_and_put(void *context)
{
    for (int i = 0; i < 20000; i++) {
        uint64_t *object = ashlar_meta_get(&shared_pool);
        if (object == NULL)
            return context;
        object[1] = (uintptr_t)&i;
        if (i % 100 == 0)
            sched_yield();
        if (object[1] != (uintptr_t)&i)
            return context;
        ashlar_meta_put(&shared_pool, object);
    }
    return NULL;
}

static void no_two_threads_hold_one_descriptor(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, get_and_put, &shared_pool);
    for (int i = 0; i < 4; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(memory_is_zero_and_on_a_cache_line_of_its_own, begin),
        cmocka_unit_test_setup(a_request_longer_than_a_step_is_served, begin),
        cmocka_unit_test_setup(every_mapped_byte_is_counted, begin),
        cmocka_unit_test_setup(growth_is_rare, begin),
        cmocka_unit_test_setup(a_pool_gives_back_what_was_put, begin),
        cmocka_unit_test_setup(out_of_memory_gives_null_and_a_later_try_works, begin),
        cmocka_unit_test_setup(when_memory_is_short_it_settles_for_less, begin),
        cmocka_unit_test_setup(a_shut_store_refuses_and_loses_what_is_put, begin),
        cmocka_unit_test_setup(no_two_threads_hold_one_descriptor, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
