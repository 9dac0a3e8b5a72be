/*
 * test_resize.c - large blocks made longer and shorter
 *
 * Purpose     Blocks grow where they are and elsewhere, with and without kept pages to be moved
 *             under what is new of them; the old part is marked and has to stay as it was.
 */
#include "unit/testing.h"

#include <errno.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "large/large.h"
#include "large/mapcache.h"
#include "large/resize.h"
#include "map/pagemap.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"
#include "unit/large_blocks.h"
#include "unit/large_checks.h"

#define PINS 64

static const int64_t guard_modes[] = {ASHLAR_GUARD_AUTO, ASHLAR_GUARD_MPROTECT};
static const enum fake_os_mode fail_modes[] = {FAKE_OS_ONE_FAILS, FAKE_OS_REST_FAILS};

static size_t lent_bytes;

/* Whether the law leaves room for more: none as long as so much small memory is kept. */
static void set_room(bool has_room)
{
    ashlar_count_sub(arena_dirty_bytes, lent_bytes);
    lent_bytes = has_room ? 0 : 1024 * ASHLAR_GIB;
    ashlar_count_add(arena_dirty_bytes, lent_bytes);
}

static char *pins[PINS];
static size_t pin_count;

/* A live page behind what was made last. */
static void pin(void)
{
    assert_true(pin_count < PINS);
    pins[pin_count++] = alloc(PAGE);
}

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    /* Without the threads' fronts: every free reaches the mapping cache at once. */
    (void)ashlar_option_set(ASHLAR_OPTION_cache_max, 511 << 20);
    large_check_begin_peak();
    pin_count = 0;
    return 0;
}

static void free_pins(void)
{
    while (pin_count > 0)
        assert_int_equal(free_block(pins[--pin_count]), ASHLAR_LARGE_DONE);
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    set_room(true);
    free_pins();
    large_check_nothing_held();
    return 0;
}

static size_t kept_pages(void)
{
    return ashlar_count_read(cache_kept_bytes) / PAGE;
}

static void shrinking_stays_in_place_and_fences_the_new_end(void **state)
{
    (void)state;
    char *block = alloc(20 * PAGE);
    test_mark(block, 20 * PAGE, 1);
    assert_ptr_equal(resize(block, 7 * PAGE - 5), block);
    assert_int_equal(usable(block), 7 * PAGE);
    assert_true(is_fenced(block));
    assert_true(test_is_marked(block, 7 * PAGE, 1, false));
    large_check(LARGE_CHECK_KERNEL);
    /* Down by a page: too little for an extent of its own. */
    assert_ptr_equal(resize(block, 6 * PAGE), block);
    assert_int_equal(usable(block), 6 * PAGE);
    assert_true(is_fenced(block));
    large_check(LARGE_CHECK_KERNEL);
    free_block(block);
}

/* Symptom: on kernels without guard markers, pages that lay where guards had stood between blocks
   were copied by realloc and faulted anew by malloc. */
static void pages_move_across_the_borders_that_mprotect_has_left(void **state)
{
    (void)state;
    enum { PART = 300 };
    ashlar_opt.guard = ASHLAR_GUARD_MPROTECT;
    char *parts[3];
    for (int i = 0; i < 3; i++) {
        parts[i] = alloc(PART * PAGE); /* its guard stands before it is written */
        memset(parts[i], 1, PART * PAGE);
    }
    pin();
    for (int i = 0; i < 3; i++)
        free_block(parts[i]);
    char *block = make(3 * PART, 1);
    assert_ptr_equal(block, parts[0]);
    assert_false(ashlar_os_is_one_mapping(block, 3 * PART * PAGE));
    uint64_t moved = ashlar_count_read(realloc_moved);
    uint64_t copied = ashlar_count_read(realloc_copied);
    char *longer = resize(block, 7 * PART * PAGE);
    assert_ptr_not_equal(longer, block);
    assert_true(test_is_marked(longer, 3 * PART * PAGE, 1, true));
    assert_int_equal(ashlar_count_read(realloc_moved), moved + 1);
    assert_int_equal(ashlar_count_read(realloc_copied), copied);
    large_check(LARGE_CHECK_KERNEL);
    free_block(longer);
}

static void growing_takes_in_what_is_free_behind_it(void **state)
{
    (void)state;
    char *block = alloc(10 * PAGE);
    char *behind = alloc(10 * PAGE);
    char *pin = alloc(PAGE);
    test_mark(block, 10 * PAGE, 1);
    free_block(behind);
    uint64_t in_place = ashlar_count_read(realloc_in_place);
    assert_ptr_equal(resize(block, 15 * PAGE), block);
    large_check(LARGE_CHECK_KERNEL);
    assert_ptr_equal(resize(block, 21 * PAGE), block);
    large_check(LARGE_CHECK_KERNEL);
    assert_int_equal(ashlar_count_read(realloc_in_place), in_place + 2);
    assert_true(test_is_marked(block, 10 * PAGE, 1, true));
    memset(block, 2, 21 * PAGE);
    assert_true(is_fenced(block));
    free_block(block);
    free_block(pin);
}

static void growing_at_the_edge_extends_the_region(void **state)
{
    (void)state;
    char *block = alloc(10 * PAGE);
    test_mark(block, 10 * PAGE, 1);
    size_t len = 10 * PAGE;
    while (len < 32 * ASHLAR_MIB) {
        len = len * 3 / 2;
        assert_ptr_equal(resize(block, len), block);
        large_check(LARGE_CHECK_WALK);
    }
    assert_true(test_is_marked(block, 10 * PAGE, 1, true));
    assert_int_equal(ashlar_count_read(realloc_copied), 0);
    free_block(block);
}

static void growing_elsewhere_moves_pages_and_copies_none(void **state)
{
    (void)state;
    char *block = alloc(30 * PAGE);
    char *pin = alloc(PAGE);
    test_mark(block, 30 * PAGE, 9);
    uint64_t moved_before = ashlar_count_read(realloc_moved);
    char *moved = resize(block, 60 * PAGE);
    assert_true(moved != NULL && moved != block);
    assert_int_equal(ashlar_count_read(realloc_moved), moved_before + 1);
    assert_true(test_is_marked(moved, 30 * PAGE, 9, true));
    memset(moved + 30 * PAGE, 1, 30 * PAGE);
    assert_true(is_fenced(moved));
    assert_null(ashlar_pagemap_find(block));
    assert_int_equal(large_check(LARGE_CHECK_KERNEL).live_blocks, 2);
    free_block(moved);
    free_block(pin);
}

static void a_block_whose_move_was_refused_is_copied(void **state)
{
    (void)state;
    char *block = alloc(30 * PAGE);
    char *pin = alloc(PAGE);
    test_mark(block, 30 * PAGE, 9);
    uint64_t copied = ashlar_count_read(realloc_copied);
    fake_os_fail(FAKE_OS_MOVE, 0, 1, EFAULT);
    char *moved = resize(block, 60 * PAGE);
    fake_os_obey();
    assert_int_equal(ashlar_count_read(realloc_copied), copied + 1);
    assert_true(test_is_marked(moved, 30 * PAGE, 9, true));
    memset(moved + 30 * PAGE, 1, 30 * PAGE);
    assert_true(is_fenced(moved));
    large_check(LARGE_CHECK_KERNEL);
    free_block(moved);
    free_block(pin);
}

static void without_moves_growing_copies(void **state)
{
    (void)state;
    ashlar_os_facts.has_move_keep = false;
    char *block = alloc(30 * PAGE);
    char *pin = alloc(PAGE);
    test_mark(block, 30 * PAGE, 9);
    uint64_t copied = ashlar_count_read(realloc_copied);
    char *moved = resize(block, 60 * PAGE);
    assert_int_equal(ashlar_count_read(realloc_copied), copied + 1);
    assert_true(test_is_marked(moved, 30 * PAGE, 9, true));
    assert_int_equal(fake_os_count(FAKE_OS_MOVE), 0);
    large_check(LARGE_CHECK_WALK);
    free_block(moved);
    free_block(pin);
}

static void a_move_the_kernel_refuses_becomes_a_copy(void **state)
{
    (void)state;
    static const int errors[] = {ENOMEM, EINVAL, EFAULT};
    for (int i = 0; i < 3; i++) {
        char *block = alloc(30 * PAGE);
        char *pin = alloc(PAGE);
        test_mark(block, 30 * PAGE, 9);
        uint64_t copied = ashlar_count_read(realloc_copied);
        fake_os_fail(FAKE_OS_MOVE, 0, 1000, errors[i]);
        char *moved = resize(block, 60 * PAGE);
        assert_non_null(moved);
        assert_int_equal(ashlar_count_read(realloc_copied), copied + 1);
        fake_os_obey();
        assert_true(test_is_marked(moved, 30 * PAGE, 9, true));
        large_check(LARGE_CHECK_KERNEL);
        free_block(moved);
        free_block(pin);
    }
}

/* Symptom: the guard of the shorter block stood inside the block that stayed as long as it was. */
static void a_shrink_refused_leaves_all_usable_bytes_usable(void **state)
{
    (void)state;
    char *block = alloc(30 * PAGE);
    test_mark(block, 30 * PAGE, 3);
    ashlar_lock_shut(&ashlar_large_lock);
    char *same = resize(block, 10 * PAGE);
    ashlar_lock_reopen(&ashlar_large_lock, false);
    assert_true(same == block || same == NULL);
    large_check(LARGE_CHECK_KERNEL);
    for (size_t at = 0; at < usable(block); at += PAGE)
        assert_true(test_is_readable(block + at));
    free_block(block);
}

/* A marked block with clean space behind it, or the edge of its region; and a kept block in front
   of it. */
static char *make_growing(size_t npages, size_t clean_pages, size_t kept)
{
    char *other = make(kept, 5);
    pin();
    char *block = make(npages + (clean_pages != 0 ? 1 + clean_pages : 0), 7);
    if (clean_pages != 0) {
        pin();
        assert_ptr_equal(resize(block, npages * PAGE), block);
        test_mark(block, npages * PAGE, 7);
        (void)ashlar_large_trim();
    }
    free_block(other);
    assert_int_equal(kept_pages(), kept);
    return block;
}

static bool is_due(void)
{
    assert_true(ashlar_mapcache_lock());
    bool is = ashlar_mapcache_is_due_locked(ashlar_os_now_ms());
    ashlar_mapcache_unlock();
    return is;
}

static void without_room_kept_pages_are_moved_under_what_a_block_grows_by(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[i % 2]);
        char *block = make_growing(20, i < 2 ? 100 : 0, 60);
        uint64_t moved = ashlar_count_read(recycle_bytes);
        uint64_t in_place = ashlar_count_read(realloc_in_place);
        set_room(false);
        assert_ptr_equal(resize(block, 90 * PAGE), block);
        assert_false(is_due());
        set_room(true);
        assert_int_equal(ashlar_count_read(realloc_in_place), in_place + 1);
        assert_int_equal(ashlar_count_read(recycle_bytes), moved + 60 * PAGE);
        assert_int_equal(kept_pages(), 0);
        assert_true(test_is_marked(block, 20 * PAGE, 7, true));
        assert_true(test_is_marked(block + 20 * PAGE, 60 * PAGE, 5, true));
        assert_true(test_is_zero(block + 80 * PAGE, 10 * PAGE));
        assert_true(is_fenced(block));
        large_check(LARGE_CHECK_KERNEL);
        free_block(block);
        free_pins();
        large_check_nothing_held();
    }
}

static void with_room_a_block_that_grows_in_place_gets_fresh_pages(void **state)
{
    (void)state;
    for (int is_at_edge = 0; is_at_edge < 2; is_at_edge++) {
        char *block = make_growing(20, is_at_edge ? 0 : 100, 60);
        unsigned moves = fake_os_count(FAKE_OS_MOVE);
        assert_ptr_equal(resize(block, 90 * PAGE), block);
        assert_int_equal(fake_os_count(FAKE_OS_MOVE), moves);
        assert_int_equal(kept_pages(), 60);
        assert_true(test_is_marked(block, 20 * PAGE, 7, true));
        free_block(block);
        free_pins();
        large_check_nothing_held();
    }
}

/* What lies behind it may hold pages itself. */
static void a_block_that_grows_into_kept_pages_gets_no_others(void **state)
{
    (void)state;
    char *block = make(20, 7);
    char *behind = make(100, 6);
    pin();
    char *other = make(60, 5);
    pin();
    free_block(behind);
    free_block(other);
    unsigned moves = fake_os_count(FAKE_OS_MOVE);
    set_room(false);
    assert_ptr_equal(resize(block, 90 * PAGE), block);
    set_room(true);
    assert_int_equal(fake_os_count(FAKE_OS_MOVE), moves);
    assert_true(test_is_marked(block, 20 * PAGE, 7, true));
    large_check(LARGE_CHECK_KERNEL);
    free_block(block);
}

/* Symptom: what the kernel would not move was kept above the law until the next call. */
static void what_could_not_be_moved_under_a_growing_block_is_not_kept_above_the_law(void **state)
{
    (void)state;
    for (int is_at_edge = 0; is_at_edge < 2; is_at_edge++) {
        char *block = make_growing(20, is_at_edge ? 0 : 100, 60);
        set_room(false);
        fake_os_fail(FAKE_OS_MOVE, 0, 1, ENOMEM);
        assert_ptr_equal(resize(block, 90 * PAGE), block);
        assert_true(fake_os_has_failed());
        fake_os_obey();
        assert_false(is_due());
        set_room(true);
        assert_true(test_is_marked(block, 20 * PAGE, 7, true));
        assert_int_equal(large_check(LARGE_CHECK_KERNEL).dirty_bytes, 0);
        free_block(block);
        free_pins();
        large_check_nothing_held();
    }
}

/* It is about to be written, so what is kept is of use to it although there is room. */
static void a_block_that_grows_elsewhere_takes_kept_pages_along(void **state)
{
    (void)state;
    char *other = make(60, 5);
    pin();
    char *block = make(40, 7);
    pin();
    free_block(other);
    uint64_t moves = ashlar_count_read(realloc_moved);
    uint64_t recycled = ashlar_count_read(recycle_bytes);
    char *grown = resize(block, 120 * PAGE);
    assert_ptr_not_equal(grown, block);
    assert_int_equal(ashlar_count_read(realloc_moved), moves + 1);
    assert_int_equal(ashlar_count_read(recycle_bytes), recycled + 60 * PAGE);
    assert_true(test_is_marked(grown, 40 * PAGE, 7, true));
    assert_true(test_is_marked(grown + 40 * PAGE, 60 * PAGE, 5, true));
    assert_true(test_is_zero(grown + 100 * PAGE, 20 * PAGE));
    assert_int_equal(kept_pages(), 0);
    large_check(LARGE_CHECK_KERNEL);
    free_block(grown);
}

/* A block that grows where it is, with the kernel failing. */
struct attempt {
    size_t clean_pages;
    char *block;
    char *grown;
};

static void prepare(struct attempt *attempt)
{
    attempt->block = make_growing(20, attempt->clean_pages, 60);
    set_room(false);
}

static bool try_to_grow(void *context)
{
    struct attempt *attempt = context;
    attempt->grown = resize(attempt->block, 90 * PAGE);
    return attempt->grown != NULL;
}

static void check_grown(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    char *now = has_succeeded ? attempt->grown : attempt->block;
    set_room(true);
    assert_int_equal(large_check(LARGE_CHECK_KERNEL).live_blocks, pin_count + 1);
    assert_true(test_is_marked(now, 20 * PAGE, 7, true));
    assert_true(usable(now) >= (has_succeeded ? 90 : 20) * PAGE);
    memset(now, 1, usable(now));
    free_block(now);
    (void)ashlar_large_trim();
    char *zero = ashlar_large_alloc(60 * PAGE, PAGE, ASHLAR_FILL_ZERO);
    assert_true(test_is_zero(zero, 60 * PAGE));
    free_block(zero);
    free_pins();
    large_check_nothing_held();
    prepare(attempt);
}

static void a_block_that_grows_in_place_stays_whole_whichever_kernel_call_failed(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct attempt attempt = {.clean_pages = i < 4 ? 100 : 0};
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guard_modes[i % 2]);
        prepare(&attempt);
        assert_true(fake_os_fail_each(fail_modes[i / 2 % 2], try_to_grow, check_grown, &attempt) >
                    3);
        set_room(true);
        free_block(attempt.block);
        free_pins();
        large_check_nothing_held();
    }
}

/* ---- blocks with a surplus ------------------------------------------------------------------ */

/* A block of `npages` in kept pages of `nkept`, after so many blocks that it is not cut. */
static char *make_loose(size_t npages, size_t nkept, enum ashlar_large_fill fill)
{
    for (int i = 0; i < 4096; i++)
        assert_int_equal(free_block(alloc(PAGE)), ASHLAR_LARGE_DONE);
    char *kept = make(nkept, 1);
    pin();
    free_block(kept);
    char *block = ashlar_large_alloc(npages * PAGE, PAGE, fill);
    assert_ptr_equal(block, kept);
    return block;
}

static size_t surplus_pages(void)
{
    return ashlar_count_read(surplus_bytes) / PAGE;
}

static void a_block_with_a_surplus_has_the_length_that_was_asked_for(void **state)
{
    (void)state;
    char *block = make_loose(52, 64, ASHLAR_FILL_ZERO);
    assert_int_equal(usable(block), 52 * PAGE);
    assert_int_equal(surplus_pages(), 12);
    assert_int_equal(kept_pages(), 0);
    for (size_t at = 0; at < 52 * PAGE; at++)
        assert_int_equal(block[at], 0);
    assert_false(test_is_readable(block - 1));
    assert_true(test_is_readable(block + 64 * PAGE - 1));
    assert_false(test_is_readable(block + 64 * PAGE));
    free_block(block);
    assert_int_equal(surplus_pages(), 0);
    assert_int_equal(kept_pages(), 64);
    char *shorter = alloc(51 * PAGE); /* more than a quarter longer: cut */
    assert_ptr_equal(shorter, block);
    assert_int_equal(surplus_pages(), 0);
    assert_true(is_fenced(shorter));
    free_block(shorter);
}

/* Symptom: a request that failed half way left its surplus behind, counted for good. */
static void a_request_that_fails_leaves_no_surplus(void **state)
{
    (void)state;
    for (int i = 0; i < 4096; i++)
        assert_int_equal(free_block(alloc(PAGE)), ASHLAR_LARGE_DONE);
    char *low = make(30, 1);
    char *high = make(33, 2);
    pin();
    free_block(low);
    free_block(high); /* with low's guard in the middle now */
    fake_os_fail(FAKE_OS_GUARD_REMOVE, 0, 1, ENOMEM);
    assert_null(alloc(52 * PAGE));
    fake_os_obey();
    assert_int_equal(surplus_pages(), 0);
    assert_int_equal(kept_pages(), 64);
    char *block = alloc(52 * PAGE);
    assert_ptr_equal(block, low);
    assert_int_equal(surplus_pages(), 12);
    memset(block, 1, 52 * PAGE);
    free_block(block);
}

static void a_block_grows_into_its_surplus_and_out_of_it(void **state)
{
    (void)state;
    char *block = make_loose(52, 64, ASHLAR_FILL_ANY);
    test_mark(block, 52 * PAGE, 7);
    assert_ptr_equal(resize(block, 60 * PAGE), block);
    assert_int_equal(usable(block), 60 * PAGE);
    assert_int_equal(surplus_pages(), 4);
    assert_ptr_equal(resize(block, 64 * PAGE), block);
    assert_int_equal(surplus_pages(), 0);
    assert_true(is_fenced(block));
    char *longer = resize(block, 80 * PAGE);
    assert_int_equal(usable(longer), 80 * PAGE);
    assert_true(test_is_marked(longer, 52 * PAGE, 7, true));
    assert_true(is_fenced(longer));
    free_block(longer);
}

/* Symptom: free_sized with the right size was a size mismatch after a realloc that had failed. */
static void a_block_whose_resize_fails_keeps_its_surplus(void **state)
{
    (void)state;
    char *block = make_loose(52, 64, ASHLAR_FILL_ANY);
    fake_os_fail_from(0);
    assert_null(resize(block, 1 << 30));
    fake_os_obey();
    assert_int_equal(usable(block), 52 * PAGE);
    assert_int_equal(surplus_pages(), 12);
    assert_ptr_equal(resize(block, 60 * PAGE), block);
    free_block(block);
    assert_int_equal(surplus_pages(), 0);
}

static void an_aligned_block_does_not_take_what_lies_badly(void **state)
{
    (void)state;
    char *block = make_loose(52, 64, ASHLAR_FILL_ANY);
    free_block(block);
    size_t align = 2 * ((uintptr_t)block & -(uintptr_t)block);
    char *aligned = ashlar_large_alloc(56 * PAGE, align, ASHLAR_FILL_ANY);
    assert_true(ashlar_is_aligned(aligned, align));
    free_block(aligned);
}

static void a_block_that_shrinks_loses_its_surplus(void **state)
{
    (void)state;
    char *block = make_loose(52, 64, ASHLAR_FILL_ANY);
    assert_ptr_equal(resize(block, 51 * PAGE), block);
    assert_int_equal(usable(block), 51 * PAGE);
    assert_int_equal(surplus_pages(), 0);
    assert_true(is_fenced(block));
    assert_int_equal(kept_pages(), 12);
    free_block(block);
}

static void a_block_that_grows_beyond_its_surplus_loses_it(void **state)
{
    (void)state;
    char *block = make_loose(52, 64, ASHLAR_FILL_ANY);
    test_mark(block, 52 * PAGE, 8);
    char *longer = resize(block, 65 * PAGE);
    assert_int_equal(usable(longer), 65 * PAGE);
    assert_true(test_is_marked(longer, 52 * PAGE, 8, true));
    assert_int_equal(surplus_pages(), 0);
    assert_true(is_fenced(longer));
    free_block(longer);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(shrinking_stays_in_place_and_fences_the_new_end),
        CASE(pages_move_across_the_borders_that_mprotect_has_left),
        CASE(growing_takes_in_what_is_free_behind_it),
        CASE(growing_at_the_edge_extends_the_region),
        CASE(growing_elsewhere_moves_pages_and_copies_none),
        CASE(a_block_whose_move_was_refused_is_copied),
        CASE(without_moves_growing_copies),
        CASE(a_move_the_kernel_refuses_becomes_a_copy),
        CASE(a_shrink_refused_leaves_all_usable_bytes_usable),
        CASE(without_room_kept_pages_are_moved_under_what_a_block_grows_by),
        CASE(with_room_a_block_that_grows_in_place_gets_fresh_pages),
        CASE(a_block_that_grows_into_kept_pages_gets_no_others),
        CASE(what_could_not_be_moved_under_a_growing_block_is_not_kept_above_the_law),
        CASE(a_block_that_grows_elsewhere_takes_kept_pages_along),
        CASE(a_block_with_a_surplus_has_the_length_that_was_asked_for),
        CASE(a_request_that_fails_leaves_no_surplus),
        CASE(a_block_grows_into_its_surplus_and_out_of_it),
        CASE(a_block_whose_resize_fails_keeps_its_surplus),
        CASE(an_aligned_block_does_not_take_what_lies_badly),
        CASE(a_block_that_shrinks_loses_its_surplus),
        CASE(a_block_that_grows_beyond_its_surplus_loses_it),
        CASE(a_block_that_grows_in_place_stays_whole_whichever_kernel_call_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
