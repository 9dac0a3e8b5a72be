/*
 * test_large.c - one mapping per large block, with the kernel failing at every turn
 */
#include "unit/testing.h"

#include <pthread.h>

#include "base/bits.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "large/large.h"
#include "large/mapcache.h"
#include "large/resize.h"
#include "map/pagemap.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"
#include "unit/large_blocks.h"
#include "unit/large_checks.h"

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    /* Without the threads' fronts (see test_front.c): every free reaches the mapping cache at once. */
    (void)ashlar_option_set(ASHLAR_OPTION_cache_max, 511 << 20);
    large_check_begin_peak();
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    large_check_nothing_held();
    return 0;
}

static const struct ashlar_extent *extent_of(const char *ptr)
{
    return ashlar_extent_of(ashlar_pagemap_find(ptr));
}

/* Writes to each end of a block: long ones are not worth their page faults. */
static void touch(char *block)
{
    size_t len = ashlar_min_size(usable(block), 64 * PAGE);
    memset(block, 0xee, len);
    memset(block + usable(block) - len, 0xee, len);
}

/* ---- blocks -------------------------------------------------------------------------------- */

static void a_block_is_whole_pages_between_two_guards(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 131072, 131073, 10000000};
    char *blocks[8];
    for (int i = 0; i < 8; i++) {
        blocks[i] = alloc(sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal(usable(blocks[i]), ashlar_align_up(sizes[i] != 0 ? sizes[i] : 1, PAGE));
        memset(blocks[i], i + 1, usable(blocks[i]));
        assert_true(is_fenced(blocks[i]));
    }
    assert_int_equal(large_check(LARGE_CHECK_KERNEL).live_blocks, 8);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(blocks[i][0], i + 1);
        assert_int_equal(blocks[i][usable(blocks[i]) - 1], i + 1);
        assert_int_equal(free_block(blocks[i]), ASHLAR_LARGE_DONE);
    }
}

static void fresh_pages_that_a_copy_will_write_are_prefaulted(void **state)
{
    (void)state;
    char *block = alloc(300000);
    ashlar_large_expect_writes(block, 16383);
    assert_int_equal(fake_os_prefaulted_bytes(), 0);
    ashlar_large_expect_writes(block, 100001);
    assert_int_equal(fake_os_prefaulted_bytes(), ashlar_align_up(100001, PAGE));
    for (size_t at = 0; at < 100001; at += PAGE)
        assert_true(ashlar_os_is_resident(block + at));
    assert_false(ashlar_os_is_resident(block + ashlar_align_up(100001, PAGE)));
    assert_true(test_is_zero(block, usable(block)));
    assert_int_equal(free_block(block), ASHLAR_LARGE_DONE);
}

static void kept_pages_are_not_prefaulted(void **state)
{
    (void)state;
    char *block = alloc(300000);
    memset(block, 1, usable(block));
    assert_int_equal(free_block(block), ASHLAR_LARGE_DONE);
    block = alloc(300000);
    ashlar_large_expect_writes(block, 100001);
    assert_int_equal(fake_os_prefaulted_bytes(), 0);
    assert_int_equal(free_block(block), ASHLAR_LARGE_DONE);
    /* Nor is what is none of ours. */
    ashlar_large_expect_writes(&block, 100001);
    assert_int_equal(fake_os_prefaulted_bytes(), 0);
}

static void alignments_up_to_a_gib_are_kept_and_the_excess_is_cut_away(void **state)
{
    (void)state;
    for (size_t align = PAGE; align <= ASHLAR_GIB; align *= 2) {
        char *block = ashlar_large_alloc(5 * PAGE, align, ASHLAR_FILL_ZERO);
        assert_non_null(block);
        assert_true(ashlar_is_aligned(block, align));
        assert_int_equal(usable(block), 5 * PAGE);
        assert_true(test_is_zero(block, 5 * PAGE));
        memset(block, 1, 5 * PAGE);
        assert_true(is_fenced(block));
        large_check(LARGE_CHECK_WALK);
        assert_int_equal(free_block(block), ASHLAR_LARGE_DONE);
    }
}

static void absurd_requests_are_refused_without_asking_the_kernel(void **state)
{
    (void)state;
    assert_null(alloc(SIZE_MAX));
    assert_null(alloc(SIZE_MAX - PAGE + 1));
    assert_null(alloc((size_t)PTRDIFF_MAX + 1));
    char *block = alloc(PAGE);
    unsigned calls = fake_os_count_all();
    assert_null(resize(block, SIZE_MAX));
    assert_null(resize(block, (size_t)PTRDIFF_MAX + 1));
    assert_int_equal(fake_os_count_all(), calls);
    free_block(block);
}

static void only_a_live_block_can_be_freed_and_only_by_its_start(void **state)
{
    (void)state;
    char *block = alloc(10 * PAGE);
    char *other = alloc(10 * PAGE);
    struct ashlar_span *span = ashlar_pagemap_find(block);
    assert_int_equal(ashlar_large_free(span, block + PAGE), ASHLAR_LARGE_NOT_A_BLOCK);
    assert_int_equal(ashlar_large_free(span, block + 16), ASHLAR_LARGE_NOT_A_BLOCK);
    assert_int_equal(ashlar_large_usable_size(span, block + 16), 0);
    assert_int_equal(ashlar_large_diagnose(block + PAGE), ASHLAR_PLACE_INTERIOR);
    assert_int_equal(ashlar_large_free(span, block), ASHLAR_LARGE_DONE);
    assert_int_equal(ashlar_large_free(span, block), ASHLAR_LARGE_NOT_A_BLOCK);
    assert_int_equal(ashlar_large_diagnose(block), ASHLAR_PLACE_FREED);
    int local;
    assert_int_equal(ashlar_large_diagnose(&local), ASHLAR_PLACE_FOREIGN);
    large_check(LARGE_CHECK_WALK);
    free_block(other);
    large_check_nothing_held();
    assert_int_equal(ashlar_large_diagnose(block), ASHLAR_PLACE_FREED);
}

static void a_freed_block_is_reused_without_a_kernel_call(void **state)
{
    (void)state;
    char *block = alloc(ASHLAR_MIB);
    char *pin = alloc(PAGE);
    free_block(block);
    unsigned calls = fake_os_count_all();
    uint64_t hits = ashlar_count_read(cache_hits);
    for (int i = 0; i < 50; i++) {
        assert_ptr_equal(alloc(ASHLAR_MIB), block);
        free_block(block);
    }
    assert_int_equal(fake_os_count_all(), calls);
    assert_int_equal(ashlar_count_read(cache_hits), hits + 50);
    free_block(pin);
}

static void zero_filled_blocks_are_zero_wherever_their_pages_come_from(void **state)
{
    (void)state;
    char *fresh = ashlar_large_alloc(20 * PAGE, PAGE, ASHLAR_FILL_ZERO);
    assert_true(test_is_zero(fresh, 20 * PAGE));
    memset(fresh, 0xff, 20 * PAGE);
    char *pin = alloc(PAGE);
    free_block(fresh);
    char *reused = ashlar_large_alloc(20 * PAGE, PAGE, ASHLAR_FILL_ZERO);
    assert_ptr_equal(reused, fresh);
    assert_true(test_is_zero(reused, 20 * PAGE));
    memset(reused, 0xff, 20 * PAGE);
    free_block(reused);
    ashlar_large_trim();
    uint64_t clean_hits = ashlar_count_read(cache_clean_hits);
    char *purged = ashlar_large_alloc(20 * PAGE, PAGE, ASHLAR_FILL_ZERO);
    assert_int_equal(ashlar_count_read(cache_clean_hits), clean_hits + 1);
    assert_true(test_is_zero(purged, 20 * PAGE));
    free_block(purged);
    free_block(pin);
}

/* Fresh address space is taken while the law leaves room; pages are moved when it does not. */
static void what_is_kept_stays_where_it_is_while_there_is_room_for_fresh_pages(void **state)
{
    (void)state;
    enum { COUNT = 30 };
    char *kept[COUNT], *pins[COUNT];
    for (int i = 0; i < COUNT; i++) {
        kept[i] = alloc(2 * ASHLAR_MIB - PAGE);
        memset(kept[i], 1, 2 * ASHLAR_MIB - PAGE);
        pins[i] = alloc(PAGE);
    }
    for (int i = 0; i < 4; i++)
        free_block(kept[i]);
    /* 52 MiB live, 8 kept, a peak of 60, and 60 blocks: 5 MiB may come. */
    uint64_t moves = ashlar_count_read(recycle_moves);
    char *fits = alloc(3 * ASHLAR_MIB);
    assert_int_equal(ashlar_count_read(recycle_moves), moves);
    char *too_much = alloc(12 * ASHLAR_MIB);
    assert_true(ashlar_count_read(recycle_moves) > moves);
    free_block(fits);
    free_block(too_much);
    for (int i = 0; i < COUNT; i++) {
        if (i >= 4)
            free_block(kept[i]);
        free_block(pins[i]);
    }
}

static void calloc_does_not_make_resident_what_was_hardly_written(void **state)
{
    (void)state;
    size_t size = 3 * ASHLAR_MIB; /* longer ones leave a hole in front of them */
    char *block = alloc(size);
    char *pin = alloc(PAGE);
    block[0] = 1;
    block[size - 1] = 1;
    free_block(block);
    char *zero = ashlar_large_alloc(size, PAGE, ASHLAR_FILL_ZERO);
    assert_ptr_equal(zero, block);
    for (size_t at = 0; at < size; at += PAGE)
        assert_false(ashlar_os_is_resident(zero + at));
    assert_int_equal(zero[0], 0);
    assert_int_equal(zero[size - 1], 0);
    free_block(zero);
    /* Where the kernel does not give pages back they are cleared. */
    block = alloc(size);
    block[0] = 1;
    free_block(block);
    fake_os_fail(FAKE_OS_PURGE, 0, 1, ENOMEM);
    zero = ashlar_large_alloc(size, PAGE, ASHLAR_FILL_ZERO);
    assert_ptr_equal(zero, block);
    assert_true(fake_os_has_failed());
    fake_os_obey();
    assert_true(test_is_zero(zero, size));
    free_block(zero);
    free_block(pin);
}

/* ---- fork under way ------------------------------------------------------------------------ */

static void while_the_lock_is_shut_calls_are_refused_and_frees_wait(void **state)
{
    (void)state;
    char *block = alloc(30 * PAGE);
    char *pin = alloc(PAGE);
    char *freed = alloc(3 * PAGE);
    test_mark(block, 30 * PAGE, 3);
    ashlar_lock_shut(&ashlar_large_lock);
    assert_null(alloc(30 * PAGE));
    assert_int_equal(free_block(freed), ASHLAR_LARGE_DONE);
    assert_int_equal(free_block(freed), ASHLAR_LARGE_NOT_A_BLOCK);
    assert_null(resize(block, 60 * PAGE));
    assert_int_equal(usable(block), 30 * PAGE);
    assert_int_equal(ashlar_large_diagnose(block), ASHLAR_PLACE_FOREIGN);
    assert_false(ashlar_large_trim());
    ashlar_large_tick(ashlar_os_now_ms() + 100000);
    ashlar_lock_reopen(&ashlar_large_lock, false);
    ashlar_large_tick(ashlar_os_now_ms()); /* whoever has the lock next takes in what waited */
    assert_true(test_is_marked(block, 30 * PAGE, 3, true));
    large_check(LARGE_CHECK_KERNEL);
    free_block(block);
    free_block(pin);
}

/* ---- out of memory ------------------------------------------------------------------------- */

struct attempt {
    size_t size;
    size_t align;
    enum ashlar_large_fill fill;
    char *block;     /* what the attempt made */
    char *neighbour; /* must never change */
    char *old;       /* for realloc */
    size_t old_size;
    uint64_t live_blocks;
    uint64_t live_bytes;
};

static void begin_attempt(struct attempt *attempt)
{
    attempt->neighbour = alloc(3 * PAGE);
    test_mark(attempt->neighbour, 3 * PAGE, 77);
    attempt->live_blocks = ashlar_count_read(large_counted_blocks);
    attempt->live_bytes = ashlar_count_read(large_counted_bytes);
}

static void end_attempt(struct attempt *attempt)
{
    assert_true(test_is_marked(attempt->neighbour, 3 * PAGE, 77, true));
    assert_int_equal(free_block(attempt->neighbour), ASHLAR_LARGE_DONE);
}

static bool try_alloc(void *context)
{
    struct attempt *attempt = context;
    attempt->block = ashlar_large_alloc(attempt->size, attempt->align, attempt->fill);
    return attempt->block != NULL;
}

static void check_alloc(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    large_check(LARGE_CHECK_KERNEL);
    if (has_succeeded) {
        assert_true(ashlar_is_aligned(attempt->block, attempt->align));
        if (attempt->fill == ASHLAR_FILL_ZERO)
            assert_true(test_is_zero(attempt->block, usable(attempt->block)));
        touch(attempt->block);
        assert_int_equal(free_block(attempt->block), ASHLAR_LARGE_DONE);
    }
    assert_int_equal(ashlar_count_read(large_counted_blocks), attempt->live_blocks);
    assert_int_equal(ashlar_count_read(large_counted_bytes), attempt->live_bytes);
    assert_true(test_is_marked(attempt->neighbour, 3 * PAGE, 77, true));
    large_check(LARGE_CHECK_WALK);
}

static const int64_t guard_modes[] = {ASHLAR_GUARD_AUTO, ASHLAR_GUARD_MADVISE,
                                      ASHLAR_GUARD_MPROTECT, ASHLAR_GUARD_OFF};
static const enum fake_os_mode fail_modes[] = {FAKE_OS_ONE_FAILS, FAKE_OS_REST_FAILS};

static void an_alloc_fails_cleanly_whichever_kernel_call_failed(void **state)
{
    (void)state;
    static const struct attempt kinds[] = {
        {.size = 33 * 4096, .align = 4096},
        {.size = 33 * 4096, .align = 4096, .fill = ASHLAR_FILL_ZERO},
        {.size = 9 * 4096, .align = 1 << 20},
        {.size = 100 << 20, .align = 4096},
        {.size = 1, .align = 1 << 27},
    };
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        for (int mode = 0; mode < 2; mode++) {
            for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
                struct attempt attempt = kinds[i];
                begin_attempt(&attempt);
                fake_os_fail_each(fail_modes[mode], try_alloc, check_alloc, &attempt);
                end_attempt(&attempt);
                large_check_nothing_held();
            }
        }
    }
}

/* The same from the very first block: everything is yet to be mapped. */
static void check_first_alloc(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    if (has_succeeded)
        assert_int_equal(free_block(attempt->block), ASHLAR_LARGE_DONE);
    large_check_nothing_held();
}

static void a_first_alloc_that_fails_holds_nothing(void **state)
{
    (void)state;
    struct attempt attempt = {.size = 200000, .align = PAGE};
    unsigned calls = fake_os_fail_each(FAKE_OS_ONE_FAILS, try_alloc, check_first_alloc, &attempt);
    assert_true(calls >= 3);
    fake_os_fail_each(FAKE_OS_REST_FAILS, try_alloc, check_first_alloc, &attempt);
}

static void make_old(struct attempt *attempt)
{
    attempt->old = alloc(attempt->old_size);
    assert_non_null(attempt->old);
    test_mark(attempt->old, attempt->old_size, 5);
    attempt->live_blocks = ashlar_count_read(large_counted_blocks);
}

static bool try_realloc(void *context)
{
    struct attempt *attempt = context;
    attempt->block = resize(attempt->old, attempt->size);
    return attempt->block != NULL;
}

static void check_realloc(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    size_t kept = ashlar_min_size(attempt->old_size, attempt->size);
    char *now = has_succeeded ? attempt->block : attempt->old;
    large_check(LARGE_CHECK_KERNEL);
    assert_true(test_is_marked(now, kept, 5, kept == attempt->old_size));
    assert_int_equal(ashlar_count_read(large_counted_blocks), attempt->live_blocks);
    if (has_succeeded) {
        assert_true(usable(now) >= attempt->size);
        touch(now);
    } else {
        assert_true(usable(now) >= attempt->old_size);
    }
    assert_int_equal(free_block(now), ASHLAR_LARGE_DONE);
    large_check(LARGE_CHECK_WALK);
    make_old(attempt);
}

static void a_realloc_that_fails_leaves_the_old_block_as_it_was(void **state)
{
    (void)state;
    static const struct attempt kinds[] = {
        {.old_size = 40 * 4096, .size = 10 * 4096}, /* shrink */
        {.old_size = 40 * 4096, .size = 39 * 4096}, /* shrink by a page: room */
        {.old_size = 10 * 4096, .size = 40 * 4096}, /* grow at the edge */
        {.old_size = 40 * 4096, .size = 80 << 20},  /* grow beyond the region: move */
    };
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        for (int mode = 0; mode < 2; mode++) {
            for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
                struct attempt attempt = kinds[i];
                begin_attempt(&attempt);
                make_old(&attempt);
                fake_os_fail_each(fail_modes[mode], try_realloc, check_realloc, &attempt);
                free_block(attempt.old);
                end_attempt(&attempt);
                large_check_nothing_held();
            }
        }
    }
}

/* The same with a block behind, so that growing must move. */
static char *wedge;

static bool try_realloc_wedged(void *context)
{
    struct attempt *attempt = context;
    wedge = NULL;
    attempt->block = resize(attempt->old, attempt->size);
    return attempt->block != NULL;
}

static void check_realloc_wedged(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    check_realloc(attempt, has_succeeded);
    wedge = alloc(2 * PAGE);
    assert_non_null(wedge);
    free_block(wedge);
}

static void a_realloc_between_neighbours_fails_cleanly_too(void **state)
{
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        struct attempt attempt = {.old_size = 40 * 4096, .size = 70 * 4096};
        char *pins[20];
        begin_attempt(&attempt);
        make_old(&attempt);
        for (int i = 0; i < 20; i++)
            pins[i] = alloc(PAGE);
        attempt.live_blocks = ashlar_count_read(large_counted_blocks);
        fake_os_fail_each(fail_modes[mode], try_realloc_wedged, check_realloc_wedged, &attempt);
        free_block(attempt.old);
        for (int i = 0; i < 20; i++)
            free_block(pins[i]);
        end_attempt(&attempt);
        large_check_nothing_held();
    }
}

/* Free and trim never fail, whatever the kernel says; what could not be given back is kept. */
static bool try_free(void *context)
{
    struct attempt *attempt = context;
    return free_block(attempt->old) == ASHLAR_LARGE_DONE;
}

static void check_free(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    assert_true(has_succeeded);
    large_check(LARGE_CHECK_KERNEL);
    char *again = alloc(attempt->old_size);
    assert_non_null(again);
    memset(again, 0xdd, usable(again));
    large_check(LARGE_CHECK_KERNEL);
    free_block(again);
    make_old(attempt);
}

static void a_free_always_succeeds_whichever_kernel_call_failed(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, 0);
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        for (int mode = 0; mode < 2; mode++) {
            struct attempt attempt = {.old_size = 40 * 4096};
            begin_attempt(&attempt);
            make_old(&attempt);
            fake_os_fail_each(fail_modes[mode], try_free, check_free, &attempt);
            free_block(attempt.old);
            end_attempt(&attempt);
            large_check_nothing_held();
        }
    }
}

static bool try_trim(void *context)
{
    (void)context;
    (void)ashlar_large_trim();
    return true;
}

static void check_trim(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    (void)has_succeeded;
    large_check(LARGE_CHECK_KERNEL);
    char *blocks[8];
    for (int i = 0; i < 8; i++) {
        blocks[i] = alloc((size_t)(30 + i) * PAGE);
        assert_non_null(blocks[i]);
        memset(blocks[i], 0xdd, usable(blocks[i]));
    }
    char *longer = resize(blocks[3], 300 * PAGE);
    memset(longer, 0xcc, 300 * PAGE);
    blocks[3] = longer;
    assert_true(test_is_marked(attempt->neighbour, 3 * PAGE, 77, true));
    for (int i = 0; i < 8; i++)
        free_block(blocks[i]);
}

static void trimming_survives_whichever_kernel_call_failed(void **state)
{
    (void)state;
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        for (int mode = 0; mode < 2; mode++) {
            struct attempt attempt = {0};
            begin_attempt(&attempt);
            check_trim(&attempt, true);
            fake_os_fail_each(fail_modes[mode], try_trim, check_trim, &attempt);
            end_attempt(&attempt);
            large_check_nothing_held();
        }
    }
}

/* Symptom: guards of a region that could not be unmapped were forgotten though they stood, and the
   next block that was laid over them could not be written to. */
static void a_region_that_stays_keeps_its_guards_in_mind(void **state)
{
    (void)state;
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        char *blocks[10];
        for (int i = 0; i < 10; i++)
            blocks[i] = alloc(40 * PAGE);
        for (int i = 0; i < 10; i++)
            free_block(blocks[i]);
        fake_os_fail(FAKE_OS_UNMAP, 0, 1000, ENOMEM);
        (void)ashlar_large_trim();
        fake_os_obey();
        large_check(LARGE_CHECK_KERNEL);
        char *over = alloc(300 * PAGE);
        assert_non_null(over);
        for (size_t at = 0; at < usable(over); at += PAGE)
            assert_true(test_is_readable(over + at));
        free_block(over);
        large_check_nothing_held();
    }
}

/* ---- random operations --------------------------------------------------------------------- */

#define MODEL_BLOCKS 48

struct model_block {
    char *ptr;
    size_t size;
    uint64_t tag;
};

static size_t random_size(uint64_t *seed)
{
    /* A page to 2 MiB, about as many of each doubling. */
    size_t power = 12 + test_random_below(seed, 9);
    return ((size_t)1 << power) + test_random_below(seed, (size_t)1 << power);
}

static void fill_model_block(struct model_block *block, uint64_t tag)
{
    block->tag = tag;
    test_mark(block->ptr, block->size, tag);
}

static void step_model(struct model_block *block, uint64_t *seed, uint64_t tag)
{
    size_t size = random_size(seed);
    bool wants_zero = test_random_below(seed, 4) == 0;
    size_t align = test_random_below(seed, 8) == 0 ? PAGE << test_random_below(seed, 10) : PAGE;
    if (block->ptr == NULL) {
        char *ptr = ashlar_large_alloc(size, align,
                                       wants_zero ? ASHLAR_FILL_ZERO : ASHLAR_FILL_ANY);
        if (ptr == NULL) {
            assert_true(fake_os_has_failed());
            return;
        }
        assert_true(ashlar_is_aligned(ptr, align));
        assert_true(!wants_zero || test_is_zero(ptr, usable(ptr)));
        *block = (struct model_block){ptr, size, 0};
        fill_model_block(block, tag);
        return;
    }
    assert_true(test_is_marked(block->ptr, block->size, block->tag, true));
    if (test_random_below(seed, 3) != 0) {
        assert_int_equal(free_block(block->ptr), ASHLAR_LARGE_DONE);
        block->ptr = NULL;
        return;
    }
    size_t live = ashlar_count_read(large_counted_bytes);
    uint64_t copied = ashlar_count_read(realloc_copied);
    char *moved = resize(block->ptr, size);
    if (moved == NULL) {
        assert_true(fake_os_has_failed());
        return;
    }
    if (ashlar_count_read(realloc_copied) != copied)
        large_check_note_peak(live + usable(moved));
    size_t kept = ashlar_min_size(size, block->size);
    assert_true(test_is_marked(moved, kept, block->tag, kept == block->size));
    *block = (struct model_block){moved, size, 0};
    fill_model_block(block, tag);
}

static void run_model(uint64_t seed, int steps, unsigned fail_one_in)
{
    struct model_block blocks[MODEL_BLOCKS] = {{0}};
    large_check_begin_peak();
    for (int step = 0; step < steps; step++) {
        struct model_block *block = &blocks[test_random_below(&seed, MODEL_BLOCKS)];
        if (fail_one_in != 0 && test_random_below(&seed, fail_one_in) == 0)
            fake_os_fail_nth((unsigned)test_random_below(&seed, 6));
        step_model(block, &seed, (uint64_t)step + 1);
        bool has_failed = fake_os_has_failed();
        fake_os_obey();
        if (!has_failed && fail_one_in == 0)
            large_check_law();
        if (step % 50 == 0)
            large_check(step % 500 == 0 ? LARGE_CHECK_KERNEL : LARGE_CHECK_WALK);
        if (test_random_below(&seed, 20) == 0)
            fake_os_pass_time(test_random_below(&seed, 300));
        if (test_random_below(&seed, 400) == 0)
            (void)ashlar_large_trim();
    }
    large_check(LARGE_CHECK_KERNEL);
    for (int i = 0; i < MODEL_BLOCKS; i++) {
        if (blocks[i].ptr == NULL)
            continue;
        assert_true(test_is_marked(blocks[i].ptr, blocks[i].size, blocks[i].tag, true));
        assert_int_equal(free_block(blocks[i].ptr), ASHLAR_LARGE_DONE);
        large_check(LARGE_CHECK_WALK);
    }
    large_check_nothing_held();
}

static void random_operations_keep_contents_and_laws(void **state)
{
    (void)state;
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        run_model((uint64_t)guard + 100, 1000, 0);
    }
}

/* With decay_ms:-1 the peak is that of all time, so it must not be that of an earlier case. */
static void forget_peak(void)
{
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, 1);
    fake_os_pass_time(1000);
    free_block(alloc(PAGE));
}

static void random_operations_keep_contents_and_laws_whatever_the_decay(void **state)
{
    (void)state;
    static const int64_t decays[] = {0, -1, 50};
    for (int i = 0; i < 3; i++) {
        forget_peak();
        (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, decays[i]);
        run_model((uint64_t)i + 200, 700, 0);
    }
}

static void random_operations_keep_contents_and_laws_without_moves_or_markers(void **state)
{
    (void)state;
    ashlar_os_facts.has_move_keep = false;
    run_model(300, 700, 0);
    ashlar_os_facts.has_guard_markers = false;
    run_model(301, 700, 0);
}

static void random_operations_keep_contents_and_laws_while_kernel_calls_fail(void **state)
{
    (void)state;
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        run_model((uint64_t)guard + 400, 1200, 5);
    }
}

/* ---- threads ------------------------------------------------------------------------------- */

#define HANDED_BLOCKS 64

static _Atomic(char *) handed[HANDED_BLOCKS];

/* Each takes whatever block lies there, whoever made it, and leaves another. */
static void *hand_over(void *context)
{
    uint64_t seed = *(uint64_t *)context;
    for (int i = 0; i < 1500; i++) {
        char *mine = NULL;
        if (test_random_below(&seed, 4) != 0) {
            size_t size = PAGE + test_random_below(&seed, 64 * PAGE);
            mine = alloc(size);
            if (mine == NULL)
                return context;
            *(size_t *)(void *)mine = size;
            mine[size - 1] = 'x';
            if (test_random_below(&seed, 4) == 0) {
                mine = resize(mine, size + 20 * PAGE);
                if (mine == NULL || mine[size - 1] != 'x')
                    return context;
            }
        }
        char *other = atomic_exchange(&handed[test_random_below(&seed, HANDED_BLOCKS)], mine);
        if (other == NULL)
            continue;
        if (other[*(size_t *)(void *)other - 1] != 'x' || free_block(other) != ASHLAR_LARGE_DONE)
            return context;
    }
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[4];
    uint64_t seeds[4] = {11, 22, 33, 44};
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, hand_over, &seeds[i]);
    for (int i = 0; i < 4; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
    large_check(LARGE_CHECK_KERNEL);
    for (int i = 0; i < HANDED_BLOCKS; i++) {
        char *block = atomic_exchange(&handed[i], NULL);
        if (block != NULL)
            assert_int_equal(free_block(block), ASHLAR_LARGE_DONE);
    }
    large_check_nothing_held();
}

static void threads_hand_blocks_over_and_nothing_is_lost(void **state)
{
    (void)state;
    for (int guard = 0; guard < 4; guard++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[guard]);
        run_threads();
        (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, guard % 2 == 0 ? 0 : 1000);
    }
}

static _Atomic bool is_over;

static void *shut_and_reopen(void *context)
{
    while (!is_over) {
        ashlar_lock_shut(&ashlar_large_lock);
        sched_yield();
        ashlar_lock_reopen(&ashlar_large_lock, false);
        sched_yield();
    }
    return context;
}

/* As hand_over, but refusals are taken as they come. */
static void *work_when_let(void *context)
{
    uint64_t seed = *(uint64_t *)context;
    char *mine[16] = {NULL};
    for (int i = 0; i < 3000; i++) {
        char **slot = &mine[test_random_below(&seed, 16)];
        size_t size = PAGE + test_random_below(&seed, 64 * PAGE);
        if (*slot == NULL) {
            *slot = alloc(size);
            if (*slot != NULL)
                memset(*slot, 1, usable(*slot));
        } else if (test_random_below(&seed, 2) == 0) {
            char *moved = resize(*slot, size);
            if (moved != NULL) {
                *slot = moved;
                memset(moved, 1, usable(moved));
            }
        } else if (free_block(*slot) == ASHLAR_LARGE_DONE) {
            *slot = NULL;
        }
    }
    for (int i = 0; i < 16; i++)
        if (mine[i] != NULL)
            free_block(mine[i]);
    return NULL;
}

static void forks_in_between_lose_no_memory_and_no_account(void **state)
{
    (void)state;
    pthread_t gate;
    pthread_t threads[3];
    uint64_t seeds[3] = {5, 6, 7};
    is_over = false;
    pthread_create(&gate, NULL, shut_and_reopen, NULL);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, work_when_let, &seeds[i]);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    is_over = true;
    pthread_join(gate, NULL);
    (void)ashlar_large_trim(); /* what the fronts keep counts, too */
    assert_int_equal(ashlar_count_read(large_counted_blocks), 0);
    assert_int_equal(ashlar_count_read(large_counted_bytes), 0);
}

static void extents_of_a_block_can_be_looked_up(void **state)
{
    (void)state;
    char *block = alloc(10 * PAGE);
    assert_ptr_equal(extent_of(block)->base, block);
    assert_int_equal(extent_of(block)->state, ASHLAR_EXTENT_LIVE);
    free_block(block);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

/* Symptom: each of a hundred blocks that nobody wrote to took six calls to move what was empty. */
static void untouched_blocks_of_growing_length_are_not_moved(void **state)
{
    (void)state;
    uint64_t moves = ashlar_count_read(recycle_moves);
    for (size_t i = 0; i < 200; i++)
        free_block(alloc(100 * ASHLAR_MIB + i * 20000));
    assert_true(ashlar_count_read(recycle_moves) <= moves + 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_first_alloc_that_fails_holds_nothing),
        CASE(a_block_is_whole_pages_between_two_guards),
        CASE(fresh_pages_that_a_copy_will_write_are_prefaulted),
        CASE(kept_pages_are_not_prefaulted),
        CASE(alignments_up_to_a_gib_are_kept_and_the_excess_is_cut_away),
        CASE(absurd_requests_are_refused_without_asking_the_kernel),
        CASE(only_a_live_block_can_be_freed_and_only_by_its_start),
        CASE(a_freed_block_is_reused_without_a_kernel_call),
        CASE(zero_filled_blocks_are_zero_wherever_their_pages_come_from),
        CASE(what_is_kept_stays_where_it_is_while_there_is_room_for_fresh_pages),
        CASE(calloc_does_not_make_resident_what_was_hardly_written),
        CASE(while_the_lock_is_shut_calls_are_refused_and_frees_wait),
        CASE(an_alloc_fails_cleanly_whichever_kernel_call_failed),
        CASE(a_realloc_that_fails_leaves_the_old_block_as_it_was),
        CASE(a_realloc_between_neighbours_fails_cleanly_too),
        CASE(a_free_always_succeeds_whichever_kernel_call_failed),
        CASE(trimming_survives_whichever_kernel_call_failed),
        CASE(a_region_that_stays_keeps_its_guards_in_mind),
        CASE(random_operations_keep_contents_and_laws),
        CASE(random_operations_keep_contents_and_laws_whatever_the_decay),
        CASE(random_operations_keep_contents_and_laws_without_moves_or_markers),
        CASE(random_operations_keep_contents_and_laws_while_kernel_calls_fail),
        CASE(threads_hand_blocks_over_and_nothing_is_lost),
        CASE(forks_in_between_lose_no_memory_and_no_account),
        CASE(extents_of_a_block_can_be_looked_up),
        /* Leaves behind the belief that blocks are empty. */
        CASE(untouched_blocks_of_growing_length_are_not_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
