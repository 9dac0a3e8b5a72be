/*
 * test_account.c - the law of memory as arithmetic
 *
 * Purpose     Nothing is allocated: the account is told of bytes, and asked about others. Cases
 *             leave nothing counted; each begins long after the one before, so no peak is
 *             remembered.
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "large/account.h"
#include "large/front.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

/* Allowed above the peak, after few blocks and after many: account.h. */
#define SLACK_BYTES (1 * ASHLAR_MIB)
#define MOST_SLACK_BYTES (16 * ASHLAR_MIB)

static uint64_t now_ms;

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    now_ms = ashlar_os_now_ms();
    return 0;
}

static void grow(size_t bytes)
{
    ashlar_account_grow_locked(bytes, now_ms);
}

static void shrink(size_t bytes)
{
    ashlar_account_shrink_locked(bytes, now_ms);
}

static bool is_too_much(size_t dirty_bytes)
{
    return ashlar_account_is_too_much_locked(dirty_bytes);
}

static void kept_memory_may_fill_up_to_the_peak_and_the_slack(void **state)
{
    (void)state;
    size_t peak = 100 * ASHLAR_MIB;
    size_t limit = peak + peak / 100 * 5 + SLACK_BYTES;
    grow(peak);
    assert_false(is_too_much(limit - peak));
    assert_true(is_too_much(limit - peak + 1));
    shrink(40 * ASHLAR_MIB);
    assert_false(is_too_much(limit - 60 * ASHLAR_MIB));
    assert_true(is_too_much(limit - 60 * ASHLAR_MIB + 1));
    shrink(60 * ASHLAR_MIB);
    assert_false(is_too_much(limit));
    assert_true(is_too_much(limit + 1));
    ashlar_opt.cache_slack = 50;
    assert_false(is_too_much(peak + peak / 2 + SLACK_BYTES));
}

/* So many blocks come and go. */
static void come_and_go(unsigned times)
{
    struct ashlar_extent block = {.len_bytes = 1};
    for (; times > 0; times--) {
        ashlar_account_count_locked(&block, now_ms);
        ashlar_account_uncount_locked(&block, now_ms);
    }
}

static void the_slack_follows_the_blocks_of_two_windows(void **state)
{
    (void)state;
    ashlar_opt.cache_slack = 0;
    ashlar_opt.decay_ms = 100;
    come_and_go(200);
    assert_false(is_too_much(1 + 200 * 32 * ASHLAR_KIB));
    assert_true(is_too_much(2 + 200 * 32 * ASHLAR_KIB));
    now_ms += 100;
    come_and_go(100);
    assert_false(is_too_much(1 + 300 * 32 * ASHLAR_KIB));
    assert_true(is_too_much(2 + 300 * 32 * ASHLAR_KIB));
    come_and_go(10000);
    assert_false(is_too_much(1 + MOST_SLACK_BYTES));
    assert_true(is_too_much(2 + MOST_SLACK_BYTES));
    now_ms += 200; /* a pause: what was before it does not count */
    come_and_go(1);
    assert_false(is_too_much(1 + SLACK_BYTES));
    assert_true(is_too_much(2 + SLACK_BYTES));
}

/* A block waits in the thread's front and is taken out of it so many times. */
static void wait_and_go(unsigned times)
{
    struct ashlar_extent block = {.len_bytes = 1};
    for (; times > 0; times--) {
        struct ashlar_extent *displaced;
        assert_null(ashlar_front_put(&block, now_ms));
        assert_ptr_equal(ashlar_front_take(1, 0, 1, &displaced), &block);
        assert_null(displaced);
    }
    now_ms++; /* they are summed up once a millisecond */
    ashlar_account_note_locked(now_ms);
}

/* They come to life, too, although the account is not told. */
static void blocks_out_of_a_front_earn_slack(void **state)
{
    (void)state;
    ashlar_opt.cache_slack = 0;
    ashlar_opt.decay_ms = 100;
    come_and_go(10);
    wait_and_go(190);
    assert_false(is_too_much(1 + 200 * 32 * ASHLAR_KIB));
    assert_true(is_too_much(2 + 200 * 32 * ASHLAR_KIB));
    now_ms += 100; /* a window further they count as well */
    come_and_go(1);
    wait_and_go(99);
    assert_false(is_too_much(1 + 300 * 32 * ASHLAR_KIB));
    assert_true(is_too_much(2 + 300 * 32 * ASHLAR_KIB));
    now_ms += 100;
    come_and_go(1);
    assert_false(is_too_much(1 + 101 * 32 * ASHLAR_KIB));
    assert_true(is_too_much(2 + 101 * 32 * ASHLAR_KIB));
    now_ms += 200;
    come_and_go(1);
    assert_true(is_too_much(2 + SLACK_BYTES));
    wait_and_go(1000);
    assert_false(is_too_much(1 + MOST_SLACK_BYTES));
    assert_true(is_too_much(2 + MOST_SLACK_BYTES));
}

static size_t excess(size_t dirty_bytes)
{
    return ashlar_account_excess_locked(dirty_bytes);
}

/* Moving guards costs a program of few blocks nothing to speak of. */
static void a_surplus_is_for_who_takes_thousands_of_blocks(void **state)
{
    (void)state;
    size_t most = 256 * ASHLAR_KIB;
    ashlar_opt.decay_ms = 60000; /* is of no consequence */
    come_and_go(4095);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), 0);
    come_and_go(1);
    assert_int_equal(ashlar_account_surplus_allowed(128 * ASHLAR_KIB), 32 * ASHLAR_KIB);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), most);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_GIB), most);
    static const int64_t exact[] = {ASHLAR_GUARD_MADVISE, ASHLAR_GUARD_MPROTECT, ASHLAR_GUARD_OFF};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(exact); i++) {
        ashlar_opt.guard = exact[i];
        come_and_go(1);
        assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), 0);
        ashlar_opt.guard = ASHLAR_GUARD_AUTO;
        come_and_go(1);
        assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), most);
    }
    now_ms += 1000;
    come_and_go(1);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), most);
    now_ms += 1000;
    come_and_go(1);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), 0);
    come_and_go(4096);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), most);
    now_ms += 2000; /* a pause */
    come_and_go(1);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), 0);
}

/* Live and not in the peak, so that there is no more beside what was asked for than without it. */
static void all_surplus_is_paid_out_of_the_slack(void **state)
{
    (void)state;
    struct ashlar_extent block = {.len_bytes = 48 * ASHLAR_MIB};
    ashlar_opt.cache_slack = 0;
    come_and_go(4096);
    ashlar_account_set_surplus(&block, 8 * ASHLAR_MIB - 1);
    assert_true(ashlar_account_surplus_allowed(ASHLAR_MIB) != 0);
    ashlar_account_set_surplus(&block, 8 * ASHLAR_MIB);
    assert_int_equal(ashlar_account_surplus_allowed(ASHLAR_MIB), 0);
    assert_int_equal(ashlar_extent_asked_bytes(&block), 40 * ASHLAR_MIB);
    assert_int_equal(ashlar_count_read(surplus_bytes), 8 * ASHLAR_MIB);
    ashlar_account_count_locked(&block, now_ms);
    assert_false(is_too_much(MOST_SLACK_BYTES - 8 * ASHLAR_MIB));
    assert_true(is_too_much(MOST_SLACK_BYTES - 8 * ASHLAR_MIB + 1));
    ashlar_account_uncount_locked(&block, now_ms);
    ashlar_account_set_surplus(&block, 0);
    assert_int_equal(ashlar_count_read(surplus_bytes), 0);
    assert_false(is_too_much(40 * ASHLAR_MIB + MOST_SLACK_BYTES));
    assert_true(is_too_much(40 * ASHLAR_MIB + MOST_SLACK_BYTES + 1));
}

/* What is left of it when the rush is over leaves the least slack. */
static void old_surplus_leaves_the_least_slack(void **state)
{
    (void)state;
    struct ashlar_extent block = {.len_bytes = 8 * ASHLAR_MIB};
    ashlar_opt.cache_slack = 0;
    come_and_go(1);
    ashlar_account_set_surplus(&block, 6 * ASHLAR_MIB);
    ashlar_account_count_locked(&block, now_ms);
    assert_false(is_too_much(SLACK_BYTES));
    assert_true(is_too_much(SLACK_BYTES + 1));
    ashlar_account_uncount_locked(&block, now_ms);
    ashlar_account_set_surplus(&block, 0);
}

static void the_excess_is_what_the_law_asks_for(void **state)
{
    (void)state;
    ashlar_opt.cache_slack = 0;
    size_t limit = 960 * ASHLAR_MIB + SLACK_BYTES;
    grow(1000 * ASHLAR_MIB);
    shrink(960 * ASHLAR_MIB);
    assert_int_equal(excess(0), 0);
    assert_int_equal(excess(limit), 0);
    assert_int_equal(excess(limit + 5), 5);
    ashlar_opt.cache_max = 600 * (int64_t)ASHLAR_MIB;
    assert_int_equal(excess(600 * ASHLAR_MIB), 0);
    assert_int_equal(excess(600 * ASHLAR_MIB + 7), 7);
    assert_int_equal(excess(limit + 5), limit + 5 - 600 * ASHLAR_MIB); /* the more of both */
    struct ashlar_extent block = {.len_bytes = ASHLAR_MIB};
    uint64_t freed_ms;
    assert_null(ashlar_front_put(&block, now_ms)); /* is kept, too */
    assert_int_equal(excess(600 * ASHLAR_MIB), ASHLAR_MIB);
    assert_ptr_equal(ashlar_front_flush(UINT64_MAX, &freed_ms), &block);
    assert_int_equal(excess(600 * ASHLAR_MIB), 0);
    shrink(40 * ASHLAR_MIB);
}

static void small_memory_counts_on_both_sides_of_the_law(void **state)
{
    (void)state;
    ashlar_opt.cache_slack = 0;
    ashlar_count_add(slab_bytes, 100 * ASHLAR_MIB);
    ashlar_account_note_locked(now_ms);
    ashlar_count_sub(slab_bytes, 60 * ASHLAR_MIB);
    assert_false(is_too_much(60 * ASHLAR_MIB + SLACK_BYTES));
    assert_true(is_too_much(60 * ASHLAR_MIB + SLACK_BYTES + 1));
    ashlar_count_add(arena_dirty_bytes, 60 * ASHLAR_MIB);
    assert_false(is_too_much(SLACK_BYTES));
    assert_true(is_too_much(SLACK_BYTES + 1));
    assert_false(ashlar_account_wants_small()); /* what is large goes first */
    ashlar_count_add(slab_bytes, 2 * SLACK_BYTES);
    assert_false(is_too_much(0));
    assert_true(ashlar_account_wants_small());
    assert_false(ashlar_account_wants_small());
    ashlar_count_sub(arena_dirty_bytes, 60 * ASHLAR_MIB);
    ashlar_count_sub(slab_bytes, 40 * ASHLAR_MIB + 2 * SLACK_BYTES);
}

static void the_byte_limit_holds_whatever_the_peak(void **state)
{
    (void)state;
    ashlar_opt.cache_max = (int64_t)ASHLAR_MIB;
    grow(100 * ASHLAR_MIB);
    assert_false(is_too_much(ASHLAR_MIB));
    assert_true(is_too_much(ASHLAR_MIB + 1));
    shrink(100 * ASHLAR_MIB);
    ashlar_opt.cache_max = 0;
    assert_false(is_too_much(0));
    assert_true(is_too_much(1));
}

static void a_peak_is_forgotten_after_two_windows(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 100;
    grow(100 * ASHLAR_MIB);
    shrink(100 * ASHLAR_MIB);
    now_ms += 99;
    grow(1);
    assert_false(is_too_much(100 * ASHLAR_MIB));
    now_ms += 100; /* the next window: the one before still counts */
    grow(1);
    assert_false(is_too_much(100 * ASHLAR_MIB));
    now_ms += 100;
    grow(1);
    assert_true(is_too_much(100 * ASHLAR_MIB));
    shrink(3);
}

static void a_peak_lasts_for_ever_when_nothing_decays(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = -1;
    grow(100 * ASHLAR_MIB);
    shrink(100 * ASHLAR_MIB);
    now_ms += 1000000;
    grow(1);
    assert_false(is_too_much(100 * ASHLAR_MIB));
    shrink(1);
}

/* What is flushed from a thread's front is put with the time when it was freed. */
static void the_peak_is_not_forgotten_when_time_goes_back_by_a_tick(void **state)
{
    (void)state;
    grow(100 * ASHLAR_MIB);
    now_ms += 10;
    shrink(100 * ASHLAR_MIB);
    now_ms -= 11;
    grow(4096);
    now_ms += 11;
    shrink(4096);
    assert_false(is_too_much(90 * ASHLAR_MIB));
}

static void a_block_is_counted_once(void **state)
{
    (void)state;
    struct ashlar_extent block = {.len_bytes = ASHLAR_MIB};
    uint64_t blocks = ashlar_count_read(large_counted_blocks);
    uint64_t bytes = ashlar_count_read(large_counted_bytes);
    ashlar_account_uncount_locked(&block, now_ms);
    assert_int_equal(ashlar_count_read(large_counted_bytes), bytes);
    ashlar_account_count_locked(&block, now_ms);
    assert_true(block.is_counted);
    assert_int_equal(ashlar_count_read(large_counted_blocks), blocks + 1);
    assert_int_equal(ashlar_count_read(large_counted_bytes), bytes + ASHLAR_MIB);
    ashlar_account_uncount_locked(&block, now_ms);
    ashlar_account_uncount_locked(&block, now_ms);
    assert_false(block.is_counted);
    assert_int_equal(ashlar_count_read(large_counted_blocks), blocks);
    assert_int_equal(ashlar_count_read(large_counted_bytes), bytes);
}

/* The last case: what has been learned stays. */
static void nothing_is_kept_near_the_limit_of_the_cgroup(void **state)
{
    (void)state;
    fake_os_memory_limit = 80 * ASHLAR_MIB;
    grow(20 * ASHLAR_MIB);
    ashlar_account_learn_limit(); /* does not matter yet */
    grow(80 * ASHLAR_MIB);
    assert_false(is_too_much(SLACK_BYTES));
    ashlar_count_sub(large_counted_bytes, 80 * ASHLAR_MIB); /* as if these were small */
    ashlar_count_add(slab_bytes, 80 * ASHLAR_MIB);
    ashlar_account_learn_limit();
    ashlar_count_sub(slab_bytes, 80 * ASHLAR_MIB);
    ashlar_count_add(large_counted_bytes, 80 * ASHLAR_MIB);
    assert_true(is_too_much(1));
    shrink(60 * ASHLAR_MIB);
    assert_false(is_too_much(30 * ASHLAR_MIB));
    assert_true(is_too_much(30 * ASHLAR_MIB + 1));
    assert_true(ashlar_account_has_room_locked(0, 30 * ASHLAR_MIB));
    assert_false(ashlar_account_has_room_locked(0, 30 * ASHLAR_MIB + 1));
    shrink(40 * ASHLAR_MIB);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(kept_memory_may_fill_up_to_the_peak_and_the_slack),
        CASE(the_slack_follows_the_blocks_of_two_windows),
        CASE(blocks_out_of_a_front_earn_slack),
        CASE(a_surplus_is_for_who_takes_thousands_of_blocks),
        CASE(all_surplus_is_paid_out_of_the_slack),
        CASE(old_surplus_leaves_the_least_slack),
        CASE(the_excess_is_what_the_law_asks_for),
        CASE(small_memory_counts_on_both_sides_of_the_law),
        CASE(the_byte_limit_holds_whatever_the_peak),
        CASE(a_peak_is_forgotten_after_two_windows),
        CASE(a_peak_lasts_for_ever_when_nothing_decays),
        CASE(the_peak_is_not_forgotten_when_time_goes_back_by_a_tick),
        CASE(a_block_is_counted_once),
        CASE(nothing_is_kept_near_the_limit_of_the_cgroup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
