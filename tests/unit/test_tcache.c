/*
 * test_tcache.c - a thread's own slabs
 */
#include "unit/testing.h"

#include <pthread.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "front/route.h"
#include "small/chunk.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"
#include "unit/steps.h"

#define CLASS 9u
#define OBJECT_BYTES (ashlar_class_size(CLASS))

/* Objects that come back to a sleeping slab of the class before it wakes: as slab.c says. */
#define FEW ((size_t)6)

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
    char *end_of_slab = slab->base + ashlar_slab_capacity(slab);
    assert_int_equal(ashlar_heaps_free(slab, end_of_slab), ASHLAR_TCACHE_INTERIOR);
    assert_true(slab->carved < ashlar_slab_capacity(slab));
    assert_int_equal(ashlar_heaps_free(slab, slab->base + slab->carved), ASHLAR_TCACHE_INTERIOR);
    assert_int_equal(ashlar_heaps_free(slab, end_of_slab - OBJECT_BYTES), ASHLAR_TCACHE_INTERIOR);
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

/* ---- sleeping slabs ------------------------------------------------------------------------ */

static size_t count_links(const struct ashlar_list *head, const struct ashlar_slab *slab)
{
    size_t count = 0;
    for (struct ashlar_list *link = ashlar_list_first(head); link != NULL;
         link = ashlar_list_next(head, link))
        count += slab == NULL || link == &slab->link;
    return count;
}

/* Objects that a sleeping slab waits for. */
static size_t few_of(const struct ashlar_slab *slab)
{
    size_t object = ashlar_slab_object_bytes(slab);
    return object <= 1024 ? 1024 / object : 1;
}

static size_t count_free(const struct ashlar_slab *slab)
{
    size_t count = 0;
    for (uintptr_t at = slab->free; at != slab->end; count++)
        at = *(uint64_t *)at ^ slab->key;
    return count;
}

static size_t capacity_of(const struct ashlar_slab *slab)
{
    return ashlar_slab_capacity(slab) / ashlar_slab_object_bytes(slab);
}

/* What slab.h says of `used`, and of a slab that waits for a few objects. */
static void check_law(struct ashlar_slab *slab)
{
    if (ashlar_slab_is_gone(slab)) { /* its memory has another user */
        assert_true(slab->span.used + slab->span.asleep != 0);
        return;
    }
    ashlar_slab_verify(slab);
    size_t hold = slab->is_active ? ashlar_slab_hold(slab) : 0;
    size_t nfree = count_free(slab);
    assert_int_equal((size_t)slab->span.used + slab->span.asleep + nfree,
                     slab->carved / ashlar_slab_object_bytes(slab) + hold);
    if (!slab->is_asleep) {
        assert_int_equal(slab->span.asleep, 0);
        assert_false(slab->is_exhausted);
        return;
    }
    assert_false(slab->is_active);
    assert_int_equal(slab->carved, ashlar_slab_capacity(slab));
    assert_true(slab->span.used != 0);
    assert_int_equal(slab->span.used + nfree, few_of(slab)); /* nothing was collected */
}

static size_t count_notes(const struct ashlar_idle *idle, const struct ashlar_slab *slab)
{
    size_t count = 0;
    for (unsigned i = 0; i < ASHLAR_IDLE_SLABS; i++)
        count += slab != NULL ? idle->notes[i].slab == slab : idle->notes[i].slab != NULL;
    return count;
}

static size_t noted_bytes(const struct ashlar_idle *idle)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < ASHLAR_IDLE_SLABS; i++)
        bytes += idle->notes[i].bytes;
    return bytes;
}

/* Each slab of the cache is one of: active, available, exhausted, asleep and in no list. */
static void check_lists(const struct ashlar_tcache *cache)
{
    size_t nlisted = count_links(&cache->exhausted, NULL);
    size_t nnoted = count_notes(&cache->idle, NULL);
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++)
        nlisted += count_links(&cache->available[i], NULL);
    for (struct ashlar_list *link = ashlar_list_first(&cache->slabs); link != NULL;
         link = ashlar_list_next(&cache->slabs, link)) {
        struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, all);
        size_t is_active = cache->active[slab->class_id] == slab ? 1 : 0;
        size_t navailable = count_links(&cache->available[slab->class_id], slab);
        size_t nexhausted = count_links(&cache->exhausted, slab);
        bool is_alone = slab->is_asleep && !slab->is_exhausted;
        assert_int_equal(is_active + navailable + nexhausted + (is_alone ? 1 : 0), 1);
        assert_int_equal(slab->is_active, is_active);
        assert_int_equal(slab->is_exhausted, nexhausted);
        assert_int_equal(ashlar_span_owner(&slab->span), (uintptr_t)cache);
        assert_int_equal(slab->is_idle, count_notes(&cache->idle, slab));
        check_law(slab);
        nlisted -= navailable + nexhausted;
        nnoted -= slab->is_idle ? 1 : 0;
    }
    assert_int_equal(nlisted, 0); /* and the lists are of the cache's own slabs */
    assert_int_equal(nnoted, 0);
    assert_int_equal(noted_bytes(&cache->idle), cache->idle.bytes);
}

static struct ashlar_tcache *own_cache(void)
{
    check_lists(ashlar_heaps_real);
    return ashlar_heaps_real;
}

static struct ashlar_slab *slab_of(char *object)
{
    return ashlar_slab_of(ashlar_pagemap_find(object));
}

static uint64_t remote_of(struct ashlar_slab *slab)
{
    return atomic_load(&slab->remote);
}

static size_t nobjects; /* live ones, from the first of `objects` */

static char *alloc_next(void)
{
    char *object = alloc(CLASS);
    assert_non_null(object);
    assert_true(nobjects < MANY);
    memset(object, (int)nobjects, OBJECT_BYTES);
    objects[nobjects++] = object;
    return object;
}

/* The first object of a slab that is exhausted from now on, and the first of the next slab. */
static struct ashlar_slab *exhaust_slab(void)
{
    ashlar_heaps_tick(ashlar_os_now_ms()); /* so that none comes by itself */
    assert_int_equal(ashlar_count_read(slabs), 0);
    nobjects = 0;
    struct ashlar_slab *slab = slab_of(alloc_next());
    while (slab_of(alloc_next()) == slab)
        continue;
    (void)own_cache();
    assert_true(slab->is_exhausted && slab->is_asleep && !slab->is_in_flight);
    assert_int_equal(remote_of(slab), 0);
    assert_int_equal(ashlar_count_read(slabs), 2);
    return slab;
}

/* Asks until the slab serves; nothing else may be fetched for it. */
static void alloc_until_served_by(struct ashlar_slab *slab)
{
    size_t held = ashlar_count_read(slabs);
    while (slab_of(alloc_next()) != slab)
        continue;
    (void)own_cache();
    assert_int_equal(ashlar_count_read(slabs), held);
}

static void alloc_until_exhausted(struct ashlar_slab *slab)
{
    while (!slab->is_exhausted)
        (void)alloc_next();
    (void)own_cache();
}

/* All contents are as they were written, and all are freed. */
static void *free_all(void *context)
{
    for (size_t i = 0; i < nobjects; i++)
        if (objects[i] != NULL &&
            (objects[i][0] != (char)i || objects[i][OBJECT_BYTES - 1] != (char)i ||
             free_object(objects[i]) != ASHLAR_TCACHE_DONE))
            return objects;
    return context;
}

static size_t free_from, free_until;

static void *free_some(void *context)
{
    for (size_t i = free_from; i < free_until; i++) {
        if (objects[i][OBJECT_BYTES - 1] != (char)i ||
            free_object(objects[i]) != ASHLAR_TCACHE_DONE)
            return objects;
        objects[i] = NULL;
    }
    return context;
}

static void free_own(size_t from, size_t until)
{
    free_from = from;
    free_until = until;
    assert_null(free_some(NULL));
}

static void free_from_afar(size_t from, size_t until)
{
    free_from = from;
    free_until = until;
    in_thread(free_some);
}

/* Another class wants more, so the owner looks at what is pending, and asks to be told. */
static void look_at_pending(void)
{
    assert_int_equal(free_object(alloc(CLASS + 1)), ASHLAR_TCACHE_DONE);
    assert_null(own_cache()->owner.pending);
}

/* Symptom: two atomic operations for each slab of a thread that shares nothing, on its line. */
static void an_exhausted_slab_is_back_with_its_owners_frees_and_nobody_was_asked(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    for (size_t at = 0; at < 3 * FEW; at += FEW) {
        char *last = objects[at + FEW - 1];
        free_own(at, at + FEW - 1);
        (void)own_cache();
        assert_true(slab->is_exhausted && slab->is_asleep);
        free_own(at + FEW - 1, at + FEW);
        assert_false(slab->is_asleep);
        assert_int_equal(remote_of(slab), 0);
        assert_int_equal(count_links(&own_cache()->available[CLASS], slab), 1);
        alloc_until_served_by(slab);
        assert_ptr_equal(objects[nobjects - 1], last);
        alloc_until_exhausted(slab);
        assert_int_equal(remote_of(slab), 0);
    }
    assert_null(free_all(NULL));
}

static void what_others_free_into_an_exhausted_slab_is_found_when_its_class_wants_more(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    free_from_afar(0, 10);
    assert_null(own_cache()->owner.pending); /* they were not asked to tell */
    assert_true(slab->is_exhausted);
    alloc_until_served_by(slab);
    for (int i = 0; i < 9; i++)
        assert_ptr_equal(slab_of(alloc_next()), slab);
    assert_int_equal(remote_of(slab), 0);
    assert_null(free_all(NULL));
}

/* Two slabs are exhausted, one that others know of by now, as the class wanted more, and one that
   came later: the first one. */
static struct ashlar_slab *park_slab(void)
{
    struct ashlar_slab *slab = exhaust_slab();
    struct ashlar_slab *next = slab_of(objects[nobjects - 1]);
    alloc_until_exhausted(next);
    (void)own_cache();
    assert_true(slab->is_asleep && !slab->is_exhausted && !slab->is_in_flight);
    assert_true(remote_of(slab) != 0);
    assert_int_equal(remote_of(next), 0);
    return slab;
}

static void a_slab_whose_class_wanted_more_is_told_of(void **state)
{
    (void)state;
    struct ashlar_slab *slab = park_slab();
    free_from_afar(0, 2);
    assert_ptr_equal(own_cache()->owner.pending, slab);
    alloc_until_served_by(slab);
    assert_null(own_cache()->owner.pending);
    assert_false(slab->is_in_flight);
    assert_null(free_all(NULL));
}

static void a_parked_slab_is_back_with_its_owners_frees(void **state)
{
    (void)state;
    struct ashlar_slab *slab = park_slab();
    free_own(0, FEW - 1);
    (void)own_cache();
    assert_true(slab->is_asleep);
    free_own(FEW - 1, FEW);
    assert_false(slab->is_asleep || slab->is_in_flight);
    assert_int_equal(remote_of(slab), 0);
    alloc_until_served_by(slab);
    assert_null(free_all(NULL));
}

/* Objects of another class serve: what is exhausted stays where it is. */
static void classes_with_available_slabs_let_exhausted_ones_be(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    char *others[100];
    size_t count = 0;
    do
        others[count] = alloc(CLASS + 20);
    while (slab_of(others[count++]) == slab_of(others[0]) && count < 100);
    assert_true(count < 100);
    (void)own_cache();
    assert_true(slab->is_asleep && !slab->is_exhausted); /* that class had none */
    free_own(0, FEW);
    alloc_until_exhausted(slab);
    assert_int_equal(free_object(others[0]), ASHLAR_TCACHE_DONE);
    do
        others[count] = alloc(CLASS + 20);
    while (slab_of(others[count++]) != slab_of(others[1]) && count < 100);
    assert_true(count < 100);
    assert_true(slab->is_exhausted); /* that one had one */
    assert_int_equal(remote_of(slab), 0);
    for (size_t i = 1; i < count; i++)
        assert_int_equal(free_object(others[i]), ASHLAR_TCACHE_DONE);
    assert_null(free_all(NULL));
}

static void trim_gives_back_an_exhausted_slab_that_others_have_emptied(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    free_from_afar(0, nobjects - 1);
    assert_true(slab->is_exhausted);
    assert_int_equal(ashlar_count_read(slabs), 2);
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 1);
    (void)own_cache();
    assert_null(free_all(NULL));
}

static void an_exhausted_slab_that_others_have_emptied_is_noted_as_empty(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    free_from_afar(0, nobjects - 1);
    look_at_pending(); /* another class wanted more */
    (void)own_cache();
    assert_int_equal(slab->span.used, 0);
    assert_true(slab->is_idle);
    assert_int_equal(remote_of(slab), 0);
    assert_null(free_all(NULL));
}

static void trim_leaves_exhausted_slabs_parked_so_that_it_hears_of_them(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    ashlar_heaps_trim();
    (void)own_cache();
    assert_true(slab->is_asleep && !slab->is_exhausted);
    free_from_afar(0, nobjects - 1);
    assert_ptr_equal(own_cache()->owner.pending, slab);
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 1);
    assert_null(free_all(NULL));
}

/* A thread that frees for another has done the first half, which says that it will tell, and not
   the second: what it put on the pending stack is held back. */
static struct ashlar_slab *hold_back(struct ashlar_tcache *cache)
{
    return atomic_exchange(&cache->owner.pending, NULL);
}

/* It has gone on. */
static void let_go(struct ashlar_tcache *cache, struct ashlar_slab *held)
{
    if (held == NULL)
        return;
    struct ashlar_slab *last = held;
    while (last->pending_next != NULL)
        last = last->pending_next;
    last->pending_next = atomic_exchange(&cache->owner.pending, held);
}

/* The first of `objects` that are live when a slab is exhausted in flight. */
#define LEFT (1 + FEW)

/* A slab that somebody is about to tell of was brought back by its owner and is exhausted again. */
static struct ashlar_slab *exhaust_in_flight(void)
{
    struct ashlar_slab *slab = park_slab();
    free_from_afar(0, 1);
    assert_ptr_equal(hold_back(own_cache()), slab);
    free_own(1, LEFT);
    (void)own_cache();
    assert_true(slab->is_in_flight && !slab->is_asleep);
    alloc_until_exhausted(slab);
    assert_true(slab->is_in_flight && slab->is_asleep);
    assert_int_equal(remote_of(slab), 0);
    return slab;
}

static void a_slab_in_flight_that_arrives_exhausted_sleeps_again(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_in_flight();
    let_go(own_cache(), slab);
    ashlar_heaps_trim();
    (void)own_cache();
    assert_false(slab->is_in_flight);
    while (remote_of(slab) == 0) /* not asked yet */
        (void)alloc_next();
    (void)own_cache();
    assert_true(slab->is_asleep && !slab->is_exhausted && !slab->is_in_flight);
    free_from_afar(LEFT, LEFT + 1);
    assert_ptr_equal(own_cache()->owner.pending, slab); /* asked anew */
    alloc_until_served_by(slab);
    assert_null(free_all(NULL));
}

static void a_slab_in_flight_is_not_asked_twice_to_be_told_of(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_in_flight();
    ashlar_heaps_trim();
    (void)own_cache();
    assert_true(slab->is_asleep && !slab->is_exhausted && slab->is_in_flight);
    assert_int_equal(remote_of(slab), 0);
    free_from_afar(LEFT, LEFT + 2);
    assert_null(own_cache()->owner.pending); /* it is on its way already */
    let_go(own_cache(), slab);
    alloc_until_served_by(slab);
    assert_false(slab->is_in_flight);
    assert_null(free_all(NULL));
}

static void what_others_free_into_an_exhausted_slab_in_flight_arrives_with_it(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_in_flight();
    free_from_afar(LEFT, LEFT + 2);
    assert_true(slab->is_exhausted);
    let_go(own_cache(), slab);
    look_at_pending();
    assert_false(slab->is_exhausted || slab->is_asleep || slab->is_in_flight);
    assert_int_equal(count_links(&own_cache()->available[CLASS], slab), 1);
    alloc_until_served_by(slab);
    assert_null(free_all(NULL));
}

static void an_exhausted_slab_in_flight_is_back_with_its_owners_frees(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_in_flight();
    free_own(LEFT, LEFT + FEW - 1);
    (void)own_cache();
    assert_true(slab->is_exhausted && slab->is_asleep);
    free_own(LEFT + FEW - 1, LEFT + FEW);
    (void)own_cache();
    assert_true(!slab->is_exhausted && !slab->is_asleep && slab->is_in_flight);
    let_go(own_cache(), slab);
    look_at_pending();
    assert_false(slab->is_in_flight);
    alloc_until_served_by(slab);
    assert_null(free_all(NULL));
}

/* Somebody holds on to the descriptor. */
static void an_empty_slab_in_flight_is_not_given_back(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_in_flight();
    assert_null(free_all(NULL));
    ashlar_heaps_trim();
    assert_true(slab->is_in_flight);
    assert_int_equal(slab->span.used, 0);
    assert_int_equal(ashlar_count_read(slabs), 1);
    let_go(own_cache(), slab);
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

/* ---- few objects, then many ---------------------------------------------------------------- */

/* Objects of 16, 64, 256, 1024 and 4096 bytes, and medium ones. */
static const unsigned sleeping_classes[] = {0, 3, 15, 31, 47, ASHLAR_CLASS_MEDIUM + 4};

/* A slab full of objects, and one of the next. */
static char *full[4097];
static size_t nfull; /* all of them but the last are the slab's */

static struct ashlar_slab *fill_slab(unsigned class_id)
{
    ashlar_heaps_tick(ashlar_os_now_ms());
    assert_int_equal(ashlar_count_read(slabs), 0);
    full[0] = alloc(class_id);
    struct ashlar_slab *slab = slab_of(full[0]);
    nfull = 1;
    do {
        assert_true(nfull < ASHLAR_ARRAY_LEN(full));
        full[nfull] = alloc(class_id);
        assert_non_null(full[nfull]);
    } while (slab_of(full[nfull++]) == slab);
    (void)own_cache();
    assert_int_equal(nfull - 1, capacity_of(slab));
    assert_true(slab->is_asleep && slab->is_exhausted);
    assert_int_equal(ashlar_slab_live_objects(slab), nfull - 1);
    return slab;
}

/* The same, and other threads are asked to tell. */
static struct ashlar_slab *fill_and_park(unsigned class_id)
{
    struct ashlar_slab *slab = fill_slab(class_id);
    ashlar_heaps_trim();
    (void)own_cache();
    assert_true(slab->is_asleep && !slab->is_exhausted && remote_of(slab) != 0);
    return slab;
}

/* Is put on its way to the owner, and held up there; one object has come back. */
static struct ashlar_slab *fill_and_hold(unsigned class_id);

static struct ashlar_slab *(*const fill_somehow[])(unsigned class_id) = {fill_slab, fill_and_park,
                                                                         fill_and_hold};

static void free_full(size_t from, size_t until)
{
    for (size_t i = from; i < until; i++) {
        assert_int_equal(free_object(full[i]), ASHLAR_TCACHE_DONE);
        full[i] = NULL;
    }
}

static size_t full_from, full_until;

static void *free_some_of_full(void *context)
{
    for (size_t i = full_from; i < full_until; i++) {
        if (full[i] != NULL && free_object(full[i]) != ASHLAR_TCACHE_DONE)
            return objects;
        full[i] = NULL;
    }
    return context;
}

static void free_full_from_afar(size_t from, size_t until)
{
    full_from = from;
    full_until = until;
    in_thread(free_some_of_full);
}

static void free_rest_of_full(void)
{
    full_from = 0;
    full_until = nfull;
    assert_null(free_some_of_full(NULL));
}

static struct ashlar_slab *fill_and_hold(unsigned class_id)
{
    struct ashlar_slab *slab = fill_and_park(class_id);
    free_full_from_afar(nfull - 2, nfull - 1);
    assert_ptr_equal(hold_back(own_cache()), slab);
    assert_true(slab->is_asleep && !slab->is_exhausted);
    return slab;
}

static bool is_among(char *object, char *const *some, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (some[i] == object)
            return true;
    return false;
}

/* By the call, and as free does without one. */
static void free_either_way(char *object, bool is_fast)
{
    if (is_fast)
        ashlar_route_free(object);
    else
        assert_int_equal(free_object(object), ASHLAR_TCACHE_DONE);
}

static void check_promise(unsigned class_id, bool is_fast, bool is_parked)
{
    struct ashlar_slab *slab = is_parked ? fill_and_park(class_id) : fill_slab(class_id);
    size_t count = nfull - 1;
    size_t few = few_of(slab);
    char *some[64];
    char *others[4096]; /* of the slab that serves until then */
    size_t nothers = 0;
    assert_true(few <= ASHLAR_ARRAY_LEN(some) && few < count);
    assert_ptr_equal(ashlar_heaps_self, ashlar_heaps_real);
    for (size_t i = 0; i < few; i++) {
        assert_true(slab->is_asleep);
        assert_int_equal(slab->is_exhausted, !is_parked);
        assert_int_equal(ashlar_slab_live_objects(slab), count - i);
        some[i] = full[i];
        free_either_way(full[i], is_fast);
        full[i] = NULL;
        (void)own_cache();
    }
    assert_false(slab->is_asleep || slab->is_exhausted || slab->is_in_flight);
    assert_int_equal(slab->span.used, count - few);
    assert_int_equal(ashlar_slab_live_objects(slab), count - few);
    assert_int_equal(count_links(&own_cache()->available[class_id], slab), 1);
    while (slab_of(others[nothers] = alloc(class_id)) != slab)
        assert_true(++nothers < ASHLAR_ARRAY_LEN(others));
    full[0] = others[nothers];
    assert_true(is_among(full[0], some, few));
    for (size_t i = 1; i < few; i++) { /* without a look around */
        full[i] = ashlar_slab_pop(own_cache()->active[class_id]);
        assert_true(is_among(full[i], some, few) && !is_among(full[i], full, i));
    }
    assert_null(ashlar_slab_pop(own_cache()->active[class_id]));
    while (nothers-- > 0)
        assert_int_equal(free_object(others[nothers]), ASHLAR_TCACHE_DONE);
    free_rest_of_full();
    (void)own_cache();
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

/* Symptom: a slab with one free object was made active for each malloc, and left again. */
static void a_sleeping_slab_wakes_at_the_promised_free_and_serves_all_of_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++)
        for (unsigned how = 0; how < 4; how++)
            check_promise(sleeping_classes[i], how % 2 != 0, how / 2 != 0);
}

/* Symptom: out of memory although objects of the size were free. */
static void what_is_free_in_sleeping_slabs_serves_when_memory_is_out(void **state)
{
    (void)state;
    static char *all[300000];
    size_t count = 1;
    all[0] = alloc(0);
    fake_os_fail_from(0);
    while ((all[count] = alloc(0)) != NULL)
        assert_true(++count < ASHLAR_ARRAY_LEN(all));
    size_t nfreed = 0;
    struct ashlar_slab *last = NULL;
    for (size_t i = 0; i < count; i++) {
        struct ashlar_slab *slab = slab_of(all[i]);
        if (slab != last) {
            assert_int_equal(free_object(all[i]), ASHLAR_TCACHE_DONE);
            all[i] = NULL;
            nfreed++;
        }
        last = slab;
    }
    assert_true(nfreed > 10);
    for (size_t i = 0; i < count; i++)
        if (all[i] == NULL)
            assert_non_null(all[i] = alloc(0));
    assert_null(alloc(0));
    (void)own_cache();
    for (size_t i = 0; i < count; i++)
        assert_int_equal(free_object(all[i]), ASHLAR_TCACHE_DONE);
    fake_os_obey();
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

/* Symptom: with misuse:ignore a slab whose list was overwritten never went back. */
static void a_slab_that_lost_its_list_goes_when_the_rest_is_freed(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_IGNORE);
    struct ashlar_slab *slab = fill_slab(0);
    char *head = full[nfull - 6];
    free_full(0, nfull - 5);
    memset(head, 'x', 16);
    char *served[5000];
    size_t count = 0;
    do
        served[count++] = alloc(0);
    while (count < ASHLAR_ARRAY_LEN(served) && served[count - 1] != head);
    assert_ptr_equal(served[count - 1], head);
    served[count++] = alloc(0); /* the rest of the list is lost */
    assert_ptr_not_equal(slab_of(served[count - 1]), slab);
    assert_true(slab->is_asleep);
    assert_int_equal(ashlar_slab_live_objects(slab), 5);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(free_object(served[i]), ASHLAR_TCACHE_DONE);
    free_rest_of_full();
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

/* All but one object of the slab come back from other threads, in vain as yet. */
static void free_most_from_afar(struct ashlar_slab *slab)
{
    free_full_from_afar(1, nfull - 1);
    (void)own_cache();
    assert_true(slab->is_asleep);
    assert_int_equal(ashlar_slab_live_objects(slab), 1);
}

/* One is left, and the slab is awake and whole; then none is. */
static void check_one_is_left(struct ashlar_slab *slab)
{
    (void)own_cache();
    assert_false(slab->is_asleep || slab->is_exhausted || slab->is_in_flight);
    assert_int_equal(slab->span.used, 1);
    assert_int_equal(ashlar_slab_live_objects(slab), 1);
    assert_int_equal(count_free(slab), capacity_of(slab) - 1);
    free_rest_of_full();
    assert_int_equal(slab->span.used, 0);
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

/* Symptom: `used` wrapped, and a slab with live objects in it was taken for an empty one, or an
   empty one never was. */
static void what_others_free_into_a_sleeping_slab_is_counted_when_it_is_pending(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        struct ashlar_slab *slab = fill_and_park(sleeping_classes[i]);
        free_most_from_afar(slab);
        assert_ptr_equal(own_cache()->owner.pending, slab);
        look_at_pending();
        check_one_is_left(slab);
    }
}

static void what_others_free_into_a_sleeping_slab_is_counted_when_it_was_in_flight(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        struct ashlar_slab *slab = fill_and_hold(sleeping_classes[i]);
        free_most_from_afar(slab);
        let_go(own_cache(), slab);
        look_at_pending();
        check_one_is_left(slab);
    }
}

static void what_others_free_into_a_sleeping_slab_is_counted_when_it_would_be_parked(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        struct ashlar_slab *slab = fill_slab(sleeping_classes[i]);
        free_most_from_afar(slab);
        assert_true(slab->is_exhausted);
        look_at_pending();
        check_one_is_left(slab);
    }
}

static void what_others_free_into_a_sleeping_slab_is_counted_when_empty_ones_go(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        for (int is_parked = 0; is_parked < 2; is_parked++) {
            struct ashlar_slab *slab = fill_somehow[is_parked](sleeping_classes[i]);
            free_most_from_afar(slab);
            ashlar_heaps_trim();
            check_one_is_left(slab);
        }
    }
}

/* Contents that look like a link: the owner has a look at all that is free. */
static void what_others_free_into_a_sleeping_slab_is_counted_at_a_false_alarm(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        for (size_t how = 0; how < ASHLAR_ARRAY_LEN(fill_somehow); how++) {
            struct ashlar_slab *slab = fill_somehow[how](sleeping_classes[i]);
            bool is_held = fill_somehow[how] == fill_and_hold;
            free_full_from_afar(2, nfull - 1);
            *(uint64_t *)(void *)full[1] = (uintptr_t)slab->base ^ slab->key;
            assert_true(ashlar_slab_looks_free(slab, full[1]));
            free_full(1, 2);
            (void)own_cache();
            assert_false(slab->is_asleep);
            assert_int_equal(slab->span.used, 1);
            if (is_held)
                let_go(own_cache(), slab);
            look_at_pending();
            check_one_is_left(slab);
        }
    }
}

static char *twice_freed;

static void *free_twice_freed(void *context)
{
    return free_object(twice_freed) == ASHLAR_TCACHE_DOUBLE_FREE ? context : objects;
}

/* First freed by its owner or by another thread, then by both of them. */
static void an_object_of_a_sleeping_slab_freed_twice_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        for (unsigned how = 0; how < 2 * ASHLAR_ARRAY_LEN(fill_somehow); how++) {
            struct ashlar_slab *slab = fill_somehow[how / 2](sleeping_classes[i]);
            bool is_held = fill_somehow[how / 2] == fill_and_hold;
            size_t live = ashlar_slab_live_objects(slab);
            twice_freed = full[0];
            if (how % 2 == 0)
                free_full(0, 1);
            else
                free_full_from_afar(0, 1);
            assert_int_equal(slab->is_asleep, few_of(slab) > 1 || how % 2 != 0);
            in_thread(free_twice_freed);
            assert_int_equal(free_object(twice_freed), ASHLAR_TCACHE_DOUBLE_FREE);
            in_thread(free_twice_freed);
            (void)own_cache();
            assert_int_equal(ashlar_slab_live_objects(slab), live - 1);
            if (is_held)
                let_go(own_cache(), slab);
            free_rest_of_full();
            ashlar_heaps_trim();
            assert_int_equal(ashlar_count_read(slabs), 0);
        }
    }
}

static char *random_bytes;

static void *free_random_bytes(void *context)
{
    return free_object(random_bytes) == ASHLAR_TCACHE_DONE ? context : objects;
}

/* Symptom: of four thousand million blocks of random bytes that were freed by other threads than had
   asked for them, one was called a double free. */
static void half_a_link_is_no_double_free(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, -1); /* or slabs of one object are taken back */
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        random_bytes = alloc(class_id);
        struct ashlar_slab *slab = ashlar_slab_of(ashlar_pagemap_find(random_bytes));
        uint64_t upper = (uint64_t)slab->mark << 32;
        /* Before the slab, behind it, and no start of an object. */
        const uint64_t links[] = {(uint64_t)slab->base - 16, slab->end + 16,
                                  (uint64_t)slab->base + 8};
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(links); i++) {
            uint64_t word = upper | (uint32_t)(links[i] ^ slab->key);
            memcpy(random_bytes, &word, sizeof word);
            assert_true(ashlar_slab_looks_free(slab, random_bytes));
            in_thread(free_random_bytes);
            (void)ashlar_slab_collect(slab);
            random_bytes = alloc(class_id);
            assert_ptr_equal(ashlar_pagemap_find(random_bytes), &slab->span);
        }
        assert_int_equal(free_object(random_bytes), ASHLAR_TCACHE_DONE);
    }
}

static void statistics_see_through_sleep(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        struct ashlar_slab *slab = fill_slab(sleeping_classes[i]);
        size_t live = nfull - 1;
        size_t own = few_of(slab) - 1;
        free_full(0, own);
        assert_int_equal(ashlar_slab_live_objects(slab), live - own);
        free_full_from_afar(own, own + 1);
        assert_int_equal(ashlar_slab_live_objects(slab), live - own - 1);
        assert_true(slab->is_asleep);
        struct ashlar_usage usage;
        ashlar_route_usage(&usage);
        assert_int_equal(usage.classes[slab->class_id].live_objects, live - own); /* and the last */
        free_rest_of_full();
        ashlar_heaps_trim();
        assert_int_equal(ashlar_count_read(slabs), 0);
    }
}

/* Makes the slab full again, until it sleeps; what other slabs served meanwhile is freed. */
static void fill_again(struct ashlar_slab *slab)
{
    char *others[4096];
    size_t nothers = 0;
    size_t count = 0;
    while (!slab->is_asleep) {
        char *object = alloc(slab->class_id);
        assert_true(object != NULL && nothers < ASHLAR_ARRAY_LEN(others));
        if (slab_of(object) == slab)
            full[count++] = object;
        else
            others[nothers++] = object;
    }
    assert_int_equal(count, capacity_of(slab));
    while (nothers-- > 0)
        assert_int_equal(free_object(others[nothers]), ASHLAR_TCACHE_DONE);
    (void)own_cache();
    assert_true(slab->is_asleep);
}

/* A slab of another class falls empty. */
static void note_another(void)
{
    assert_int_equal(free_object(alloc(ASHLAR_CLASS_MEDIUM + 9)), ASHLAR_TCACHE_DONE);
    (void)own_cache();
}

static void a_noted_slab_that_sleeps_and_falls_empty_again_is_noted_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        struct ashlar_slab *slab = fill_slab(sleeping_classes[i]);
        for (int round = 0; round < 3; round++) {
            free_full(0, nfull - 1);
            (void)own_cache();
            assert_false(slab->is_asleep);
            assert_int_equal(slab->span.used, 0);
            assert_int_equal(count_notes(&own_cache()->idle, slab), 1);
            fill_again(slab);
            assert_int_equal(count_notes(&own_cache()->idle, slab), 1);
        }
        free_rest_of_full();
        (void)own_cache();
        ashlar_heaps_trim();
        assert_int_equal(ashlar_count_read(slabs), 0);
    }
}

/* Its note is struck out, which gives back what is empty: the slab only waits for a few objects. */
static void a_noted_slab_that_sleeps_is_not_given_back(void **state)
{
    (void)state;
    int64_t decay_ms = ashlar_opt.decay_ms;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        struct ashlar_slab *slab = fill_slab(sleeping_classes[i]);
        size_t few = few_of(slab);
        free_full(0, nfull - 1);
        fill_again(slab);
        assert_true(slab->is_idle);
        (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, 0);
        note_another();
        assert_true(slab->is_asleep && !slab->is_idle);
        free_full(0, few - 1);
        note_another();
        assert_true(slab->is_asleep && !slab->is_idle);
        free_full(few - 1, nfull - 2);
        note_another();
        assert_int_equal(slab->span.used, 1);
        size_t held = ashlar_count_read(slabs);
        free_full(nfull - 2, nfull - 1);
        assert_int_equal(ashlar_count_read(slabs), held - 1);
        free_rest_of_full();
        ashlar_heaps_trim();
        assert_int_equal(ashlar_count_read(slabs), 0);
        (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, decay_ms);
    }
}

/* ---- the end of a thread with sleeping slabs ----------------------------------------------- */

static pthread_barrier_t turn; /* of the thread that ends, and of the one that waits for it */
static struct ashlar_tcache *cache_of_other;

static void *exhaust_and_exit(void *context)
{
    ashlar_heaps_tick(ashlar_os_now_ms());
    if (alloc_many(NULL) != NULL)
        return objects;
    /* With something available in most of them, the class wants nothing more while it goes. */
    for (size_t i = 0; i < MANY; i += 50)
        if (free_object(objects[i]) != ASHLAR_TCACHE_DONE)
            return objects;
    for (size_t i = 0; i < MANY; i += 50)
        objects[i] = memset(alloc(CLASS), (int)i, OBJECT_BYTES);
    cache_of_other = own_cache();
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    return context;
}

/* A thread that holds many slabs, some of them exhausted, is waiting to exit. */
static void start_other(pthread_t *thread)
{
    assert_int_equal(pthread_barrier_init(&turn, NULL, 2), 0);
    assert_int_equal(pthread_create(thread, NULL, exhaust_and_exit, NULL), 0);
    pthread_barrier_wait(&turn);
    assert_true(count_links(&cache_of_other->exhausted, NULL) >= 3);
    assert_non_null(ashlar_heaps_real);
    ashlar_heaps_real->arena = cache_of_other->arena; /* where they will be found */
}

static void end_other(pthread_t thread)
{
    void *failure;
    pthread_barrier_wait(&turn);
    pthread_join(thread, &failure);
    pthread_barrier_destroy(&turn);
    assert_null(failure);
    check_lists(cache_of_other);
    assert_true(ashlar_list_is_empty(&cache_of_other->exhausted));
    assert_true(ashlar_list_is_empty(&cache_of_other->slabs));
}

static void exhausted_slabs_of_a_thread_that_exits_are_adopted(void **state)
{
    (void)state;
    pthread_t thread;
    start_other(&thread);
    size_t held = ashlar_count_read(slabs);
    end_other(thread);
    assert_int_equal(ashlar_count_read(slabs), held);
    uint64_t adopted = ashlar_count_read(slabs_adopted);
    char *mine[8]; /* of full slabs, until there is one with room */
    ashlar_heaps_tick(ashlar_os_now_ms());
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(mine); i++)
        mine[i] = alloc(CLASS);
    assert_true(ashlar_count_read(slabs_adopted) > adopted);
    (void)own_cache();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(mine); i++)
        assert_int_equal(free_object(mine[i]), ASHLAR_TCACHE_DONE);
    assert_null(free_many(NULL));
    (void)own_cache();
}

static void exhausted_slabs_of_a_thread_that_exits_give_what_others_freed(void **state)
{
    (void)state;
    pthread_t thread;
    start_other(&thread);
    size_t held = ashlar_count_read(slabs);
    struct ashlar_slab *last = slab_of(objects[MANY - 2]);
    struct ashlar_slab *emptied = NULL; /* one that is exhausted */
    for (size_t i = MANY; i-- > 0 && emptied == NULL;)
        emptied = slab_of(objects[i])->is_exhausted ? slab_of(objects[i]) : NULL;
    assert_true(emptied != NULL && emptied != last);
    /* All of that one, some of each other one. */
    for (size_t i = 0; i < MANY; i++) {
        if (slab_of(objects[i]) != emptied && i % 3 != 0)
            continue;
        assert_int_equal(objects[i][OBJECT_BYTES - 1], (char)i);
        assert_int_equal(free_object(objects[i]), ASHLAR_TCACHE_DONE);
        objects[i] = NULL;
    }
    assert_true(emptied->is_exhausted);
    end_other(thread);
    assert_int_equal(ashlar_count_read(slabs), held - 1);
    for (size_t i = 0; i < MANY; i++) {
        if (objects[i] == NULL) {
            objects[i] = alloc(CLASS);
            memset(objects[i], (int)i, OBJECT_BYTES);
        }
    }
    assert_true(ashlar_count_read(slabs) <= held + 1);
    (void)own_cache();
    assert_null(free_many(NULL));
}

static struct ashlar_slab *held_of_other;

static void *exhaust_in_flight_and_exit(void *context)
{
    held_of_other = exhaust_in_flight();
    cache_of_other = own_cache();
    return context;
}

static void *get_the_cache_of_other(void *context)
{
    char *object = alloc(CLASS);
    return ashlar_heaps_real == cache_of_other && free_object(object) == ASHLAR_TCACHE_DONE
               ? context
               : objects;
}

static void an_exhausted_slab_in_flight_stays_with_the_cache_of_a_thread_that_exits(void **state)
{
    (void)state;
    for (int is_freed_first = 0; is_freed_first < 2; is_freed_first++) {
        in_thread(exhaust_in_flight_and_exit);
        check_lists(cache_of_other);
        assert_true(held_of_other->is_in_flight && held_of_other->is_exhausted);
        assert_ptr_equal(ashlar_list_first(&cache_of_other->slabs), &held_of_other->all);
        if (is_freed_first)
            assert_null(free_all(NULL));
        let_go(cache_of_other, held_of_other);
        in_thread(get_the_cache_of_other);
        assert_true(ashlar_list_is_empty(&cache_of_other->slabs));
        if (!is_freed_first)
            assert_null(free_all(NULL));
        assert_int_equal(ashlar_count_read(slabs), 0);
    }
}

static unsigned exit_class;
static struct ashlar_slab *(*exit_fill)(unsigned class_id);

/* Leaves a sleeping slab behind to which its owner, and others, have given something. */
static void *fill_and_exit(void *context)
{
    held_of_other = exit_fill(exit_class);
    size_t own = few_of(held_of_other) - 1;
    free_full(0, own);
    free_full_from_afar(own, own + 1);
    cache_of_other = own_cache();
    if (!held_of_other->is_asleep)
        return objects;
    /* In flight but not held up, when others were asked to tell: take it off its way. */
    if (exit_fill == fill_and_park && hold_back(cache_of_other) != held_of_other)
        return objects;
    return context;
}

static void *use_the_cache_of_other(void *context)
{
    char *object = alloc(exit_class == CLASS ? CLASS + 1 : CLASS);
    return ashlar_heaps_real == cache_of_other && free_object(object) == ASHLAR_TCACHE_DONE
               ? context
               : objects;
}

/* The slab has a new owner, and goes when all is freed. */
static void adopt_and_empty(struct ashlar_slab *slab, size_t live)
{
    char *mine[4097];
    size_t count = 0;
    assert_true(ashlar_slab_is_abandoned(slab));
    assert_false(slab->is_asleep || slab->is_exhausted || slab->is_in_flight);
    assert_int_equal(slab->span.used, live);
    assert_int_equal(count_free(slab), capacity_of(slab) - live);
    ashlar_heaps_real->arena = slab->chunk->arena;
    while (ashlar_span_owner(&slab->span) != (uintptr_t)own_cache()) {
        assert_true(count < ASHLAR_ARRAY_LEN(mine));
        mine[count] = alloc(slab->class_id);
        assert_non_null(mine[count]);
        live += slab_of(mine[count++]) == slab;
    }
    assert_int_equal(ashlar_slab_live_objects(slab), live);
    free_rest_of_full();
    while (count-- > 0)
        assert_int_equal(free_object(mine[count]), ASHLAR_TCACHE_DONE);
    (void)own_cache();
    ashlar_heaps_trim();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

static void a_sleeping_slab_of_a_thread_that_exits_is_whole_when_it_is_adopted(void **state)
{
    (void)state;
    assert_int_equal(free_object(alloc(CLASS)), ASHLAR_TCACHE_DONE); /* there is a cache */
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        for (size_t how = 0; how < ASHLAR_ARRAY_LEN(fill_somehow); how++) {
            ashlar_heaps_trim();
            exit_class = sleeping_classes[i];
            exit_fill = fill_somehow[how];
            in_thread(fill_and_exit);
            check_lists(cache_of_other);
            struct ashlar_slab *slab = held_of_other;
            size_t live = ashlar_slab_live_objects(slab);
            if (exit_fill != fill_slab) {
                assert_true(slab->is_in_flight && slab->is_asleep);
                let_go(cache_of_other, slab);
                in_thread(use_the_cache_of_other);
            }
            assert_true(ashlar_list_is_empty(&cache_of_other->slabs));
            adopt_and_empty(slab, live);
        }
    }
}

static void *fill_and_park_and_exit(void *context)
{
    held_of_other = fill_and_park(exit_class);
    free_full(0, few_of(held_of_other) - 1);
    cache_of_other = own_cache();
    return held_of_other->is_asleep && remote_of(held_of_other) != 0 ? context : objects;
}

static void a_parked_slab_of_a_thread_that_exits_is_whole_when_it_is_adopted(void **state)
{
    (void)state;
    assert_int_equal(free_object(alloc(CLASS)), ASHLAR_TCACHE_DONE);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        ashlar_heaps_trim();
        exit_class = sleeping_classes[i];
        in_thread(fill_and_park_and_exit);
        assert_true(ashlar_list_is_empty(&cache_of_other->slabs));
        size_t live = ashlar_slab_live_objects(held_of_other);
        assert_int_equal(live, capacity_of(held_of_other) - (few_of(held_of_other) - 1));
        if (live == capacity_of(held_of_other)) { /* a full one is of no use to anybody */
            free_full(0, 1);
            live--;
        }
        adopt_and_empty(held_of_other, live);
    }
}

/* Nobody adopts it: the last free gives it to the arena. */
static void a_sleeping_slab_of_a_thread_that_exits_goes_with_its_last_object(void **state)
{
    (void)state;
    assert_int_equal(free_object(alloc(CLASS)), ASHLAR_TCACHE_DONE);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sleeping_classes); i++) {
        ashlar_heaps_trim();
        exit_class = sleeping_classes[i];
        exit_fill = fill_slab;
        in_thread(fill_and_exit);
        size_t last = nfull - 2;
        free_full(few_of(held_of_other), last);
        assert_int_equal(held_of_other->span.used, 1);
        assert_int_equal(ashlar_count_read(slabs), 2);
        free_full(last, last + 1);
        assert_int_equal(ashlar_count_read(slabs), 1);
        free_rest_of_full();
        assert_int_equal(ashlar_count_read(slabs), 0);
    }
}

/* ---- slabs that others have emptied -------------------------------------------------------- */

/* What a tick of another thread does while this one is idle. */
static void take_back(size_t count)
{
    size_t nslabs = ashlar_count_read(slabs);
    size_t nbytes = ashlar_count_read(slab_bytes);
    uint64_t taken = ashlar_count_read(slabs_taken_back);
    (void)ashlar_arena_note_emptied(); /* were the last object seen to be the last or not */
    ashlar_arena_take_back_all();
    assert_int_equal(ashlar_arena_emptied(), 0);
    assert_int_equal(ashlar_count_read(slabs), nslabs - count);
    assert_int_equal(ashlar_count_read(slabs_taken_back), taken + count);
    assert_true(count == 0 || ashlar_count_read(slab_bytes) < nbytes);
}

/* As many as may be without a descriptor being used twice. */
static void expect_whole_cache(void)
{
    (void)own_cache();
    size_t count = nobjects;
    while (count + 900 > nobjects)
        (void)alloc_next();
    (void)own_cache();
    assert_null(free_all(NULL));
    nobjects = 0;
    (void)own_cache();
}

static size_t live_in(const struct ashlar_slab *slab)
{
    size_t count = 0;
    for (size_t i = 0; i < nobjects; i++)
        count += objects[i] != NULL && slab_of(objects[i]) == slab;
    return count;
}

static const struct ashlar_slab *slab_to_empty;

/* Nobody takes the slab back until the case says so. */
static void *empty_slab(void *context)
{
    int64_t decay_ms = ashlar_opt.decay_ms;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, -1);
    for (size_t i = 0; i < nobjects; i++) {
        if (objects[i] == NULL || slab_of(objects[i]) != slab_to_empty)
            continue;
        if (objects[i][OBJECT_BYTES - 1] != (char)i ||
            free_object(objects[i]) != ASHLAR_TCACHE_DONE)
            return objects;
        objects[i] = NULL;
    }
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, decay_ms);
    return context;
}

static void empty_rest_from_afar(const struct ashlar_slab *slab)
{
    slab_to_empty = slab;
    assert_true(live_in(slab) != 0);
    in_thread(empty_slab);
}

static void empty_from_afar(const struct ashlar_slab *slab)
{
    assert_int_equal(live_in(slab), capacity_of(slab));
    empty_rest_from_afar(slab);
}

static bool is_own(const struct ashlar_slab *slab)
{
    for (struct ashlar_list *link = ashlar_list_first(&ashlar_heaps_real->slabs); link != NULL;
         link = ashlar_list_next(&ashlar_heaps_real->slabs, link))
        if (link == &slab->all)
            return true;
    return false;
}

/* The descriptor waits for its owner; one that is used again is not gone. */
static bool lingers(const struct ashlar_slab *slab)
{
    return is_own(slab) && ashlar_slab_is_gone(slab);
}

/* Nothing, or one of what an owner does by and by: it gives back, it looks around, it exits. */
static void act_as_owner(int how)
{
    if (how == 1)
        ashlar_heaps_trim();
    if (how == 2)
        look_at_pending();
    if (how == 3)
        ashlar_tcache_abandon(ashlar_heaps_real);
}

/* Fills the active slab to the last object. */
static struct ashlar_slab *fill_active(void)
{
    ashlar_heaps_trim();
    nobjects = 0;
    struct ashlar_slab *slab = slab_of(alloc_next());
    while (live_in(slab) != capacity_of(slab))
        (void)alloc_next();
    assert_ptr_equal(own_cache()->active[CLASS], slab);
    assert_int_equal(nobjects, capacity_of(slab));
    return slab;
}

static void a_slab_with_an_object_in_use_stays_its_owners(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    free_from_afar(1, nobjects - 1);
    take_back(0);
    assert_int_equal(ashlar_slab_live_objects(slab), 1);
    expect_whole_cache();
}

/* Slabs of which the owner has freed some objects itself, and which it does not allocate from: what
   is left of them is live. */

/* It waits for a few more. */
static struct ashlar_slab *free_some_of_exhausted(void)
{
    struct ashlar_slab *slab = exhaust_slab();
    free_own(0, FEW - 1);
    assert_true(slab->is_exhausted);
    return slab;
}

static struct ashlar_slab *free_some_of_parked(void)
{
    struct ashlar_slab *slab = park_slab();
    free_own(0, FEW - 1);
    assert_true(slab->is_asleep && !slab->is_exhausted);
    return slab;
}

static struct ashlar_slab *make_available_again(void)
{
    struct ashlar_slab *slab = exhaust_slab();
    free_own(0, 2 * FEW);
    assert_int_equal(count_links(&own_cache()->available[CLASS], slab), 1);
    return slab;
}

/* Its class went on with objects that had come back before all of it was carved. */
static struct ashlar_slab *leave_partly_carved(void)
{
    struct ashlar_slab *first = exhaust_slab();
    struct ashlar_slab *slab = slab_of(objects[nobjects - 1]);
    free_own(0, FEW);
    alloc_until_served_by(first);
    assert_true(slab->carved < ashlar_slab_capacity(slab));
    assert_int_equal(count_links(&own_cache()->available[CLASS], slab), 1);
    return slab;
}

static struct ashlar_slab *free_some_of_partly_carved(void)
{
    struct ashlar_slab *slab = leave_partly_carved();
    for (size_t i = 0, count = 0; i < nobjects && count < 3; i++) {
        if (objects[i] != NULL && slab_of(objects[i]) == slab) {
            free_own(i, i + 1);
            count++;
        }
    }
    (void)own_cache();
    return slab;
}

/* It is available, and somebody is about to tell of it. */
static struct ashlar_slab *make_available_in_flight(void)
{
    struct ashlar_slab *slab = park_slab();
    free_from_afar(0, 1);
    assert_ptr_equal(hold_back(own_cache()), slab);
    free_own(1, LEFT);
    assert_int_equal(count_links(&own_cache()->available[CLASS], slab), 1);
    assert_true(slab->is_in_flight && !slab->is_asleep);
    return slab;
}

static struct ashlar_slab *(*const freed_by_both[])(void) = {
    free_some_of_exhausted, free_some_of_parked, make_available_again, leave_partly_carved,
    free_some_of_partly_carved};

/* Symptom: what a thread had freed some objects of itself stayed with it while it was idle. */
static void a_slab_that_both_sides_have_emptied_is_taken_back_while_its_owner_is_idle(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(freed_by_both); i++) {
        struct ashlar_slab *slab = freed_by_both[i]();
        size_t nnoted = ashlar_arena_emptied();
        size_t live = live_in(slab);
        empty_rest_from_afar(slab);
        assert_true(ashlar_arena_emptied() > nnoted);
        assert_int_equal(slab->span.used + slab->span.asleep, live); /* nobody has collected */
        take_back(1);
        assert_true(lingers(slab));
        expect_whole_cache();
    }
}

/* How an owner comes upon a slab that is gone: the class wants more, it gives back, or it exits. */
static void a_slab_of_which_the_owner_had_free_objects_is_buried_when_it_is_gone(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(freed_by_both); i++) {
        for (int how = 0; how < 4; how++) {
            struct ashlar_slab *slab = freed_by_both[i]();
            empty_rest_from_afar(slab);
            take_back(1);
            assert_true(lingers(slab));
            act_as_owner(how);
            if (how % 2 != 0)
                ashlar_heaps_trim(); /* one that was told of is available at first */
            if (how % 2 != 0)
                assert_false(lingers(slab));
            expect_whole_cache();
            ashlar_heaps_trim();
            assert_false(lingers(slab));
            assert_int_equal(ashlar_count_read(slabs), 0);
        }
    }
}

/* Frees all of a slab that is live but the object number `kept`, by turns as its owner, at most
   `nown`, and as another thread. */
static void free_all_but(const struct ashlar_slab *slab, size_t kept, size_t nown)
{
    for (size_t i = 0; i < nobjects; i++) {
        if (i == kept || objects[i] == NULL || slab_of(objects[i]) != slab)
            continue;
        struct ashlar_tcache *cache = i % 2 != 0 && nown != 0 ? ashlar_heaps_real : NULL;
        nown -= cache != NULL;
        assert_int_equal(ashlar_tcache_free(cache, slab_of(objects[i]), objects[i]),
                         ASHLAR_TCACHE_DONE);
        objects[i] = NULL;
    }
}

static void an_object_in_use_keeps_a_slab_that_both_sides_have_freed_the_rest_of(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, -1);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(freed_by_both); i++) {
        for (size_t nown = 0; nown < 30; nown += 29) {
            struct ashlar_slab *slab = freed_by_both[i]();
            size_t kept = nobjects - 1;
            while (objects[kept] == NULL || slab_of(objects[kept]) != slab)
                kept--;
            free_all_but(slab, kept, nown);
            assert_int_equal(live_in(slab), 1);
            take_back(0);
            assert_ptr_equal(slab_of(objects[kept]), slab);
            assert_int_equal(objects[kept][OBJECT_BYTES - 1], (char)kept);
            empty_rest_from_afar(slab);
            take_back(1);
            expect_whole_cache();
            ashlar_heaps_trim();
        }
    }
}

/* It would hand out what has another user. */
static void a_slab_that_serves_is_not_taken_back_while_it_has_objects_to_give(void **state)
{
    (void)state;
    static const unsigned serving_classes[] = {0, CLASS, 47, ASHLAR_CLASS_MEDIUM + 4};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(serving_classes); i++) {
        for (int is_part_own = 0; is_part_own < 2; is_part_own++) {
            unsigned class_id = serving_classes[i];
            ashlar_heaps_trim();
            char *some[3] = {alloc(class_id), alloc(class_id), alloc(class_id)};
            struct ashlar_slab *slab = slab_of(some[0]);
            assert_ptr_equal(own_cache()->active[class_id], slab);
            for (int k = 0; k < 3; k++) {
                struct ashlar_tcache *cache = k == 1 && is_part_own ? ashlar_heaps_real : NULL;
                assert_int_equal(ashlar_tcache_free(cache, slab, some[k]), ASHLAR_TCACHE_DONE);
                take_back(0);
            }
            some[0] = alloc(class_id);
            assert_ptr_equal(slab_of(some[0]), slab);
            memset(some[0], 0x5a, ashlar_class_size(class_id));
            take_back(0);
            assert_int_equal(free_object(some[0]), ASHLAR_TCACHE_DONE);
            ashlar_heaps_trim();
            assert_int_equal(ashlar_count_read(slabs), 0);
        }
    }
}

/* Somebody still holds on to its descriptor. */
static void an_available_slab_in_flight_that_is_gone_stays_until_it_was_told_of(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct ashlar_slab *slab = make_available_in_flight();
        empty_rest_from_afar(slab);
        take_back(1);
        if (how == 0)
            ashlar_heaps_trim();
        if (how == 1)
            ashlar_tcache_abandon(ashlar_heaps_real);
        for (int i = 0; i < 500; i++)
            (void)alloc_next();
        assert_true(lingers(slab));
        (void)own_cache();
        let_go(own_cache(), slab);
        ashlar_heaps_trim();
        assert_false(lingers(slab));
        expect_whole_cache();
    }
}

/* Symptom: each slab that was taken back cost a descriptor. */
static void owners_whose_slabs_are_taken_back_over_and_over_need_no_more_descriptors(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, -1);
    size_t meta_bytes = 0;
    for (int round = 0; round < 1500; round++) {
        struct ashlar_slab *slab = make_available_again();
        free_all_but(slab, MANY, 0);
        take_back(1);
        assert_true(lingers(slab));
        switch (round % 3) {
        case 0:
            ashlar_heaps_trim();
            break;
        case 1:
            ashlar_tcache_abandon(ashlar_heaps_real);
            break;
        default:
            alloc_until_exhausted(slab_of(objects[nobjects - 1]));
        }
        assert_false(lingers(slab));
        assert_null(free_all(NULL));
        ashlar_heaps_trim();
        if (round == 10)
            meta_bytes = ashlar_count_read(meta_bytes);
    }
    assert_int_equal(ashlar_count_read(meta_bytes), meta_bytes);
}

/* ---- between the arena and the first object ------------------------------------------------- */

static struct ashlar_slab *orphan;
static char *orphans_object;
static bool is_taken_at_once;
static char *served;

static void *leave_one_behind(void *context)
{
    orphans_object = memset(alloc(CLASS), 1, OBJECT_BYTES);
    orphan = slab_of(orphans_object);
    return context;
}

static void alloc_one(void)
{
    served = alloc(CLASS);
}

/* As soon as the slab has a new owner, and no sooner than its arena may be locked. */
static void free_the_orphans_object(void)
{
    if (is_taken_at_once || !is_own(orphan) || orphan->is_active)
        return;
    is_taken_at_once = true;
    assert_int_equal(ashlar_tcache_free(NULL, orphan, orphans_object), ASHLAR_TCACHE_DONE);
    take_back(1);
}

static void an_adopted_slab_that_is_taken_back_at_once_is_buried_later(void **state)
{
    (void)state;
    if (!TEST_HAS_STEPS)
        skip();
    for (int how = 0; how < 3; how++) {
        assert_int_equal(free_object(alloc(CLASS + 1)), ASHLAR_TCACHE_DONE);
        ashlar_heaps_trim();
        in_thread(leave_one_behind);
        is_taken_at_once = false;
        test_step_through(alloc_one, free_the_orphans_object);
        assert_true(is_taken_at_once);
        assert_non_null(served);
        assert_ptr_not_equal(slab_of(served), orphan);
        assert_true(lingers(orphan));
        memset(served, 2, OBJECT_BYTES);
        (void)own_cache();
        nobjects = 0;
        if (how == 0)
            ashlar_heaps_trim();
        if (how == 1)
            ashlar_tcache_abandon(ashlar_heaps_real);
        if (how == 2)
            while (lingers(orphan))
                (void)alloc_next();
        assert_false(lingers(orphan));
        assert_int_equal(free_object(served), ASHLAR_TCACHE_DONE);
        expect_whole_cache();
        ashlar_heaps_trim();
        assert_int_equal(ashlar_count_read(slabs), 0);
    }
}

/* ---- slabs that others have emptied, all of them -------------------------------------------- */

static void an_owner_serves_on_when_its_active_slab_is_gone(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct ashlar_slab *slab = fill_active();
        empty_from_afar(slab);
        assert_true(ashlar_arena_emptied() > 0);
        take_back(1);
        assert_int_equal(ashlar_count_read(slabs), 0);
        assert_ptr_equal(own_cache()->active[CLASS], slab);
        act_as_owner(how);
        expect_whole_cache();
        ashlar_heaps_trim();
        assert_false(lingers(slab));
    }
}

static void an_exhausted_slab_that_is_gone_is_buried_when_its_owner_looks(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct ashlar_slab *slab = exhaust_slab();
        empty_from_afar(slab);
        take_back(1);
        assert_true(slab->is_exhausted && lingers(slab));
        (void)own_cache();
        act_as_owner(how);
        assert_int_equal(lingers(slab), how == 0);
        expect_whole_cache();
    }
}

static void a_parked_slab_that_is_gone_is_buried_when_its_owner_looks(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct ashlar_slab *slab = park_slab();
        empty_from_afar(slab);
        assert_ptr_equal(own_cache()->owner.pending, slab);
        take_back(1);
        assert_true(lingers(slab));
        act_as_owner(how);
        assert_int_equal(lingers(slab), how == 0);
        expect_whole_cache();
    }
}

/* Whoever is about to put it on the stack still touches it. */
static void a_parked_slab_that_is_gone_stays_until_it_was_told_of(void **state)
{
    (void)state;
    struct ashlar_slab *slab = park_slab();
    empty_from_afar(slab);
    assert_ptr_equal(hold_back(own_cache()), slab);
    take_back(1);
    ashlar_heaps_trim();
    look_at_pending();
    for (int i = 0; i < 500; i++)
        (void)alloc_next();
    assert_true(lingers(slab));
    let_go(own_cache(), slab);
    ashlar_heaps_trim();
    assert_false(lingers(slab));
    expect_whole_cache();
}

static void an_exhausted_slab_in_flight_that_is_gone_stays_until_it_was_told_of(void **state)
{
    (void)state;
    for (int is_asked = 0; is_asked <= 1; is_asked++) {
        struct ashlar_slab *slab = exhaust_in_flight();
        empty_from_afar(slab);
        take_back(1);
        if (is_asked)
            ashlar_heaps_trim();
        assert_int_equal(slab->is_exhausted, !is_asked);
        assert_true(lingers(slab));
        let_go(own_cache(), slab);
        look_at_pending();
        assert_false(lingers(slab));
        expect_whole_cache();
    }
}

/* It serves again, with somebody still about to tell of it: then it is told of while it serves. */
static struct ashlar_slab *fill_active_in_flight(void)
{
    struct ashlar_slab *slab = park_slab();
    free_from_afar(0, 1);
    assert_ptr_equal(hold_back(own_cache()), slab);
    free_own(1, LEFT);
    while (live_in(slab) != capacity_of(slab))
        (void)alloc_next();
    assert_ptr_equal(own_cache()->active[CLASS], slab);
    assert_true(slab->is_in_flight);
    return slab;
}

/* Symptom: the descriptor of the slab that serves was used for another. */
static void an_active_slab_in_flight_that_is_gone_is_told_of(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct ashlar_slab *slab = fill_active_in_flight();
        empty_from_afar(slab);
        take_back(1);
        assert_ptr_equal(own_cache()->active[CLASS], slab);
        let_go(own_cache(), slab);
        act_as_owner(how);
        expect_whole_cache();
        ashlar_heaps_trim();
        assert_false(lingers(slab));
        assert_int_equal(ashlar_count_read(slabs), 0);
    }
}

static void a_noted_slab_that_is_gone_is_noted_no_more(void **state)
{
    (void)state;
    struct ashlar_slab *slab = exhaust_slab();
    size_t count = nobjects;
    free_own(0, count - 1);
    assert_true(slab->is_idle);
    for (size_t i = 0; i + 1 < count; i++) { /* all of them are in use again */
        objects[i] = alloc(CLASS);
        memset(objects[i], (int)i, OBJECT_BYTES);
    }
    while (!slab->is_exhausted && live_in(slab) != capacity_of(slab))
        (void)alloc_next();
    (void)own_cache();
    assert_true(slab->is_idle);
    empty_from_afar(slab);
    take_back(1);
    while (lingers(slab))
        (void)alloc_next();
    assert_int_equal(count_notes(&own_cache()->idle, slab), 0);
    assert_int_equal(noted_bytes(&own_cache()->idle), own_cache()->idle.bytes);
    expect_whole_cache();
}

/* Every medium slab of one object that another thread frees is such a slab. */
static void a_slab_of_one_object_is_taken_back_and_the_class_serves_on(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    unsigned class_id = ASHLAR_CLASS_COUNT - 1;
    for (int round = 0; round < 3; round++) {
        for (nobjects = 0; nobjects < COUNT; nobjects++) {
            objects[nobjects] = alloc(class_id);
            memset(objects[nobjects], (int)nobjects, ashlar_class_size(class_id));
        }
        size_t count = ashlar_count_read(slabs);
        free_from_afar(0, COUNT / 2);
        (void)own_cache();
        (void)ashlar_arena_note_emptied();
        ashlar_arena_take_back_all();
        assert_true(ashlar_count_read(slabs) < count);
        for (size_t i = 0; i < COUNT / 2; i++) {
            objects[i] = alloc(class_id);
            memset(objects[i], (int)i, ashlar_class_size(class_id));
        }
        (void)own_cache();
        assert_null(free_all(NULL));
        (void)own_cache();
    }
}

static struct ashlar_slab *(*prepare)(void);
static _Atomic int stage;

static void wait_for_stage(int wanted)
{
    while (atomic_load(&stage) != wanted)
        sched_yield();
}

static bool is_in_flight_in(struct ashlar_slab *(*way)(void))
{
    return way == exhaust_in_flight || way == fill_active_in_flight ||
           way == make_available_in_flight;
}

static void *be_idle_and_exit(void *context)
{
    struct ashlar_slab *slab = prepare();
    if (is_in_flight_in(prepare))
        (void)hold_back(own_cache());
    held_of_other = slab;
    cache_of_other = own_cache();
    atomic_store(&stage, 1);
    wait_for_stage(2);
    return context;
}

static void a_thread_whose_slabs_are_gone_exits_and_its_cache_serves_the_next(void **state)
{
    (void)state;
    struct ashlar_slab *(*const ways[])(void) = {fill_active,
                                                 exhaust_slab,
                                                 park_slab,
                                                 free_some_of_exhausted,
                                                 free_some_of_parked,
                                                 make_available_again,
                                                 leave_partly_carved,
                                                 exhaust_in_flight,
                                                 fill_active_in_flight,
                                                 make_available_in_flight};
    assert_int_equal(free_object(alloc(CLASS)), ASHLAR_TCACHE_DONE);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(ways); i++) {
        for (int is_late = 0; is_late <= 1; is_late++) {
            pthread_t thread;
            void *failure;
            ashlar_heaps_trim();
            prepare = ways[i];
            stage = 0;
            assert_int_equal(pthread_create(&thread, NULL, be_idle_and_exit, NULL), 0);
            wait_for_stage(1);
            struct ashlar_slab *slab = held_of_other;
            bool is_held = is_in_flight_in(ways[i]);
            slab_to_empty = slab;
            assert_null(empty_slab(NULL));
            take_back(1);
            if (is_held && !is_late)
                let_go(cache_of_other, slab);
            stage = 2;
            pthread_join(thread, &failure);
            assert_null(failure);
            check_lists(cache_of_other);
            if (is_held && is_late) {
                assert_ptr_equal(ashlar_list_first(&cache_of_other->slabs), &slab->all);
                assert_true(ashlar_slab_is_gone(slab));
                let_go(cache_of_other, slab);
            }
            in_thread(get_the_cache_of_other);
            assert_true(ashlar_list_is_empty(&cache_of_other->slabs));
            assert_null(free_all(NULL));
            assert_int_equal(ashlar_count_read(slabs), 0);
        }
    }
}

/* Symptom: a thread that allocates what it has freed for another doubled the program. */
static void what_one_has_freed_for_another_serves_it_before_more_is_mapped(void **state)
{
    (void)state;
    static struct ashlar_tcache other;
    enum { COUNT = 2000 };
    unsigned class_id = 60;
    ashlar_tcache_init(&other);
    other.arena = own_cache()->arena;
    for (nobjects = 0; nobjects < COUNT; nobjects++)
        assert_non_null(objects[nobjects] = ashlar_tcache_alloc(&other, class_id));
    size_t reserved = ashlar_count_read(region_reserved_bytes);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(free_object(objects[i]), ASHLAR_TCACHE_DONE);
    assert_true(ashlar_arena_is_take_back_due());
    for (size_t i = 0; i < COUNT; i++)
        assert_non_null(objects[i] = alloc(class_id));
    size_t one_more = 4 * ASHLAR_MIB;
    assert_true(ashlar_count_read(region_reserved_bytes) <= reserved + one_more);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(free_object(objects[i]), ASHLAR_TCACHE_DONE);
    ashlar_tcache_abandon(&other);
    assert_true(ashlar_list_is_empty(&other.slabs));
}

/* ---- random operations --------------------------------------------------------------------- */

#define CACHES 3
#define MODEL_OBJECTS ((size_t)4000)

/* Hundreds of objects to a slab, a few, and made to measure. */
static const unsigned model_classes[] = {CLASS, 15, 48, 55, ASHLAR_CLASS_MEDIUM + 4};

static struct {
    char *object;
    unsigned class_id;
    uint64_t tag;
} model[MODEL_OBJECTS];

static struct ashlar_tcache caches[CACHES];
static struct ashlar_slab *held[CACHES]; /* what somebody is about to tell of */

static void model_free(size_t at, struct ashlar_tcache *cache)
{
    char *object = model[at].object;
    size_t size = ashlar_class_size(model[at].class_id);
    assert_true(test_is_marked(object, size, model[at].tag, true));
    assert_int_equal(ashlar_tcache_free(cache, slab_of(object), object), ASHLAR_TCACHE_DONE);
    model[at].object = NULL;
}

static void model_alloc(size_t at, struct ashlar_tcache *cache, uint64_t tag)
{
    model[at].class_id = model_classes[tag % ASHLAR_ARRAY_LEN(model_classes)];
    model[at].object = ashlar_tcache_alloc(cache, model[at].class_id);
    model[at].tag = tag;
    assert_non_null(model[at].object);
    test_mark(model[at].object, ashlar_class_size(model[at].class_id), tag);
}

/* A step of one cache: what it does with an object, and now and then something else. */
static void model_step(uint64_t *seed, uint64_t tag, size_t nobjects_most)
{
    size_t who = test_random_below(seed, CACHES);
    struct ashlar_tcache *cache = &caches[who];
    size_t at = test_random_below(seed, nobjects_most);
    switch (test_random_below(seed, 400)) {
    case 0:
        ashlar_tcache_give_back(cache);
        break;
    case 1:
        ashlar_tcache_abandon(cache); /* whoever gets it next goes on */
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        if (held[who] == NULL)
            held[who] = hold_back(cache);
        break;
    case 6:
    case 7:
        let_go(cache, held[who]);
        held[who] = NULL;
        break;
    case 8:
    case 9:
        (void)ashlar_arena_note_emptied();
        ashlar_arena_take_back_all();
        break;
    default:
        if (model[at].object != NULL)
            model_free(at, cache);
        else
            model_alloc(at, cache, tag);
    }
}

/* Objects are made by one cache and freed by any, so most slabs are exhausted again and again, and
   told of, often in the middle of something else. */
static void random_operations_of_caches_lose_nothing(void **state)
{
    (void)state;
    unsigned in_flight_and_exhausted = 0;
    for (uint64_t round = 1; round <= 20; round++) {
        uint64_t seed = round * 7919;
        memset(caches, 0, sizeof caches);
        for (size_t i = 0; i < CACHES; i++) {
            ashlar_tcache_init(&caches[i]);
            caches[i].arena = ashlar_arena_at(0);
        }
        for (uint64_t step = 0; step < 40000; step++) {
            /* Fewer and more by turns. */
            model_step(&seed, step, step / 10000 % 2 == 0 ? MODEL_OBJECTS : MODEL_OBJECTS / 8);
            for (size_t i = 0; i < CACHES && step % 200 == 0; i++) {
                check_lists(&caches[i]);
                for (struct ashlar_slab *slab = held[i]; slab != NULL; slab = slab->pending_next)
                    in_flight_and_exhausted += slab->is_in_flight && slab->is_exhausted;
            }
        }
        for (size_t at = 0; at < MODEL_OBJECTS; at++)
            if (model[at].object != NULL)
                model_free(at, &caches[at % CACHES]);
        for (size_t i = 0; i < CACHES; i++) {
            let_go(&caches[i], held[i]);
            held[i] = NULL;
            ashlar_tcache_abandon(&caches[i]);
            assert_true(ashlar_list_is_empty(&caches[i].slabs));
        }
        assert_int_equal(ashlar_count_read(slabs), 0);
    }
    assert_true(in_flight_and_exhausted > 0);
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

static void empty_mailboxes(void)
{
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

static void threads_that_free_for_each_other_lose_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++)
        run_threads(swap_objects);
    empty_mailboxes();
}

/* Few classes, and few objects to a slab: most slabs are exhausted while others free into them. */
static void *swap_full_slabs(void *context)
{
    uint64_t seed = (uintptr_t)&context;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned class_id = 48 + (unsigned)test_random_below(&seed, 3);
        char *object = alloc(class_id);
        if (object == NULL)
            return objects;
        test_mark(object, ashlar_class_size(class_id), (uintptr_t)object);
        object = atomic_exchange(&mailboxes[test_random_below(&seed, MAILBOXES)], object);
        if (i % 1000 == 0)
            ashlar_heaps_trim();
        if (object == NULL)
            continue;
        size_t size = ashlar_slab_object_bytes(slab_of(object));
        if (!test_is_marked(object, size, (uintptr_t)object, true) ||
            free_object(object) != ASHLAR_TCACHE_DONE)
            return objects;
    }
    check_lists(ashlar_heaps_real);
    return context;
}

static void threads_that_exhaust_slabs_for_each_other_lose_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++)
        run_threads(swap_full_slabs);
    empty_mailboxes();
}

/* ---- threads, and one that takes back ------------------------------------------------------- */

#define OWNERS 2
#define FREERS 2
#define STRESS_ROUNDS 150000

/* Many objects to a slab, some, and few: the last class is a medium one. */
static const unsigned stress_classes[] = {CLASS, 31, 50, ASHLAR_CLASS_MEDIUM + 4};

static _Atomic bool is_over;
static _Atomic size_t nalive; /* objects that exist */

/* Where it lies and how long it is are written all over it. */
static void stamp(char *object, size_t size)
{
    for (size_t at = 0; at + 16 <= size; at += 16) {
        ((uint64_t *)(void *)(object + at))[0] = (uintptr_t)object + at;
        ((uint64_t *)(void *)(object + at))[1] = size;
    }
}

static bool is_stamped(const char *object, size_t size)
{
    bool is_whole = true;
    for (size_t at = 0; at + 16 <= size; at += 16)
        is_whole &= ((const uint64_t *)(const void *)(object + at))[0] == (uintptr_t)object + at &&
                    ((const uint64_t *)(const void *)(object + at))[1] == size;
    return is_whole;
}

static bool check_and_free_object(char *object)
{
    size_t size = ashlar_slab_object_bytes(slab_of(object));
    nalive--;
    return is_stamped(object, size) && free_object(object) == ASHLAR_TCACHE_DONE;
}

/* Allocates, frees some itself, hands some over; is idle now and then, with all handed over. */
static void *allocate_and_hand_over(void *context)
{
    static _Atomic uint64_t seeds;
    uint64_t seed = 88172645463325252 + ++seeds * 7919;
    char *mine[200] = {NULL};
    for (int i = 0; i < STRESS_ROUNDS; i++) {
        size_t at = test_random_below(&seed, ASHLAR_ARRAY_LEN(mine));
        unsigned phase = (unsigned)i / 4000;
        if (mine[at] != NULL && test_random_below(&seed, 3) == 0) {
            if (!check_and_free_object(mine[at]))
                return objects;
            mine[at] = NULL;
            continue;
        }
        if (mine[at] != NULL) {
            char *old = atomic_exchange(&mailboxes[test_random_below(&seed, MAILBOXES)], mine[at]);
            mine[at] = NULL;
            if (old != NULL && !check_and_free_object(old))
                return objects;
            continue;
        }
        unsigned class_id = stress_classes[(phase + test_random_below(&seed, 2)) %
                                           ASHLAR_ARRAY_LEN(stress_classes)];
        char *object = alloc(class_id);
        if (object == NULL)
            return objects;
        stamp(object, ashlar_class_size(class_id));
        mine[at] = object;
        nalive++;
        if (i % 4000 == 3999)
            sched_yield();
        if (i % 37777 == 0)
            ashlar_heaps_trim();
    }
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(mine); i++)
        if (mine[i] != NULL && !check_and_free_object(mine[i]))
            return objects;
    return context;
}

static void *free_what_is_handed_over(void *context)
{
    for (size_t i = 0; !is_over; i++) {
        char *object = atomic_exchange(&mailboxes[i % MAILBOXES], NULL);
        if (object != NULL && !check_and_free_object(object))
            return objects;
    }
    return context;
}

static void *take_back_over_and_over(void *context)
{
    while (!is_over) {
        (void)ashlar_arena_note_emptied();
        ashlar_arena_take_back_all();
    }
    return context;
}

static void join(pthread_t thread)
{
    void *failure;
    pthread_join(thread, &failure);
    assert_null(failure);
}

/* Symptom: an object in use had another user, or memory or descriptors were lost. */
static void nothing_is_lost_while_slabs_are_taken_back_from_threads_at_work(void **state)
{
    (void)state;
    pthread_t owners[OWNERS];
    pthread_t freers[FREERS];
    pthread_t taker;
    uint64_t taken = ashlar_count_read(slabs_taken_back);
    is_over = false;
    nalive = 0;
    assert_int_equal(pthread_create(&taker, NULL, take_back_over_and_over, NULL), 0);
    for (int i = 0; i < FREERS; i++)
        assert_int_equal(pthread_create(&freers[i], NULL, free_what_is_handed_over, NULL), 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < OWNERS; i++)
            assert_int_equal(pthread_create(&owners[i], NULL, allocate_and_hand_over, NULL), 0);
        for (int i = 0; i < OWNERS; i++)
            join(owners[i]);
    }
    is_over = true;
    join(taker);
    for (int i = 0; i < FREERS; i++)
        join(freers[i]);
    for (size_t i = 0; i < MAILBOXES; i++) {
        char *object = atomic_exchange(&mailboxes[i], NULL);
        assert_true(object == NULL || check_and_free_object(object));
    }
    assert_int_equal(nalive, 0);
    assert_true(ashlar_count_read(slabs_taken_back) > taken);
    empty_mailboxes();
    (void)own_cache();
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
        CASE(an_exhausted_slab_is_back_with_its_owners_frees_and_nobody_was_asked),
        CASE(what_others_free_into_an_exhausted_slab_is_found_when_its_class_wants_more),
        CASE(a_slab_whose_class_wanted_more_is_told_of),
        CASE(a_parked_slab_is_back_with_its_owners_frees),
        CASE(classes_with_available_slabs_let_exhausted_ones_be),
        CASE(trim_gives_back_an_exhausted_slab_that_others_have_emptied),
        CASE(an_exhausted_slab_that_others_have_emptied_is_noted_as_empty),
        CASE(trim_leaves_exhausted_slabs_parked_so_that_it_hears_of_them),
        CASE(a_slab_in_flight_that_arrives_exhausted_sleeps_again),
        CASE(a_slab_in_flight_is_not_asked_twice_to_be_told_of),
        CASE(what_others_free_into_an_exhausted_slab_in_flight_arrives_with_it),
        CASE(an_exhausted_slab_in_flight_is_back_with_its_owners_frees),
        CASE(an_empty_slab_in_flight_is_not_given_back),
        CASE(a_sleeping_slab_wakes_at_the_promised_free_and_serves_all_of_them),
        CASE(what_is_free_in_sleeping_slabs_serves_when_memory_is_out),
        CASE(a_slab_that_lost_its_list_goes_when_the_rest_is_freed),
        CASE(what_others_free_into_a_sleeping_slab_is_counted_when_it_is_pending),
        CASE(what_others_free_into_a_sleeping_slab_is_counted_when_it_was_in_flight),
        CASE(what_others_free_into_a_sleeping_slab_is_counted_when_it_would_be_parked),
        CASE(what_others_free_into_a_sleeping_slab_is_counted_when_empty_ones_go),
        CASE(what_others_free_into_a_sleeping_slab_is_counted_at_a_false_alarm),
        CASE(an_object_of_a_sleeping_slab_freed_twice_is_told),
        CASE(half_a_link_is_no_double_free),
        CASE(statistics_see_through_sleep),
        CASE(a_noted_slab_that_sleeps_and_falls_empty_again_is_noted_once),
        CASE(a_noted_slab_that_sleeps_is_not_given_back),
        CASE(exhausted_slabs_of_a_thread_that_exits_are_adopted),
        CASE(exhausted_slabs_of_a_thread_that_exits_give_what_others_freed),
        CASE(an_exhausted_slab_in_flight_stays_with_the_cache_of_a_thread_that_exits),
        CASE(a_sleeping_slab_of_a_thread_that_exits_is_whole_when_it_is_adopted),
        CASE(a_parked_slab_of_a_thread_that_exits_is_whole_when_it_is_adopted),
        CASE(a_sleeping_slab_of_a_thread_that_exits_goes_with_its_last_object),
        CASE(a_slab_with_an_object_in_use_stays_its_owners),
        CASE(a_slab_that_both_sides_have_emptied_is_taken_back_while_its_owner_is_idle),
        CASE(a_slab_of_which_the_owner_had_free_objects_is_buried_when_it_is_gone),
        CASE(an_object_in_use_keeps_a_slab_that_both_sides_have_freed_the_rest_of),
        CASE(a_slab_that_serves_is_not_taken_back_while_it_has_objects_to_give),
        CASE(an_available_slab_in_flight_that_is_gone_stays_until_it_was_told_of),
        CASE(owners_whose_slabs_are_taken_back_over_and_over_need_no_more_descriptors),
        CASE(an_adopted_slab_that_is_taken_back_at_once_is_buried_later),
        CASE(an_owner_serves_on_when_its_active_slab_is_gone),
        CASE(an_exhausted_slab_that_is_gone_is_buried_when_its_owner_looks),
        CASE(a_parked_slab_that_is_gone_is_buried_when_its_owner_looks),
        CASE(a_parked_slab_that_is_gone_stays_until_it_was_told_of),
        CASE(an_exhausted_slab_in_flight_that_is_gone_stays_until_it_was_told_of),
        CASE(an_active_slab_in_flight_that_is_gone_is_told_of),
        CASE(a_noted_slab_that_is_gone_is_noted_no_more),
        CASE(a_slab_of_one_object_is_taken_back_and_the_class_serves_on),
        CASE(a_thread_whose_slabs_are_gone_exits_and_its_cache_serves_the_next),
        CASE(what_one_has_freed_for_another_serves_it_before_more_is_mapped),
        CASE(random_operations_of_caches_lose_nothing),
        CASE(threads_that_free_for_each_other_lose_nothing),
        CASE(threads_that_exhaust_slabs_for_each_other_lose_nothing),
        CASE(nothing_is_lost_while_slabs_are_taken_back_from_threads_at_work),
        /* The store for threads past their end keeps its slab. */
        cmocka_unit_test_setup(a_thread_past_its_end_is_served, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
