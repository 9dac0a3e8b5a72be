/*
 * test_route.c - route by size, free by owner
 */
#include "unit/testing.h"

#include <pthread.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "front/emergency.h"
#include "front/heaps.h"
#include "front/purger.h"
#include "front/route.h"
#include "large/mapcache.h"
#include "small/arena.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

#define THRESHOLD ((size_t)ashlar_opt.large_threshold)

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    return 0;
}

/* After every case all blocks are free, so that nothing may be in use. */
static int end(void **state)
{
    (void)state;
    struct ashlar_usage usage;
    fake_os_obey();
    (void)ashlar_route_trim();
    ashlar_route_usage(&usage);
    assert_int_equal(usage.small_live_bytes, 0);
    assert_int_equal(usage.large_live_bytes, 0);
    assert_int_equal(usage.large_live_blocks, 0);
    assert_int_equal(usage.small_idle_bytes, 0);
    assert_int_equal(usage.large_kept_bytes, 0);
    assert_false(ashlar_emergency_has_deferred());
    return 0;
}

/* An option that is to be in force from a thread's first request on wants a thread of its own. */
static void in_thread(void *(*body)(void *context))
{
    pthread_t thread;
    void *failure;
    assert_int_equal(pthread_create(&thread, NULL, body, NULL), 0);
    pthread_join(thread, &failure);
    assert_null(failure);
}

static enum ashlar_span_kind kind_of(const void *ptr)
{
    return ashlar_span_kind(ashlar_pagemap_find(ptr));
}

static void size_decides_which_side_serves(void **state)
{
    (void)state;
    static const int64_t thresholds[] = {4096, 65536, 131072};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(thresholds); i++) {
        assert_true(ashlar_option_set(ASHLAR_OPTION_large_threshold, thresholds[i]));
        char *below = ashlar_route_malloc(THRESHOLD - 1);
        char *from = ashlar_route_malloc(THRESHOLD);
        assert_int_equal(kind_of(below), ASHLAR_SPAN_SLAB);
        assert_int_equal(kind_of(from), ASHLAR_SPAN_LARGE);
        assert_true(ashlar_route_usable_size(below) >= THRESHOLD - 1);
        assert_true(ashlar_route_usable_size(from) >= THRESHOLD);
        memset(below, 1, ashlar_route_usable_size(below));
        memset(from, 1, ashlar_route_usable_size(from));
        ashlar_route_free(below);
        ashlar_route_free(from);
    }
}

static void no_bytes_have_an_address_of_their_own(void **state)
{
    (void)state;
    char *one = ashlar_route_malloc(0);
    char *two = ashlar_route_calloc(0);
    char *three = ashlar_route_malloc_aligned(65536, 0);
    assert_true(one != NULL && two != NULL && three != NULL && one != two && two != three);
    assert_true(ashlar_route_usable_size(one) > 0);
    ashlar_route_free(one);
    ashlar_route_free(two);
    ashlar_route_free_sized(three, 0);
    ashlar_route_free(NULL);
    assert_int_equal(ashlar_route_usable_size(NULL), 0);
}

static void absurd_requests_give_nothing_and_ask_nobody(void **state)
{
    (void)state;
    char *block = ashlar_route_malloc(100);
    unsigned calls = fake_os_count_all();
    int saved = errno = 4711;
    assert_null(ashlar_route_malloc(ASHLAR_SIZE_MAX + 1));
    assert_null(ashlar_route_malloc(SIZE_MAX));
    assert_null(ashlar_route_calloc(SIZE_MAX));
    assert_null(ashlar_route_malloc_aligned((size_t)1 << 63, 1));
    assert_null(ashlar_route_malloc_aligned((size_t)1 << 62, ASHLAR_SIZE_MAX));
    assert_null(ashlar_route_realloc(block, SIZE_MAX));
    assert_int_equal(fake_os_count_all(), calls);
    assert_int_equal(errno, saved);
    ashlar_route_free(block);
}

static void every_alignment_is_kept_on_either_side(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100, 4097, 65536, 65537, 131071, 131072, 300000};
    for (size_t align = 1; align <= 8 * ASHLAR_MIB; align *= 2) {
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
            char *block = ashlar_route_malloc_aligned(align, sizes[i]);
            assert_non_null(block);
            assert_true(ashlar_is_aligned(block, align));
            assert_true(ashlar_route_usable_size(block) >= sizes[i]);
            block[0] = block[ashlar_route_usable_size(block) - 1] = 1;
            ashlar_route_free(block);
        }
    }
}

static void calloc_clears_what_was_used_before(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 1000, 1025, 100000, 131072, 2000000};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
        char *block = ashlar_route_malloc(sizes[i]);
        memset(block, 0xee, sizes[i]);
        ashlar_route_free(block);
        block = ashlar_route_calloc(sizes[i]);
        assert_true(test_is_zero(block, sizes[i]));
        ashlar_route_free(block);
    }
}

static void realloc_keeps_contents_across_the_sides(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,      16,      17, 1000, 900,    131071, 131072,
                                   131071, 5000000, 16, 8000, 200000, 100000, 40};
    size_t had = 40;
    char *block = ashlar_route_malloc(had);
    test_mark(block, had, 1);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
        block = ashlar_route_realloc(block, sizes[i]);
        assert_non_null(block);
        assert_true(ashlar_route_usable_size(block) >= sizes[i]);
        if (kind_of(block) == ASHLAR_SPAN_LARGE)
            assert_true(sizes[i] >= THRESHOLD);
        else
            assert_true(sizes[i] <= THRESHOLD); /* a small block may have just that much room */
        assert_true(test_is_marked(block, ashlar_min_size(had, sizes[i]), i + 1, had <= sizes[i]));
        had = sizes[i];
        test_mark(block, had, i + 2);
    }
    ashlar_route_free(block);
}

struct attempt {
    size_t size;
    char *old; /* to be made longer; NULL: a new one is wanted */
    char *got;
};

static bool try_to_get(void *context)
{
    struct attempt *attempt = context;
    attempt->got = attempt->old != NULL ? ashlar_route_realloc(attempt->old, attempt->size)
                                        : ashlar_route_malloc(attempt->size);
    return attempt->got != NULL;
}

static void check_and_free(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    if (attempt->old != NULL) {
        char *now = has_succeeded ? attempt->got : attempt->old;
        assert_true(test_is_marked(now, 3000, 9, !has_succeeded));
        if (has_succeeded)
            ashlar_route_free(attempt->old = now);
        attempt->old = has_succeeded ? ashlar_route_malloc(3000) : attempt->old;
        test_mark(attempt->old, 3000, 9);
    } else if (has_succeeded) {
        memset(attempt->got, 1, attempt->size);
        ashlar_route_free(attempt->got);
    }
    (void)ashlar_route_trim();
    assert_int_equal(ashlar_count_read(emergency_allocs), 0);
}

static void out_of_memory_is_null_and_nothing_lost_whichever_call_failed(void **state)
{
    (void)state;
    static const size_t sizes[] = {100, 100000, 131072, 6000000};
    for (size_t i = 0; i < 2 * ASHLAR_ARRAY_LEN(sizes); i++) {
        struct attempt attempt = {.size = sizes[i / 2]};
        enum fake_os_mode mode = i % 2 == 0 ? FAKE_OS_REST_FAILS : FAKE_OS_ONE_FAILS;
        fake_os_fail_each(mode, try_to_get, check_and_free, &attempt);
        if (attempt.size < 3000)
            continue;
        attempt.old = memset(ashlar_route_malloc(3000), 0, 3000);
        test_mark(attempt.old, 3000, 9);
        fake_os_fail_each(mode, try_to_get, check_and_free, &attempt);
        ashlar_route_free(attempt.old);
    }
}

static void what_is_kept_goes_back_before_a_request_fails(void **state)
{
    (void)state;
    char *block = ashlar_route_malloc(6000000);
    memset(block, 1, 6000000);
    ashlar_route_free(block);
    size_t reserved = ashlar_count_read(region_reserved_bytes);
    assert_true(reserved >= 6000000);
    fake_os_fail_from(0); /* but what gives back */
    assert_null(ashlar_route_malloc(20 * ASHLAR_GIB));
    fake_os_obey();
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 0);
}

/* Symptom: each malloc of a size that was computed wrong gave back all that was kept, twice. */
static void a_request_beyond_all_address_space_leaves_what_is_kept(void **state)
{
    (void)state;
    static const size_t sizes[] = {(size_t)1 << 47, ((size_t)1 << 47) + 1, (size_t)1 << 50,
                                   PTRDIFF_MAX, SIZE_MAX};
    char *block = ashlar_route_malloc(6000000);
    memset(block, 1, 6000000);
    ashlar_route_free(block);
    block = ashlar_route_malloc(200);
    struct ashlar_usage before, after;
    ashlar_route_usage(&before);
    assert_true(before.large_kept_bytes >= 6000000);
    unsigned calls = fake_os_count_all();
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
        assert_null(ashlar_route_malloc(sizes[i]));
        assert_null(ashlar_route_calloc(sizes[i]));
        assert_null(ashlar_route_malloc_aligned(65536, sizes[i]));
        assert_null(ashlar_route_realloc(block, sizes[i]));
    }
    ashlar_route_usage(&after);
    assert_int_equal(after.large_kept_bytes, before.large_kept_bytes);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
    assert_int_equal(fake_os_count_all(), calls);
    ashlar_route_free(block);
}

static void *ask_for_cleared_blocks(void *context)
{
    static const size_t sizes[] = {24, 2000, 100000, 150000};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
            char *block = ashlar_route_malloc(sizes[i]);
            if (!test_is_zero(block, ashlar_route_usable_size(block)))
                return block;
            memset(block, 0xee, ashlar_route_usable_size(block));
            size_t had = ashlar_route_usable_size(block);
            char *next = ashlar_route_malloc(6 * had); /* where the block may grow to */
            memset(next, 0xee, 6 * had);
            ashlar_route_free(next);
            block = ashlar_route_realloc(block, 3 * had);
            if (!test_is_zero(block + had, 3 * had - had))
                return block;
            ashlar_route_free(block);
        }
    }
    return context;
}

static void option_zero_clears_every_block(void **state)
{
    (void)state;
    assert_true(ashlar_option_set(ASHLAR_OPTION_zero, ASHLAR_ZERO_ON));
    in_thread(ask_for_cleared_blocks);
}

static bool is_filled(const char *block, size_t from, size_t to, int byte)
{
    for (size_t at = from; at < to; at++)
        if ((unsigned char)block[at] != byte)
            return false;
    return true;
}

static void *ask_for_junk(void *context)
{
    static const size_t sizes[] = {24, 2000, 100000, 150000};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
        char *pin = ashlar_route_malloc(sizes[i]);
        char *block = ashlar_route_malloc(sizes[i]);
        if (!is_filled(block, 0, sizes[i], 0xa5))
            return block;
        char *zero = ashlar_route_calloc(sizes[i]);
        if (!test_is_zero(zero, sizes[i]))
            return zero;
        ashlar_route_free(zero);
        ashlar_route_free(block);
        /* The first word of a freed small block is the slab's. */
        if (sizes[i] < THRESHOLD && !is_filled(block, 8, sizes[i], 0x5a))
            return block;
        ashlar_route_free(pin);
    }
    return context;
}

static void option_junk_fills_fresh_and_freed_blocks(void **state)
{
    (void)state;
    assert_true(ashlar_option_set(ASHLAR_OPTION_junk, ASHLAR_JUNK_ON));
    in_thread(ask_for_junk);
}

/* ---- misuse: every case is told once and does no harm ---------------------------------------- */

static void expect_misuses(uint64_t count)
{
    assert_int_equal(ashlar_count_read(misuses), count);
}

static void a_size_the_block_cannot_have_had_is_a_mismatch(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_IGNORE);
    static const struct {
        size_t asked;
        size_t told;
        bool is_mismatch;
    } rows[] = {
        {100, 100, false},      {100, 112, false},       {100, 113, true},
        {100, 10, true},        {1, 0, false},           {1, 16, false},
        {1, 17, true},          {200000, 200000, false}, {200000, 100000, true},
        {200000, 300000, true}, {5000, 5120, false},     {5000, 5121, true},
        {100, 0, true},         {5000, 2559, true},      {5000, 200000, true},
        {5000, SIZE_MAX, true}, {20000, 20000, false},   {20000, 20480, false},
        {20000, 20481, true},   {20000, 100, true},      {60000, 60000, false},
        {60000, 10000, true},   {200000, 0, true},       {200000, 16, true},
        {0, 0, false},          {0, 16, false},          {0, 17, true},
    };
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(rows); i++) {
        uint64_t misuses = ashlar_count_read(misuses);
        ashlar_route_free_sized(ashlar_route_malloc(rows[i].asked), rows[i].told);
        expect_misuses(misuses + rows[i].is_mismatch);
    }
}

static void a_block_may_be_freed_with_the_size_it_was_resized_to(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,    24,    100,   1000,   1024,   5000,
                                   8000, 20000, 60000, 200000, 3000000};
    uint64_t misuses = ashlar_count_read(misuses);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
        size_t size = sizes[i];
        char *sample = ashlar_route_malloc(size);
        size_t usable = ashlar_route_usable_size(sample);
        ashlar_route_free(sample);
        const size_t others[] = {size,       size - size / 4, size - size / 2, usable,
                                 usable / 2, size / 3 + 1,    size * 3};
        for (size_t k = 0; k < ASHLAR_ARRAY_LEN(others); k++) {
            char *block = ashlar_route_realloc(ashlar_route_malloc(size), others[k]);
            assert_non_null(block);
            ashlar_route_free_sized(block, others[k]);
        }
    }
    assert_int_equal(ashlar_count_read(misuses), misuses);
}

static char *resized;

static void *free_resized(void *context)
{
    ashlar_route_free_sized(resized, 100);
    return context;
}

static void a_block_of_another_thread_is_freed_with_its_size_once(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_IGNORE);
    uint64_t misuses = ashlar_count_read(misuses);
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        if (i == 0)
            resized = ashlar_route_malloc(100);
        assert_int_equal(pthread_create(&thread, NULL, free_resized, NULL), 0);
        pthread_join(thread, NULL);
        expect_misuses(misuses + (uint64_t)i);
    }
    ashlar_route_free_sized(NULL, 100);
    ashlar_route_free_sized(NULL, 0);
    assert_int_equal(ashlar_count_read(misuses), misuses + 1);
}

static void crimes_are_told_once_each_and_the_heap_stays_whole(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_IGNORE);
    char local[64];
    uint64_t misuses = ashlar_count_read(misuses);
    static const size_t sizes[] = {100, 5000, 200000};
    ashlar_route_free(local);
    expect_misuses(++misuses);
    assert_null(ashlar_route_realloc(local, 10));
    expect_misuses(++misuses);
    assert_int_equal(ashlar_route_usable_size(local), 0);
    expect_misuses(++misuses);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
        char *pin = ashlar_route_malloc(sizes[i]);
        char *block = ashlar_route_malloc(sizes[i]);
        ashlar_route_free(block + 16);
        expect_misuses(++misuses);
        assert_int_equal(ashlar_route_usable_size(block + 1), 0);
        expect_misuses(++misuses);
        ashlar_route_free(block);
        expect_misuses(misuses);
        ashlar_route_free(block);
        expect_misuses(++misuses);
        ashlar_route_free(pin);
    }
}

#define SUSPECTS_MOST 40

/* Pointers that some thread frees which must not, and what is said of them. */
struct crimes {
    char *ptrs[SUSPECTS_MOST];
    size_t count;
    struct ashlar_slab *slab; /* they are in it */
    bool is_foreign;          /* a thread frees them that does not own the slab */
    char text[4096];
};

static void add_crime(struct crimes *crimes, char *ptr, const char *words)
{
    assert_true(crimes->count < SUSPECTS_MOST);
    crimes->ptrs[crimes->count++] = ptr;
    size_t used = strlen(crimes->text);
    snprintf(crimes->text + used, sizeof crimes->text - used, "ashlar: %s (ptr %p)\n", words,
             (void *)ptr);
}

static const char invalid_free[] = "invalid free: it is not the start of a block";

static void *free_suspects(void *context)
{
    struct crimes *crimes = context;
    for (size_t i = 0; i < crimes->count; i++)
        ashlar_route_free(crimes->ptrs[i]);
    return NULL;
}

/* The slab and all that is in it are as they were. */
static void commit_crimes(void *context)
{
    struct crimes *crimes = context;
    size_t len = crimes->slab->nslices * ASHLAR_SLICE_BYTES;
    char *was_there = malloc(len);
    struct ashlar_slab was = *crimes->slab;
    pthread_t thread;
    memcpy(was_there, crimes->slab->base, len);
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_REPORT);
    if (!crimes->is_foreign)
        (void)free_suspects(crimes);
    else if (pthread_create(&thread, NULL, free_suspects, crimes) != 0 ||
             pthread_join(thread, NULL) != 0)
        _exit(1);
    if (memcmp(&was, crimes->slab, sizeof was) != 0 ||
        memcmp(was_there, crimes->slab->base, len) != 0)
        _exit(2);
    _exit(0);
}

static void expect_told_and_nothing_changed(struct crimes *crimes)
{
    for (int is_foreign = 0; is_foreign <= 1; is_foreign++) {
        crimes->is_foreign = is_foreign;
        struct test_outcome outcome = test_in_child(commit_crimes, crimes);
        assert_string_equal(outcome.text, crimes->text);
        assert_true(test_went_well(&outcome));
    }
}

static struct ashlar_slab *slab_of(const void *block)
{
    struct ashlar_span *span = ashlar_pagemap_find(block);
    assert_true(span != NULL && ashlar_span_kind(span) == ASHLAR_SPAN_SLAB);
    return ashlar_slab_of(span);
}

/* Blocks of one class: of all sizes whose class it is, the greatest. */
static char *alloc_of_class(unsigned class_id)
{
    char *block = ashlar_route_malloc(ashlar_class_size(class_id) - 1);
    assert_non_null(block);
    assert_int_equal(slab_of(block)->class_id, class_id);
    return block;
}

static void freeing_an_object_that_does_not_exist_yet_is_invalid(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        struct crimes crimes = {.count = 0};
        (void)ashlar_route_trim(); /* so that the slab is a fresh one */
        char *block = alloc_of_class(class_id);
        size_t object = ashlar_class_size(class_id);
        crimes.slab = slab_of(block);
        size_t capacity = ashlar_slab_capacity(crimes.slab);
        if (capacity == object) {
            ashlar_route_free(block);
            continue;
        }
        assert_ptr_equal(block, crimes.slab->base);
        for (size_t at = crimes.slab->carved; at < capacity && crimes.count < 3; at += object)
            add_crime(&crimes, crimes.slab->base + at, invalid_free);
        add_crime(&crimes, (char *)crimes.slab->end - object, invalid_free);
        assert_true(crimes.count > 1);
        expect_told_and_nothing_changed(&crimes);
        ashlar_route_free(block);
    }
}

static char *granule_of(char *address)
{
    return address - (uintptr_t)address % ASHLAR_GRANULE_BYTES;
}

/* In the first granule of a block, at the borders of each and behind them. */
static void freeing_what_lies_in_a_block_is_invalid_wherever_it_lies(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        size_t object = ashlar_class_size(class_id);
        char *first = alloc_of_class(class_id);
        char *block = alloc_of_class(class_id); /* begins somewhere in a granule */
        struct crimes crimes = {.slab = slab_of(block)};
        memset(first, 0xff, object);
        memset(block, 0xff, object);
        add_crime(&crimes, block + 1, invalid_free);
        add_crime(&crimes, block + 8, invalid_free);
        add_crime(&crimes, block + object - 1, invalid_free);
        if (object > 16) {
            add_crime(&crimes, block + 16, invalid_free);
            add_crime(&crimes, block + object - 16, invalid_free);
        }
        for (size_t at = ASHLAR_GRANULE_BYTES; at < object; at += object / 4) {
            add_crime(&crimes, block + at, invalid_free);
            add_crime(&crimes, granule_of(block + at), invalid_free);
        }
        expect_told_and_nothing_changed(&crimes);
        ashlar_route_free(block);
        ashlar_route_free(first);
    }
}

/* As many as a slab has of the least class. */
static char *filling[4096];

/* Fills a fresh slab of the class with blocks that are all live; their number. */
static size_t fill_slab(unsigned class_id)
{
    (void)ashlar_route_trim();
    size_t count = 0;
    do
        filling[count++] = alloc_of_class(class_id);
    while (count * ashlar_class_size(class_id) != ashlar_slab_capacity(slab_of(filling[0])));
    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(slab_of(filling[i]), slab_of(filling[0]));
    return count;
}

static void free_filling(size_t count)
{
    for (size_t i = 0; i < count; i++)
        ashlar_route_free(filling[i]);
}

/* Where one object more would begin if the slab were longer. */
static void freeing_what_lies_behind_the_last_object_is_invalid(void **state)
{
    (void)state;
    unsigned nknown = 0;
    unsigned nunknown = 0;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        size_t count = fill_slab(class_id);
        struct crimes crimes = {.slab = slab_of(filling[0])};
        char *tail = (char *)crimes.slab->end;
        char *end_of_slab = crimes.slab->base + crimes.slab->nslices * ASHLAR_SLICE_BYTES;
        for (size_t i = 0; i < count; i++)
            memset(filling[i], 0xff, ashlar_class_size(class_id));
        if (tail != end_of_slab) {
            add_crime(&crimes, tail, invalid_free);
            add_crime(&crimes, tail + 8, invalid_free);
            add_crime(&crimes, end_of_slab - 16, invalid_free);
            expect_told_and_nothing_changed(&crimes);
            nknown += ashlar_pagemap_find(tail) != NULL;
            nunknown += ashlar_pagemap_find(tail) == NULL;
        }
        free_filling(count);
    }
    assert_true(nknown != 0 && nunknown != 0);
}

/* Of each granule but the first, the first block that begins there. */
static void a_double_free_is_named_in_whichever_granule_it_is(void **state)
{
    (void)state;
    for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++) {
        char words[100];
        size_t granule = 0;
        size_t count = fill_slab(class_id);
        struct crimes crimes = {.slab = slab_of(filling[0])};
        snprintf(words, sizeof words, "double free: the block of %zu bytes is free already",
                 (size_t)ashlar_class_size(class_id));
        for (size_t i = 0; i < count; i++) {
            size_t its_granule = (size_t)(filling[i] - crimes.slab->base) / ASHLAR_GRANULE_BYTES;
            if (its_granule <= granule)
                continue;
            granule = its_granule;
            add_crime(&crimes, filling[i], words);
            ashlar_route_free(filling[i]);
            filling[i] = NULL;
        }
        assert_int_equal(crimes.count != 0, count > 1);
        expect_told_and_nothing_changed(&crimes);
        free_filling(count);
    }
}

static void freeing_what_was_in_a_slab_that_is_gone_is_a_double_free(void **state)
{
    (void)state;
    char *pin = ashlar_route_malloc(100); /* keeps the chunk */
    struct crimes crimes = {.slab = slab_of(pin)};
    for (size_t i = 0; i < 3; i++)
        filling[i] = ashlar_route_malloc(20000);
    free_filling(3);
    (void)ashlar_route_trim();
    for (size_t i = 0; i < 3; i++)
        add_crime(&crimes, filling[i], "double free: the block is free already");
    expect_told_and_nothing_changed(&crimes);
    ashlar_route_free(pin);
}

static void an_object_that_does_not_exist_yet_has_no_size_and_cannot_be_resized(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_misuse, ASHLAR_MISUSE_IGNORE);
    static const size_t sizes[] = {16, 100, 5000, 20000};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
        uint64_t misuses = ashlar_count_read(misuses);
        (void)ashlar_route_trim();
        char *block = ashlar_route_malloc(sizes[i]);
        char *none = slab_of(block)->base + slab_of(block)->carved;
        assert_int_equal(ashlar_route_usable_size(none), 0);
        expect_misuses(misuses + 1);
        assert_null(ashlar_route_realloc(none, sizes[i]));
        expect_misuses(misuses + 2);
        ashlar_route_free_sized(none, sizes[i]);
        expect_misuses(misuses + 3);
        ashlar_route_free(block);
        expect_misuses(misuses + 3);
    }
}

/* ---- blocks that another thread frees ---------------------------------------------------- */

static _Atomic(char *) handed_block;
static _Atomic bool is_over;

static void *free_what_is_handed_over(void *context)
{
    while (!is_over) {
        char *block = atomic_exchange_explicit(&handed_block, NULL, memory_order_acquire);
        if (block != NULL)
            ashlar_route_free(block);
        else
            sched_yield();
    }
    return context;
}

static void hand_over(char *block)
{
    while (atomic_load_explicit(&handed_block, memory_order_relaxed) != NULL)
        sched_yield();
    atomic_store_explicit(&handed_block, block, memory_order_release);
}

/* Of fresh slabs, as their objects come to exist. A misuse would end the test. */
static void blocks_are_freed_by_others_as_soon_as_they_exist(void **state)
{
    (void)state;
    pthread_t thread;
    is_over = false;
    assert_int_equal(pthread_create(&thread, NULL, free_what_is_handed_over, NULL), 0);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned class_id = 0; class_id < ASHLAR_CLASS_COUNT; class_id++)
            for (size_t at = 0; at < 2 * 65536; at += ashlar_class_size(class_id))
                hand_over(alloc_of_class(class_id));
        hand_over(ashlar_route_malloc(1)); /* when it is taken, all others are free */
        hand_over(NULL);
        (void)ashlar_route_trim();
    }
    is_over = true;
    pthread_join(thread, NULL);
}

/* ---- shut locks: what a fork in another thread looks like ------------------------------------ */

/* In rank order, as fork does; the arenas stand between. */
static void shut_all(void)
{
    ashlar_lock_shut(&ashlar_heaps_lock);
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        ashlar_lock_shut(&ashlar_arena_at(i)->lock);
    ashlar_lock_shut(&ashlar_large_lock);
}

static void reopen_all(void)
{
    ashlar_lock_reopen(&ashlar_large_lock, false);
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        ashlar_lock_reopen(&ashlar_arena_at(i)->lock, false);
    ashlar_lock_reopen(&ashlar_heaps_lock, false);
}

#define MANY 6

static const size_t many_sizes[MANY] = {0, 100, 5000, 100000, 200000, 3000000};
static char *many[MANY];

/* Also blocks for the main thread to free when this one is gone. */
static void *ask_for_many(void *context)
{
    for (size_t i = 0; i < MANY; i++) {
        many[i] = ashlar_route_malloc(many_sizes[i]);
        if (many[i] == NULL)
            return &many;
        test_mark(many[i], many_sizes[i], i);
    }
    return context;
}

static void a_thread_that_meets_shut_locks_is_served_by_the_emergency_store(void **state)
{
    (void)state;
    ashlar_route_free(ashlar_route_malloc(1)); /* the arena is there */
    shut_all();
    in_thread(ask_for_many);
    for (size_t i = 0; i < MANY; i++) {
        assert_true(ashlar_emergency_owns(ashlar_pagemap_find(many[i])));
        assert_true(ashlar_route_usable_size(many[i]) >= many_sizes[i]);
        assert_true(test_is_marked(many[i], many_sizes[i], i, true));
    }
    many[1] = ashlar_route_realloc(many[1], 400);
    assert_true(test_is_marked(many[1], 100, 1, true));
    reopen_all();
    many[2] = ashlar_route_realloc(many[2], 7000);
    assert_true(test_is_marked(many[2], 5000, 2, true));
    assert_int_equal(kind_of(many[2]), ASHLAR_SPAN_SLAB);
    for (size_t i = 0; i < MANY; i++)
        ashlar_route_free(many[i]);
}

static void what_could_not_be_freed_is_freed_later(void **state)
{
    (void)state;
    struct ashlar_usage usage;
    in_thread(ask_for_many); /* small blocks of an exited thread want the arena's lock */
    shut_all();
    for (size_t i = 0; i < MANY; i++)
        ashlar_route_free(many[i]);
    assert_true(ashlar_emergency_has_deferred());
    reopen_all();
    ashlar_route_free(ashlar_route_malloc(THRESHOLD));
    assert_false(ashlar_emergency_has_deferred());
    (void)ashlar_route_trim();
    ashlar_route_usage(&usage);
    assert_int_equal(usage.small_live_bytes, 0);
    assert_int_equal(usage.large_live_blocks, 0);
}

/* Whether the calling thread's first request, of so many bytes, starts the purge thread. */
static void *request_without_cache(void *context)
{
    ashlar_route_free(ashlar_route_malloc(*(const size_t *)context));
    return fake_os_thread_body == NULL ? context : NULL;
}

static void expect_purge_thread_for(size_t size)
{
    pthread_t thread;
    void *failure;
    ashlar_route_free(ashlar_route_malloc(1)); /* so that the thread's cache is not the last one */
    ashlar_opt.purge_thread = ASHLAR_PURGE_THREAD_ON;
    atomic_store(&ashlar_purger_state, ASHLAR_PURGER_NONE);
    fake_os_thread_body = NULL;
    assert_int_equal(pthread_create(&thread, NULL, request_without_cache, &size), 0);
    pthread_join(thread, &failure);
    atomic_store(&ashlar_purger_state, ASHLAR_PURGER_NONE);
    assert_null(failure);
}

/* Symptom: what such a program had freed was kept for ever when it fell idle. */
static void a_program_with_large_blocks_only_gets_its_purge_thread(void **state)
{
    (void)state;
    expect_purge_thread_for(THRESHOLD);
    fake_os_pass_time(1000); /* the time of large calls is everybody's */
    expect_purge_thread_for(4 * ASHLAR_MIB);
}

/* Small calls only. */
static void a_busy_thread_purges_large_memory_in_steps(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    char *burst[COUNT];
    struct ashlar_usage usage;
    size_t most_bytes = 0;
    ashlar_heaps_tick(ashlar_os_now_ms()); /* so the next half decay time begins now */
    for (int i = 0; i < COUNT; i++)
        burst[i] = memset(ashlar_route_malloc(ASHLAR_MIB / 2), 1, ASHLAR_MIB / 2);
    for (int i = 0; i < COUNT; i++)
        ashlar_route_free(burst[i]);
    ashlar_route_usage(&usage);
    size_t burst_bytes = usage.large_kept_bytes;
    assert_true(burst_bytes >= COUNT * ASHLAR_MIB / 2);
    for (int64_t age_ms = 0; age_ms < ashlar_opt.decay_ms; age_ms++) {
        size_t before = usage.large_kept_bytes;
        fake_os_pass_time(1);
        ashlar_heaps_tick_if_due();
        ashlar_route_usage(&usage);
        most_bytes = ashlar_max_size(most_bytes, before - usage.large_kept_bytes);
    }
    assert_int_equal(usage.large_kept_bytes, 0);
    assert_in_range(most_bytes, 1, burst_bytes / 5 * 2);
}

static void trim_says_whether_there_was_something(void **state)
{
    (void)state;
    (void)ashlar_route_trim();
    assert_false(ashlar_route_trim());
    char *block = ashlar_route_malloc(500000);
    memset(block, 1, 500000);
    ashlar_route_free(block);
    assert_true(ashlar_route_trim());
    assert_false(ashlar_route_trim());
}

/* ---- random requests ------------------------------------------------------------------------- */

#define SLOTS 400

static size_t random_size(uint64_t *seed)
{
    return test_random_below(seed, (size_t)1 << (3 + test_random_below(seed, 18)));
}

static void random_blocks_keep_their_contents_and_the_usage_adds_up(void **state)
{
    (void)state;
    static struct {
        char *block;
        size_t size;
    } slots[SLOTS];
    uint64_t seed = 12;
    for (int step = 0; step < 20000; step++) {
        size_t at = test_random_below(&seed, SLOTS);
        size_t size = random_size(&seed);
        fake_os_pass_time(1);
        if (slots[at].block != NULL) {
            assert_true(test_is_marked(slots[at].block, slots[at].size, at, true));
            if (size % 3 != 0 || size == 0) {
                ashlar_route_free_sized(slots[at].block, slots[at].size);
                slots[at].block = NULL;
                continue;
            }
            slots[at].block = ashlar_route_realloc(slots[at].block, size);
            assert_true(test_is_marked(slots[at].block, ashlar_min_size(size, slots[at].size), at,
                                       size >= slots[at].size));
        } else if (size % 5 == 0) {
            slots[at].block = ashlar_route_calloc(size);
            assert_true(test_is_zero(slots[at].block, size));
        } else {
            slots[at].block = ashlar_route_malloc(size);
        }
        slots[at].size = size;
        test_mark(slots[at].block, size, at);
    }
    size_t small = 0;
    size_t large = 0;
    for (size_t at = 0; at < SLOTS; at++) {
        if (slots[at].block == NULL)
            continue;
        size_t usable = ashlar_route_usable_size(slots[at].block);
        if (kind_of(slots[at].block) == ASHLAR_SPAN_LARGE)
            large += usable;
        else
            small += usable;
    }
    struct ashlar_usage usage;
    ashlar_route_usage(&usage);
    assert_int_equal(usage.small_live_bytes, small);
    assert_int_equal(usage.large_live_bytes, large);
    for (size_t at = 0; at < SLOTS; at++)
        ashlar_route_free(slots[at].block);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(out_of_memory_is_null_and_nothing_lost_whichever_call_failed),
        CASE(size_decides_which_side_serves),
        CASE(no_bytes_have_an_address_of_their_own),
        CASE(absurd_requests_give_nothing_and_ask_nobody),
        CASE(every_alignment_is_kept_on_either_side),
        CASE(calloc_clears_what_was_used_before),
        CASE(realloc_keeps_contents_across_the_sides),
        CASE(what_is_kept_goes_back_before_a_request_fails),
        CASE(a_request_beyond_all_address_space_leaves_what_is_kept),
        CASE(option_zero_clears_every_block),
        CASE(option_junk_fills_fresh_and_freed_blocks),
        CASE(a_size_the_block_cannot_have_had_is_a_mismatch),
        CASE(a_block_may_be_freed_with_the_size_it_was_resized_to),
        CASE(a_block_of_another_thread_is_freed_with_its_size_once),
        CASE(crimes_are_told_once_each_and_the_heap_stays_whole),
        CASE(freeing_an_object_that_does_not_exist_yet_is_invalid),
        CASE(freeing_what_lies_in_a_block_is_invalid_wherever_it_lies),
        CASE(freeing_what_lies_behind_the_last_object_is_invalid),
        CASE(a_double_free_is_named_in_whichever_granule_it_is),
        CASE(freeing_what_was_in_a_slab_that_is_gone_is_a_double_free),
        CASE(an_object_that_does_not_exist_yet_has_no_size_and_cannot_be_resized),
        CASE(blocks_are_freed_by_others_as_soon_as_they_exist),
        CASE(a_thread_that_meets_shut_locks_is_served_by_the_emergency_store),
        CASE(what_could_not_be_freed_is_freed_later),
        CASE(a_program_with_large_blocks_only_gets_its_purge_thread),
        CASE(a_busy_thread_purges_large_memory_in_steps),
        CASE(trim_says_whether_there_was_something),
        CASE(random_blocks_keep_their_contents_and_the_usage_adds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
