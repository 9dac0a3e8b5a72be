/*
 * test_front.c - the last few freed large blocks of each thread
 */
#include "unit/testing.h"

#include <pthread.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "large/front.h"
#include "large/large.h"
#include "map/pagemap.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

#define PAGE ((size_t)4096)
#define LEN (64 * PAGE)

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    (void)ashlar_large_trim();
    return 0;
}

static char *alloc(size_t size)
{
    return ashlar_large_alloc(size, PAGE, ASHLAR_FILL_ANY);
}

static enum ashlar_large_result free_block(char *ptr)
{
    struct ashlar_span *span = ashlar_pagemap_find(ptr);
    return span != NULL ? ashlar_large_free(span, ptr) : ASHLAR_LARGE_NOT_A_BLOCK;
}

static void a_freed_block_waits_for_a_request_of_its_length(void **state)
{
    (void)state;
    char *block = alloc(LEN);
    uint64_t allocs = ashlar_count_read(large_allocs);
    free_block(block);
    assert_int_equal(ashlar_front_blocks(), 1);
    assert_int_equal(ashlar_front_bytes(), LEN);
    char *longer = alloc(2 * LEN);
    assert_ptr_not_equal(longer, block);
    free_block(longer);
    char *first = alloc(LEN);
    char *second = alloc(2 * LEN);
    assert_non_null(first);
    assert_non_null(second);
    free_block(first);
    free_block(second);
    assert_int_equal(alloc(LEN) == first, true);
    assert_int_equal(alloc(2 * LEN) == second, true);
    assert_true(ashlar_count_read(large_allocs) <= allocs + 3);
    free_block(first);
    free_block(second);
}

static void the_short_way_finds_what_waits_and_takes_the_long_one_now_and_then(void **state)
{
    (void)state;
    char *block = alloc(LEN);
    assert_null(ashlar_large_take_kept(LEN)); /* nothing waits */
    free_block(block);
    assert_null(ashlar_large_take_kept(LEN + 1));
    unsigned calls = fake_os_count_all();
    unsigned long_ways = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char *kept = ashlar_large_take_kept(LEN);
        if (kept == NULL) {
            long_ways++;
            assert_null(ashlar_large_take_kept(LEN)); /* until it was gone */
            kept = alloc(LEN);
        }
        assert_ptr_equal(kept, block);
        assert_int_equal(free_block(kept), ASHLAR_LARGE_DONE);
    }
    assert_true(long_ways >= 1 && long_ways <= 10);
    assert_int_equal(fake_os_count_all(), calls);
    assert_null(ashlar_large_take_kept(SIZE_MAX));
}

static void what_is_taken_is_counted_and_what_is_flushed_is_not(void **state)
{
    (void)state;
    char *block = alloc(LEN);
    size_t hits = ashlar_front_hits();
    free_block(block);
    assert_int_equal(ashlar_front_hits(), hits);
    assert_null(ashlar_large_take_kept(2 * LEN));
    assert_int_equal(ashlar_front_hits(), hits);
    for (size_t i = 1; i <= 10; i++) {
        assert_ptr_equal(alloc(LEN), block);
        assert_int_equal(ashlar_front_hits(), hits + i);
        free_block(block);
    }
    assert_true(ashlar_large_trim());
    assert_int_equal(ashlar_front_hits(), hits + 10);
}

/* Each counts by itself: those of threads that have gone stay in the sum. */
static void *take_one_again(void *length)
{
    char *block = alloc(*(size_t *)length);
    free_block(block);
    assert_ptr_equal(alloc(*(size_t *)length), block);
    free_block(block);
    return NULL;
}

static void the_threads_are_counted_together(void **state)
{
    (void)state;
    size_t hits = ashlar_front_hits();
    for (size_t i = 0; i < 5; i++) {
        pthread_t thread;
        size_t length = LEN + i * PAGE;
        assert_int_equal(pthread_create(&thread, NULL, take_one_again, &length), 0);
        pthread_join(thread, NULL);
    }
    assert_int_equal(ashlar_front_hits(), hits + 5);
}

static void what_waits_is_kept_not_live(void **state)
{
    (void)state;
    char *block = alloc(LEN);
    struct ashlar_large_usage live = ashlar_large_usage();
    free_block(block);
    struct ashlar_large_usage kept = ashlar_large_usage();
    assert_int_equal(live.live_bytes - kept.live_bytes, LEN);
    assert_int_equal(live.live_blocks - kept.live_blocks, 1);
    assert_int_equal(kept.kept_bytes - live.kept_bytes, LEN);
}

static void freeing_what_waits_is_a_double_free(void **state)
{
    (void)state;
    char *block = alloc(LEN);
    free_block(block);
    assert_int_equal(free_block(block), ASHLAR_LARGE_NOT_A_BLOCK);
    assert_int_equal(ashlar_large_diagnose(block), ASHLAR_PLACE_FREED);
}

static void what_waits_reads_as_zero_when_zero_is_asked_for(void **state)
{
    (void)state;
    char *block = alloc(LEN);
    memset(block, 0xff, LEN);
    free_block(block);
    char *zero = ashlar_large_alloc(LEN, PAGE, ASHLAR_FILL_ZERO);
    assert_ptr_equal(zero, block);
    for (size_t i = 0; i < LEN; i++)
        assert_int_equal(zero[i], 0);
    free_block(zero);
}

static void what_waits_goes_back_when_three_quarters_of_its_time_are_up(void **state)
{
    (void)state;
    char *pin = alloc(PAGE);
    char *block = alloc(LEN);
    free_block(block);
    uint64_t now_ms = ashlar_os_now_ms();
    ashlar_large_tick(now_ms + (uint64_t)ashlar_opt.decay_ms * 3 / 4 - 1);
    assert_int_equal(ashlar_front_blocks(), 1);
    ashlar_large_tick(now_ms + (uint64_t)ashlar_opt.decay_ms * 3 / 4);
    assert_int_equal(ashlar_front_blocks(), 0);
    ashlar_large_tick(now_ms + (uint64_t)ashlar_opt.decay_ms);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 0);
    free_block(pin);
}

static void trimming_takes_what_waits(void **state)
{
    (void)state;
    free_block(alloc(LEN));
    assert_true(ashlar_large_trim());
    assert_int_equal(ashlar_front_blocks(), 0);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
}

static void nothing_waits_when_options_want_nothing_kept(void **state)
{
    (void)state;
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, 0);
    free_block(alloc(LEN));
    assert_int_equal(ashlar_front_blocks(), 0);
    (void)ashlar_option_set(ASHLAR_OPTION_decay_ms, 1000);
    (void)ashlar_option_set(ASHLAR_OPTION_cache_max, 0);
    free_block(alloc(LEN));
    assert_int_equal(ashlar_front_blocks(), 0);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 0);
}

static void what_waits_is_let_alone_while_there_is_room_for_fresh_pages(void **state)
{
    (void)state;
    char *low = alloc(LEN);
    char *high = alloc(LEN);
    char *pin = alloc(PAGE);
    free_block(low);
    free_block(high);
    char *longer = alloc(LEN + PAGE); /* both would do together */
    assert_int_equal(ashlar_front_blocks(), 2);
    assert_ptr_not_equal(longer, low);
    free_block(longer);
    /* Beyond the law they are looked at first. */
    ashlar_count_add(arena_dirty_bytes, ASHLAR_GIB);
    longer = alloc(LEN + 2 * PAGE);
    ashlar_count_sub(arena_dirty_bytes, ASHLAR_GIB);
    assert_ptr_equal(longer, low);
    assert_int_equal(ashlar_front_blocks(), 0);
    free_block(longer);
    free_block(pin);
}

static void a_coarser_alignment_is_not_served_by_chance(void **state)
{
    (void)state;
    size_t align = 8 * ASHLAR_MIB;
    char *block = alloc(LEN);
    for (int i = 0; i < 20; i++) {
        free_block(block);
        block = ashlar_large_alloc(LEN, i % 2 == 0 ? align : PAGE, ASHLAR_FILL_ANY);
        assert_non_null(block);
        if (i % 2 == 0)
            assert_true(ashlar_is_aligned(block, align));
    }
    free_block(block);
}

static void more_blocks_than_slots_push_the_oldest_out(void **state)
{
    (void)state;
    char *blocks[40];
    for (size_t i = 0; i < 40; i++)
        blocks[i] = alloc(LEN + i * PAGE);
    for (size_t i = 0; i < 40; i++)
        free_block(blocks[i]);
    assert_true(ashlar_front_blocks() <= 16);
    assert_true(ashlar_count_read(cache_kept_bytes) > 0);
}

static void the_nearest_length_serves_up_to_the_surplus(void **state)
{
    (void)state;
    static struct ashlar_extent extents[4];
    static const size_t lens[4] = {14 * PAGE, 10 * PAGE, 12 * PAGE, 12 * PAGE};
    struct ashlar_extent *displaced;
    for (size_t i = 0; i < 4; i++) {
        extents[i].len_bytes = lens[i];
        extents[i].base = (char *)(i == 3 ? 16 * PAGE : PAGE);
        assert_null(ashlar_front_put(&extents[i], ashlar_os_now_ms()));
    }
    assert_null(ashlar_front_take(11 * PAGE, 0, PAGE, &displaced));
    assert_null(ashlar_front_take(11 * PAGE, PAGE - 1, PAGE, &displaced));
    assert_null(ashlar_front_take(15 * PAGE, 4 * PAGE, PAGE, &displaced)); /* never shorter */
    assert_ptr_equal(ashlar_front_take(9 * PAGE, 9 * PAGE, PAGE, &displaced), &extents[1]);
    assert_ptr_equal(ashlar_front_take(9 * PAGE, 9 * PAGE, PAGE, &displaced), &extents[2]);
    assert_ptr_equal(ashlar_front_take(11 * PAGE, PAGE, 16 * PAGE, &displaced), &extents[3]);
    assert_null(ashlar_front_take(14 * PAGE, 9 * PAGE, 16 * PAGE, &displaced));
    assert_int_equal(ashlar_front_blocks(), 1);
    assert_ptr_equal(ashlar_front_take(14 * PAGE, 9 * PAGE, PAGE, &displaced), &extents[0]);
    assert_null(displaced);
}

/* Threads that share lines and flush one another's: no block is handed out twice, none is lost. */
static void *swing(void *argument)
{
    uint64_t seed = *(uint64_t *)argument;
    char *mine[4] = {NULL};
    for (int i = 0; i < 20000; i++) {
        size_t k = test_random_below(&seed, 4);
        if (mine[k] != NULL) {
            assert_int_equal(*(uint64_t *)(void *)mine[k], (uintptr_t)&mine[k]);
            assert_int_equal(free_block(mine[k]), ASHLAR_LARGE_DONE);
        }
        mine[k] = alloc(LEN + PAGE * test_random_below(&seed, 3));
        assert_non_null(mine[k]);
        *(uint64_t *)(void *)mine[k] = (uintptr_t)&mine[k];
        if (i % 1000 == 0)
            (void)ashlar_large_trim();
    }
    for (size_t k = 0; k < 4; k++)
        free_block(mine[k]);
    return NULL;
}

static void threads_never_get_the_same_block(void **state)
{
    (void)state;
    pthread_t threads[4];
    uint64_t seeds[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, swing, &seeds[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    while (ashlar_large_trim())
        ;
    assert_int_equal(ashlar_count_read(large_counted_blocks), 0);
    assert_int_equal(ashlar_count_read(large_counted_bytes), 0);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_freed_block_waits_for_a_request_of_its_length),
        CASE(the_short_way_finds_what_waits_and_takes_the_long_one_now_and_then),
        CASE(what_is_taken_is_counted_and_what_is_flushed_is_not),
        CASE(the_threads_are_counted_together),
        CASE(what_waits_is_kept_not_live),
        CASE(freeing_what_waits_is_a_double_free),
        CASE(what_waits_reads_as_zero_when_zero_is_asked_for),
        CASE(what_waits_goes_back_when_three_quarters_of_its_time_are_up),
        CASE(trimming_takes_what_waits),
        CASE(nothing_waits_when_options_want_nothing_kept),
        CASE(what_waits_is_let_alone_while_there_is_room_for_fresh_pages),
        CASE(a_coarser_alignment_is_not_served_by_chance),
        CASE(more_blocks_than_slots_push_the_oldest_out),
        CASE(the_nearest_length_serves_up_to_the_surplus),
        CASE(threads_never_get_the_same_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
