/*
 * test_tcache.c - a thread's own slabs
 */
#include "unit/testing.h"

#include <pthread.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "front/heaps.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

#define CLASS 9u
#define OBJECT_BYTES (ashlar_class_size(CLASS))

/* Several slabs full. */
#define MANY ((size_t)3000)

static char *objects[MANY];

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    return 0;
}

/* After every case all objects are free, so that nothing may be held. */
static int end(void **state)
{
    (void)state;
    fake_os_obey();
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
    return 0;
}

static char *alloc(unsigned class_id)
{
    return ashlar_heaps_alloc(class_id);
}

static enum ashlar_tcache_result free_object(char *object)
{
    return ashlar_heaps_free(ashlar_slab_of(ashlar_pagemap_find(object)), object);
}

static void *alloc_many(void *context)
{
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = alloc(CLASS);
        if (objects[i] == NULL)
            return objects;
        memset(objects[i], (int)i, OBJECT_BYTES);
    }
    return context;
}

static void *free_many(void *context)
{
    for (size_t i = 0; i < MANY; i++)
        if (objects[i][OBJECT_BYTES - 1] != (char)i ||
            free_object(objects[i]) != ASHLAR_TCACHE_DONE)
            return objects;
    return context;
}

/* Runs `body` in a thread to its end; it must give NULL. */
static void in_thread(void *(*body)(void *context))
{
    pthread_t thread;
    void *failure;
    assert_int_equal(pthread_create(&thread, NULL, body, NULL), 0);
    pthread_join(thread, &failure);
    assert_null(failure);
}

static void objects_of_every_class_are_apart_and_freed_once(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        size_t size = ashlar_class_size(class_id);
        char *one = alloc(class_id);
        char *two = alloc(class_id);
        assert_true(one + size <= two || two + size <= one);
        memset(one, 1, size);
        memset(two, 2, size);
        assert_int_equal(one[size - 1], 1);
        assert_int_equal(free_object(one), ASHLAR_TCACHE_DONE);
        assert_int_equal(free_object(one), ASHLAR_TCACHE_DOUBLE_FREE);
        assert_int_equal(two[0], 2);
        assert_int_equal(free_object(two), ASHLAR_TCACHE_DONE);
    }
}

static void what_is_no_start_of_an_object_is_interior(void **state)
{
    (void)state;
    char *object = alloc(CLASS);
    struct ashlar_slab *slab = ashlar_slab_of(ashlar_pagemap_find(object));
    assert_int_equal(ashlar_heaps_free(slab, object + 1), ASHLAR_TCACHE_INTERIOR);
    assert_int_equal(ashlar_heaps_free(slab, object + 16), ASHLAR_TCACHE_INTERIOR);
    assert_int_equal(ashlar_heaps_free(slab, slab->base + slab->end), ASHLAR_TCACHE_INTERIOR);
    if (slab->carved < slab->end)
        assert_int_equal(ashlar_heaps_free(slab, slab->base + slab->end - OBJECT_BYTES),
                         ASHLAR_TCACHE_INTERIOR);
    assert_int_equal(free_object(object), ASHLAR_TCACHE_DONE);
}

static void empty_slabs_are_given_back_at_a_tick(void **state)
{
    (void)state;
    assert_null(alloc_many(NULL));
    size_t held = ashlar_count_read(slabs);
    assert_true(held * ashlar_slab_slices(CLASS) * ASHLAR_SLICE_BYTES >= MANY * OBJECT_BYTES);
    assert_null(free_many(NULL));
    ashlar_heaps_tick(ashlar_os_now_ms());
    assert_true(ashlar_count_read(slabs) <= 1); /* the one that serves next */
}

static void a_tick_is_due_when_half_the_decay_time_has_passed(void **state)
{
    (void)state;
    ashlar_heaps_tick(ashlar_os_now_ms());
    assert_null(alloc_many(NULL));
    assert_null(free_many(NULL));
    fake_os_pass_time((uint64_t)ashlar_opt.decay_ms / 2);
    ashlar_heaps_tick_if_due();
    assert_true(ashlar_count_read(slabs) <= 1);
}

/* Symptom: a program that had once used a buffer of every size held on to all of them. */
static void a_size_left_behind_lends_its_pages_to_the_next(void **state)
{
    (void)state;
    size_t held_before = ashlar_count_read(slab_bytes) + ashlar_count_read(arena_dirty_bytes);
    for (unsigned class_id = ASHLAR_CLASS_MEDIUM; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        char *object = alloc(class_id);
        memset(object, 1, ashlar_class_size(class_id));
        assert_int_equal(free_object(object), ASHLAR_TCACHE_DONE);
        size_t held_bytes = ashlar_count_read(slab_bytes) + ashlar_count_read(arena_dirty_bytes);
        assert_true(held_bytes - held_before <= 2 * ASHLAR_MIB); /* of 4 */
    }
}

static void a_size_used_over_and_over_keeps_its_slab(void **state)
{
    (void)state;
    char *object = alloc(ASHLAR_CLASS_COUNT - 1);
    size_t dirty_bytes = ashlar_count_read(arena_dirty_bytes);
    for (int i = 0; i < 100; i++) {
        char *other = alloc(ASHLAR_CLASS_MEDIUM);
        assert_int_equal(free_object(other), ASHLAR_TCACHE_DONE);
        assert_int_equal(free_object(object), ASHLAR_TCACHE_DONE);
        assert_true(ashlar_count_read(arena_dirty_bytes) <= dirty_bytes);
        assert_ptr_equal(alloc(ASHLAR_CLASS_COUNT - 1), object);
    }
    assert_int_equal(free_object(object), ASHLAR_TCACHE_DONE);
}

/* Symptom: sixteen sizes in turn fetched a slab for each request. */
static void sizes_used_in_turn_keep_their_slabs_after_a_while(void **state)
{
    (void)state;
    struct ashlar_slab *seen[16] = {NULL};
    unsigned changes = 0;
    for (int round = 0; round < 40; round++) {
        changes = 0;
        for (unsigned i = 0; i < 16; i++) {
            char *object = alloc(ASHLAR_CLASS_MEDIUM + i);
            struct ashlar_slab *slab = ashlar_slab_of(ashlar_pagemap_find(object));
            changes += slab != seen[i];
            seen[i] = slab;
            assert_int_equal(free_object(object), ASHLAR_TCACHE_DONE);
        }
    }
    assert_int_equal(changes, 0);
}

static void what_other_threads_free_serves_the_owner_again(void **state)
{
    (void)state;
    assert_null(alloc_many(NULL));
    size_t held = ashlar_count_read(slabs);
    for (int round = 0; round < 5; round++) {
        in_thread(free_many);
        assert_null(alloc_many(NULL));
        assert_true(ashlar_count_read(slabs) <= held + 1);
    }
    assert_null(free_many(NULL));
}

static void an_object_freed_by_two_threads_is_told(void **state)
{
    (void)state;
    assert_null(alloc_many(NULL));
    in_thread(free_many);
    assert_int_equal(free_object(objects[MANY / 2]), ASHLAR_TCACHE_DOUBLE_FREE);
    assert_null(alloc_many(NULL)); /* the owner sees what has come back */
    assert_null(free_many(NULL));
}

static void objects_outlive_their_thread_and_anyone_may_free_them(void **state)
{
    (void)state;
    in_thread(alloc_many);
    assert_true(ashlar_count_read(slabs) > 0);
    assert_null(free_many(NULL));
    assert_int_equal(ashlar_count_read(slabs), 0);
}

static void slabs_of_an_exited_thread_are_adopted(void **state)
{
    (void)state;
    in_thread(alloc_many);
    size_t held = ashlar_count_read(slabs);
    uint64_t adopted = ashlar_count_read(slabs_adopted);
    for (size_t i = 0; i < MANY; i++)
        if (i % 2 == 0)
            assert_int_equal(free_object(objects[i]), ASHLAR_TCACHE_DONE);
    for (size_t i = 0; i < MANY; i += 2) {
        objects[i] = alloc(CLASS);
        memset(objects[i], (int)i, OBJECT_BYTES);
    }
    assert_true(ashlar_count_read(slabs_adopted) > adopted);
    assert_true(ashlar_count_read(slabs) <= held + 1);
    assert_null(free_many(NULL)); /* and nothing was handed out twice */
}

static void *count_caches(void *context)
{
    unsigned before = ashlar_heaps_count();
    char *object = alloc(CLASS);
    bool is_one_more = ashlar_heaps_count() == before + 1;
    bool is_freed = object != NULL && free_object(object) == ASHLAR_TCACHE_DONE;
    return is_one_more && is_freed ? context : objects;
}

static void a_thread_has_a_cache_from_its_first_request_to_its_end(void **state)
{
    (void)state;
    assert_int_equal(free_object(alloc(CLASS)), ASHLAR_TCACHE_DONE);
    unsigned count = ashlar_heaps_count();
    in_thread(count_caches);
    assert_int_equal(ashlar_heaps_count(), count);
    size_t meta_bytes = ashlar_count_read(meta_bytes);
    for (int i = 0; i < 300; i++)
        in_thread(count_caches);
    assert_int_equal(ashlar_count_read(meta_bytes), meta_bytes); /* caches are used again */
}

static bool try_to_alloc(void *context)
{
    char **object = context;
    *object = alloc(70);
    return *object != NULL;
}

static void check_and_free(void *context, bool has_succeeded)
{
    char **object = context;
    if (has_succeeded)
        assert_int_equal(free_object(*object), ASHLAR_TCACHE_DONE);
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

static void an_alloc_that_fails_holds_nothing_whichever_call_failed(void **state)
{
    (void)state;
    char *object;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, 0);
    fake_os_fail_each(FAKE_OS_ONE_FAILS, try_to_alloc, check_and_free, &object);
    assert_true(fake_os_fail_each(FAKE_OS_REST_FAILS, try_to_alloc, check_and_free, &object) >= 1);
}

static void *alloc_nothing(void *context)
{
    if (alloc(CLASS) != NULL)
        return objects;
    ashlar_lock_reopen(&ashlar_heaps_lock, false);
    char *object = alloc(CLASS);
    if (object == NULL)
        return objects;
    free_object(object);
    return context;
}

static void a_thread_without_a_cache_is_refused_while_caches_are_shut(void **state)
{
    (void)state;
    ashlar_lock_shut(&ashlar_heaps_lock);
    in_thread(alloc_nothing);
}

static void what_needs_a_shut_arena_is_refused_the_rest_is_done(void **state)
{
    (void)state;
    in_thread(alloc_many); /* all abandoned */
    char *one = alloc(CLASS + 1);
    char *two = alloc(CLASS + 1);
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        ashlar_lock_shut(&ashlar_arena_at(i)->lock);
    assert_int_equal(free_object(objects[0]), ASHLAR_TCACHE_REFUSED);
    assert_null(alloc(CLASS));
    assert_int_equal(free_object(one), ASHLAR_TCACHE_DONE);
    assert_int_equal(free_object(two), ASHLAR_TCACHE_DONE);
    ashlar_heaps_trim(); /* the slab fell empty, but cannot go now */
    assert_non_null(one = alloc(CLASS + 1));
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        ashlar_lock_reopen(&ashlar_arena_at(i)->lock, false);
    assert_int_equal(free_object(one), ASHLAR_TCACHE_DONE);
    assert_null(free_many(NULL));
}

static void an_overwritten_free_object_is_named_and_the_rest_serves(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_IGNORE);
    char *one = alloc(CLASS);
    assert_int_equal(free_object(one), ASHLAR_TCACHE_DONE);
    uint64_t misuses = ashlar_count_read(misuses);
    memset(one, 'x', OBJECT_BYTES);
    char *first = alloc(CLASS);
    char *second = alloc(CLASS);
    assert_int_equal(ashlar_count_read(misuses), misuses + 1);
    assert_true(first != NULL && second != NULL && first != second);
    assert_int_equal(free_object(first), ASHLAR_TCACHE_DONE);
    assert_int_equal(free_object(second), ASHLAR_TCACHE_DONE);
}

#define THREADS 3
#define ROUNDS 20000
#define MAILBOXES 512

static _Atomic(char *) mailboxes[MAILBOXES];

static void *swap_objects(void *context)
{
    uint64_t seed = (uintptr_t)&context;
    for (int i = 0; i < ROUNDS; i++) {
        char *object = alloc((unsigned)test_random_below(&seed, 60));
        if (object == NULL)
            return objects;
        *(uintptr_t *)(void *)object = (uintptr_t)object;
        object = atomic_exchange(&mailboxes[test_random_below(&seed, MAILBOXES)], object);
        if (object == NULL)
            continue;
        if (*(uintptr_t *)(void *)object != (uintptr_t)object ||
            free_object(object) != ASHLAR_TCACHE_DONE)
            return objects;
    }
    return context;
}

static pthread_barrier_t barrier;

/* Gets a cache of its own while the others have theirs. */
static void *take_a_cache(void *context)
{
    char *object = alloc(CLASS);
    pthread_barrier_wait(&barrier);
    return free_object(object) == ASHLAR_TCACHE_DONE ? context : objects;
}

static void run_threads(void *(*body)(void *context))
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, body, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
}

static void threads_that_free_for_each_other_lose_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++)
        run_threads(swap_objects);
    for (size_t i = 0; i < MAILBOXES; i++) {
        char *object = atomic_exchange(&mailboxes[i], NULL);
        assert_true(object == NULL || free_object(object) == ASHLAR_TCACHE_DONE);
    }
    /* A slab that somebody was putting on a pending stack when its thread ended stays with the
       cache until that serves the next thread. */
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    run_threads(take_a_cache);
    pthread_barrier_destroy(&barrier);
}

static pthread_key_t late_key;
static _Atomic unsigned late_rounds; /* those that went well */

/* As often as POSIX calls destructors: the last time the thread's cache is gone. */
static void alloc_late(void *value)
{
    char *object = alloc(CLASS);
    if (object != NULL) {
        memset(object, 1, OBJECT_BYTES);
        late_rounds += free_object(object) == ASHLAR_TCACHE_DONE;
    }
    pthread_setspecific(late_key, value);
}

static void *exit_late(void *context)
{
    pthread_setspecific(late_key, objects);
    return free_object(alloc(CLASS)) == ASHLAR_TCACHE_DONE ? context : objects;
}

static void a_thread_past_its_end_is_served(void **state)
{
    (void)state;
    unsigned count = ashlar_heaps_count();
    assert_int_equal(pthread_key_create(&late_key, alloc_late), 0);
    in_thread(exit_late);
    pthread_key_delete(late_key);
    assert_true(late_rounds >= 4);
    assert_int_equal(ashlar_heaps_count(), count);
}

static void *free_ten(void *context)
{
    for (size_t i = 0; i < 10; i++)
        if (free_object(objects[i]) != ASHLAR_TCACHE_DONE)
            return objects;
    return context;
}

static void trim_gives_back_a_slab_that_others_have_emptied(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++)
        objects[i] = alloc(CLASS);
    in_thread(free_ten);
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(objects_of_every_class_are_apart_and_freed_once),
        CASE(what_is_no_start_of_an_object_is_interior),
        CASE(empty_slabs_are_given_back_at_a_tick),
        CASE(a_tick_is_due_when_half_the_decay_time_has_passed),
        CASE(a_size_left_behind_lends_its_pages_to_the_next),
        CASE(a_size_used_over_and_over_keeps_its_slab),
        CASE(sizes_used_in_turn_keep_their_slabs_after_a_while),
        CASE(what_other_threads_free_serves_the_owner_again),
        CASE(an_object_freed_by_two_threads_is_told),
        CASE(objects_outlive_their_thread_and_anyone_may_free_them),
        CASE(slabs_of_an_exited_thread_are_adopted),
        CASE(a_thread_has_a_cache_from_its_first_request_to_its_end),
        CASE(an_alloc_that_fails_holds_nothing_whichever_call_failed),
        CASE(a_thread_without_a_cache_is_refused_while_caches_are_shut),
        CASE(what_needs_a_shut_arena_is_refused_the_rest_is_done),
        CASE(an_overwritten_free_object_is_named_and_the_rest_serves),
        CASE(trim_gives_back_a_slab_that_others_have_emptied),
        CASE(threads_that_free_for_each_other_lose_nothing),
        /* The store for threads past their end keeps its slab. */
        cmocka_unit_test_setup(a_thread_past_its_end_is_served, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
