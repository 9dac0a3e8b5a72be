/*
 * test_slab.c - a run of objects of one size: its law against a model
 */
#include "unit/testing.h"

#include <pthread.h>

#include "os/os.h"
#include "small/chunk.h"
#include "small/slab.h"

#define KEY UINT64_C(0x4bcdef0123456789)

static struct ashlar_slab_owner owner;

/* A slab of the class on fresh memory, with `owner` as its owner. */
static struct ashlar_slab *make_slab(unsigned class_id)
{
    size_t len = ashlar_slab_slices(class_id) * ASHLAR_SLICE_BYTES;
    struct ashlar_slab *slab = aligned_alloc(ASHLAR_CACHE_LINE_BYTES, sizeof *slab);
    char *base = aligned_alloc(4096, len);
    assert_true(slab != NULL && base != NULL);
    memset(slab, 0, sizeof *slab);
    memset(base, 0xff, len); /* nothing is taken for granted */
    ashlar_slab_init(slab, class_id, base, KEY);
    ashlar_span_set_owner(&slab->span, (uintptr_t)&owner);
    return slab;
}

static void drop_slab(struct ashlar_slab *slab)
{
    free(slab->base);
    free(slab);
}

static void *get(struct ashlar_slab *slab)
{
    void *object = ashlar_slab_pop(slab);
    if (object == NULL && ashlar_slab_carve(slab))
        object = ashlar_slab_pop(slab);
    return object;
}

static void every_class_has_slabs_of_whole_pages_and_little_waste(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        size_t object = ashlar_class_size(class_id);
        size_t len = ashlar_slab_slices(class_id) * ASHLAR_SLICE_BYTES;
        assert_int_equal(len % ashlar_os_facts.page_bytes, 0);
        assert_true(len / ASHLAR_SLICE_BYTES <= ASHLAR_RUN_MAX);
        assert_true(len >= object && len % object * 8 <= len);
        assert_true(len == 65536 || (object > 8192 && len > 65536));
    }
}

/* Symptom, with pages of 64 KiB: a purge of what one slab had left took the next one's objects. */
static void what_is_touched_is_whole_pages(void **state)
{
    (void)state;
    size_t page_bytes = ashlar_os_facts.page_bytes;
    struct ashlar_slab *slab = make_slab(3);
    assert_int_equal(ashlar_slab_touched_bytes(slab), 0);
    assert_true(ashlar_slab_carve(slab));
    assert_int_equal(ashlar_slab_touched_bytes(slab), page_bytes);
    ashlar_os_facts.page_bytes = 65536;
    assert_int_equal(ashlar_slab_touched_bytes(slab), 65536);
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++)
        assert_int_equal(ashlar_slab_slices(class_id) * ASHLAR_SLICE_BYTES % 65536, 0);
    ashlar_os_facts.page_bytes = page_bytes;
    slab->ntouched = 7;
    assert_int_equal(ashlar_slab_touched_bytes(slab), 7 * ASHLAR_SLICE_BYTES);
    drop_slab(slab);
}

static void a_slab_hands_out_every_object_once(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 3) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t object = ashlar_class_size(class_id);
        size_t capacity = ashlar_slab_capacity(slab) / object;
        char *seen = calloc(capacity, 1);
        for (size_t i = 0; i < capacity; i++) {
            char *got = get(slab);
            assert_non_null(got);
            size_t offset = (size_t)(got - slab->base);
            assert_int_equal(offset % object, 0);
            assert_true(offset < ashlar_slab_capacity(slab));
            assert_int_equal(seen[offset / object], 0);
            seen[offset / object] = 1;
            assert_int_equal(slab->span.used, i + 1);
            ashlar_slab_verify(slab);
            if (capacity > 200 && i % 16 != 0)
                continue;
            memset(got, 0xee, object);
        }
        assert_null(get(slab));
        assert_int_equal(slab->carved, ashlar_slab_capacity(slab));
        free(seen);
        drop_slab(slab);
    }
}

static void objects_come_to_exist_about_a_page_at_a_time(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t object = ashlar_class_size(class_id);
        assert_int_equal(slab->carved, 0);
        while (ashlar_slab_carve(slab)) {
            assert_int_equal(slab->carved % object, 0);
            assert_true(slab->carved <= ashlar_slab_capacity(slab));
        }
        drop_slab(slab);
        slab = make_slab(class_id);
        assert_true(ashlar_slab_carve(slab));
        assert_true(slab->carved <= (object > 4096 ? object : 4096));
        drop_slab(slab);
    }
}

/* The head of the list is an address, `end` that of an empty one; what is carved in front of a list
   that is not empty leads to it. */
static void carved_objects_come_in_ascending_order_before_those_freed(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t object = ashlar_class_size(class_id);
        assert_int_equal(slab->end, (uintptr_t)slab->base + ashlar_slab_capacity(slab));
        assert_int_equal(ashlar_slab_capacity(slab) % object, 0);
        assert_int_equal(slab->free, slab->end);
        char *first = get(slab);
        assert_ptr_equal(first, slab->base);
        for (size_t at = object; slab->free != slab->end; at += object)
            assert_ptr_equal(ashlar_slab_pop(slab), slab->base + at);
        assert_int_equal(slab->span.used * object, slab->carved);
        size_t carved = slab->carved;
        ashlar_slab_push(slab, first);
        assert_int_equal(slab->free, (uintptr_t)first);
        if (ashlar_slab_carve(slab))
            for (; carved < slab->carved; carved += object)
                assert_ptr_equal(ashlar_slab_pop(slab), slab->base + carved);
        assert_ptr_equal(ashlar_slab_pop(slab), first);
        assert_int_equal(slab->free, slab->end);
        ashlar_slab_verify(slab);
        drop_slab(slab);
    }
}

static void only_starts_of_objects_are_starts(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t object = ashlar_class_size(class_id);
        for (uint64_t offset = 0; offset < ashlar_slab_capacity(slab); offset++)
            if (ashlar_slab_is_start(slab, offset) != (offset % object == 0))
                fail_msg("offset %llu of objects of %zu", (unsigned long long)offset, object);
        drop_slab(slab);
    }
}

static void a_free_object_looks_free_and_a_live_one_does_not(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_slab(5);
    char *one = get(slab);
    char *two = get(slab);
    static const uint64_t contents[] = {0, 1, 96, 65535, 65536, UINT64_MAX, 0x7fffffffffff};
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        memcpy(one, &contents[i], sizeof contents[i]);
        assert_false(ashlar_slab_looks_free(slab, one));
    }
    assert_false(ashlar_slab_looks_free(slab, two));
    assert_false(ashlar_slab_has_free(slab, one));
    ashlar_slab_push(slab, one);
    assert_true(ashlar_slab_looks_free(slab, one));
    assert_true(ashlar_slab_has_free(slab, one));
    assert_false(ashlar_slab_has_free(slab, two));
    assert_ptr_equal(get(slab), one);
    assert_false(ashlar_slab_looks_free(slab, one));
    drop_slab(slab);
}

static void an_overwritten_link_ends_the_list_and_is_told_from_its_end(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_slab(5);
    char *one = get(slab);
    ashlar_slab_push(slab, one);
    memset(one, 'x', 96);
    assert_ptr_equal(ashlar_slab_pop(slab), one); /* the object itself is good */
    assert_null(ashlar_slab_pop(slab));
    assert_true(slab->free > slab->end);
    drop_slab(slab);
}

/* Symptom of a broken law: objects lost or handed out twice. */
static void random_frees_from_both_sides_keep_the_law(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 7) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t capacity = ashlar_slab_capacity(slab) / ashlar_class_size(class_id);
        char **live = calloc(capacity, sizeof *live);
        size_t nlive = 0;
        size_t nremote = 0;
        uint64_t seed = class_id + 1;
        for (int step = 0; step < 3000; step++) {
            size_t choice = test_random_below(&seed, 8);
            if (choice < 4) {
                char *object = get(slab);
                if (object == NULL) {
                    assert_int_equal(nlive + nremote, capacity);
                    continue;
                }
                for (size_t i = 0; i < nlive && capacity < 100; i++)
                    assert_true(live[i] != object);
                live[nlive++] = object;
            } else if (choice < 7 && nlive != 0) {
                size_t at = test_random_below(&seed, nlive);
                char *object = live[at];
                live[at] = live[--nlive];
                if (choice == 6) {
                    assert_int_equal(ashlar_slab_push_remote(slab, object), ASHLAR_REMOTE_DONE);
                    nremote++;
                } else {
                    ashlar_slab_push(slab, object);
                }
            } else if (choice == 7) {
                assert_int_equal(ashlar_slab_collect(slab), nremote);
                nremote = 0;
            }
            assert_int_equal(slab->span.used, nlive + nremote);
            assert_int_equal(ashlar_slab_live_objects(slab), nlive);
            if (step % 20 == 0)
                ashlar_slab_verify(slab);
        }
        free(live);
        drop_slab(slab);
    }
}

/* Objects that come back to a sleeping slab before its owner is told, as slab.c says. */
static uint32_t few_of(const struct ashlar_slab *slab)
{
    size_t object = ashlar_slab_object_bytes(slab);
    return object <= 1024 ? (uint32_t)(1024 / object) : 1;
}

static void fill(struct ashlar_slab *slab, char **live, size_t capacity)
{
    for (size_t i = 0; i < capacity; i++)
        assert_non_null(live[i] = get(slab));
    assert_null(get(slab));
}

/* Symptom: a slab was of use again for each single object that came back. */
static void a_sleeping_slab_seems_empty_when_a_few_objects_are_back(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        uint32_t capacity = (uint32_t)(ashlar_slab_capacity(slab) / ashlar_class_size(class_id));
        uint32_t few = few_of(slab);
        char **live = calloc(capacity, sizeof *live);
        assert_true(few >= 1 && few <= capacity && few <= 64);
        fill(slab, live, capacity);
        ashlar_slab_sleep(slab);
        assert_true(slab->is_asleep);
        for (uint32_t left = few; left != 0; left--) {
            assert_int_equal(slab->span.used, left);
            assert_int_equal(slab->span.used + slab->asleep, capacity - (few - left));
            assert_int_equal(ashlar_slab_live_objects(slab), capacity - (few - left));
            assert_int_equal(ashlar_slab_push(slab, live[left - 1]), left - 1);
            assert_true(ashlar_slab_looks_free(slab, live[left - 1]));
            assert_true(ashlar_slab_has_free(slab, live[left - 1]));
        }
        assert_true(slab->is_asleep); /* until it is told */
        ashlar_slab_wake(slab);
        assert_false(slab->is_asleep);
        assert_int_equal(slab->asleep, 0);
        assert_int_equal(slab->span.used, capacity - few);
        assert_int_equal(ashlar_slab_live_objects(slab), capacity - few);
        ashlar_slab_verify(slab);
        for (uint32_t i = 0; i < few; i++)
            assert_ptr_equal(ashlar_slab_pop(slab), live[i]);
        assert_null(get(slab));
        free(live);
        drop_slab(slab);
    }
}

/* Awake before it collects, so that `used` cannot wrap; wakes early, and sleeps again. */
static void a_slab_wakes_with_what_others_have_freed(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 5) {
        struct ashlar_slab *slab = make_slab(class_id);
        uint32_t capacity = (uint32_t)(ashlar_slab_capacity(slab) / ashlar_class_size(class_id));
        uint32_t few = few_of(slab);
        char **live = calloc(capacity, sizeof *live);
        fill(slab, live, capacity);
        for (uint32_t part = 0; part <= 2; part++) {
            uint32_t nremote = capacity * part / 2;
            uint32_t nown = few - 1 < capacity - nremote ? few - 1 : capacity - nremote;
            ashlar_slab_sleep(slab);
            for (uint32_t i = 0; i < nremote; i++)
                assert_int_equal(ashlar_slab_push_remote(slab, live[i]), ASHLAR_REMOTE_DONE);
            for (uint32_t i = 0; i < nown; i++)
                assert_int_equal(ashlar_slab_push(slab, live[nremote + i]), few - 1 - i);
            assert_int_equal(slab->span.used + slab->asleep, capacity - nown);
            assert_int_equal(ashlar_slab_live_objects(slab), capacity - nown - nremote);
            ashlar_slab_wake(slab);
            assert_int_equal(ashlar_slab_live_objects(slab), capacity - nown - nremote);
            assert_int_equal(ashlar_slab_collect(slab), nremote);
            assert_int_equal(slab->span.used, capacity - nown - nremote);
            assert_int_equal(ashlar_slab_live_objects(slab), capacity - nown - nremote);
            ashlar_slab_verify(slab);
            for (uint32_t i = 0; i < nremote + nown; i++)
                assert_non_null(live[i] = ashlar_slab_pop(slab));
            assert_null(get(slab));
        }
        free(live);
        drop_slab(slab);
    }
}

static void parking_asks_for_the_next_remote_free_and_unparking_takes_that_back(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_slab(3);
    char *one = get(slab);
    char *two = get(slab);
    owner.pending = NULL;
    assert_true(ashlar_slab_park(slab));
    assert_true(ashlar_slab_unpark(slab));
    assert_int_equal(ashlar_slab_push_remote(slab, one), ASHLAR_REMOTE_DONE);
    assert_null(owner.pending);
    assert_false(ashlar_slab_park(slab)); /* something has come back */
    assert_int_equal(ashlar_slab_collect(slab), 1);
    assert_true(ashlar_slab_park(slab));
    assert_int_equal(ashlar_slab_push_remote(slab, two), ASHLAR_REMOTE_DONE);
    assert_ptr_equal(owner.pending, slab);
    assert_false(ashlar_slab_unpark(slab)); /* somebody has acted on it */
    assert_int_equal(ashlar_slab_collect(slab), 1);
    assert_int_equal(slab->span.used, 0);
    drop_slab(slab);
}

static void an_abandoned_slab_refuses_remote_frees_until_it_is_adopted(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_slab(3);
    char *one = get(slab);
    char *two = get(slab);
    ashlar_slab_push_remote(slab, two);
    ashlar_slab_abandon(slab);
    assert_true(ashlar_slab_is_abandoned(slab));
    assert_int_equal(ashlar_span_owner(&slab->span), 0);
    assert_int_equal(ashlar_slab_push_remote(slab, one), ASHLAR_REMOTE_ABANDONED);
    assert_int_equal(ashlar_slab_collect(slab), 1);
    assert_true(ashlar_slab_is_abandoned(slab));
    ashlar_span_set_owner(&slab->span, (uintptr_t)&owner);
    ashlar_slab_adopt(slab);
    assert_false(ashlar_slab_is_abandoned(slab));
    assert_int_equal(ashlar_slab_push_remote(slab, one), ASHLAR_REMOTE_DONE);
    assert_int_equal(ashlar_slab_collect(slab), 1);
    ashlar_slab_verify(slab);
    drop_slab(slab);
}

#define MAILBOXES 32

static struct ashlar_slab *shared_slab;
static _Atomic(char *) mailboxes[MAILBOXES];
static _Atomic bool is_over;

static void *free_from_afar(void *context)
{
    uint64_t seed = *(uint64_t *)context;
    while (!is_over) {
        char *object = atomic_exchange(&mailboxes[test_random_below(&seed, MAILBOXES)], NULL);
        if (object != NULL && ashlar_slab_push_remote(shared_slab, object) != ASHLAR_REMOTE_DONE)
            return context;
    }
    return NULL;
}

static void remote_frees_of_many_threads_all_arrive(void **state)
{
    (void)state;
    pthread_t threads[3];
    uint64_t seeds[3] = {1, 2, 3};
    uint64_t seed = 9;
    is_over = false;
    shared_slab = make_slab(2);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, free_from_afar, &seeds[i]);
    for (int i = 0; i < 200000; i++) {
        char *object = get(shared_slab);
        if (object == NULL) {
            if (ashlar_slab_collect(shared_slab) == 0)
                sched_yield();
            continue;
        }
        char *old = atomic_exchange(&mailboxes[test_random_below(&seed, MAILBOXES)], object);
        if (old != NULL)
            ashlar_slab_push(shared_slab, old);
    }
    is_over = true;
    for (int i = 0; i < 3; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
    for (int i = 0; i < MAILBOXES; i++) {
        char *object = atomic_exchange(&mailboxes[i], NULL);
        if (object != NULL)
            ashlar_slab_push(shared_slab, object);
    }
    ashlar_slab_collect(shared_slab);
    assert_int_equal(shared_slab->span.used, 0);
    ashlar_slab_verify(shared_slab);
    drop_slab(shared_slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_has_slabs_of_whole_pages_and_little_waste),
        cmocka_unit_test(what_is_touched_is_whole_pages),
        cmocka_unit_test(a_slab_hands_out_every_object_once),
        cmocka_unit_test(objects_come_to_exist_about_a_page_at_a_time),
        cmocka_unit_test(carved_objects_come_in_ascending_order_before_those_freed),
        cmocka_unit_test(only_starts_of_objects_are_starts),
        cmocka_unit_test(a_free_object_looks_free_and_a_live_one_does_not),
        cmocka_unit_test(an_overwritten_link_ends_the_list_and_is_told_from_its_end),
        cmocka_unit_test(random_frees_from_both_sides_keep_the_law),
        cmocka_unit_test(a_sleeping_slab_seems_empty_when_a_few_objects_are_back),
        cmocka_unit_test(a_slab_wakes_with_what_others_have_freed),
        cmocka_unit_test(parking_asks_for_the_next_remote_free_and_unparking_takes_that_back),
        cmocka_unit_test(an_abandoned_slab_refuses_remote_frees_until_it_is_adopted),
        cmocka_unit_test(remote_frees_of_many_threads_all_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
