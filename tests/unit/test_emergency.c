/*
 * test_emergency.c - memory while the locks are shut
 */
#include "unit/testing.h"

#include <pthread.h>
#include <sys/mman.h>

#include "conf/counters.h"
#include "front/emergency.h"
#include "map/meta.h"
#include "map/pagemap.h"
#include "map/region.h"
#include "unit/fake_os.h"

#define PAGE ((size_t)4096)

/* More than two leaves of the page map. */
#define HOLE_BYTES (9 * ASHLAR_GIB)

/* Blocks of one run at most, whatever its length: the smallest take 32 bytes each. */
#define MANY ((size_t)100000)

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    return 0;
}

static size_t held_bytes(void)
{
    return ashlar_count_read(region_reserved_bytes);
}

static void expect_block(char *block, size_t align, size_t size)
{
    assert_non_null(block);
    assert_true(ashlar_is_aligned(block, align));
    assert_true(ashlar_is_aligned(block, ASHLAR_MIN_ALIGN_BYTES));
    assert_true(ashlar_emergency_usable_size(block) >= size);
    assert_true(ashlar_emergency_owns(ashlar_pagemap_find(block)));
}

static void blocks_of_any_size_and_alignment_are_usable_throughout(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,      15,     16,         17,        1000,
                                   131072, 131073, 1048576 - 64, 1048576, 5000000};
    for (size_t align = 1; align <= 64 * ASHLAR_KIB; align *= 2) {
        char *blocks[ASHLAR_ARRAY_LEN(sizes)];
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
            blocks[i] = ashlar_emergency_malloc(align, sizes[i]);
            expect_block(blocks[i], align, sizes[i]);
            test_mark(blocks[i], ashlar_emergency_usable_size(blocks[i]), i + 1);
        }
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(sizes); i++) {
            size_t usable = ashlar_emergency_usable_size(blocks[i]);
            assert_true(test_is_marked(blocks[i], usable, i + 1, true));
            assert_true(ashlar_emergency_free(blocks[i]));
        }
    }
}

static void no_bytes_have_a_place_of_their_own(void **state)
{
    (void)state;
    for (size_t align = 1; align <= 16 * PAGE; align *= 2) {
        char *one = ashlar_emergency_malloc(align, 0);
        char *two = ashlar_emergency_malloc(align, 0);
        expect_block(one, align, 1);
        expect_block(two, align, 1);
        assert_ptr_not_equal(one, two);
        assert_true(ashlar_emergency_free(one));
        assert_true(ashlar_emergency_free(two));
    }
}

static void a_very_coarse_alignment_is_kept_too(void **state)
{
    (void)state;
    size_t held = held_bytes();
    char *block = ashlar_emergency_malloc(32 * ASHLAR_MIB, 10);
    expect_block(block, 32 * ASHLAR_MIB, 10);
    memset(block, 1, ashlar_emergency_usable_size(block));
    assert_true(ashlar_emergency_free(block));
    assert_int_equal(held_bytes(), held);
    assert_null(ashlar_pagemap_find(block));
}

static void absurd_requests_give_nothing(void **state)
{
    (void)state;
    size_t held = held_bytes();
    assert_null(ashlar_emergency_malloc(16, SIZE_MAX));
    assert_null(ashlar_emergency_malloc(16, SIZE_MAX - PAGE));
    assert_null(ashlar_emergency_malloc(16, SIZE_MAX / 2));
    assert_null(ashlar_emergency_malloc((size_t)1 << 62, SIZE_MAX / 2));
    assert_null(ashlar_emergency_malloc((size_t)1 << 63, 1));
    assert_int_equal(held_bytes(), held);
}

static void a_block_is_freed_once(void **state)
{
    (void)state;
    char *pin = ashlar_emergency_malloc(16, 100);
    char *block = ashlar_emergency_malloc(16, 100);
    assert_true(ashlar_emergency_free(block));
    assert_false(ashlar_emergency_free(block));
    assert_int_equal(ashlar_emergency_usable_size(block), 0);
    assert_true(ashlar_emergency_usable_size(pin) >= 100);
    assert_true(ashlar_emergency_free(pin));
}

static void other_spans_are_not_of_the_store(void **state)
{
    (void)state;
    struct ashlar_span other = {.kind = ASHLAR_SPAN_NONE};
    assert_false(ashlar_emergency_owns(&other));
    assert_false(ashlar_emergency_owns(NULL));
}

/* Fills what is left of a run: blocks until the store holds more. The last is the new run's. */
static size_t open_another(char **blocks)
{
    size_t held = held_bytes();
    size_t count = 0;
    do {
        assert_true(count < MANY);
        blocks[count] = ashlar_emergency_malloc(16, 1000);
        assert_non_null(blocks[count++]);
    } while (held_bytes() <= held);
    return count;
}

static void a_run_goes_back_with_its_last_block(void **state)
{
    (void)state;
    static char *first[MANY];
    static char *second[MANY];
    size_t nfirst = open_another(first); /* all but the last are of runs that were there */
    char *oldest = first[nfirst - 1];
    size_t nsecond = open_another(second);
    for (size_t i = 0; i + 1 < nfirst; i++)
        assert_true(ashlar_emergency_free(first[i]));
    size_t held = held_bytes();
    for (size_t i = 0; i + 1 < nsecond; i++)
        assert_true(ashlar_emergency_free(second[i]));
    assert_int_equal(held_bytes(), held);
    assert_true(test_is_readable(oldest));
    assert_true(ashlar_emergency_free(oldest));
    assert_true(held_bytes() < held);
    assert_null(ashlar_pagemap_find(oldest));
    assert_true(ashlar_emergency_owns(ashlar_pagemap_find(second[nsecond - 1])));
    assert_true(ashlar_emergency_free(second[nsecond - 1]));
}

/* More than a run holds of 100000 bytes. */
#define ATTEMPT_BLOCKS 12

struct attempt {
    size_t size;
    size_t held;
    char *blocks[ATTEMPT_BLOCKS];
    size_t count;
};

/* Comes to a fresh run, or fresh pages, for certain. */
static bool try_to_get_many(void *context)
{
    struct attempt *attempt = context;
    for (attempt->count = 0; attempt->count < ATTEMPT_BLOCKS; attempt->count++) {
        char *block = ashlar_emergency_malloc(16, attempt->size);
        if (block == NULL)
            return false;
        block[0] = block[attempt->size - 1] = 1;
        attempt->blocks[attempt->count] = block;
    }
    return true;
}

static void check_and_free_many(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    assert_int_equal(has_succeeded, attempt->count == ATTEMPT_BLOCKS);
    while (attempt->count > 0)
        assert_true(ashlar_emergency_free(attempt->blocks[--attempt->count]));
    /* Small blocks leave a run, in which the next ones will be. */
    size_t slack = attempt->size < 131072 ? ASHLAR_MIB : 0;
    assert_true(held_bytes() <= attempt->held + slack);
}

static void a_malloc_that_fails_holds_nothing_whichever_call_failed(void **state)
{
    (void)state;
    static const size_t sizes[] = {100000, 1000000};
    static const enum fake_os_mode modes[] = {FAKE_OS_REST_FAILS, FAKE_OS_ONE_FAILS};
    void *holes[2 * ASHLAR_ARRAY_LEN(sizes)];
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(holes); i++) {
        holes[i] = mmap(NULL, HOLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1, 0); /* the page map has to grow beyond it */
        struct attempt attempt = {.size = sizes[i / 2], .held = held_bytes()};
        assert_true(fake_os_fail_each(modes[i % 2], try_to_get_many, check_and_free_many,
                                      &attempt) >= 2);
    }
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(holes); i++)
        munmap(holes[i], HOLE_BYTES);
}

static void shut_locks_are_no_hindrance(void **state)
{
    (void)state;
    struct ashlar_lock *const locks[] = {&ashlar_region_lock, &ashlar_meta_lock};
    struct attempt attempt = {.held = held_bytes()};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(locks); i++)
        ashlar_lock_shut(locks[i]);
    for (attempt.size = 10; attempt.size < 2000000; attempt.size *= 7) {
        bool has_succeeded = try_to_get_many(&attempt);
        assert_true(has_succeeded);
        check_and_free_many(&attempt, has_succeeded);
    }
    for (size_t i = ASHLAR_ARRAY_LEN(locks); i-- > 0;)
        ashlar_lock_reopen(locks[i], false);
}

/* Whoever forks allocates in its own fork handlers, with every lock shut by itself. It waited for
   the fork to end when its pages lay in a part of the address space that was new to the page map. */
static void fork_handlers_do_not_hang_where_the_page_map_has_to_grow(void **state)
{
    (void)state;
    void *hole = mmap(NULL, HOLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
    assert_true(hole != MAP_FAILED);
    shut_locks_are_no_hindrance(state);
    munmap(hole, HOLE_BYTES);
}

static void what_is_left_for_later_is_all_there_later(void **state)
{
    (void)state;
    uintptr_t blocks[50][4];
    assert_false(ashlar_emergency_has_deferred());
    assert_null(ashlar_emergency_take_deferred());
    for (size_t i = 0; i < 50; i++) {
        ashlar_emergency_defer(blocks[i]);
        assert_true(ashlar_emergency_has_deferred());
    }
    bool has_seen[50] = {false};
    size_t count = 0;
    for (void *ptr = ashlar_emergency_take_deferred(); ptr != NULL; ptr = *(void **)ptr) {
        size_t i = (size_t)((uintptr_t(*)[4])ptr - blocks);
        assert_true(i < 50 && !has_seen[i]);
        has_seen[i] = true;
        count++;
    }
    assert_int_equal(count, 50);
    assert_false(ashlar_emergency_has_deferred());
    assert_null(ashlar_emergency_take_deferred());
}

#define SLOTS 300

static void random_blocks_keep_their_contents(void **state)
{
    (void)state;
    static struct {
        char *block;
        size_t size;
        uint64_t tag;
    } slots[SLOTS];
    uint64_t seed = 77;
    size_t held = held_bytes();
    for (uint64_t step = 1; step < 10000; step++) {
        size_t at = test_random_below(&seed, SLOTS);
        if (slots[at].block != NULL) {
            assert_true(test_is_marked(slots[at].block, slots[at].size, slots[at].tag, true));
            assert_true(ashlar_emergency_free(slots[at].block));
            slots[at].block = NULL;
            continue;
        }
        size_t align = (size_t)16 << test_random_below(&seed, 10);
        slots[at].size = 1 + test_random_below(&seed, (size_t)1 << test_random_below(&seed, 18));
        slots[at].tag = step;
        slots[at].block = ashlar_emergency_malloc(align, slots[at].size);
        expect_block(slots[at].block, align, slots[at].size);
        test_mark(slots[at].block, slots[at].size, step);
    }
    for (size_t at = 0; at < SLOTS; at++)
        if (slots[at].block != NULL)
            assert_true(ashlar_emergency_free(slots[at].block));
    assert_true(held_bytes() <= held + ASHLAR_MIB);
}

#define THREADS 3
#define ROUNDS 8000
#define MAILBOXES 64

static _Atomic(char *) mailboxes[MAILBOXES];

/* Blocks are freed by whoever finds them, so runs go in any thread while others open new ones. */
static void *swap_blocks(void *context)
{
    uint64_t seed = *(uint64_t *)context;
    for (int i = 0; i < ROUNDS; i++) {
        size_t size = 8 + test_random_below(&seed, 20000);
        char *block = ashlar_emergency_malloc(16, size);
        if (block == NULL)
            return context;
        block[0] = block[size - 1] = 7;
        block = atomic_exchange(&mailboxes[test_random_below(&seed, MAILBOXES)], block);
        if (block != NULL && (block[0] != 7 || !ashlar_emergency_free(block)))
            return context;
    }
    return NULL;
}

static void threads_neither_share_nor_lose_blocks(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    uint64_t seeds[THREADS] = {1, 2, 3};
    size_t held = held_bytes();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, swap_blocks, &seeds[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
    for (size_t i = 0; i < MAILBOXES; i++) {
        char *block = atomic_exchange(&mailboxes[i], NULL);
        assert_true(block == NULL || ashlar_emergency_free(block));
    }
    assert_true(held_bytes() <= held + ASHLAR_MIB);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(blocks_of_any_size_and_alignment_are_usable_throughout),
        CASE(no_bytes_have_a_place_of_their_own),
        CASE(a_very_coarse_alignment_is_kept_too),
        CASE(absurd_requests_give_nothing),
        CASE(a_block_is_freed_once),
        CASE(other_spans_are_not_of_the_store),
        CASE(a_run_goes_back_with_its_last_block),
        CASE(a_malloc_that_fails_holds_nothing_whichever_call_failed),
        CASE(shut_locks_are_no_hindrance),
        CASE(fork_handlers_do_not_hang_where_the_page_map_has_to_grow),
        CASE(what_is_left_for_later_is_all_there_later),
        CASE(random_blocks_keep_their_contents),
        CASE(threads_neither_share_nor_lose_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
