/*
 * test_slab.c - a run of objects of one size: its law against a model
 */
#include "unit/testing.h"

#include <pthread.h>
#include <sys/mman.h>

#include "map/pagemap.h"
#include "os/os.h"
#include "small/chunk.h"
#include "small/slab.h"
#include "unit/steps.h"

#define KEY UINT64_C(0x4bcdef0123456789)

/* What the memory of a slab holds that nobody has touched; nothing is taken for granted. */
#define UNTOUCHED UINT64_MAX

static struct ashlar_slab_owner owner;

static size_t len_of_class(unsigned class_id)
{
    return ashlar_slab_slices(class_id) * ASHLAR_SLICE_BYTES;
}

static size_t len_of(const struct ashlar_slab *slab)
{
    return slab->nslices * ASHLAR_SLICE_BYTES;
}

/* A slab of the class on memory of its length, with `owner` as its owner. */
static struct ashlar_slab *make_slab_at(char *base, unsigned class_id)
{
    size_t len = len_of_class(class_id);
    struct ashlar_slab *slab = aligned_alloc(ASHLAR_CACHE_LINE_BYTES, sizeof *slab);
    assert_true(slab != NULL && base != NULL && ashlar_pagemap_prepare(base, len));
    memset(slab, 0, sizeof *slab);
    memset(base, 0xff, len);
    ashlar_slab_init(slab, class_id, base, KEY);
    ashlar_span_set_owner(&slab->span, (uintptr_t)&owner);
    return slab;
}

static struct ashlar_slab *make_slab(unsigned class_id)
{
    return make_slab_at(aligned_alloc(4096, len_of_class(class_id)), class_id);
}

/* Its memory is whoever's made it. */
static void drop_descriptor(struct ashlar_slab *slab)
{
    ashlar_pagemap_set(slab->base, len_of(slab), NULL);
    free(slab);
}

static void drop_slab(struct ashlar_slab *slab)
{
    char *base = slab->base;
    drop_descriptor(slab);
    free(base);
}

/* A slab of the class that its owner allocates from. */
static struct ashlar_slab *make_active(unsigned class_id)
{
    struct ashlar_slab *slab = make_slab(class_id);
    assert_true(ashlar_slab_activate(slab));
    return slab;
}

/* The owner allocates from another one: as it does, is_active last. */
static void deactivate(struct ashlar_slab *slab)
{
    (void)ashlar_slab_add_used(slab, -ashlar_slab_hold(slab));
    ashlar_slab_deactivate(slab);
}

/* What slab.h says of `used`: objects handed out, those that wait to be collected among them. */
static size_t handed_out(const struct ashlar_slab *slab)
{
    size_t hold = slab->is_active ? ashlar_slab_hold(slab) : 0;
    return (size_t)slab->span.used + slab->span.asleep - hold;
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

static size_t count_of(const struct ashlar_slab *slab)
{
    return ashlar_slab_capacity(slab) / ashlar_slab_object_bytes(slab);
}

static uint64_t word_at(const struct ashlar_slab *slab, size_t offset)
{
    uint64_t word;
    memcpy(&word, slab->base + offset, sizeof word);
    return word;
}

static bool is_known(const struct ashlar_slab *slab, size_t offset)
{
    return ashlar_pagemap_find(slab->base + offset) == &slab->span;
}

static void a_slab_hands_out_every_object_once(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 3) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t object = ashlar_class_size(class_id);
        size_t capacity = count_of(slab);
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

/* Where the first object starts that another carve leaves to the next. */
static size_t carved_next(const struct ashlar_slab *slab)
{
    size_t granule = slab->carved / ASHLAR_GRANULE_BYTES;
    size_t start = slab->carved;
    while (start < ashlar_slab_capacity(slab) && start / ASHLAR_GRANULE_BYTES == granule)
        start += ashlar_slab_object_bytes(slab);
    return start;
}

static void all_objects_that_start_in_the_next_granule_come_to_exist_and_no_others(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t start = 0;
        assert_int_equal(slab->carved, 0);
        while (slab->carved != ashlar_slab_capacity(slab)) {
            size_t carved = carved_next(slab);
            assert_true(ashlar_slab_carve(slab));
            assert_int_equal(slab->carved, carved);
            for (; slab->free != slab->end; start += ashlar_slab_object_bytes(slab))
                assert_ptr_equal(ashlar_slab_pop(slab), slab->base + start);
            assert_int_equal(start, carved);
        }
        assert_false(ashlar_slab_carve(slab));
        assert_int_equal(slab->free, slab->end);
        drop_slab(slab);
    }
}

/* The link of an object that exists, or what makes one more behind the last look free. */
static bool may_be_touched(const struct ashlar_slab *slab, size_t offset)
{
    if (offset == ashlar_slab_capacity(slab))
        return is_known(slab, offset);
    return offset < slab->carved && offset % ashlar_slab_object_bytes(slab) == 0;
}

static void carving_touches_no_more_than_the_first_words_of_objects(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        while (ashlar_slab_carve(slab)) {
            for (size_t at = 0; at < len_of(slab); at += sizeof(uint64_t)) {
                bool is_untouched = word_at(slab, at) == UNTOUCHED;
                if (is_untouched == may_be_touched(slab, at))
                    fail_msg("class %u: offset %zu, %u carved", class_id, at, slab->carved);
            }
        }
        drop_slab(slab);
    }
}

/* The page map leads to a slab from its first granule on, until a granule with a start of an object
   that does not exist, or behind the last start. */
static bool should_be_known(const struct ashlar_slab *slab, size_t granule)
{
    size_t object = ashlar_slab_object_bytes(slab);
    for (size_t start = 0; start < ashlar_slab_capacity(slab); start += object)
        if (start >= slab->carved && start < granule + ASHLAR_GRANULE_BYTES)
            return false;
    return granule <= ashlar_slab_capacity(slab) - object;
}

static void expect_known_where_all_starts_exist(const struct ashlar_slab *slab)
{
    for (size_t at = 0; at < len_of(slab); at += ASHLAR_GRANULE_BYTES) {
        const struct ashlar_span *span = should_be_known(slab, at) ? &slab->span : NULL;
        assert_ptr_equal(ashlar_pagemap_find(slab->base + at), span);
    }
    assert_null(ashlar_pagemap_find(slab->base - 1));
    assert_null(ashlar_pagemap_find(slab->base + len_of(slab)));
}

/* Symptom: a free had to ask what was carved. */
static void the_page_map_knows_the_granules_in_which_all_starts_exist(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        expect_known_where_all_starts_exist(slab);
        while (ashlar_slab_carve(slab))
            expect_known_where_all_starts_exist(slab);
        for (size_t at = 0; at < slab->carved; at += ashlar_slab_object_bytes(slab))
            assert_true(is_known(slab, at));
        drop_slab(slab);
    }
}

/* Fills all objects that there are; nothing is left to hand out. */
static void fill_all_objects(struct ashlar_slab *slab)
{
    void *object;
    while ((object = get(slab)) != NULL)
        memset(object, 0xee, ashlar_slab_object_bytes(slab));
}

/* It is not one, and no free may take it for one; nor may what is in the last object matter. */
static void what_would_be_one_object_more_looks_free_where_the_page_map_leads_to_it(void **state)
{
    (void)state;
    unsigned nknown = 0;
    unsigned nunknown = 0;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t end = ashlar_slab_capacity(slab);
        fill_all_objects(slab);
        assert_true(ashlar_slab_is_start(slab, end));
        if (end == len_of(slab)) {
            assert_null(ashlar_pagemap_find(slab->base + end));
        } else if (is_known(slab, end)) {
            assert_true(ashlar_slab_looks_free(slab, slab->base + end));
            assert_false(ashlar_slab_has_free(slab, slab->base + end));
            nknown++;
        } else {
            assert_int_equal(word_at(slab, end), UNTOUCHED);
            nunknown++;
        }
        drop_slab(slab);
    }
    assert_true(nknown != 0 && nunknown != 0);
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

/* As above, in what others have freed: the owner walks it to put it in front of what is free. */
static void an_overwritten_link_among_what_others_freed_ends_the_list(void **state)
{
    (void)state;
    for (int is_wild = 0; is_wild <= 1; is_wild++) {
        struct ashlar_slab *slab = make_active(5);
        char *objects[3] = {get(slab), get(slab), get(slab)};
        for (int i = 0; i < 3; i++)
            assert_int_equal(ashlar_slab_push_remote(slab, objects[i]), ASHLAR_REMOTE_DONE);
        memset(objects[1], 'x', 96);
        if (!is_wild) /* what ends a list, too early */
            *ashlar_slab_link(objects[1]) = slab->end ^ slab->key;
        assert_true(slab->free < slab->end);
        assert_int_equal(ashlar_slab_collect(slab), 3);
        assert_int_equal(handed_out(slab), 0);
        assert_ptr_equal(ashlar_slab_pop(slab), objects[2]);
        assert_ptr_equal(ashlar_slab_pop(slab), objects[1]);
        assert_null(ashlar_slab_pop(slab));
        assert_int_equal(slab->free > slab->end, is_wild);
        assert_int_equal(word_at(slab, ashlar_slab_capacity(slab)), UNTOUCHED);
        drop_slab(slab);
    }
}

/* Symptom of a broken law: objects lost or handed out twice. */
static void random_frees_from_both_sides_keep_the_law(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 7) {
        struct ashlar_slab *slab = make_active(class_id);
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
                    nremote++;
                    assert_int_equal(ashlar_slab_push_remote(slab, object),
                                     nremote == capacity ? ASHLAR_REMOTE_EMPTIED
                                                         : ASHLAR_REMOTE_DONE);
                } else {
                    ashlar_slab_push(slab, object);
                }
            } else if (choice == 7) {
                assert_int_equal(ashlar_slab_collect(slab), nremote);
                nremote = 0;
            }
            assert_int_equal(handed_out(slab), nlive + nremote);
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
            assert_int_equal(slab->span.used + slab->span.asleep, capacity - (few - left));
            assert_int_equal(ashlar_slab_live_objects(slab), capacity - (few - left));
            assert_int_equal(ashlar_slab_push(slab, live[left - 1]), left - 1);
            assert_true(ashlar_slab_looks_free(slab, live[left - 1]));
            assert_true(ashlar_slab_has_free(slab, live[left - 1]));
        }
        assert_true(slab->is_asleep); /* until it is told */
        ashlar_slab_wake(slab);
        assert_false(slab->is_asleep);
        assert_int_equal(slab->span.asleep, 0);
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

/* More than a byte holds. */
static void the_slab_of_the_most_objects_sleeps_without_losing_count(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_slab(0);
    uint32_t capacity = (uint32_t)count_of(slab);
    char **live = calloc(capacity, sizeof *live);
    assert_int_equal(capacity, 4096);
    for (unsigned class_id = 1; class_id < ASHLAR_CLASS_COUNT; class_id++)
        assert_true(len_of_class(class_id) / ashlar_class_size(class_id) < capacity);
    fill(slab, live, capacity);
    for (int round = 0; round < 2; round++) {
        ashlar_slab_sleep(slab);
        assert_int_equal(slab->span.asleep, capacity - few_of(slab));
        assert_int_equal(ashlar_slab_live_objects(slab), capacity);
        ashlar_slab_wake(slab);
        assert_int_equal(slab->span.used, capacity);
        assert_int_equal(ashlar_slab_live_objects(slab), capacity);
    }
    free(live);
    drop_slab(slab);
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
                assert_int_equal(ashlar_slab_push_remote(slab, live[i]),
                                 i + 1 == capacity ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE);
            for (uint32_t i = 0; i < nown; i++)
                assert_int_equal(ashlar_slab_push(slab, live[nremote + i]), few - 1 - i);
            assert_int_equal(slab->span.used + slab->span.asleep, capacity - nown);
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
    assert_int_equal(ashlar_slab_push_remote(slab, two), ASHLAR_REMOTE_EMPTIED); /* the last */
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
    assert_int_equal(ashlar_slab_push_remote(slab, one), ASHLAR_REMOTE_EMPTIED);
    assert_int_equal(ashlar_slab_collect(slab), 1);
    ashlar_slab_verify(slab);
    drop_slab(slab);
}

/* Takes all objects that fit. */
static char **take_all(struct ashlar_slab *slab)
{
    size_t count = count_of(slab);
    char **objects = calloc(count, sizeof *objects);
    for (size_t i = 0; i < count; i++)
        assert_non_null(objects[i] = get(slab));
    assert_null(get(slab));
    return objects;
}

static void free_remotely(struct ashlar_slab *slab, char **objects, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ashlar_slab_push_remote(slab, objects[i]),
                         i + 1 == count_of(slab) ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE);
}

static void the_last_of_all_objects_that_others_free_is_told(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        char **objects = take_all(slab);
        free_remotely(slab, objects, count_of(slab));
        assert_int_equal(ashlar_slab_collect(slab), count_of(slab));
        free(objects);
        drop_slab(slab);
    }
}

/* It may hand out what it has at any time. */
static void the_last_object_is_not_told_while_the_owner_allocates_from_the_slab(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_active(30);
    char **objects = take_all(slab);
    size_t last = count_of(slab) - 1;
    ashlar_slab_push(slab, objects[last]); /* freed by the owner */
    free_remotely(slab, objects, last);
    assert_false(ashlar_slab_take_away(slab));
    assert_int_equal(ashlar_slab_collect(slab), last);
    assert_int_equal(handed_out(slab), 0);
    drop_slab(slab);
    slab = make_active(30); /* some objects do not exist yet */
    for (size_t i = 0; slab->carved != ashlar_slab_capacity(slab) && i < 3; i++)
        assert_int_equal(ashlar_slab_push_remote(slab, get(slab)), ASHLAR_REMOTE_DONE);
    assert_false(ashlar_slab_take_away(slab));
    free(objects);
    drop_slab(slab);
}

/* Takes the first `count` objects of a slab that its owner allocates from only for that. */
static char **take_some(struct ashlar_slab *slab, size_t count)
{
    char **objects = calloc(count, sizeof *objects);
    assert_true(ashlar_slab_activate(slab));
    for (size_t i = 0; i < count; i++)
        assert_non_null(objects[i] = get(slab));
    deactivate(slab);
    assert_int_equal(handed_out(slab), count);
    return objects;
}

/* A slab of the class that its owner does not allocate from; it has handed out some objects and has
   got `nown` of them back itself: those behind the first `nlive`. */
static struct ashlar_slab *make_partly_free(unsigned class_id, size_t nlive, size_t nown,
                                            char ***objects)
{
    struct ashlar_slab *slab = make_slab(class_id);
    *objects = take_some(slab, nlive + nown);
    for (size_t i = nlive; i < nlive + nown; i++)
        ashlar_slab_push(slab, (*objects)[i]);
    assert_int_equal(handed_out(slab), nlive);
    return slab;
}

/* Symptom: what a thread had freed some objects of itself, and others the rest, nobody gave back
   while it was idle. */
static void the_last_that_others_free_is_told_though_the_owner_has_free_objects(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_MEDIUM; class_id += 3) {
        for (size_t nown = 0; nown <= 2; nown++) {
            char **objects;
            size_t nlive = len_of_class(class_id) / ashlar_class_size(class_id) / 2;
            struct ashlar_slab *slab = make_partly_free(class_id, nlive, nown, &objects);
            for (size_t i = 0; i < nlive; i++) {
                assert_false(ashlar_slab_take_away(slab));
                assert_int_equal(ashlar_slab_push_remote(slab, objects[i]),
                                 i + 1 == nlive ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE);
            }
            assert_true(ashlar_slab_take_away(slab));
            free(objects);
            drop_slab(slab);
        }
    }
}

static void a_slab_is_taken_when_no_object_is_missing_and_not_twice(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 5) {
        struct ashlar_slab *slab = make_slab(class_id);
        assert_false(ashlar_slab_take_away(slab)); /* fresh */
        char **objects = take_all(slab);
        size_t count = count_of(slab);
        for (size_t i = 0; i < count; i++) {
            assert_false(ashlar_slab_take_away(slab));
            (void)ashlar_slab_push_remote(slab, objects[i]);
        }
        uint64_t full = slab->remote;
        assert_true(ashlar_slab_take_away(slab));
        assert_true(slab->remote != full);
        assert_false(ashlar_slab_take_away(slab));
        ashlar_slab_leave(slab);
        assert_false(ashlar_slab_take_away(slab));
        free(objects);
        drop_slab(slab);
    }
}

static void a_slab_is_not_taken_while_it_is_parked_or_abandoned_or_collected(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_slab(60);
    char **objects = take_all(slab);
    size_t count = count_of(slab);
    assert_true(ashlar_slab_park(slab));
    assert_false(ashlar_slab_take_away(slab));
    assert_true(ashlar_slab_unpark(slab));
    ashlar_slab_abandon(slab);
    assert_false(ashlar_slab_take_away(slab));
    ashlar_slab_adopt(slab);
    free_remotely(slab, objects, count);
    ashlar_slab_abandon(slab); /* as a thread that exits does, before it collects */
    assert_false(ashlar_slab_take_away(slab));
    assert_int_equal(ashlar_slab_collect(slab), count);
    assert_true(ashlar_slab_is_abandoned(slab));
    ashlar_slab_adopt(slab);
    assert_false(ashlar_slab_take_away(slab));
    ashlar_slab_verify(slab);
    free(objects);
    drop_slab(slab);
}

/* Nothing of the slab's memory may be touched: it has another user. */
static void expect_nothing_to_be_had(struct ashlar_slab *slab, uint64_t word)
{
    assert_int_equal(ashlar_slab_collect(slab), 0);
    assert_int_equal(slab->remote, word);
    assert_false(ashlar_slab_park(slab));
    assert_false(ashlar_slab_unpark(slab));
    assert_int_equal(slab->remote, word);
    assert_int_equal(slab->free, slab->end);
    assert_int_equal(slab->span.used, count_of(slab));
    assert_null(get(slab));
}

static void the_owner_of_a_taken_slab_finds_nothing_and_leaves_its_mark(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 5) {
        struct ashlar_slab *slab = make_slab(class_id);
        char **objects = take_all(slab);
        free_remotely(slab, objects, count_of(slab));
        assert_true(ashlar_slab_take_away(slab));
        assert_false(ashlar_slab_is_gone(slab)); /* whoever took it is at it still */
        memset(slab->base, 0xff, len_of(slab));
        expect_nothing_to_be_had(slab, slab->remote);
        ashlar_slab_leave(slab);
        assert_true(ashlar_slab_is_gone(slab));
        expect_nothing_to_be_had(slab, slab->remote);
        assert_true(ashlar_slab_is_gone(slab));
        assert_false(ashlar_slab_is_abandoned(slab));
        for (size_t at = 0; at < len_of(slab); at += sizeof(uint64_t))
            assert_int_equal(word_at(slab, at), UNTOUCHED);
        free(objects);
        drop_slab(slab);
    }
}

static void a_parked_slab_that_is_emptied_at_once_is_told_and_on_the_pending_stack(void **state)
{
    (void)state;
    struct ashlar_slab *slab = make_slab(ASHLAR_CLASS_COUNT - 1);
    char **objects = take_all(slab);
    size_t count = count_of(slab);
    owner.pending = NULL;
    assert_true(ashlar_slab_park(slab));
    free_remotely(slab, objects, count);
    assert_ptr_equal(owner.pending, slab);
    assert_false(ashlar_slab_unpark(slab));
    assert_true(ashlar_slab_take_away(slab));
    owner.pending = NULL;
    free(objects);
    drop_slab(slab);
}

#define FOUR_GIB ((uintptr_t)4 * ASHLAR_GIB)

/* Fresh memory of which so many bytes lie below a multiple of 4 GiB; NULL: there is none. */
static char *map_around_boundary(size_t below_bytes, size_t len_bytes)
{
    for (uintptr_t i = 1; i < 1000; i++) {
        char *wanted = (char *)(i * 16 * FOUR_GIB - below_bytes);
        char *got = mmap(wanted, len_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == wanted)
            return got;
        if (got != MAP_FAILED)
            munmap(got, len_bytes); /* a kernel that does not know the flag */
    }
    return NULL;
}

/* Takes all objects of a slab, each once; they are noted by their numbers in the slab. */
static void take_each_once(struct ashlar_slab *slab, char **live)
{
    memset(live, 0, count_of(slab) * sizeof *live);
    for (size_t i = 0; i < count_of(slab); i++) {
        char *object = get(slab);
        assert_non_null(object);
        size_t offset = (size_t)(object - slab->base);
        assert_true(offset < ashlar_slab_capacity(slab) && ashlar_slab_is_start(slab, offset));
        size_t at = offset / ashlar_slab_object_bytes(slab);
        assert_null(live[at]);
        live[at] = memset(object, 0xee, ashlar_slab_object_bytes(slab));
    }
    assert_null(get(slab));
    assert_int_equal(slab->free, slab->end);
    assert_int_equal(handed_out(slab), count_of(slab));
}

/* Frees every object, of each three one by another thread; those come back when collected. */
static void free_from_both_sides(struct ashlar_slab *slab, char **live)
{
    uint32_t nremote = 0;
    for (size_t i = 0; i < count_of(slab); i++) {
        assert_false(ashlar_slab_looks_free(slab, live[i]));
        if (i % 3 == 1) {
            assert_int_equal(ashlar_slab_push_remote(slab, live[i]), ASHLAR_REMOTE_DONE);
            nremote++;
        } else {
            ashlar_slab_push(slab, live[i]);
        }
    }
    ashlar_slab_verify(slab);
    assert_int_equal(ashlar_slab_collect(slab), nremote);
    assert_int_equal(handed_out(slab), 0);
    ashlar_slab_verify(slab);
    for (size_t i = 0; i < count_of(slab); i++)
        assert_true(ashlar_slab_has_free(slab, live[i]));
}

/* Where address space is short a chunk may lie so. Some of the free objects do not look it then,
   but none is lost or handed out twice. */
static void a_slab_across_a_multiple_of_4_gib_hands_out_every_object_once(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id += 6) {
        size_t len = len_of_class(class_id);
        size_t below = ashlar_align_up(len / 2, ASHLAR_SLICE_BYTES);
        char *base = map_around_boundary(below, len);
        if (base == NULL)
            skip();
        struct ashlar_slab *slab = make_slab_at(base, class_id);
        assert_true(ashlar_slab_activate(slab));
        char **live = calloc(count_of(slab), sizeof *live);
        assert_true((uintptr_t)base / FOUR_GIB != slab->end / FOUR_GIB);
        for (int round = 0; round < 3; round++) {
            take_each_once(slab, live);
            free_from_both_sides(slab, live);
        }
        expect_known_where_all_starts_exist(slab);
        if (is_known(slab, ashlar_slab_capacity(slab)))
            assert_true(ashlar_slab_looks_free(slab, (char *)slab->end));
        free(live);
        drop_descriptor(slab);
        munmap(base, len);
    }
}

/* ---- who has a slab that is being taken away ------------------------------------------------ */

/* As slab.c says: somebody is about to take the slab away. */
#define TAKEN (UINT64_C(1) << 61)

/* Classes of many objects to a slab, of few, and medium ones. */
static const unsigned some_classes[] = {0, 5, 30, 47, ASHLAR_CLASS_MEDIUM, ASHLAR_CLASS_MEDIUM + 9};

static size_t remote_count(const struct ashlar_slab *slab)
{
    return slab->remote >> 34 & 0xffff;
}

/* Nothing is live, and the owner would have something to give. */
static struct ashlar_slab *make_freed_by_both(unsigned class_id)
{
    char **objects;
    struct ashlar_slab *slab = make_partly_free(class_id, 2, 1, &objects);
    assert_int_equal(ashlar_slab_push_remote(slab, objects[0]), ASHLAR_REMOTE_DONE);
    assert_int_equal(ashlar_slab_push_remote(slab, objects[1]), ASHLAR_REMOTE_EMPTIED);
    free(objects);
    return slab;
}

static void a_slab_that_its_owner_allocates_from_is_not_taken_before_it_no_longer_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(some_classes); i++) {
        for (size_t nown = 0; nown < 2; nown++) {
            struct ashlar_slab *slab = make_active(some_classes[i]);
            char *objects[3] = {get(slab), get(slab), get(slab)};
            for (size_t k = 0; k < 3; k++) {
                if (k < nown)
                    ashlar_slab_push(slab, objects[k]);
                else
                    assert_int_equal(ashlar_slab_push_remote(slab, objects[k]), ASHLAR_REMOTE_DONE);
                assert_false(ashlar_slab_take_away(slab));
            }
            (void)ashlar_slab_add_used(slab, -ashlar_slab_hold(slab));
            assert_false(ashlar_slab_take_away(slab));
            ashlar_slab_deactivate(slab);
            assert_true(ashlar_slab_take_away(slab));
            drop_slab(slab);
        }
    }
}

/* Its owner has none to give, so there is nothing that it could do with it. */
static void an_active_slab_all_of_whose_objects_others_have_freed_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(some_classes); i++) {
        struct ashlar_slab *slab = make_active(some_classes[i]);
        char **objects = take_all(slab);
        free_remotely(slab, objects, count_of(slab));
        assert_true(ashlar_slab_take_away(slab));
        free(objects);
        drop_slab(slab);
    }
}

/* Whoever has freed the others. */
static void one_object_that_is_not_freed_keeps_a_slab_its_owners(void **state)
{
    (void)state;
    uint64_t seed = 77;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_MEDIUM + 10; class_id += 2) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t count = 2 + test_random_below(&seed, count_of(slab) - 1);
        char **objects = take_some(slab, count);
        size_t live = test_random_below(&seed, count);
        if (slab->carved == ashlar_slab_capacity(slab) && slab->free == slab->end)
            ashlar_slab_sleep(slab);
        for (size_t i = 0; i < count; i++) {
            if (i == live)
                continue;
            if (test_random_below(&seed, 3) == 0 && slab->span.used > 1)
                ashlar_slab_push(slab, objects[i]);
            else
                assert_int_equal(ashlar_slab_push_remote(slab, objects[i]), ASHLAR_REMOTE_DONE);
            assert_false(ashlar_slab_take_away(slab));
            assert_int_equal(slab->remote & TAKEN, 0);
        }
        assert_int_equal(handed_out(slab), remote_count(slab) + 1);
        bool is_told = ashlar_slab_push_remote(slab, objects[live]) == ASHLAR_REMOTE_EMPTIED;
        assert_true(is_told && ashlar_slab_take_away(slab));
        free(objects);
        drop_slab(slab);
    }
}

static void a_sleeping_slab_freed_by_both_sides_is_told_of_and_taken(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct ashlar_slab *slab = make_slab(class_id);
        size_t count = count_of(slab);
        size_t nown = few_of(slab) - 1; /* it does not wake yet */
        char **objects = take_some(slab, count);
        ashlar_slab_sleep(slab);
        for (size_t i = 0; i < nown; i++)
            ashlar_slab_push(slab, objects[i]);
        for (size_t i = nown; i < count; i++) {
            assert_false(ashlar_slab_take_away(slab));
            assert_int_equal(ashlar_slab_push_remote(slab, objects[i]),
                             i + 1 == count ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE);
        }
        assert_true(slab->is_asleep && ashlar_slab_take_away(slab));
        free(objects);
        drop_slab(slab);
    }
}

/* It gives what it has collected at once, so that nobody takes it without. */
static void a_slab_collects_when_it_becomes_active(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(some_classes); i++) {
        struct ashlar_slab *slab = make_freed_by_both(some_classes[i]);
        assert_true(ashlar_slab_activate(slab));
        assert_true(slab->is_active);
        assert_int_equal(slab->remote, 0);
        assert_int_equal(slab->span.used, ashlar_slab_hold(slab));
        assert_false(ashlar_slab_take_away(slab));
        ashlar_slab_verify(slab);
        deactivate(slab);
        assert_int_equal(slab->span.used, 0);
        assert_false(ashlar_slab_take_away(slab)); /* nothing was handed out: its owner's to put */
        drop_slab(slab);
    }
}

/* Nothing of it is changed, and whoever frees into it leaves the flag. */
static void expect_not_to_be_had(struct ashlar_slab *slab)
{
    uint64_t word = slab->remote;
    struct ashlar_slab was = *slab;
    assert_false(ashlar_slab_activate(slab));
    assert_false(slab->is_active);
    assert_int_equal(ashlar_slab_collect(slab), 0);
    assert_false(ashlar_slab_park(slab));
    assert_false(ashlar_slab_unpark(slab));
    assert_false(ashlar_slab_take_away(slab));
    assert_int_equal(slab->remote, word);
    assert_int_equal(slab->span.state, was.span.state);
    assert_int_equal(slab->free, was.free);
}

static void a_slab_about_to_be_taken_or_gone_does_not_become_active(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(some_classes); i++) {
        struct ashlar_slab *slab = make_freed_by_both(some_classes[i]);
        assert_true(ashlar_slab_take_away(slab));
        expect_not_to_be_had(slab);
        ashlar_slab_leave(slab);
        expect_not_to_be_had(slab);
        assert_true(ashlar_slab_is_gone(slab));
        drop_slab(slab);
    }
}

static void what_others_free_meanwhile_leaves_a_slab_about_to_be_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(some_classes); i++) {
        char **objects;
        struct ashlar_slab *slab = make_partly_free(some_classes[i], 2, 1, &objects);
        atomic_fetch_or(&slab->remote, TAKEN);
        assert_int_equal(ashlar_slab_push_remote(slab, objects[0]), ASHLAR_REMOTE_DONE);
        expect_not_to_be_had(slab);
        assert_int_equal(ashlar_slab_push_remote(slab, objects[1]), ASHLAR_REMOTE_EMPTIED);
        expect_not_to_be_had(slab);
        assert_true((slab->remote & TAKEN) != 0);
        atomic_fetch_and(&slab->remote, ~TAKEN); /* it gives it back */
        assert_true(ashlar_slab_activate(slab));
        assert_int_equal(handed_out(slab), 0);
        ashlar_slab_verify(slab);
        free(objects);
        drop_slab(slab);
    }
}

/* What the owner does to the slab of the model between two looks. */
enum step { POP, PUSH, PUSH_REMOTE, COLLECT, ACTIVATE, DEACTIVATE, SLEEP, TAKE, STEPS };

/* One slab until it is taken away, or for so many steps; true: it was. */
static bool run_model(struct ashlar_slab *slab, char **live, uint64_t *seed)
{
    size_t capacity = count_of(slab);
    size_t nlive = 0;
    size_t nremote = 0;
    for (int i = 0; i < 4000; i++) {
        enum step step = (enum step)test_random_below(seed, STEPS);
        size_t at = nlive != 0 ? test_random_below(seed, nlive) : 0;
        bool has_all = nremote == capacity || (nremote != 0 && nlive == 0 && !slab->is_active);
        if (step == POP && slab->is_active) {
            char *object = get(slab);
            if (object != NULL)
                live[nlive++] = object;
        } else if ((step == PUSH || step == PUSH_REMOTE) && nlive != 0) {
            char *object = live[at];
            live[at] = live[--nlive];
            if (step == PUSH) {
                if (ashlar_slab_push(slab, object) == 0 && slab->is_asleep)
                    ashlar_slab_wake(slab);
            } else {
                nremote++;
                bool is_last = nremote == capacity || (nlive == 0 && !slab->is_active);
                assert_int_equal(ashlar_slab_push_remote(slab, object),
                                 is_last ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE);
            }
        } else if (step == COLLECT) {
            if (slab->is_asleep)
                ashlar_slab_wake(slab);
            assert_int_equal(ashlar_slab_collect(slab), nremote);
            nremote = 0;
        } else if (step == ACTIVATE && !slab->is_active && !slab->is_asleep) {
            assert_true(ashlar_slab_activate(slab));
            nremote = 0;
        } else if (step == DEACTIVATE && slab->is_active) {
            deactivate(slab);
        } else if (step == SLEEP && !slab->is_active && !slab->is_asleep && handed_out(slab) != 0) {
            ashlar_slab_sleep(slab);
        } else if (step == TAKE) {
            assert_int_equal(ashlar_slab_take_away(slab), has_all);
            if (has_all)
                return true;
        }
        assert_int_equal(handed_out(slab), nlive + nremote);
        assert_int_equal(ashlar_slab_live_objects(slab), nlive);
        if (i % 20 == 0)
            ashlar_slab_verify(slab);
    }
    return false;
}

static void a_slab_is_taken_when_a_model_says_so(void **state)
{
    (void)state;
    uint64_t seed = 4711;
    unsigned ntaken_away = 0;
    for (unsigned i = 0; i < 1500; i++) {
        struct ashlar_slab *slab = make_slab(i * 7 % ASHLAR_CLASS_COUNT);
        char **live = calloc(count_of(slab), sizeof *live);
        bool is_taken = run_model(slab, live, &seed);
        ntaken_away += is_taken;
        if (is_taken)
            expect_not_to_be_had(slab);
        free(live);
        drop_slab(slab);
    }
    assert_true(ntaken_away > 1000);
}

/* ---- one instruction after the other ------------------------------------------------------- */

static struct ashlar_slab *shared_slab;

/* Something that a thread does with `shared_slab`, and what another does in the middle of it. */
struct encounter {
    void (*prepare)(void);
    void (*one)(void);
    void (*other)(void);
    void (*when_taken)(void); /* once, while TAKEN is set; or NULL */
    void (*check)(void);
};

static const struct encounter *met;
static volatile unsigned long steps_left;
static volatile bool has_met;
static volatile bool was_taken;

static void meet(void)
{
    if (!has_met && steps_left-- == 0) {
        has_met = true;
        met->other();
    }
    if (!was_taken && met->when_taken != NULL && (shared_slab->remote & TAKEN) != 0) {
        was_taken = true;
        met->when_taken();
    }
}

/* `other` comes after the first instruction of `one`, after the second, ... after the last. */
static void meet_everywhere(const struct encounter *encounter)
{
    met = encounter;
    has_met = true;
    for (unsigned long i = 0; i == 0 || has_met; i++) {
        encounter->prepare();
        steps_left = i;
        has_met = false;
        was_taken = false;
        test_step_through(encounter->one, meet);
        if (!has_met)
            encounter->other();
        encounter->check();
        drop_slab(shared_slab);
    }
}

static const unsigned met_classes[] = {5, ASHLAR_CLASS_MEDIUM + 4};

static unsigned met_class;
static char **met_objects;
static char *popped;
static bool is_taken_away;
static bool is_activated;
static size_t ncollected;

static void take_away(void)
{
    is_taken_away = ashlar_slab_take_away(shared_slab);
}

/* As a malloc does that finds nothing in the active slab. */
static void activate_and_pop(void)
{
    is_activated = ashlar_slab_activate(shared_slab);
    popped = is_activated ? get(shared_slab) : NULL;
}

static void prepare_freed_by_both(void)
{
    shared_slab = make_freed_by_both(met_class);
    popped = NULL;
    is_taken_away = false;
    is_activated = false;
}

static void check_one_has_it(void)
{
    assert_true(is_taken_away != is_activated);
    assert_int_equal(popped != NULL, is_activated);
    assert_int_equal(shared_slab->is_active, is_activated);
    if (is_activated) {
        assert_int_equal(handed_out(shared_slab), 1);
        ashlar_slab_verify(shared_slab);
    }
}

/* Before the one has it, or while it looks, the other makes it give up. */
static void check_not_both_have_it(void)
{
    assert_false(is_taken_away && is_activated);
    assert_int_equal(shared_slab->is_active, is_activated);
    if (!is_taken_away)
        assert_int_equal(shared_slab->remote & TAKEN, 0);
    if (!is_taken_away && !is_activated)
        assert_true(ashlar_slab_activate(shared_slab));
}

static void whoever_comes_first_the_owner_or_another_has_the_slab(void **state)
{
    (void)state;
    if (!TEST_HAS_STEPS)
        skip();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(met_classes); i++) {
        met_class = met_classes[i];
        meet_everywhere(&(struct encounter){.prepare = prepare_freed_by_both,
                                            .one = take_away,
                                            .other = activate_and_pop,
                                            .check = check_one_has_it});
        meet_everywhere(&(struct encounter){.prepare = prepare_freed_by_both,
                                            .one = activate_and_pop,
                                            .other = take_away,
                                            .check = check_not_both_have_it});
    }
}

static char *last_live;

/* One object is live still. */
static void prepare_all_but_one_freed(void)
{
    shared_slab = make_slab(met_class);
    char **objects = take_some(shared_slab, 4);
    ashlar_slab_push(shared_slab, objects[3]);
    assert_int_equal(ashlar_slab_push_remote(shared_slab, objects[1]), ASHLAR_REMOTE_DONE);
    assert_int_equal(ashlar_slab_push_remote(shared_slab, objects[2]), ASHLAR_REMOTE_DONE);
    last_live = objects[0];
    free(objects);
    popped = NULL;
    is_taken_away = false;
    is_activated = false;
}

static void free_last_and_take_away(void)
{
    (void)ashlar_slab_push_remote(shared_slab, last_live);
    take_away();
}

static void the_last_object_that_comes_back_as_a_slab_becomes_active_does_not_take_it(void **state)
{
    (void)state;
    if (!TEST_HAS_STEPS)
        skip();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(met_classes); i++) {
        met_class = met_classes[i];
        meet_everywhere(&(struct encounter){.prepare = prepare_all_but_one_freed,
                                            .one = activate_and_pop,
                                            .other = free_last_and_take_away,
                                            .check = check_not_both_have_it});
    }
}

/* The owner serves from it, and what it has handed out is freed by others so that the list looks as
   it did before, but for one object. */
static void use_in_between(void)
{
    if (!ashlar_slab_activate(shared_slab))
        return;
    char *objects[2] = {get(shared_slab), get(shared_slab)};
    popped = get(shared_slab);
    deactivate(shared_slab);
    assert_int_equal(ashlar_slab_push_remote(shared_slab, objects[1]), ASHLAR_REMOTE_DONE);
    assert_int_equal(ashlar_slab_push_remote(shared_slab, objects[0]), ASHLAR_REMOTE_DONE);
}

static void expect_it_not_to_be_had(void)
{
    expect_not_to_be_had(shared_slab);
    assert_true((shared_slab->remote & TAKEN) != 0);
}

/* The last object comes back while somebody is about to take the slab, and is not lost. */
static void push_last_and_expect_it_not_to_be_had(void)
{
    expect_it_not_to_be_had();
    if (popped == NULL)
        return;
    assert_int_equal(ashlar_slab_push_remote(shared_slab, popped), ASHLAR_REMOTE_EMPTIED);
    expect_it_not_to_be_had();
}

static void check_object_in_use(void)
{
    assert_int_equal(is_taken_away, popped == NULL);
    if (is_taken_away)
        return;
    assert_int_equal(shared_slab->remote & TAKEN, 0);
    if (was_taken && met->when_taken == push_last_and_expect_it_not_to_be_had)
        assert_int_equal(remote_count(shared_slab), 3);
    else
        assert_int_equal(ashlar_slab_push_remote(shared_slab, popped), ASHLAR_REMOTE_EMPTIED);
    assert_true(ashlar_slab_take_away(shared_slab));
}

/* Symptom: the memory of an object in use had another user. */
static void what_is_handed_out_at_the_last_moment_keeps_the_slab(void **state)
{
    (void)state;
    if (!TEST_HAS_STEPS)
        skip();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(met_classes); i++) {
        met_class = met_classes[i];
        struct encounter encounter = {.prepare = prepare_freed_by_both,
                                      .one = take_away,
                                      .other = use_in_between,
                                      .when_taken = expect_it_not_to_be_had,
                                      .check = check_object_in_use};
        meet_everywhere(&encounter);
        encounter.when_taken = push_last_and_expect_it_not_to_be_had;
        meet_everywhere(&encounter);
    }
}

/* All objects are in use but as many as a sleeping slab waits for, which others have freed. */
static void prepare_few_freed(void)
{
    shared_slab = make_slab(met_class);
    met_objects = take_some(shared_slab, count_of(shared_slab));
    free_remotely(shared_slab, met_objects, few_of(shared_slab));
    free(met_objects);
    is_taken_away = false;
}

static void prepare_few_freed_asleep(void)
{
    prepare_few_freed();
    ashlar_slab_sleep(shared_slab);
}

static void fall_asleep(void)
{
    ashlar_slab_sleep(shared_slab);
}

static void wake_up(void)
{
    ashlar_slab_wake(shared_slab);
}

static void check_not_taken(void)
{
    assert_false(is_taken_away);
    assert_int_equal(handed_out(shared_slab), count_of(shared_slab));
}

/* Symptom: what a slab had in use was seen without what was put aside, or the other way. */
static void a_slab_that_falls_asleep_or_wakes_is_not_taken_for_an_empty_one(void **state)
{
    (void)state;
    if (!TEST_HAS_STEPS)
        skip();
    for (unsigned class_id = 15; class_id <= 31; class_id += 16) {
        met_class = class_id;
        meet_everywhere(&(struct encounter){.prepare = prepare_few_freed,
                                            .one = fall_asleep,
                                            .other = take_away,
                                            .check = check_not_taken});
        meet_everywhere(&(struct encounter){.prepare = prepare_few_freed_asleep,
                                            .one = wake_up,
                                            .other = take_away,
                                            .check = check_not_taken});
    }
}

/* Two are in use, and one was freed by another thread. */
static void prepare_one_freed(void)
{
    shared_slab = make_slab(met_class);
    met_objects = take_some(shared_slab, 3);
    assert_int_equal(ashlar_slab_push_remote(shared_slab, met_objects[2]), ASHLAR_REMOTE_DONE);
    is_taken_away = false;
    ncollected = 0;
}

static void collect(void)
{
    ncollected = ashlar_slab_collect(shared_slab);
}

static void free_the_rest_and_take_away(void)
{
    assert_false(ashlar_slab_take_away(shared_slab));
    (void)ashlar_slab_push_remote(shared_slab, met_objects[0]);
    assert_false(ashlar_slab_take_away(shared_slab));
    (void)ashlar_slab_push_remote(shared_slab, met_objects[1]);
    take_away();
}

static void check_nothing_is_lost(void)
{
    assert_int_equal(handed_out(shared_slab), 3 - ncollected);
    if (!is_taken_away)
        assert_int_equal(remote_count(shared_slab), 3 - ncollected);
    assert_int_equal(shared_slab->remote & TAKEN, is_taken_away ? TAKEN : 0);
    ashlar_slab_verify(shared_slab);
    free(met_objects);
}

static void an_owner_that_collects_has_what_it_has_collected(void **state)
{
    (void)state;
    if (!TEST_HAS_STEPS)
        skip();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(met_classes); i++) {
        met_class = met_classes[i];
        meet_everywhere(&(struct encounter){.prepare = prepare_one_freed,
                                            .one = collect,
                                            .other = free_the_rest_and_take_away,
                                            .check = check_nothing_is_lost});
    }
}

/* ---- with threads -------------------------------------------------------------------------- */

#define MAILBOXES 32

static _Atomic(char *) mailboxes[MAILBOXES];
static _Atomic bool is_over;

static void *free_from_afar(void *context)
{
    uint64_t seed = *(uint64_t *)context;
    while (!is_over) {
        char *object = atomic_exchange(&mailboxes[test_random_below(&seed, MAILBOXES)], NULL);
        if (object != NULL &&
            ashlar_slab_push_remote(shared_slab, object) == ASHLAR_REMOTE_ABANDONED)
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
    shared_slab = make_active(2);
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
    assert_int_equal(handed_out(shared_slab), 0);
    ashlar_slab_verify(shared_slab);
    drop_slab(shared_slab);
}

static _Atomic(char *) handed_object;
static _Atomic bool has_failed;
static _Atomic size_t nhanded;  /* objects of the slab freed so far */
static _Atomic size_t nemptied; /* how many of these were said to be the last */

/* Frees what comes as a program does: it knows the address and nothing else. */
static void *free_what_is_handed_over(void *context)
{
    while (!is_over) {
        char *object = atomic_exchange_explicit(&handed_object, NULL, memory_order_acquire);
        if (object == NULL) {
            sched_yield();
            continue;
        }
        if (ashlar_pagemap_find(object) != &shared_slab->span ||
            ashlar_slab_looks_free(shared_slab, object))
            has_failed = true;
        nemptied += ashlar_slab_push_remote(shared_slab, object) == ASHLAR_REMOTE_EMPTIED;
        nhanded++;
    }
    return context;
}

static void hand_over(char *object)
{
    while (atomic_load_explicit(&handed_object, memory_order_relaxed) != NULL)
        sched_yield();
    atomic_store_explicit(&handed_object, object, memory_order_release);
}

/* Objects are freed elsewhere as soon as they exist. */
static void whoever_is_handed_an_object_finds_its_slab(void **state)
{
    (void)state;
    static const unsigned handed_classes[] = {4, 24, 47, 70, 87};
    pthread_t thread;
    is_over = false;
    has_failed = false;
    assert_int_equal(pthread_create(&thread, NULL, free_what_is_handed_over, NULL), 0);
    for (size_t i = 0; i < 60 * ASHLAR_ARRAY_LEN(handed_classes); i++) {
        shared_slab = make_active(handed_classes[i % ASHLAR_ARRAY_LEN(handed_classes)]);
        size_t count = count_of(shared_slab);
        nhanded = 0;
        nemptied = 0;
        for (size_t k = 0; k < count; k++)
            hand_over(get(shared_slab));
        while (nhanded != count)
            sched_yield();
        assert_int_equal(nemptied, 1);
        for (size_t nback = 0; nback != count && !has_failed;)
            nback += ashlar_slab_collect(shared_slab);
        assert_false(has_failed);
        assert_int_equal(handed_out(shared_slab), 0);
        ashlar_slab_verify(shared_slab);
        drop_slab(shared_slab);
    }
    is_over = true;
    pthread_join(thread, NULL);
}

static _Atomic size_t ntaken;
static pthread_barrier_t start;

static void *take_what_is_full(void *context)
{
    for (int i = 0; i < 20000; i++) {
        pthread_barrier_wait(&start);
        if (ashlar_slab_take_away(shared_slab)) {
            ntaken++;
            ashlar_slab_leave(shared_slab);
        }
        pthread_barrier_wait(&start);
    }
    return context;
}

/* Whoever is first has all of it. */
static void either_the_owner_or_who_takes_the_slab_has_its_objects(void **state)
{
    (void)state;
    pthread_t thread;
    shared_slab = make_slab(70);
    size_t count = count_of(shared_slab);
    char **objects = take_all(shared_slab);
    assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, take_what_is_full, NULL), 0);
    for (int i = 0; i < 20000; i++) {
        free_remotely(shared_slab, objects, count);
        ntaken = 0;
        pthread_barrier_wait(&start);
        for (int spin = i % 64; spin > 0; spin--)
            atomic_signal_fence(memory_order_seq_cst);
        size_t nback = ashlar_slab_collect(shared_slab);
        pthread_barrier_wait(&start);
        assert_int_equal(nback, ntaken != 0 ? 0 : count);
        assert_int_equal(ashlar_slab_is_gone(shared_slab), ntaken);
        if (ntaken != 0)
            atomic_store(&shared_slab->remote, 0);
        for (size_t k = 0; nback != 0 && k < count; k++)
            objects[k] = ashlar_slab_pop(shared_slab);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&start);
    free(objects);
    drop_slab(shared_slab);
}

static void *take_what_both_have_freed(void *context)
{
    for (int i = 0; i < 6000; i++) {
        pthread_barrier_wait(&start);
        ntaken += ashlar_slab_take_away(shared_slab);
        pthread_barrier_wait(&start);
    }
    return context;
}

/* As with an interruption at every instruction, and with what the machine puts in another order.
   Each thread may have the slab, and once in a while neither has, which loses nothing. */
static void never_both_the_owner_and_who_takes_the_slab_have_it(void **state)
{
    (void)state;
    pthread_t thread;
    unsigned nactivated = 0;
    unsigned ntaken_away = 0;
    shared_slab = make_slab(70);
    char **objects = take_some(shared_slab, 3);
    assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, take_what_both_have_freed, NULL), 0);
    for (int i = 0; i < 6000; i++) {
        ashlar_slab_push(shared_slab, objects[0]);
        assert_int_equal(ashlar_slab_push_remote(shared_slab, objects[1]), ASHLAR_REMOTE_DONE);
        assert_int_equal(ashlar_slab_push_remote(shared_slab, objects[2]), ASHLAR_REMOTE_EMPTIED);
        ntaken = 0;
        pthread_barrier_wait(&start);
        for (int spin = i % 64; spin > 0; spin--)
            atomic_signal_fence(memory_order_seq_cst);
        bool is_mine = ashlar_slab_activate(shared_slab);
        char *object = is_mine ? get(shared_slab) : NULL;
        pthread_barrier_wait(&start);
        assert_false(is_mine && ntaken != 0);
        assert_int_equal(handed_out(shared_slab), is_mine ? 1 : 2);
        assert_int_equal((shared_slab->remote & TAKEN) != 0, ntaken != 0);
        nactivated += is_mine;
        ntaken_away += ntaken != 0;
        atomic_fetch_and(&shared_slab->remote, ~TAKEN);
        if (!is_mine)
            assert_true(ashlar_slab_activate(shared_slab));
        objects[0] = is_mine ? object : get(shared_slab);
        objects[1] = get(shared_slab);
        objects[2] = get(shared_slab);
        deactivate(shared_slab);
        ashlar_slab_verify(shared_slab);
    }
    assert_true(nactivated != 0 && ntaken_away != 0);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&start);
    free(objects);
    drop_slab(shared_slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_has_slabs_of_whole_pages_and_little_waste),
        cmocka_unit_test(what_is_touched_is_whole_pages),
        cmocka_unit_test(a_slab_hands_out_every_object_once),
        cmocka_unit_test(all_objects_that_start_in_the_next_granule_come_to_exist_and_no_others),
        cmocka_unit_test(carving_touches_no_more_than_the_first_words_of_objects),
        cmocka_unit_test(the_page_map_knows_the_granules_in_which_all_starts_exist),
        cmocka_unit_test(what_would_be_one_object_more_looks_free_where_the_page_map_leads_to_it),
        cmocka_unit_test(carved_objects_come_in_ascending_order_before_those_freed),
        cmocka_unit_test(only_starts_of_objects_are_starts),
        cmocka_unit_test(a_free_object_looks_free_and_a_live_one_does_not),
        cmocka_unit_test(an_overwritten_link_ends_the_list_and_is_told_from_its_end),
        cmocka_unit_test(an_overwritten_link_among_what_others_freed_ends_the_list),
        cmocka_unit_test(random_frees_from_both_sides_keep_the_law),
        cmocka_unit_test(a_sleeping_slab_seems_empty_when_a_few_objects_are_back),
        cmocka_unit_test(the_slab_of_the_most_objects_sleeps_without_losing_count),
        cmocka_unit_test(a_slab_wakes_with_what_others_have_freed),
        cmocka_unit_test(parking_asks_for_the_next_remote_free_and_unparking_takes_that_back),
        cmocka_unit_test(an_abandoned_slab_refuses_remote_frees_until_it_is_adopted),
        cmocka_unit_test(the_last_of_all_objects_that_others_free_is_told),
        cmocka_unit_test(the_last_object_is_not_told_while_the_owner_allocates_from_the_slab),
        cmocka_unit_test(the_last_that_others_free_is_told_though_the_owner_has_free_objects),
        cmocka_unit_test(a_slab_is_taken_when_no_object_is_missing_and_not_twice),
        cmocka_unit_test(a_slab_is_not_taken_while_it_is_parked_or_abandoned_or_collected),
        cmocka_unit_test(the_owner_of_a_taken_slab_finds_nothing_and_leaves_its_mark),
        cmocka_unit_test(a_parked_slab_that_is_emptied_at_once_is_told_and_on_the_pending_stack),
        cmocka_unit_test(a_slab_across_a_multiple_of_4_gib_hands_out_every_object_once),
        cmocka_unit_test(
            a_slab_that_its_owner_allocates_from_is_not_taken_before_it_no_longer_does),
        cmocka_unit_test(an_active_slab_all_of_whose_objects_others_have_freed_is_taken),
        cmocka_unit_test(one_object_that_is_not_freed_keeps_a_slab_its_owners),
        cmocka_unit_test(a_sleeping_slab_freed_by_both_sides_is_told_of_and_taken),
        cmocka_unit_test(a_slab_collects_when_it_becomes_active),
        cmocka_unit_test(a_slab_about_to_be_taken_or_gone_does_not_become_active),
        cmocka_unit_test(what_others_free_meanwhile_leaves_a_slab_about_to_be_taken),
        cmocka_unit_test(a_slab_is_taken_when_a_model_says_so),
        cmocka_unit_test(whoever_comes_first_the_owner_or_another_has_the_slab),
        cmocka_unit_test(the_last_object_that_comes_back_as_a_slab_becomes_active_does_not_take_it),
        cmocka_unit_test(what_is_handed_out_at_the_last_moment_keeps_the_slab),
        cmocka_unit_test(a_slab_that_falls_asleep_or_wakes_is_not_taken_for_an_empty_one),
        cmocka_unit_test(an_owner_that_collects_has_what_it_has_collected),
        cmocka_unit_test(remote_frees_of_many_threads_all_arrive),
        cmocka_unit_test(whoever_is_handed_an_object_finds_its_slab),
        cmocka_unit_test(either_the_owner_or_who_takes_the_slab_has_its_objects),
        cmocka_unit_test(never_both_the_owner_and_who_takes_the_slab_have_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
