/*
 * test_arena.c - slabs for thread caches, pages back to the kernel
 */
#include "unit/testing.h"

#include <pthread.h>
#include <sys/mman.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "map/meta.h"
#include "map/pagemap.h"
#include "small/arena.h"
#include "small/survey.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

/* More than two leaves of the page map. */
#define HOLE_BYTES (9 * ASHLAR_GIB)

/* Classes whose slabs are of 16, 27 and 32 slices. */
static const unsigned classes[] = {3, 72, 79};

static struct ashlar_slab_owner owners[2];
static struct ashlar_arena *arena;
static uint64_t now_ms = 1000000; /* of ticks: never goes back, as arenas live on between cases */

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    arena = ashlar_arena_at(0);
    return 0;
}

static void expect_nothing_held(void)
{
    assert_int_equal(ashlar_count_read(slabs), 0);
    assert_int_equal(ashlar_count_read(slab_bytes), 0);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 0);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    (void)ashlar_arena_trim(arena);
    expect_nothing_held();
    return 0;
}

static struct ashlar_slab *get(unsigned class_id)
{
    return ashlar_arena_get(arena, class_id, &owners[0]);
}

static size_t len_of(const struct ashlar_slab *slab)
{
    return slab->nslices * ASHLAR_SLICE_BYTES;
}

static char *pop(struct ashlar_slab *slab)
{
    char *object = ashlar_slab_pop(slab);
    if (object == NULL && ashlar_slab_carve(slab))
        object = ashlar_slab_pop(slab);
    return object;
}

/* A slab of the first class whose first pages were used. */
static struct ashlar_slab *get_used(void)
{
    struct ashlar_slab *slab = get(classes[0]);
    assert_non_null(slab);
    char *object = pop(slab);
    memset(object, 0xee, ashlar_slab_object_bytes(slab));
    assert_int_equal(ashlar_slab_push(slab, object), 0);
    return slab;
}

/* The owner allocates from another one: as it does, is_active last. */
static void deactivate(struct ashlar_slab *slab)
{
    (void)ashlar_slab_add_used(slab, -ashlar_slab_hold(slab));
    ashlar_slab_deactivate(slab);
}

static void carve_all(struct ashlar_slab *slab)
{
    while (ashlar_slab_carve(slab))
        continue;
}

/* Granules of the slab from which the page map leads to `span`. */
static size_t count_granules_of(const struct ashlar_slab *slab, const struct ashlar_span *span)
{
    size_t count = 0;
    for (size_t at = 0; at < len_of(slab); at += ASHLAR_GRANULE_BYTES)
        count += ashlar_pagemap_find(slab->base + at) == span;
    return count;
}

static bool is_unknown(const struct ashlar_slab *slab)
{
    return count_granules_of(slab, NULL) == slab->nslices;
}

/* From each object that exists. */
static bool is_found(const struct ashlar_slab *slab)
{
    for (size_t at = 0; at < slab->carved; at += ashlar_slab_object_bytes(slab))
        if (ashlar_pagemap_find(slab->base + at) != &slab->span)
            return false;
    return slab->carved != 0;
}

static void a_slab_is_its_owners_and_found_from_each_of_its_objects(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = get(class_id);
        assert_non_null(slab);
        assert_int_equal(slab->class_id, class_id);
        assert_int_equal(slab->span.kind, ASHLAR_SPAN_SLAB);
        assert_int_equal(ashlar_span_owner(&slab->span), (uintptr_t)&owners[0]);
        assert_true(ashlar_is_aligned(slab->base, ASHLAR_SLICE_BYTES));
        assert_true(is_unknown(slab));
        while (ashlar_slab_carve(slab))
            assert_true(is_found(slab));
        assert_int_equal(slab->carved, ashlar_slab_capacity(slab));
        assert_int_equal(count_granules_of(slab, &slab->span) + count_granules_of(slab, NULL),
                         slab->nslices);
        assert_int_equal(ashlar_count_read(slab_bytes), len_of(slab));
        assert_true(ashlar_arena_put(slab));
    }
}

static void a_slab_that_was_put_is_not_found_whatever_was_carved(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *pin = get(class_id);
        assert_true(ashlar_slab_carve(pin));
        for (int ncarves = 0, has_more = 1; has_more; ncarves++) {
            struct ashlar_slab *slab = get(class_id);
            for (int i = 0; i < ncarves; i++)
                has_more = ashlar_slab_carve(slab);
            struct ashlar_slab was = *slab;
            assert_true(ashlar_arena_put(slab));
            assert_true(is_unknown(&was));
            assert_true(is_found(pin));
        }
        assert_true(ashlar_arena_put(pin));
    }
}

static void slabs_fill_one_chunk_before_the_next_is_mapped(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes); i++) {
        struct ashlar_slab *slabs[ASHLAR_CHUNK_SLICES / 16];
        size_t count = 0;
        slabs[count++] = get(classes[i]);
        struct ashlar_chunk *chunk = slabs[0]->chunk;
        size_t held_bytes = ashlar_count_read(region_reserved_bytes);
        while ((count + 1) * slabs[0]->nslices <= chunk->nslices) {
            slabs[count] = get(classes[i]);
            assert_ptr_equal(slabs[count++]->chunk, chunk);
        }
        assert_int_equal(ashlar_count_read(region_reserved_bytes), held_bytes);
        struct ashlar_slab *beyond = get(classes[i]);
        assert_ptr_not_equal(beyond->chunk, chunk);
        assert_true(ashlar_arena_put(beyond));
        while (count-- > 0)
            assert_true(ashlar_arena_put(slabs[count]));
        expect_nothing_held();
    }
}

static void an_arena_is_the_same_whenever_it_is_asked_for(void **state)
{
    (void)state;
    struct ashlar_arena *last = ashlar_arena_at(ASHLAR_ARENA_MAX - 1);
    assert_int_equal(ashlar_arena_count(), ASHLAR_ARENA_MAX);
    assert_ptr_equal(ashlar_arena_at(ASHLAR_ARENA_MAX - 1), last);
    assert_ptr_equal(ashlar_arena_at(0), arena);
    for (unsigned i = 0; i < ASHLAR_ARENA_MAX; i++) {
        assert_true(ashlar_lock_take(&ashlar_arena_at(i)->lock));
        assert_int_equal(ashlar_arena_at(i)->lock.rank, ASHLAR_RANK_ARENA);
        ashlar_lock_release(&ashlar_arena_at(i)->lock);
    }
    struct ashlar_slab *slab = ashlar_arena_get(last, 0, &owners[0]);
    assert_ptr_equal(slab->chunk->arena, last);
    assert_true(ashlar_arena_put(slab));
}

struct attempt {
    unsigned class_id;
    struct ashlar_slab *got;
};

static bool try_to_get(void *context)
{
    struct attempt *attempt = context;
    attempt->got = get(attempt->class_id);
    return attempt->got != NULL;
}

static void check_and_put(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    if (has_succeeded) {
        attempt->got->base[len_of(attempt->got) - 1] = 1;
        assert_true(ashlar_arena_put(attempt->got));
    }
    expect_nothing_held();
}

static void a_get_that_fails_holds_nothing_whichever_call_failed(void **state)
{
    (void)state;
    /* So that the page map has to grow. */
    void *hole = mmap(NULL, HOLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes); i++) {
        struct attempt attempt = {.class_id = classes[i]};
        fake_os_fail_each(FAKE_OS_ONE_FAILS, try_to_get, check_and_put, &attempt);
        unsigned ncalls = fake_os_fail_each(FAKE_OS_REST_FAILS, try_to_get, check_and_put,
                                            &attempt);
        assert_true(ncalls >= 1);
    }
    munmap(hole, HOLE_BYTES);
}

static void slabs_that_come_and_go_use_the_same_descriptors(void **state)
{
    (void)state;
    assert_true(ashlar_arena_put(get(0)));
    size_t meta_bytes = ashlar_count_read(meta_bytes);
    for (int i = 0; i < 1500; i++) {
        assert_true(ashlar_arena_put(get(0)));
        fake_os_fail_from(0);
        assert_null(get(0));
        fake_os_obey();
    }
    assert_int_equal(ashlar_count_read(meta_bytes), meta_bytes);
}

static void a_chunk_the_kernel_would_not_unmap_serves_the_next_slab(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    size_t held_bytes = ashlar_count_read(region_reserved_bytes);
    fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
    assert_true(ashlar_arena_put(slab));
    assert_int_equal(ashlar_count_read(region_reserved_bytes), held_bytes);
    slab = get(classes[0]);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), held_bytes);
    assert_true(ashlar_arena_put(slab));
}

static void a_shut_lock_refuses_and_leaves_all_as_it_was(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get_used();
    struct ashlar_slab *orphan = get(classes[1]);
    char *one = pop(orphan);
    ashlar_arena_abandon(orphan);
    uint64_t refusals = ashlar_lock_refusals();
    ashlar_lock_shut(&arena->lock);
    assert_null(get(classes[0]));
    assert_null(get(classes[1]));
    assert_false(ashlar_arena_put(slab));
    assert_int_equal(ashlar_arena_free_abandoned(orphan, one), ASHLAR_FREE_REFUSED);
    assert_int_equal(ashlar_survey_place_of(slab->base), ASHLAR_SURVEY_NOWHERE);
    assert_false(ashlar_arena_trim(arena));
    ashlar_arena_tick(arena, now_ms += 10000);
    ashlar_lock_reopen(&arena->lock, false);
    assert_true(ashlar_lock_refusals() > refusals);
    assert_true(is_found(slab));
    assert_int_equal(ashlar_span_owner(&slab->span), (uintptr_t)&owners[0]);
    assert_int_equal(ashlar_arena_free_abandoned(orphan, one), ASHLAR_FREE_DONE);
    assert_true(ashlar_arena_put(slab));
}

static void the_lock_of_the_store_refuses_a_fresh_slab_only(void **state)
{
    (void)state;
    struct ashlar_slab *orphan = get(classes[0]);
    char *one = pop(orphan);
    ashlar_arena_abandon(orphan);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(get(classes[1]));
    assert_ptr_equal(get(classes[0]), orphan);
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    ashlar_slab_push(orphan, one);
    assert_true(ashlar_arena_put(orphan));
}

static void an_abandoned_slab_is_adopted_before_a_fresh_one_is_cut(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    char *one = pop(slab);
    char *two = pop(slab);
    memset(one, 0xaa, ashlar_slab_object_bytes(slab));
    uint64_t adopted = ashlar_count_read(slabs_adopted);
    ashlar_arena_abandon(slab);
    assert_int_equal(ashlar_arena_free_abandoned(slab, two), ASHLAR_FREE_DONE);
    struct ashlar_slab *other = get(classes[0] + 1);
    assert_ptr_not_equal(other, slab);
    assert_ptr_equal(ashlar_arena_get(arena, classes[0], &owners[1]), slab);
    assert_int_equal(ashlar_count_read(slabs_adopted), adopted + 1);
    assert_int_equal(ashlar_span_owner(&slab->span), (uintptr_t)&owners[1]);
    assert_false(ashlar_slab_is_abandoned(slab));
    assert_int_equal(slab->span.used, 1);
    assert_int_equal((unsigned char)one[ashlar_slab_object_bytes(slab) - 1], 0xaa);
    assert_int_equal(ashlar_arena_free_abandoned(slab, one), ASHLAR_FREE_RETRY);
    assert_int_equal(slab->span.used, 1);
    struct ashlar_slab *fresh = get(classes[0]);
    assert_ptr_not_equal(fresh, slab);
    assert_int_equal(ashlar_slab_push_remote(slab, one), ASHLAR_REMOTE_EMPTIED); /* not active */
    assert_int_equal(ashlar_slab_collect(slab), 1);
    assert_true(ashlar_arena_put(slab) && ashlar_arena_put(other) && ashlar_arena_put(fresh));
}

/* A slab of the arena with one live object. */
static struct ashlar_slab *get_with_one(unsigned index, unsigned class_id, char **object)
{
    struct ashlar_slab *slab = ashlar_arena_get(ashlar_arena_at(index), class_id, &owners[1]);
    assert_ptr_equal(slab->chunk->arena, ashlar_arena_at(index));
    *object = memset(pop(slab), 0xaa, ashlar_slab_object_bytes(slab));
    return slab;
}

/* The same, without an owner. */
static struct ashlar_slab *leave_behind(unsigned index, unsigned class_id, char **object)
{
    struct ashlar_slab *slab = get_with_one(index, class_id, object);
    ashlar_arena_abandon(slab);
    return slab;
}

/* Symptom: threads whose predecessors were of another arena took fresh memory, and what those had
   left behind stayed for good. */
static void an_abandoned_slab_of_any_arena_is_adopted_before_a_fresh_one_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes); i++) {
        char *objects[3];
        struct ashlar_slab *third = leave_behind(2, classes[i], &objects[2]);
        struct ashlar_slab *other_class = leave_behind(2, classes[i] - 1, &objects[1]);
        uint64_t adopted = ashlar_count_read(slabs_adopted);
        size_t nslabs = ashlar_count_read(slabs);
        assert_ptr_equal(get(classes[i]), third);
        assert_int_equal(ashlar_count_read(slabs_adopted), adopted + 1);
        assert_int_equal(ashlar_count_read(slabs), nslabs);
        assert_int_equal(ashlar_span_owner(&third->span), (uintptr_t)&owners[0]);
        assert_false(ashlar_slab_is_abandoned(third));
        assert_int_equal((unsigned char)objects[2][ashlar_class_size(classes[i]) - 1], 0xaa);
        struct ashlar_slab *fresh = get(classes[i]);
        assert_ptr_equal(fresh->chunk->arena, arena);
        assert_int_equal(fresh->carved, 0);
        assert_int_equal(ashlar_slab_push(third, objects[2]), 0);
        assert_true(ashlar_arena_put(third) && ashlar_arena_put(fresh));
        assert_int_equal(ashlar_arena_free_abandoned(other_class, objects[1]), ASHLAR_FREE_DONE);
        (void)ashlar_arena_trim(ashlar_arena_at(2));
    }
}

static void abandoned_slabs_of_the_threads_own_arena_are_adopted_first(void **state)
{
    (void)state;
    for (unsigned own = 0; own < 3; own++) {
        char *objects[3];
        struct ashlar_slab *slabs[3];
        for (unsigned i = 0; i < 3; i++)
            slabs[i] = get_with_one(i, classes[0], &objects[i]);
        for (unsigned i = 0; i < 3; i++)
            ashlar_arena_abandon(slabs[i]);
        for (unsigned i = 0; i < 3; i++) { /* then the others */
            struct ashlar_slab *got = ashlar_arena_get(ashlar_arena_at(own), classes[0],
                                                       &owners[0]);
            unsigned at = 0;
            while (at < 3 && slabs[at] != got)
                at++;
            assert_true(i == 0 ? at == own : at < 3);
            assert_int_equal(ashlar_slab_push(got, objects[at]), 0);
            assert_true(ashlar_arena_put(got));
        }
        for (unsigned i = 0; i < 3; i++)
            (void)ashlar_arena_trim(ashlar_arena_at(i));
        expect_nothing_held();
    }
}

/* A lock per arena for each slab, were they looked at. */
static void other_arenas_are_let_be_when_nothing_of_the_class_is_abandoned(void **state)
{
    (void)state;
    char *objects[2];
    struct ashlar_slab *gone = leave_behind(1, classes[0], &objects[0]);
    struct ashlar_slab *other_class = leave_behind(1, classes[0] + 1, &objects[1]);
    assert_int_equal(ashlar_arena_free_abandoned(gone, objects[0]), ASHLAR_FREE_DONE);
    struct ashlar_slab *adopted = leave_behind(1, classes[1], &objects[0]);
    assert_ptr_equal(get(classes[1]), adopted);
    uint64_t refusals = ashlar_lock_refusals();
    ashlar_lock_shut(&ashlar_arena_at(1)->lock);
    struct ashlar_slab *slabs[2] = {get(classes[0]), get(classes[1])};
    assert_int_equal(ashlar_lock_refusals(), refusals);
    assert_true(slabs[0] != NULL && slabs[1] != NULL);
    ashlar_lock_reopen(&ashlar_arena_at(1)->lock, false);
    assert_int_equal(ashlar_arena_free_abandoned(other_class, objects[1]), ASHLAR_FREE_DONE);
    ashlar_slab_push(adopted, objects[0]);
    assert_true(ashlar_arena_put(adopted));
    assert_true(ashlar_arena_put(slabs[0]) && ashlar_arena_put(slabs[1]));
    (void)ashlar_arena_trim(ashlar_arena_at(1));
}

/* Symptom: the first malloc after many threads had exited took over all that they had left of its
   class before it came upon a free object. */
static void a_full_slab_is_adopted_when_something_of_it_was_freed(void **state)
{
    (void)state;
    enum { FULL = 5 };
    struct ashlar_slab *slabs[FULL];
    char *objects[FULL];
    for (int i = 0; i < FULL; i++) {
        slabs[i] = get(classes[1]);
        for (char *object; (object = pop(slabs[i])) != NULL;)
            objects[i] = object;
        ashlar_arena_abandon(slabs[i]);
    }
    uint64_t adopted = ashlar_count_read(slabs_adopted);
    struct ashlar_slab *fresh = get(classes[1]);
    assert_int_equal(ashlar_count_read(slabs_adopted), adopted);
    assert_int_equal(ashlar_arena_free_abandoned(slabs[2], objects[2]), ASHLAR_FREE_DONE);
    assert_ptr_equal(get(classes[1]), slabs[2]);
    assert_int_equal(ashlar_count_read(slabs_adopted), adopted + 1);
    struct ashlar_slab *another = get(classes[1]);
    assert_int_equal(ashlar_count_read(slabs_adopted), adopted + 1);
    assert_true(ashlar_arena_put(fresh) && ashlar_arena_put(another));
    ashlar_arena_abandon(slabs[2]);
    for (int i = 0; i < FULL; i++) {
        size_t object = ashlar_slab_object_bytes(slabs[i]);
        size_t count = ashlar_slab_capacity(slabs[i]) / object;
        char *base = slabs[i]->base;
        for (size_t k = 0; k < count; k++) {
            if (i != 2 || base + k * object != objects[2])
                (void)ashlar_arena_free_abandoned(slabs[i], base + k * object);
        }
    }
    assert_int_equal(ashlar_count_read(slabs), 0);
}

/* Symptom: what threads of one arena had freed lay idle while those of another took fresh memory. */
static void idle_memory_of_another_arena_serves_before_a_chunk_is_mapped(void **state)
{
    (void)state;
    enum { COUNT = 12 }; /* 768 KiB */
    struct ashlar_arena *other = ashlar_arena_at(1);
    struct ashlar_slab *used[COUNT];
    for (int i = 0; i < COUNT; i++) {
        used[i] = ashlar_arena_get(other, classes[0], &owners[1]);
        assert_ptr_equal(used[i]->chunk->arena, other);
        carve_all(used[i]);
    }
    struct ashlar_slab *orphan = ashlar_arena_get(other, classes[1], &owners[1]);
    char *one = pop(orphan);
    ashlar_arena_abandon(orphan);
    struct ashlar_slab *own = get(classes[0]);
    assert_ptr_equal(own->chunk->arena, arena); /* nothing idle yet */
    assert_true(ashlar_arena_put(own));
    for (int i = 0; i < COUNT; i++)
        assert_true(ashlar_arena_put(used[i]));
    size_t held_bytes = ashlar_count_read(region_reserved_bytes);
    size_t dirty_bytes = ashlar_count_read(arena_dirty_bytes);
    struct ashlar_slab *borrowed = get(classes[0]);
    assert_ptr_equal(borrowed->chunk->arena, other);
    assert_int_equal(ashlar_span_owner(&borrowed->span), (uintptr_t)&owners[0]);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), held_bytes);
    assert_true(ashlar_count_read(arena_dirty_bytes) < dirty_bytes);
    assert_ptr_equal(get(classes[1]), orphan); /* and what was left behind there */
    assert_int_equal(ashlar_slab_push(orphan, one), 0);
    assert_true(ashlar_arena_put(borrowed) && ashlar_arena_put(orphan));
    assert_true(ashlar_arena_trim(other));
    own = get(classes[0]);
    assert_ptr_equal(own->chunk->arena, arena);
    assert_true(ashlar_arena_put(own));
}

static void an_abandoned_slab_goes_with_its_last_object(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    char *one = pop(slab);
    char *two = pop(slab);
    char *three = pop(slab);
    struct ashlar_slab was = *slab;
    assert_int_equal(ashlar_slab_push_remote(slab, two), ASHLAR_REMOTE_DONE); /* not collected */
    ashlar_arena_abandon(slab);
    assert_int_equal(ashlar_arena_free_abandoned(slab, one), ASHLAR_FREE_DONE);
    assert_int_equal(count_granules_of(&was, &slab->span), 1);
    assert_int_equal(ashlar_arena_free_abandoned(slab, three), ASHLAR_FREE_DONE);
    assert_true(is_unknown(&was));
    assert_int_equal(ashlar_count_read(slabs), 0);
}

static void a_slab_that_fell_empty_from_afar_is_not_kept_as_abandoned(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    char *one = pop(slab);
    assert_int_equal(ashlar_slab_push_remote(slab, one), ASHLAR_REMOTE_EMPTIED);
    ashlar_arena_abandon(slab);
    assert_int_equal(ashlar_count_read(slabs), 0);
}

/* Ticks in each of so many steps of the decay time. */
static void pass_steps(unsigned count)
{
    for (; count > 0; count--)
        ashlar_arena_tick(arena, now_ms += ashlar_options_decay_step_ms());
}

static void idle_pages_stay_for_half_the_decay_time_at_least(void **state)
{
    (void)state;
    assert_true(ashlar_arena_put(get_used()));
    ashlar_arena_tick(arena, now_ms += 10 * (uint64_t)ashlar_opt.decay_ms);
    size_t dirty_bytes = ashlar_count_read(arena_dirty_bytes);
    assert_true(dirty_bytes > 0);
    pass_steps(ASHLAR_DECAY_STEPS / 2 - 1);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), dirty_bytes);
    pass_steps(ASHLAR_DECAY_STEPS / 2); /* whosever turn it is */
    expect_nothing_held();
}

static void idle_pages_are_gone_when_the_decay_time_is_over(void **state)
{
    (void)state;
    ashlar_arena_tick(arena, now_ms += 10 * (uint64_t)ashlar_opt.decay_ms);
    assert_true(ashlar_arena_put(get_used()));
    pass_steps(ASHLAR_DECAY_STEPS);
    expect_nothing_held();
}

/* Chunks of a burst, two of each turn, and the slabs of one. */
#define BURST_CHUNKS (2 * ASHLAR_CHUNK_TURNS)
#define SLABS_PER_CHUNK (ASHLAR_CHUNK_SLICES / 16)

/* Used slabs that fill so many chunks are put, all at once. The dirty bytes of each chunk. */
static size_t put_burst(void)
{
    static struct ashlar_slab *slabs[BURST_CHUNKS * SLABS_PER_CHUNK];
    bool is_short = false;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(slabs); i++) {
        slabs[i] = get_used();
        is_short |= slabs[i]->chunk->nslices != ASHLAR_CHUNK_SLICES;
    }
    if (is_short) { /* one ends at a multiple of 4 GiB, and a slab less fits into it */
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(slabs); i++)
            assert_true(ashlar_arena_put(slabs[i]));
        (void)ashlar_arena_trim(arena);
        skip();
    }
    assert_int_equal(ashlar_count_read(region_reserved_bytes),
                     (size_t)BURST_CHUNKS * ASHLAR_CHUNK_SLICES * ASHLAR_SLICE_BYTES);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(slabs); i++)
        assert_true(ashlar_arena_put(slabs[i]));
    size_t dirty_bytes = ashlar_count_read(arena_dirty_bytes);
    assert_true(dirty_bytes > 0);
    assert_int_equal(dirty_bytes % BURST_CHUNKS, 0);
    return dirty_bytes / BURST_CHUNKS;
}

/* What the last look has purged. */
static size_t tick_after(uint64_t ms)
{
    size_t before = ashlar_count_read(arena_dirty_bytes);
    ashlar_arena_tick(arena, now_ms += ms);
    return before - ashlar_count_read(arena_dirty_bytes);
}

/* Symptom: one call purged all that a burst of small blocks had freed. */
static void chunks_take_turns(void **state)
{
    (void)state;
    uint64_t step_ms = ashlar_options_decay_step_ms();
    pass_steps(2 * ASHLAR_DECAY_STEPS); /* long after any pause */
    size_t chunk_bytes = put_burst();
    for (unsigned i = 0; i < ASHLAR_CHUNK_TURNS; i++)
        assert_int_equal(tick_after(step_ms), 0);
    for (unsigned i = 0; i < ASHLAR_CHUNK_TURNS; i++) {
        assert_int_equal(tick_after(step_ms - 1), 0);
        assert_int_equal(tick_after(1), 2 * chunk_bytes);
    }
    expect_nothing_held();
}

static void steps_that_were_missed_are_made_up_for(void **state)
{
    (void)state;
    uint64_t step_ms = ashlar_options_decay_step_ms();
    pass_steps(2 * ASHLAR_DECAY_STEPS);
    size_t chunk_bytes = put_burst();
    assert_int_equal(tick_after(step_ms), 0);
    assert_int_equal(tick_after((ASHLAR_CHUNK_TURNS - 1) * step_ms), 0);
    assert_int_equal(tick_after(3 * step_ms), 6 * chunk_bytes);
    assert_int_equal(tick_after(step_ms), 2 * chunk_bytes);
    assert_int_equal(tick_after(4 * step_ms), 8 * chunk_bytes);
    expect_nothing_held();
}

static void after_a_pause_all_chunks_have_their_turn(void **state)
{
    (void)state;
    uint64_t half_ms = (uint64_t)ashlar_opt.decay_ms / 2;
    for (uint64_t times = 1; times <= 20; times *= 20) {
        pass_steps(2 * ASHLAR_DECAY_STEPS);
        size_t chunk_bytes = put_burst();
        assert_int_equal(tick_after(times * half_ms), 0); /* all are aged */
        assert_int_equal(tick_after(times * half_ms), BURST_CHUNKS * chunk_bytes);
        expect_nothing_held();
    }
}

/* Symptom: what was freed just before the first look after a pause went a step later, when its
   chunk had its next turn. */
static void what_was_freed_before_a_pause_ended_stays_for_half_the_decay_time(void **state)
{
    (void)state;
    uint64_t step_ms = ashlar_options_decay_step_ms();
    /* The shortest pause, and a long one. */
    const uint64_t pauses_ms[] = {ASHLAR_CHUNK_TURNS * step_ms, 10 * (uint64_t)ashlar_opt.decay_ms};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(pauses_ms); i++) {
        pass_steps(2 * ASHLAR_DECAY_STEPS);
        now_ms += pauses_ms[i];
        (void)put_burst();
        assert_int_equal(tick_after(0), 0); /* freed just now */
        for (unsigned turn = 1; turn < ASHLAR_CHUNK_TURNS; turn++)
            assert_int_equal(tick_after(step_ms), 0);
        assert_int_equal(tick_after(step_ms - 1), 0);
        (void)tick_after(1);
        pass_steps(ASHLAR_CHUNK_TURNS);
        expect_nothing_held();
    }
}

struct ages {
    uint64_t least_ms;
    uint64_t most_ms;
};

/* Looks every so often until nothing is left of what was put at `put_ms`; how old it became. */
static void look_until_gone(uint64_t put_ms, uint64_t pause_ms, struct ages *ages)
{
    while (ashlar_count_read(arena_dirty_bytes) != 0) {
        if (tick_after(pause_ms) == 0)
            continue;
        ages->least_ms = now_ms - put_ms < ages->least_ms ? now_ms - put_ms : ages->least_ms;
        ages->most_ms = now_ms - put_ms > ages->most_ms ? now_ms - put_ms : ages->most_ms;
    }
    expect_nothing_held();
}

/* How old idle pages become before they go when somebody looks every so often. */
static struct ages ages_with_looks_every(uint64_t pause_ms)
{
    struct ages ages = {.least_ms = UINT64_MAX};
    for (int64_t ms = 0; ms < 3 * ashlar_opt.decay_ms; ms += (int64_t)pause_ms)
        (void)tick_after(pause_ms); /* long after any pause */
    for (unsigned round = 0; round < 7; round++) {
        for (unsigned i = 0; i < 13 * round; i++) /* at another time of a step */
            (void)tick_after(pause_ms);
        uint64_t put_ms = now_ms + round * pause_ms / 7; /* and a while after a look */
        (void)put_burst();
        look_until_gone(put_ms, pause_ms, &ages);
    }
    return ages;
}

/*
 * The turn of a chunk is due once in half the decay time, and had at the first look from then on:
 * less than a look too late. What was freed just before a late turn is marked by it, and goes at
 * the next, which may be had in time: so after half the decay time less a look at least, and less a
 * step as a rule, as there is a look in each. What was freed just after a turn that was had in time
 * is marked by the next and goes at the one after that, which may be late: after a whole decay time
 * and a look at most. Some chunk comes within a step of either end.
 */
static void idle_pages_go_between_half_the_decay_time_and_a_whole_one(void **state)
{
    (void)state;
    static const uint64_t pauses_ms[] = {1, 10, 30, 50, 70, 100, 170};
    ashlar_opt.decay_ms = 800;
    uint64_t step_ms = ashlar_options_decay_step_ms();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(pauses_ms); i++) {
        struct ages ages = ages_with_looks_every(pauses_ms[i]);
        assert_in_range(ages.least_ms, 400 - pauses_ms[i], 400 + step_ms + pauses_ms[i]);
        assert_in_range(ages.most_ms, 800 - step_ms - pauses_ms[i], 800 + pauses_ms[i]);
    }
}

/*
 * After a pause all are marked, and the steps begin anew: what was freed just after a turn, which
 * may have been less than a step after the last step that counted, waits for the end of the pause
 * and then for up to a decay time less a step.
 */
static void a_pause_delays_by_no_more_than_itself_and_a_step(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    uint64_t step_ms = ashlar_options_decay_step_ms();
    for (uint64_t pause_ms = 8 * step_ms; pause_ms < 10 * step_ms; pause_ms += 33) {
        for (unsigned nlooks = 0; nlooks <= 35; nlooks += 7) {
            struct ages ages = {.least_ms = UINT64_MAX};
            pass_steps(2 * ASHLAR_DECAY_STEPS);
            uint64_t put_ms = now_ms;
            (void)put_burst();
            for (unsigned i = 0; i < nlooks; i++)
                assert_int_equal(tick_after(step_ms / 5), 0);
            if (tick_after(pause_ms) != 0)
                ages.least_ms = now_ms - put_ms;
            look_until_gone(put_ms, step_ms / 5, &ages);
            assert_in_range(ages.least_ms, 400 - step_ms, 800 + pause_ms + step_ms);
            assert_in_range(ages.most_ms, 0, 800 + pause_ms + step_ms + step_ms / 5);
        }
    }
}

/* Symptom: with decay_ms:4100 the purge thread, which looks every 500 ms, took eight seconds, as a
   look after nearly two steps counted as one. */
static void looks_that_do_not_fall_on_steps_lose_no_time(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 4100;
    struct ages ages = ages_with_looks_every(500);
    uint64_t step_ms = ashlar_options_decay_step_ms();
    assert_in_range(ages.least_ms, ASHLAR_CHUNK_TURNS * step_ms - 500, 2050 + step_ms + 500);
    assert_in_range(ages.most_ms, 2050, 4100 + 500);
}

static void decay_of_minus_one_keeps_pages_until_they_are_trimmed(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, -1);
    assert_true(ashlar_arena_put(get_used()));
    for (int i = 0; i < 5; i++)
        ashlar_arena_tick(arena, now_ms += 100000000);
    assert_true(ashlar_count_read(arena_dirty_bytes) > 0);
    assert_true(ashlar_arena_trim(arena));
    expect_nothing_held();
    assert_false(ashlar_arena_trim(arena));
}

static void decay_of_zero_keeps_nothing(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, 0);
    struct ashlar_slab *pin = get(classes[0]);
    assert_true(ashlar_arena_put(get_used()));
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 0);
    assert_true(ashlar_arena_put(pin));
}

static void pages_the_kernel_would_not_take_are_tried_again(void **state)
{
    (void)state;
    assert_true(ashlar_arena_put(get_used()));
    size_t dirty_bytes = ashlar_count_read(arena_dirty_bytes);
    fake_os_fail(FAKE_OS_PURGE, 0, 1, ENOMEM);
    assert_false(ashlar_arena_trim(arena));
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), dirty_bytes);
    assert_true(ashlar_arena_trim(arena));
    expect_nothing_held();
}

/* Symptom: pages of a slab that was used less than the one before it were never given back. */
static void pages_a_later_slab_did_not_use_are_idle_again_with_it(void **state)
{
    (void)state;
    struct ashlar_slab *pin = get(classes[2]);
    struct ashlar_slab *slab = get(classes[0]);
    char *base = slab->base;
    carve_all(slab);
    assert_true(ashlar_arena_put(slab));
    size_t dirty_bytes = ashlar_count_read(arena_dirty_bytes);
    slab = get_used();
    assert_ptr_equal(slab->base, base);
    assert_true(ashlar_arena_put(slab));
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), dirty_bytes);
    assert_true(ashlar_arena_trim(arena) && ashlar_arena_put(pin));
}

/* Symptom: the chunk stayed among the full ones, and another was mapped. */
static void slices_that_a_purger_left_serve_after_the_next_tick(void **state)
{
    (void)state;
    struct ashlar_slab *slabs[ASHLAR_CHUNK_SLICES / 16];
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(slabs); i++)
        slabs[i] = get(classes[0]);
    struct ashlar_chunk *chunk = slabs[0]->chunk;
    struct ashlar_slab *beyond = get(classes[0]); /* the first chunk is listed as full now */
    assert_ptr_not_equal(beyond->chunk, chunk);
    struct ashlar_slicemap victims;
    struct ashlar_slicemap clean;
    assert_true(ashlar_slab_carve(slabs[0]));
    assert_true(ashlar_arena_put(slabs[0]));
    assert_true(ashlar_chunk_detach(chunk, ASHLAR_IDLE_ALL, &victims));
    ashlar_chunk_purge(chunk, &victims, &clean);
    ashlar_chunk_leave(chunk, &victims, &clean);
    slabs[0] = get(classes[0]); /* what was clean of the slab is too short: of the second chunk */
    assert_ptr_not_equal(slabs[0]->chunk, chunk);
    ashlar_arena_tick(arena, now_ms += 10000);
    struct ashlar_slab *again = get(classes[0]);
    assert_ptr_equal(again->chunk, chunk);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(slabs); i++)
        assert_true(ashlar_arena_put(slabs[i]));
    assert_true(ashlar_arena_put(again) && ashlar_arena_put(beyond));
}

static void purged_pages_of_a_slab_used_again_read_as_zero(void **state)
{
    (void)state;
    struct ashlar_slab *pin = get(classes[2]); /* keeps the chunk */
    struct ashlar_slab *slab = get_used();
    assert_true(ashlar_arena_put(slab));
    assert_true(ashlar_arena_trim(arena));
    assert_true(ashlar_count_read(region_reserved_bytes) > 0);
    slab = get(classes[0]);
    assert_true(test_is_zero(slab->base, len_of(slab)));
    assert_true(ashlar_arena_put(slab) && ashlar_arena_put(pin));
}

static void an_address_is_in_a_slab_or_idle_while_its_chunk_is(void **state)
{
    (void)state;
    int local;
    struct ashlar_slab *slab = get(classes[0]);
    const char *chunk = slab->chunk->base;
    size_t len = slab->chunk->nslices * ASHLAR_SLICE_BYTES;
    assert_true(ashlar_slab_carve(slab));
    assert_int_equal(ashlar_survey_place_of(slab->base), ASHLAR_SURVEY_IN_SLAB);
    assert_int_equal(ashlar_survey_place_of(slab->base + len_of(slab) - 1), ASHLAR_SURVEY_IN_SLAB);
    assert_int_equal(ashlar_survey_place_of(slab->base + len_of(slab)), ASHLAR_SURVEY_IDLE);
    assert_int_equal(ashlar_survey_place_of(chunk + len - 1), ASHLAR_SURVEY_IDLE);
    assert_int_equal(ashlar_survey_place_of(chunk - 1), ASHLAR_SURVEY_NOWHERE);
    assert_int_equal(ashlar_survey_place_of(chunk + len), ASHLAR_SURVEY_NOWHERE);
    assert_int_equal(ashlar_survey_place_of(&local), ASHLAR_SURVEY_NOWHERE);
    assert_int_equal(ashlar_survey_place_of(NULL), ASHLAR_SURVEY_NOWHERE);
    assert_true(ashlar_arena_put(slab));
    assert_int_equal(ashlar_survey_place_of(chunk), ASHLAR_SURVEY_IDLE);
    assert_true(ashlar_arena_trim(arena));
    assert_int_equal(ashlar_survey_place_of(chunk), ASHLAR_SURVEY_NOWHERE);
}

/* Also where no object is yet, and where none will be. */
static void each_byte_of_a_slab_is_in_it_whatever_was_carved(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 3) {
        struct ashlar_slab *before = get(classes[0]);
        struct ashlar_slab *slab = get(class_id);
        struct ashlar_slab *behind = get(classes[0]);
        char *base = slab->base;
        size_t len = len_of(slab);
        assert_true(ashlar_slab_carve(before) && ashlar_slab_carve(behind));
        while (ashlar_slab_carve(slab))
            for (size_t at = 0; at < len; at += ASHLAR_GRANULE_BYTES / 2)
                assert_int_equal(ashlar_survey_place_of(base + at), ASHLAR_SURVEY_IN_SLAB);
        assert_int_equal(ashlar_survey_place_of((char *)slab->end - 1), ASHLAR_SURVEY_IN_SLAB);
        assert_true(ashlar_arena_put(slab));
        for (size_t at = 0; at < len; at += ASHLAR_GRANULE_BYTES / 2)
            assert_int_equal(ashlar_survey_place_of(base + at), ASHLAR_SURVEY_IDLE);
        assert_int_equal(ashlar_survey_place_of(behind->base), ASHLAR_SURVEY_IN_SLAB);
        assert_true(ashlar_arena_put(before) && ashlar_arena_put(behind));
    }
}

static void an_address_is_found_in_whichever_arena_it_is(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get_used();
    struct ashlar_slab *other = ashlar_arena_get(ashlar_arena_at(1), classes[1], &owners[1]);
    assert_true(ashlar_slab_carve(other));
    assert_ptr_not_equal(other->chunk->arena, arena);
    assert_int_equal(ashlar_survey_place_of(slab->base), ASHLAR_SURVEY_IN_SLAB);
    assert_int_equal(ashlar_survey_place_of(other->base), ASHLAR_SURVEY_IN_SLAB);
    assert_int_equal(ashlar_survey_place_of((char *)other->end), ASHLAR_SURVEY_IDLE);
    assert_true(ashlar_arena_put(slab) && ashlar_arena_put(other));
    (void)ashlar_arena_trim(ashlar_arena_at(1));
}

#define SLABS_MOST 60

struct visit {
    const struct ashlar_slab *seen[SLABS_MOST];
    size_t count;
};

static void note_slab(const struct ashlar_slab *slab, void *context)
{
    struct visit *visit = context;
    assert_true(visit->count < SLABS_MOST);
    visit->seen[visit->count++] = slab;
}

static void expect_visited_once(const struct visit *visit, const struct ashlar_slab *slab)
{
    unsigned times = 0;
    for (size_t i = 0; i < visit->count; i++)
        times += visit->seen[i] == slab;
    assert_int_equal(times, 1);
}

static void a_visit_by_whoever_holds_the_lock_is_refused(void **state)
{
    (void)state;
    struct visit visit = {.count = 0};
    struct ashlar_slab *slab = get_used();
    assert_true(ashlar_lock_take(&arena->lock));
    assert_false(ashlar_survey_slabs(arena, note_slab, &visit));
    ashlar_lock_release(&arena->lock);
    assert_int_equal(visit.count, 0);
    assert_true(ashlar_survey_slabs(arena, note_slab, &visit));
    assert_int_equal(visit.count, 1);
    assert_true(ashlar_arena_put(slab));
}

static void a_slab_is_visited_from_its_first_object_on(void **state)
{
    (void)state;
    struct ashlar_slab *slabs[ASHLAR_ARRAY_LEN(classes)];
    struct visit visit = {.count = 0};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes); i++)
        slabs[i] = get(classes[i]);
    assert_true(ashlar_survey_slabs(arena, note_slab, &visit));
    assert_int_equal(visit.count, 0);
    for (size_t i = ASHLAR_ARRAY_LEN(classes); i-- > 0;) { /* with unknown ones in front */
        assert_true(ashlar_slab_carve(slabs[i]));
        visit.count = 0;
        assert_true(ashlar_survey_slabs(arena, note_slab, &visit));
        assert_int_equal(visit.count, ASHLAR_ARRAY_LEN(classes) - i);
        for (size_t k = i; k < ASHLAR_ARRAY_LEN(classes); k++)
            expect_visited_once(&visit, slabs[k]);
    }
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes); i++)
        assert_true(ashlar_arena_put(slabs[i]));
}

/* A slab of the model: of an owner, or abandoned with one live object. */
struct model_slab {
    struct ashlar_slab *slab;
    char *object; /* NULL: empty */
    bool is_abandoned;
};

static void expect_marks(const struct model_slab *model, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct ashlar_slab *slab = model[i].slab;
        assert_true(is_found(slab));
        assert_int_equal(ashlar_slab_is_abandoned(slab), model[i].is_abandoned);
        if (model[i].object != NULL)
            assert_int_equal(*(uintptr_t *)(void *)(model[i].object + 8), (uintptr_t)slab);
    }
}

static void random_use_agrees_with_a_list_of_slabs(void **state)
{
    (void)state;
    struct model_slab model[SLABS_MOST];
    size_t count = 0;
    size_t bytes = 0;
    uint64_t seed = 5;
    for (int step = 0; step < 2500; step++) {
        size_t choice = test_random_below(&seed, 10);
        size_t at = count != 0 ? test_random_below(&seed, count) : 0;
        struct model_slab *one = &model[at];
        if (choice < 4 && count < SLABS_MOST) {
            struct ashlar_slab *slab = get((unsigned)test_random_below(&seed, ASHLAR_CLASS_COUNT));
            for (at = 0; at < count && model[at].slab != slab; at++) {
            }
            if (at == count) {
                assert_true(ashlar_slab_carve(slab)); /* or it is not visited */
                model[count++] = (struct model_slab){.slab = slab};
                bytes += len_of(slab);
            } else {
                assert_true(model[at].is_abandoned);
                model[at].is_abandoned = false;
            }
        } else if (choice < 6 && count != 0 && one->object == NULL) {
            one->object = pop(one->slab);
            *(uintptr_t *)(void *)(one->object + 8) = (uintptr_t)one->slab;
        } else if (choice == 6 && count != 0 && one->object != NULL && !one->is_abandoned) {
            ashlar_arena_abandon(one->slab);
            one->is_abandoned = true;
        } else if (choice < 9 && count != 0) {
            size_t len = len_of(one->slab);
            if (one->object == NULL) {
                assert_true(ashlar_arena_put(one->slab));
            } else if (one->is_abandoned) {
                assert_int_equal(ashlar_arena_free_abandoned(one->slab, one->object),
                                 ASHLAR_FREE_DONE);
            } else {
                ashlar_slab_push(one->slab, one->object);
                one->object = NULL;
                continue;
            }
            bytes -= len;
            *one = model[--count];
        } else {
            ashlar_arena_tick(arena, now_ms += test_random_below(&seed, 300));
        }
        assert_int_equal(ashlar_count_read(slabs), count);
        assert_int_equal(ashlar_count_read(slab_bytes), bytes);
        if (step % 10 != 0)
            continue;
        expect_marks(model, count);
        struct visit visit = {.count = 0};
        assert_true(ashlar_survey_slabs(arena, note_slab, &visit));
        assert_int_equal(visit.count, count);
        for (size_t i = 0; i < count; i++)
            expect_visited_once(&visit, model[i].slab);
    }
    while (count-- > 0) {
        if (model[count].is_abandoned) {
            assert_int_equal(ashlar_arena_free_abandoned(model[count].slab, model[count].object),
                             ASHLAR_FREE_DONE);
            continue;
        }
        if (model[count].object != NULL)
            ashlar_slab_push(model[count].slab, model[count].object);
        assert_true(ashlar_arena_put(model[count].slab));
    }
}

/* ---- slabs that others have emptied -------------------------------------------------------- */

/* All objects of the slab that fit, handed out and freed by another thread than its owner; but the
   last `nleft`, which are live. */
static void empty_from_afar(struct ashlar_slab *slab, size_t nleft)
{
    size_t count = ashlar_slab_capacity(slab) / ashlar_slab_object_bytes(slab);
    char **objects = calloc(count, sizeof *objects);
    for (size_t i = 0; i < count; i++)
        assert_non_null(objects[i] = pop(slab));
    assert_null(pop(slab));
    for (size_t i = 0; i + nleft < count; i++)
        assert_int_equal(ashlar_slab_push_remote(slab, objects[i]),
                         i + 1 == count ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE);
    free(objects);
}

static void note_emptied(size_t count)
{
    while (count-- > 0) {
        size_t before = ashlar_arena_emptied();
        assert_int_equal(ashlar_arena_note_emptied(), before + 1);
    }
}

/* All notes are looked at. */
static void expect_taken_back(size_t count)
{
    size_t nslabs = ashlar_count_read(slabs);
    uint64_t taken = ashlar_count_read(slabs_taken_back);
    note_emptied(1);
    ashlar_arena_take_back_all();
    assert_int_equal(ashlar_arena_emptied(), 0);
    assert_int_equal(ashlar_count_read(slabs), nslabs - count);
    assert_int_equal(ashlar_count_read(slabs_taken_back), taken + count);
}

static void a_slab_that_others_have_emptied_lends_its_slices_to_any_other(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 3) {
        struct ashlar_slab *pin = get(classes[0]);
        struct ashlar_slab *slab = get(class_id);
        struct ashlar_slab was = *slab;
        assert_true(ashlar_slab_carve(pin));
        empty_from_afar(slab, 0);
        size_t held_bytes = ashlar_count_read(region_reserved_bytes);
        expect_taken_back(1);
        assert_true(ashlar_slab_is_gone(slab));
        assert_true(is_unknown(&was));
        assert_true(is_found(pin));
        assert_int_equal(ashlar_count_read(slab_bytes), len_of(pin));
        assert_true(ashlar_count_read(arena_dirty_bytes) > 0);
        assert_true(ashlar_count_read(arena_dirty_bytes) <= len_of(&was));
        assert_int_equal(ashlar_survey_place_of(was.base), ASHLAR_SURVEY_IDLE);
        struct ashlar_slab *other = get(class_id != 30 ? 30 : 31);
        assert_ptr_equal(other->base, was.base);
        assert_ptr_not_equal(other, slab);
        assert_int_equal(ashlar_count_read(region_reserved_bytes), held_bytes);
        while (pop(other) != NULL)
            continue;
        assert_true(is_found(other));
        expect_taken_back(0);
        other->span.used = 0;
        ashlar_arena_bury(slab);
        assert_true(ashlar_arena_put(other) && ashlar_arena_put(pin));
        (void)ashlar_arena_trim(arena);
    }
}

static void the_pages_of_a_slab_that_was_taken_back_are_purged_with_the_rest(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    empty_from_afar(slab, 0);
    assert_false(ashlar_arena_trim(arena)); /* of that arena, and without a look at slabs */
    note_emptied(1);
    ashlar_arena_trim_all();
    expect_nothing_held();
    ashlar_arena_bury(slab);
}

static void
a_slab_with_a_live_object_or_of_which_none_was_freed_elsewhere_is_not_taken_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes); i++) {
        struct ashlar_slab *live = get(classes[i]);
        struct ashlar_slab *part = get(classes[i]);
        struct ashlar_slab *own = get(classes[i]);
        empty_from_afar(live, 1);
        char *two[2] = {pop(part), pop(part)};
        if (two[1] != NULL) { /* one is live */
            assert_int_equal(ashlar_slab_push_remote(part, two[0]), ASHLAR_REMOTE_DONE);
            two[0] = two[1];
        }
        assert_int_equal(ashlar_slab_push(own, pop(own)), 0);
        expect_taken_back(0);
        ashlar_slab_collect(live);
        live->span.used = 0;
        ashlar_slab_collect(part);
        assert_int_equal(ashlar_slab_push(part, two[0]), 0);
        assert_true(ashlar_arena_put(live) && ashlar_arena_put(part) && ashlar_arena_put(own));
    }
}

/* Some objects were handed out, one of which the owner has freed, others the rest. */
static void empty_from_both_sides(struct ashlar_slab *slab)
{
    size_t count = ashlar_slab_capacity(slab) / ashlar_slab_object_bytes(slab);
    char *some[3] = {NULL};
    size_t nsome = ashlar_min_size(count, ASHLAR_ARRAY_LEN(some));
    assert_true(ashlar_slab_activate(slab));
    for (size_t i = 0; i < nsome; i++)
        assert_non_null(some[i] = memset(pop(slab), 0xee, ashlar_slab_object_bytes(slab)));
    deactivate(slab);
    for (size_t i = 0; i < nsome; i++) {
        if (i == 1)
            ashlar_slab_push(slab, some[i]);
        else
            assert_int_equal(ashlar_slab_push_remote(slab, some[i]),
                             i + 1 == nsome ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE);
    }
}

/* Symptom: a slab of which its owner had freed some objects waited for an owner that was idle. */
static void a_slab_that_both_sides_have_emptied_lends_its_slices_to_any_other(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes); i++) {
        struct ashlar_slab *pin = get(classes[0]);
        struct ashlar_slab *slab = get(classes[i]);
        assert_true(ashlar_slab_carve(pin));
        empty_from_both_sides(slab);
        struct ashlar_slab was = *slab;
        size_t dirty_bytes = ashlar_count_read(arena_dirty_bytes);
        expect_taken_back(1);
        assert_true(ashlar_slab_is_gone(slab));
        assert_true(is_unknown(&was) && is_found(pin));
        /* Only what was carved. */
        assert_int_equal(ashlar_count_read(arena_dirty_bytes) - dirty_bytes,
                         ashlar_slab_touched_bytes(&was));
        struct ashlar_slab *other = get(30);
        assert_ptr_equal(other->base, was.base);
        carve_all(other);
        memset(other->base, 0x55, ashlar_slab_capacity(other));
        assert_false(ashlar_slab_activate(slab));
        assert_int_equal(ashlar_slab_collect(slab), 0);
        assert_int_equal(other->base[0], 0x55);
        assert_memory_equal(other->base, other->base + 1, ashlar_slab_capacity(other) - 1);
        ashlar_arena_bury(slab);
        assert_true(ashlar_arena_put(other) && ashlar_arena_put(pin));
        (void)ashlar_arena_trim(arena);
    }
}

static void a_slab_that_its_owner_allocates_from_is_taken_back_when_it_no_longer_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(classes) - 1; i++) {
        struct ashlar_slab *slab = get(classes[i]);
        assert_true(ashlar_slab_activate(slab));
        char *one = pop(slab);
        assert_int_equal(ashlar_slab_push_remote(slab, one), ASHLAR_REMOTE_DONE);
        expect_taken_back(0);
        deactivate(slab);
        expect_taken_back(1);
        ashlar_arena_bury(slab);
    }
}

/* Nobody allocates from it yet, and what it had in use is freed. */
static void a_slab_taken_back_as_soon_as_it_is_adopted_is_not_used(void **state)
{
    (void)state;
    for (int is_exit = 0; is_exit < 2; is_exit++) {
        char *object;
        struct ashlar_slab *orphan = leave_behind(1, classes[0], &object);
        assert_ptr_equal(get(classes[0]), orphan);
        assert_int_equal(ashlar_slab_push_remote(orphan, object), ASHLAR_REMOTE_EMPTIED);
        expect_taken_back(1);
        assert_false(ashlar_slab_activate(orphan));
        assert_true(ashlar_slab_is_gone(orphan));
        struct ashlar_slab *fresh = get(classes[0]);
        assert_ptr_not_equal(fresh, orphan);
        if (is_exit)
            ashlar_arena_abandon(orphan);
        else
            ashlar_arena_bury(orphan);
        assert_true(ashlar_arena_put(fresh));
        (void)ashlar_arena_trim(ashlar_arena_at(1));
    }
}

/* It goes with its last object, or with whoever adopts it. */
static void an_abandoned_slab_is_not_taken_back(void **state)
{
    (void)state;
    char *object;
    struct ashlar_slab *orphan = leave_behind(0, classes[0], &object);
    expect_taken_back(0);
    assert_int_equal(ashlar_slab_push_remote(orphan, object), ASHLAR_REMOTE_ABANDONED);
    expect_taken_back(0);
    assert_int_equal(ashlar_arena_free_abandoned(orphan, object), ASHLAR_FREE_DONE);
}

static void nothing_is_taken_back_unless_a_slab_was_noted(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    empty_from_afar(slab, 0);
    assert_int_equal(ashlar_arena_emptied(), 0);
    ashlar_arena_take_back_all();
    ashlar_arena_take_back_sometimes(now_ms += 100000);
    assert_false(ashlar_slab_is_gone(slab));
    assert_int_equal(ashlar_count_read(slabs), 1);
    expect_taken_back(1);
    ashlar_arena_bury(slab);
}

static void what_a_fork_keeps_from_being_taken_back_is_looked_for_again(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    empty_from_afar(slab, 0);
    note_emptied(1);
    ashlar_lock_shut(&arena->lock);
    ashlar_arena_take_back_all();
    ashlar_lock_reopen(&arena->lock, false);
    assert_false(ashlar_slab_is_gone(slab));
    assert_true(ashlar_arena_emptied() != 0);
    ashlar_arena_take_back_all();
    assert_true(ashlar_slab_is_gone(slab));
    assert_int_equal(ashlar_arena_emptied(), 0);
    ashlar_arena_bury(slab);
}

static void slabs_that_are_gone_and_buried_leave_their_descriptors(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(ASHLAR_CLASS_COUNT - 1);
    empty_from_afar(slab, 0);
    expect_taken_back(1);
    ashlar_arena_bury(slab);
    size_t meta_bytes = ashlar_count_read(meta_bytes);
    for (int i = 0; i < 2000; i++) {
        slab = get(i % 3 != 0 ? classes[0] : ASHLAR_CLASS_COUNT - 1);
        if (i % 3 == 1)
            empty_from_both_sides(slab);
        else
            empty_from_afar(slab, 0);
        expect_taken_back(1);
        if (i % 2 == 0)
            ashlar_arena_bury(slab);
        else
            ashlar_arena_abandon(slab); /* its thread exits */
    }
    assert_int_equal(ashlar_count_read(meta_bytes), meta_bytes);
}

static void a_slab_that_is_gone_is_not_adopted_when_its_thread_exits(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[1]);
    empty_from_afar(slab, 0);
    expect_taken_back(1);
    uint64_t adopted = ashlar_count_read(slabs_adopted);
    ashlar_arena_abandon(slab);
    struct ashlar_slab *fresh = get(classes[1]);
    assert_int_equal(ashlar_count_read(slabs_adopted), adopted);
    assert_int_equal(fresh->carved, 0);
    assert_true(ashlar_arena_put(fresh));
}

/* The thread that exits has it, and nobody takes it back. */
static void a_slab_that_others_have_emptied_goes_once_when_its_thread_exits(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[1]);
    uint64_t taken = ashlar_count_read(slabs_taken_back);
    empty_from_afar(slab, 0);
    note_emptied(1);
    ashlar_arena_abandon(slab);
    ashlar_arena_take_back_all();
    assert_int_equal(ashlar_count_read(slabs_taken_back), taken);
    assert_int_equal(ashlar_count_read(slabs), 0);
}

static void a_look_at_all_slabs_is_due_when_8_were_noted_and_one_of_64(void **state)
{
    (void)state;
    enum { COUNT = 640 };
    static struct ashlar_slab *many[COUNT];
    note_emptied(7);
    assert_false(ashlar_arena_is_take_back_due());
    note_emptied(1);
    assert_true(ashlar_arena_is_take_back_due());
    ashlar_arena_take_back_all();
    assert_false(ashlar_arena_is_take_back_due());
    for (size_t i = 0; i < COUNT; i++)
        many[i] = get(classes[0]);
    note_emptied(COUNT / 64 - 1);
    assert_false(ashlar_arena_is_take_back_due());
    note_emptied(1);
    assert_true(ashlar_arena_is_take_back_due());
    ashlar_arena_take_back_all();
    assert_false(ashlar_arena_is_take_back_due());
    for (size_t i = 0; i < COUNT; i++)
        assert_true(ashlar_arena_put(many[i]));
}

static void looks_at_all_slabs_are_a_step_apart(void **state)
{
    (void)state;
    uint64_t step_ms = ashlar_options_decay_step_ms();
    note_emptied(1);
    ashlar_arena_take_back_sometimes(now_ms += 100000);
    assert_int_equal(ashlar_arena_emptied(), 0);
    note_emptied(1);
    ashlar_arena_take_back_sometimes(now_ms);
    ashlar_arena_take_back_sometimes(now_ms += step_ms - 1);
    assert_int_equal(ashlar_arena_emptied(), 1);
    ashlar_arena_take_back_sometimes(now_ms += 1);
    assert_int_equal(ashlar_arena_emptied(), 0);
}

/* Symptom: what one thread had freed for another lay idle while it took as much again. */
static void slabs_that_others_have_emptied_serve_before_a_chunk_is_mapped(void **state)
{
    (void)state;
    enum { COUNT = ASHLAR_CHUNK_SLICES / 16 };
    struct ashlar_slab *slabs[COUNT];
    struct ashlar_slab *fresh[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        slabs[i] = get(classes[0]);
    size_t held_bytes = ashlar_count_read(region_reserved_bytes);
    for (size_t i = 0; i < COUNT; i++) {
        empty_from_afar(slabs[i], 0);
        note_emptied(1);
    }
    for (size_t i = 0; i < COUNT; i++)
        fresh[i] = ashlar_arena_get(arena, classes[0] + 1, &owners[1]);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), held_bytes);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(ashlar_slab_is_gone(slabs[i]));
        ashlar_arena_bury(slabs[i]);
        assert_true(ashlar_arena_put(fresh[i]));
    }
}

static void slabs_of_every_arena_and_of_every_place_in_a_chunk_are_taken_back(void **state)
{
    (void)state;
    enum { COUNT = 150 };
    struct ashlar_slab *slabs[2][COUNT];
    size_t nempty = 0;
    for (size_t i = 0; i < COUNT; i++) {
        for (unsigned k = 0; k < 2; k++) {
            unsigned class_id = classes[(i + k) % ASHLAR_ARRAY_LEN(classes)];
            slabs[k][i] = ashlar_arena_get(ashlar_arena_at(k), class_id, &owners[k]);
            empty_from_afar(slabs[k][i], i % 3 == 0 ? 1 : 0);
            nempty += i % 3 != 0;
        }
    }
    expect_taken_back(nempty);
    for (size_t i = 0; i < COUNT; i++) {
        for (unsigned k = 0; k < 2; k++) {
            assert_int_equal(ashlar_slab_is_gone(slabs[k][i]), i % 3 != 0);
            if (i % 3 != 0) {
                ashlar_arena_bury(slabs[k][i]);
                continue;
            }
            slabs[k][i]->span.used = 0;
            assert_true(ashlar_arena_put(slabs[k][i]));
        }
    }
    ashlar_arena_trim_all();
}

static void a_slab_that_is_gone_is_not_visited(void **state)
{
    (void)state;
    struct ashlar_slab *slab = get(classes[0]);
    empty_from_afar(slab, 0);
    struct visit visit = {.count = 0};
    assert_true(ashlar_survey_slabs(arena, note_slab, &visit));
    assert_int_equal(visit.count, 1);
    expect_taken_back(1);
    visit.count = 0;
    assert_true(ashlar_survey_slabs(arena, note_slab, &visit));
    assert_int_equal(visit.count, 0);
    ashlar_arena_bury(slab);
}

#define THREADS 3
#define ROUNDS 3000

/* Frees an object as tcache does: the slab may be abandoned or somebody's. */
static void free_anyhow(struct ashlar_slab *slab, char *object)
{
    while (ashlar_slab_push_remote(slab, object) == ASHLAR_REMOTE_ABANDONED)
        if (ashlar_arena_free_abandoned(slab, object) == ASHLAR_FREE_DONE)
            return;
}

/* A slab that the owner allocates from, with an object of it; NULL: out of memory. What was taken
   away before the owner could is buried. */
static struct ashlar_slab *fetch(struct ashlar_arena *from, struct ashlar_slab_owner *owner,
                                 char **object)
{
    struct ashlar_slab *slab;
    while ((slab = ashlar_arena_get(from, classes[0], owner)) != NULL) {
        bool is_active = false;
        while (!ashlar_slab_is_gone(slab) && !(is_active = ashlar_slab_activate(slab)))
            sched_yield(); /* somebody is about to take it away, or to give it up */
        if (is_active)
            break;
        ashlar_arena_bury(slab);
    }
    *object = slab != NULL ? pop(slab) : NULL;
    return slab;
}

/* Fetches a slab, leaves it with one live object, and frees that: another may have adopted it by
   then. Whoever finds the slab empty puts it back. */
static void *come_and_go(void *context)
{
    struct ashlar_slab_owner *owner = context;
    for (int i = 0; i < ROUNDS; i++) {
        char *object;
        struct ashlar_slab *slab = fetch(ashlar_arena_at((unsigned)i % 3), owner, &object);
        if (object == NULL)
            return context;
        memset(object, i, ashlar_slab_object_bytes(slab));
        deactivate(slab);
        ashlar_arena_abandon(slab);
        if (object[ashlar_class_size(classes[0]) - 1] != (char)i)
            return context;
        free_anyhow(slab, object);
        if (i % 16 == 0)
            (void)ashlar_arena_trim(arena);
    }
    return NULL;
}

static _Atomic bool is_over;

static void *take_back_over_and_over(void *context)
{
    while (!is_over) {
        (void)ashlar_arena_note_emptied();
        ashlar_arena_take_back_all();
    }
    return context;
}

static void slabs_are_neither_lost_nor_shared_when_threads_come_and_go(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    pthread_t taker;
    static struct ashlar_slab_owner own[THREADS];
    is_over = false;
    assert_int_equal(pthread_create(&taker, NULL, take_back_over_and_over, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &own[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
    is_over = true;
    pthread_join(taker, NULL);
    ashlar_arena_take_back_all();
    ashlar_arena_trim_all();
    assert_int_equal(ashlar_count_read(slabs), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_slab_is_its_owners_and_found_from_each_of_its_objects),
        CASE(a_slab_that_was_put_is_not_found_whatever_was_carved),
        CASE(slabs_fill_one_chunk_before_the_next_is_mapped),
        CASE(a_get_that_fails_holds_nothing_whichever_call_failed),
        CASE(slabs_that_come_and_go_use_the_same_descriptors),
        CASE(a_chunk_the_kernel_would_not_unmap_serves_the_next_slab),
        CASE(a_shut_lock_refuses_and_leaves_all_as_it_was),
        CASE(the_lock_of_the_store_refuses_a_fresh_slab_only),
        CASE(an_abandoned_slab_is_adopted_before_a_fresh_one_is_cut),
        CASE(an_abandoned_slab_of_any_arena_is_adopted_before_a_fresh_one_is_cut),
        CASE(abandoned_slabs_of_the_threads_own_arena_are_adopted_first),
        CASE(other_arenas_are_let_be_when_nothing_of_the_class_is_abandoned),
        CASE(a_full_slab_is_adopted_when_something_of_it_was_freed),
        CASE(idle_memory_of_another_arena_serves_before_a_chunk_is_mapped),
        CASE(an_abandoned_slab_goes_with_its_last_object),
        CASE(a_slab_that_fell_empty_from_afar_is_not_kept_as_abandoned),
        CASE(idle_pages_stay_for_half_the_decay_time_at_least),
        CASE(idle_pages_are_gone_when_the_decay_time_is_over),
        CASE(chunks_take_turns),
        CASE(steps_that_were_missed_are_made_up_for),
        CASE(after_a_pause_all_chunks_have_their_turn),
        CASE(what_was_freed_before_a_pause_ended_stays_for_half_the_decay_time),
        CASE(idle_pages_go_between_half_the_decay_time_and_a_whole_one),
        CASE(a_pause_delays_by_no_more_than_itself_and_a_step),
        CASE(looks_that_do_not_fall_on_steps_lose_no_time),
        CASE(decay_of_minus_one_keeps_pages_until_they_are_trimmed),
        CASE(decay_of_zero_keeps_nothing),
        CASE(pages_the_kernel_would_not_take_are_tried_again),
        CASE(pages_a_later_slab_did_not_use_are_idle_again_with_it),
        CASE(slices_that_a_purger_left_serve_after_the_next_tick),
        CASE(purged_pages_of_a_slab_used_again_read_as_zero),
        CASE(an_address_is_in_a_slab_or_idle_while_its_chunk_is),
        CASE(each_byte_of_a_slab_is_in_it_whatever_was_carved),
        CASE(an_address_is_found_in_whichever_arena_it_is),
        CASE(a_visit_by_whoever_holds_the_lock_is_refused),
        CASE(a_slab_is_visited_from_its_first_object_on),
        CASE(random_use_agrees_with_a_list_of_slabs),
        CASE(a_slab_that_others_have_emptied_lends_its_slices_to_any_other),
        CASE(the_pages_of_a_slab_that_was_taken_back_are_purged_with_the_rest),
        CASE(a_slab_with_a_live_object_or_of_which_none_was_freed_elsewhere_is_not_taken_back),
        CASE(a_slab_that_both_sides_have_emptied_lends_its_slices_to_any_other),
        CASE(a_slab_that_its_owner_allocates_from_is_taken_back_when_it_no_longer_does),
        CASE(a_slab_taken_back_as_soon_as_it_is_adopted_is_not_used),
        CASE(an_abandoned_slab_is_not_taken_back),
        CASE(nothing_is_taken_back_unless_a_slab_was_noted),
        CASE(what_a_fork_keeps_from_being_taken_back_is_looked_for_again),
        CASE(slabs_that_are_gone_and_buried_leave_their_descriptors),
        CASE(a_slab_that_is_gone_is_not_adopted_when_its_thread_exits),
        CASE(a_slab_that_others_have_emptied_goes_once_when_its_thread_exits),
        CASE(a_look_at_all_slabs_is_due_when_8_were_noted_and_one_of_64),
        CASE(looks_at_all_slabs_are_a_step_apart),
        CASE(slabs_that_others_have_emptied_serve_before_a_chunk_is_mapped),
        CASE(slabs_of_every_arena_and_of_every_place_in_a_chunk_are_taken_back),
        CASE(a_slab_that_is_gone_is_not_visited),
        CASE(slabs_are_neither_lost_nor_shared_when_threads_come_and_go),
        CASE(an_arena_is_the_same_whenever_it_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
