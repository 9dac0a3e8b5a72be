/*
 * test_recycle.c - pages of freed blocks moved under new ones
 *
 * Purpose     Every page of a block is marked with the block's tag and its place in its unit, so
 *             that pages that went astray show. Most blocks are whole units, those of the
 *             random case whole pages.
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "large/pieces.h"
#include "large/purge.h"
#include "large/recycle.h"
#include "map/meta.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"
#include "unit/large_checks.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define UNIT (256 * ASHLAR_KIB)
#define TABLE (ashlar_os_facts.table_bytes)
#define BLOCKS 256

/* The shortest run that is moved, and the part of a block that one has to be. */
#define LEAST (64 * ASHLAR_KIB)
#define LEAST_PART 32
#define MAPPINGS_PER_DOUBLING 512

static struct ashlar_extent *blocks[BLOCKS];
static size_t block_count;

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    block_count = 0;
    return 0;
}

static void lock(void)
{
    assert_true(ashlar_mapcache_lock());
}

static void put(struct ashlar_extent *extent, enum ashlar_extent_state state)
{
    ashlar_mapcache_put(extent, state, ashlar_os_now_ms());
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    while (block_count > 0)
        put(blocks[--block_count], ASHLAR_EXTENT_DIRTY);
    (void)ashlar_purge_all();
    large_check_nothing_held();
    return 0;
}

/* A live block of fresh pages at a multiple of `align`. */
static struct ashlar_extent *make_at(size_t len_bytes, size_t align)
{
    size_t taken_bytes;
    struct ashlar_extent *extent = ashlar_extent_new();
    assert_non_null(extent);
    extent->base = ashlar_region_take(len_bytes + PAGE, align, ASHLAR_PAGES_BASE, &extent->region,
                                      &taken_bytes);
    assert_non_null(extent->base);
    extent->len_bytes = taken_bytes - PAGE;
    lock();
    assert_true(ashlar_mapcache_cut_fresh_locked(extent, len_bytes, align));
    ashlar_mapcache_unlock();
    return extent;
}

/* The same at a multiple of a unit. */
static struct ashlar_extent *make(size_t len_bytes)
{
    return make_at(len_bytes, UNIT);
}

/* Blocks put back at the end of the case. */
static struct ashlar_extent *hold_at(size_t len_bytes, size_t align)
{
    assert_true(block_count < BLOCKS);
    return blocks[block_count++] = make_at(len_bytes, align);
}

static struct ashlar_extent *hold(size_t len_bytes)
{
    return hold_at(len_bytes, UNIT);
}

/* The same without empty address space beside it, which would be joined with it when freed. */
static struct ashlar_extent *make_alone_at(size_t len_bytes, size_t align)
{
    const char *edge = ashlar_extent_end(hold_at(PAGE, PAGE));
    size_t gap = ashlar_align_up((uintptr_t)edge, align) - (uintptr_t)edge;
    if (gap != 0)
        (void)hold_at(gap != PAGE ? gap - PAGE : align, PAGE);
    struct ashlar_extent *extent = make_at(len_bytes, PAGE);
    assert_int_equal((uintptr_t)extent->base % align, 0);
    return extent;
}

static uint64_t mark_of(uint64_t tag, size_t offset)
{
    return tag << 32 | offset % UNIT;
}

static void mark(const struct ashlar_extent *extent, uint64_t tag)
{
    for (size_t at = 0; at < extent->len_bytes; at += PAGE)
        *(uint64_t *)(void *)(extent->base + at) = mark_of(tag, at);
}

/* The tag of a unit all of whose pages are where they were in it; 0: it reads as zero. */
static uint64_t tag_of(const char *unit)
{
    uint64_t first = *(const uint64_t *)(const void *)unit;
    if (first == 0) {
        assert_true(test_is_zero(unit, UNIT));
        return 0;
    }
    for (size_t at = 0; at < UNIT; at += PAGE)
        assert_int_equal(*(const uint64_t *)(const void *)(unit + at), mark_of(first >> 32, at));
    return first >> 32;
}

/* Keeps a marked block, a live page behind it. Where its guard would stand are contents of an
   earlier, longer one. */
static struct ashlar_extent *keep_at(size_t len_bytes, size_t align, uint64_t tag)
{
    struct ashlar_extent *extent = make_alone_at(len_bytes, align);
    mark(extent, tag);
    memset(ashlar_extent_guard(extent), 1, PAGE);
    (void)hold_at(PAGE, PAGE);
    put(extent, ASHLAR_EXTENT_DIRTY);
    return extent;
}

static struct ashlar_extent *keep(size_t units, uint64_t tag)
{
    return keep_at(units * UNIT, UNIT, tag);
}

static struct ashlar_recycle_plan plan_for(const struct ashlar_extent *extent, size_t offset_bytes)
{
    struct ashlar_recycle_plan plan;
    lock();
    ashlar_recycle_plan_locked(&plan, extent->len_bytes, offset_bytes);
    ashlar_mapcache_unlock();
    return plan;
}

static size_t recycle(struct ashlar_extent *extent, size_t offset_bytes)
{
    struct ashlar_recycle_plan plan = plan_for(extent, offset_bytes);
    return ashlar_recycle_run(&plan, extent, offset_bytes);
}

static size_t kept_bytes(void)
{
    return ashlar_count_read(cache_kept_bytes);
}

static size_t move_mappings(void)
{
    return ashlar_count_read(move_mappings);
}

/* True when some of it lies in a mapping that a move made. */
static bool is_moved(const struct ashlar_extent *extent)
{
    return ashlar_pieces_is_any(extent->region, extent->base, ashlar_extent_guard(extent));
}

static size_t move(const struct ashlar_extent *from, size_t from_offset,
                   const struct ashlar_extent *to, size_t to_offset, size_t len_bytes)
{
    return ashlar_recycle_move(from->region, from->base + from_offset, to->region,
                               to->base + to_offset, len_bytes);
}

static void kept_pages_come_under_the_new_block_with_their_contents(void **state)
{
    (void)state;
    char *old_base = keep(4, 7)->base;
    struct ashlar_extent *block = hold(4 * UNIT);
    uint64_t moved = ashlar_count_read(recycle_bytes);
    assert_int_equal(recycle(block, 0), 4 * UNIT);
    for (size_t at = 0; at < 4 * UNIT; at += UNIT)
        assert_int_equal(tag_of(block->base + at), 7);
    assert_int_equal(ashlar_count_read(recycle_bytes), moved + 4 * UNIT);
    assert_true(is_moved(block));
    assert_int_equal(move_mappings(), 2); /* what they have left is joined again */
    /* That is zero pages, up to the end. */
    assert_int_equal(kept_bytes(), 0);
    assert_true(test_is_zero(old_base, 4 * UNIT + PAGE));
    old_base[0] = 1;
}

static void nothing_is_planned_where_nothing_can_be_moved(void **state)
{
    (void)state;
    struct ashlar_extent *block = hold(4 * UNIT);
    struct ashlar_extent *short_block = hold(LEAST - PAGE);
    assert_int_equal(plan_for(block, 0).count, 0); /* nothing is kept */
    struct ashlar_extent *too_short = make_alone_at(LEAST - PAGE, PAGE);
    (void)hold_at(PAGE, PAGE);
    put(too_short, ASHLAR_EXTENT_DIRTY);
    assert_int_equal(plan_for(block, 0).count, 0);
    (void)keep(2, 7);
    assert_int_equal(plan_for(short_block, 0).count, 0);
    assert_int_equal(plan_for(block, 4 * UNIT - LEAST + PAGE).count, 0);
    assert_int_equal(plan_for(block, 4 * UNIT).count, 0);
    assert_int_equal(plan_for(block, 5 * UNIT).count, 0);
    (void)ashlar_option_set(ASHLAR_OPTION_recycle, ASHLAR_RECYCLE_OFF);
    assert_int_equal(plan_for(block, 0).count, 0);
    (void)ashlar_option_set(ASHLAR_OPTION_recycle, ASHLAR_RECYCLE_ON);
    ashlar_os_facts.has_move_keep = false;
    assert_int_equal(plan_for(block, 0).count, 0);
    ashlar_os_facts.has_move_keep = true;
    assert_int_equal(recycle(block, 0), 2 * UNIT);
}

/* The part of a marked block from `offset_bytes` on, as it was there. */
static void expect_marked(const char *from, size_t len_bytes, uint64_t tag, size_t offset_bytes)
{
    for (size_t at = 0; at < len_bytes; at += PAGE)
        assert_int_equal(*(const uint64_t *)(const void *)(from + at),
                         mark_of(tag, offset_bytes + at));
}

static void whole_pages_move_and_no_more_than_fit(void **state)
{
    (void)state;
    size_t len = 2 * UNIT + 5 * PAGE;
    char *old_base = keep(3, 7)->base;
    struct ashlar_extent *block = hold(len);
    assert_int_equal(recycle(block, 0), len);
    expect_marked(block->base, len, 7, 0);
    assert_true(test_is_zero(old_base, len));
    expect_marked(old_base + len, UNIT - 5 * PAGE, 7, len); /* what lay behind the run */
    assert_int_equal(kept_bytes(), UNIT - 5 * PAGE);
    assert_int_equal(move_mappings(), 2);
}

static void a_run_may_begin_and_end_at_any_page(void **state)
{
    (void)state;
    size_t len = LEAST + 3 * PAGE;
    (void)hold_at(PAGE, PAGE);
    struct ashlar_extent *old = keep_at(len, PAGE, 7);
    struct ashlar_extent *block = hold(4 * UNIT);
    mark(block, 5);
    assert_int_equal(recycle(block, 7 * PAGE), len);
    expect_marked(block->base, 7 * PAGE, 5, 0);
    expect_marked(block->base + 7 * PAGE, len, 7, 0);
    expect_marked(block->base + 7 * PAGE + len, PAGE, 5, 7 * PAGE + len);
    assert_int_equal(old->state, ASHLAR_EXTENT_CLEAN);
    assert_int_equal(kept_bytes(), 0);
}

static void a_long_block_is_not_made_of_crumbs(void **state)
{
    (void)state;
    size_t least = 2 * LEAST;
    struct ashlar_extent *block = hold(LEAST_PART * least);
    (void)keep_at(least - PAGE, PAGE, 7);
    assert_int_equal(plan_for(block, 0).count, 0);
    (void)keep_at(least, PAGE, 8);
    assert_int_equal(recycle(block, 0), least);
    expect_marked(block->base, least, 8, 0);
    assert_int_equal(kept_bytes(), least - PAGE);
}

static void what_lies_in_front_of_the_offset_is_not_touched(void **state)
{
    (void)state;
    (void)keep(4, 7);
    struct ashlar_extent *block = hold(4 * UNIT);
    mark(block, 5);
    assert_int_equal(recycle(block, UNIT), 3 * UNIT);
    for (size_t at = 0; at < 4 * UNIT; at += UNIT)
        assert_int_equal(tag_of(block->base + at), at == 0 ? 5 : 7);
}

static void many_short_runs_are_moved_one_behind_the_other(void **state)
{
    (void)state;
    bool is_seen[ASHLAR_RECYCLE_RUNS + 4] = {false};
    for (size_t i = 0; i < ASHLAR_RECYCLE_RUNS + 3; i++)
        (void)keep(1, i + 1);
    struct ashlar_extent *block = hold(ASHLAR_RECYCLE_RUNS * UNIT);
    assert_int_equal(recycle(block, 0), ASHLAR_RECYCLE_RUNS * UNIT);
    assert_int_equal(move_mappings(), ASHLAR_RECYCLE_RUNS + 1); /* they lie side by side */
    for (size_t i = 0; i < ASHLAR_RECYCLE_RUNS; i++) {
        uint64_t tag = tag_of(block->base + i * UNIT);
        assert_in_range(tag, 1, ASHLAR_RECYCLE_RUNS + 3);
        assert_false(is_seen[tag]);
        is_seen[tag] = true;
    }
    assert_int_equal(kept_bytes(), 3 * UNIT);
}

/* A move carries guards along. */
static void stale_guards_in_a_run_are_not_moved_with_it(void **state)
{
    (void)state;
    for (int mode = ASHLAR_GUARD_AUTO; mode <= ASHLAR_GUARD_MPROTECT; mode += 2) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, mode);
        struct ashlar_extent *old = keep(2, 7);
        ashlar_guard_set(old->region, old->base + UNIT - PAGE);
        struct ashlar_extent *block = hold(2 * UNIT);
        char *old_base = old->base;
        assert_int_equal(recycle(block, 0), 2 * UNIT);
        assert_true(test_is_readable(block->base + UNIT - PAGE));
        assert_int_equal(tag_of(block->base + UNIT), 7);
        assert_true(test_is_readable(old_base + UNIT - PAGE));
    }
}

static void with_the_budget_spent_nothing_moves(void **state)
{
    (void)state;
    size_t budget = fake_os_max_map_count / 2 - 1;
    struct ashlar_extent *old = keep(2, 7);
    struct ashlar_extent *block = hold(2 * UNIT);
    assert_true(ashlar_guard_spend_mappings(budget));
    assert_int_equal(recycle(block, 0), 0);
    assert_int_equal(fake_os_count(FAKE_OS_MOVE), 0);
    assert_int_equal(ashlar_count_read(guard_mappings), budget);
    ashlar_guard_return_mappings(budget);
    assert_int_equal(kept_bytes(), 2 * UNIT);
    assert_int_equal(tag_of(old->base), 7);
    assert_int_equal(tag_of(block->base), 0);
}

/* The shortest run that is planned for a block of 32 such, with so many mappings made. */
static size_t least_with(size_t mappings, const struct ashlar_extent *block)
{
    ashlar_count_add(move_mappings, mappings);
    struct ashlar_recycle_plan plan = plan_for(block, 0);
    ashlar_recycle_cancel(&plan);
    ashlar_count_sub(move_mappings, mappings);
    return plan.count != 0 ? plan.run_bytes[plan.count - 1] : 0;
}

static void the_more_mappings_there_are_the_longer_a_run_has_to_be(void **state)
{
    (void)state;
    struct ashlar_extent *block = hold(LEAST_PART * LEAST);
    (void)keep_at(LEAST, PAGE, 7);
    assert_int_equal(least_with(MAPPINGS_PER_DOUBLING - 1, block), LEAST);
    assert_int_equal(least_with(MAPPINGS_PER_DOUBLING, block), 0);
    (void)keep_at(2 * LEAST, PAGE, 8);
    assert_int_equal(least_with(MAPPINGS_PER_DOUBLING - 1, block), LEAST);
    assert_int_equal(least_with(2 * MAPPINGS_PER_DOUBLING - 1, block), 2 * LEAST);
    assert_int_equal(least_with(2 * MAPPINGS_PER_DOUBLING, block), 0);
    (void)keep_at(LEAST_PART * LEAST, PAGE, 9);
    assert_int_equal(least_with(4 * MAPPINGS_PER_DOUBLING, block), LEAST_PART * LEAST);
    /* In the end only what fills all of a block, and nothing in a short one. */
    assert_int_equal(least_with(5 * MAPPINGS_PER_DOUBLING, block), LEAST_PART * LEAST);
    assert_int_equal(least_with(SIZE_MAX / 2, block), LEAST_PART * LEAST);
    struct ashlar_extent *longer = hold(LEAST_PART * LEAST + LEAST_PART * PAGE);
    assert_int_equal(least_with(4 * MAPPINGS_PER_DOUBLING, longer), LEAST_PART * LEAST);
    assert_int_equal(least_with(5 * MAPPINGS_PER_DOUBLING, longer), 0);
    struct ashlar_extent *shorter = hold((LEAST_PART - 1) * LEAST);
    assert_int_equal(least_with(5 * MAPPINGS_PER_DOUBLING - 1, shorter), shorter->len_bytes);
    assert_int_equal(least_with(5 * MAPPINGS_PER_DOUBLING, shorter), 0);
    assert_int_equal(recycle(block, 0), LEAST_PART * LEAST);
}

static void when_one_move_fails_the_rest_stays_kept(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 4; i++)
        (void)keep(1, i + 1);
    struct ashlar_extent *block = hold(4 * UNIT);
    fake_os_fail(FAKE_OS_MOVE, 1, 1, EINVAL);
    assert_int_equal(recycle(block, 0), UNIT);
    assert_int_equal(fake_os_count(FAKE_OS_MOVE), 2);
    assert_true(tag_of(block->base) != 0);
    for (size_t at = UNIT; at < 4 * UNIT; at += UNIT)
        assert_int_equal(tag_of(block->base + at), 0);
    assert_int_equal(kept_bytes(), 3 * UNIT);
    /* They can be had again. */
    assert_int_equal(recycle(block, UNIT), 3 * UNIT);
    assert_int_equal(kept_bytes(), 0);
}

static void a_run_in_kernel_mappings_of_its_own_is_known_as_such(void **state)
{
    (void)state;
    struct ashlar_extent *old = keep(2, 7);
    struct ashlar_extent *block = hold(3 * UNIT);
    fake_os_fail(FAKE_OS_MAP_OVER, 0, 1, ENOMEM);
    assert_int_equal(recycle(block, 0), 2 * UNIT);
    assert_true(is_moved(old));
    assert_true(is_moved(block));
    assert_int_equal(move_mappings(), 4);
}

/* Wherever tables stand. */
static void the_longest_run_goes_first(void **state)
{
    (void)state;
    struct ashlar_extent *table = keep_at(TABLE, TABLE, 7);
    blocks[block_count++] = make_alone_at(PAGE, TABLE);
    struct ashlar_extent *longest = keep_at(2 * TABLE - 2 * UNIT, UNIT, 8);
    assert_int_equal((uintptr_t)longest->base % TABLE, UNIT); /* so there is no table in it */
    struct ashlar_extent *block = hold_at(4 * TABLE, TABLE);
    struct ashlar_recycle_plan plan = plan_for(block, UNIT);
    assert_int_equal(plan.count, 2);
    assert_ptr_equal(plan.runs[0], longest);
    assert_int_equal(plan.run_bytes[0], 2 * TABLE - 2 * UNIT);
    assert_ptr_equal(plan.runs[1], table);
    assert_int_equal(plan.run_bytes[1], TABLE);
    assert_int_equal(ashlar_recycle_run(&plan, block, UNIT), 3 * TABLE - 2 * UNIT);
    for (size_t at = UNIT; at < 3 * TABLE - UNIT; at += UNIT)
        assert_int_equal(tag_of(block->base + at), at < 2 * TABLE - UNIT ? 8 : 7);
    assert_int_equal(kept_bytes(), 0);
}

static void what_is_left_is_filled_by_the_shortest_run_that_suffices(void **state)
{
    (void)state;
    struct ashlar_extent *shortest = keep(3, 1);
    struct ashlar_extent *other = keep(5, 2);
    struct ashlar_extent *longest = keep(8, 3);
    struct ashlar_extent *block = hold(11 * UNIT);
    struct ashlar_recycle_plan plan = plan_for(block, 0);
    assert_int_equal(plan.count, 2);
    assert_ptr_equal(plan.runs[0], longest);
    assert_ptr_equal(plan.runs[1], shortest);
    assert_int_equal(ashlar_recycle_run(&plan, block, 0), 11 * UNIT);
    for (size_t at = 0; at < 11 * UNIT; at += UNIT)
        assert_int_equal(tag_of(block->base + at), at < 8 * UNIT ? 3 : 1);
    assert_int_equal(other->state, ASHLAR_EXTENT_DIRTY);
    assert_int_equal(kept_bytes(), 5 * UNIT);
}

/* Moves `len_bytes` from `from_offset` behind a place of a table to `to_offset` behind another; the
   number of calls that takes. */
static unsigned count_moves(size_t from_offset, size_t to_offset, size_t len_bytes)
{
    struct ashlar_extent *from = make_at(from_offset + len_bytes + UNIT, TABLE);
    struct ashlar_extent *to = make_at(to_offset + len_bytes + UNIT, TABLE);
    unsigned before = fake_os_count(FAKE_OS_MOVE);
    mark(from, 7);
    assert_int_equal(move(from, from_offset, to, to_offset, len_bytes), len_bytes);
    unsigned calls = fake_os_count(FAKE_OS_MOVE) - before;
    for (size_t at = 0; at < from->len_bytes; at += UNIT)
        assert_int_equal(tag_of(from->base + at), at - from_offset < len_bytes ? 0 : 7);
    for (size_t at = 0; at < to->len_bytes; at += UNIT)
        assert_int_equal(tag_of(to->base + at), at - to_offset < len_bytes ? 7 : 0);
    put(from, ASHLAR_EXTENT_DIRTY);
    put(to, ASHLAR_EXTENT_DIRTY);
    return calls;
}

static void whole_tables_are_moved_by_a_call_each(void **state)
{
    (void)state;
    assert_int_equal(count_moves(0, 0, 0), 0);
    assert_int_equal(count_moves(0, 0, UNIT), 1);
    assert_int_equal(count_moves(0, 0, TABLE), 1);
    assert_int_equal(count_moves(0, 0, TABLE + UNIT), 2);
    assert_int_equal(count_moves(0, TABLE, 2 * TABLE), 2);
    /* Up to the first place of a table, a table, and the rest. */
    assert_int_equal(count_moves(UNIT, TABLE + UNIT, 2 * TABLE), 3);
    assert_int_equal(count_moves(TABLE - UNIT, TABLE - UNIT, 2 * UNIT), 2);
}

static void no_call_goes_beyond_a_table_on_either_side(void **state)
{
    (void)state;
    assert_int_equal(count_moves(0, UNIT, TABLE - UNIT), 1);
    assert_int_equal(count_moves(0, UNIT, TABLE), 2);
    assert_int_equal(count_moves(0, UNIT, 2 * TABLE), 4);
    assert_int_equal(count_moves(UNIT, 2 * UNIT, TABLE), 3);
    assert_int_equal(count_moves(TABLE - UNIT, 0, 2 * UNIT), 2);
    assert_int_equal(count_moves(0, TABLE - UNIT, 2 * UNIT), 2);
}

/* Before Linux 6.17 no call takes more. */
static void of_a_patchwork_one_mapping_is_moved_at_a_time(void **state)
{
    (void)state;
    struct ashlar_extent *parts = hold_at(2 * UNIT, TABLE);
    struct ashlar_extent *patchwork = hold_at(4 * UNIT, TABLE);
    struct ashlar_extent *to = hold_at(4 * UNIT, TABLE);
    mark(parts, 7);
    mark(patchwork, 8);
    assert_int_equal(move(parts, UNIT, patchwork, 0, UNIT), UNIT);
    assert_int_equal(move(parts, 0, patchwork, UNIT, UNIT), UNIT);
    assert_int_equal(move_mappings(), 6); /* three at either block */
    assert_true(ashlar_pieces_renew(parts->region, parts->base, ashlar_extent_guard(parts)));
    assert_int_equal(move_mappings(), 3);
    unsigned calls = fake_os_count(FAKE_OS_MOVE);
    fake_os_fail(FAKE_OS_MOVE, 2, 1, ENOMEM);
    assert_int_equal(move(patchwork, 0, to, 0, 4 * UNIT), 2 * UNIT);
    fake_os_obey();
    assert_int_equal(move(patchwork, 2 * UNIT, to, 2 * UNIT, 2 * UNIT), 2 * UNIT);
    assert_int_equal(fake_os_count(FAKE_OS_MOVE), calls + 4);
    for (size_t at = 0; at < 4 * UNIT; at += UNIT)
        assert_int_equal(tag_of(to->base + at), at < 2 * UNIT ? 7 : 8);
    assert_true(test_is_zero(patchwork->base, 4 * UNIT));
    assert_true(
        ashlar_pieces_renew(patchwork->region, patchwork->base, ashlar_extent_guard(patchwork)));
    assert_false(is_moved(patchwork));
    assert_int_equal(move_mappings(), 4); /* to the end of the block, which is the last */
}

/* Each piece is a mapping more on either side. */
static void of_a_patchwork_goes_what_the_budget_allows(void **state)
{
    (void)state;
    size_t budget = fake_os_max_map_count / 2;
    struct ashlar_extent *parts = hold_at(2 * UNIT, TABLE);
    struct ashlar_extent *patchwork = hold_at(4 * UNIT, TABLE);
    struct ashlar_extent *to = hold_at(4 * UNIT, TABLE);
    mark(parts, 7);
    mark(patchwork, 8);
    assert_int_equal(move(parts, UNIT, patchwork, 0, UNIT), UNIT);
    assert_int_equal(move(parts, 0, patchwork, UNIT, UNIT), UNIT);
    assert_true(ashlar_pieces_renew(parts->region, parts->base, ashlar_extent_guard(parts)));
    size_t spent = budget - ashlar_count_read(guard_mappings) - 3;
    assert_true(ashlar_guard_spend_mappings(spent));
    unsigned calls = fake_os_count(FAKE_OS_MOVE);
    assert_int_equal(move(patchwork, 0, to, 0, 4 * UNIT), UNIT); /* two of three are gone */
    assert_int_equal(fake_os_count(FAKE_OS_MOVE), calls + 1);
    assert_int_equal(move_mappings(), 3 + 2);
    assert_int_equal(move(patchwork, UNIT, to, UNIT, 3 * UNIT), 0);
    assert_int_equal(fake_os_count(FAKE_OS_MOVE), calls + 1);
    ashlar_guard_return_mappings(spent);
    assert_int_equal(move(patchwork, UNIT, to, UNIT, 3 * UNIT), 3 * UNIT);
    /* What they have left are the same pieces, up to the end of the block. */
    assert_int_equal(move_mappings(), 4 + 4);
    for (size_t at = 0; at < 4 * UNIT; at += UNIT)
        assert_int_equal(tag_of(to->base + at), at < 2 * UNIT ? 7 : 8);
    assert_true(test_is_zero(patchwork->base, 4 * UNIT));
}

/* The first tables of three have gone, the others are where they were; no page is out of reach. */
static void expect_tables_moved(const struct ashlar_extent *from, const struct ashlar_extent *to,
                                size_t count)
{
    for (size_t at = 0; at < 3 * TABLE; at += UNIT) {
        bool has_gone = at < count * TABLE;
        assert_true(test_is_readable(to->base + at));
        assert_int_equal(tag_of(to->base + at), has_gone ? 7 : 0);
        assert_int_equal(tag_of(from->base + at), has_gone ? 0 : 7);
    }
}

/* Before Linux 6.17 the kernel makes room at the place before it looks at the source. */
static void a_refused_move_leaves_no_hole_in_the_block(void **state)
{
    (void)state;
    struct ashlar_extent *from = hold_at(3 * TABLE, TABLE);
    struct ashlar_extent *to = hold_at(3 * TABLE, TABLE);
    mark(from, 7);
    for (unsigned done = 0; done < 3; done++) {
        fake_os_fail(FAKE_OS_MOVE, done, 1, EFAULT);
        assert_int_equal(move(from, 0, to, 0, 3 * TABLE), done * TABLE);
        fake_os_obey();
        expect_tables_moved(from, to, done);
        assert_int_equal(move(to, 0, from, 0, done * TABLE), done * TABLE);
    }
}

static void a_move_tells_how_much_has_gone_when_the_kernel_would_not_any_more(void **state)
{
    (void)state;
    struct ashlar_extent *from = hold_at(3 * TABLE, TABLE);
    struct ashlar_extent *to = hold_at(3 * TABLE, TABLE);
    mark(from, 7);
    for (unsigned done = 0; done < 3; done++) {
        fake_os_fail(FAKE_OS_MOVE, done, 1, ENOMEM);
        unsigned calls = fake_os_count(FAKE_OS_MOVE);
        assert_int_equal(move(from, 0, to, 0, 3 * TABLE), done * TABLE);
        assert_int_equal(fake_os_count(FAKE_OS_MOVE), calls + done + 1);
        expect_tables_moved(from, to, done);
        fake_os_obey();
        assert_int_equal(move(to, 0, from, 0, done * TABLE), done * TABLE);
    }
}

/* A purge that leaves them where they are would leave the mappings, too. */
static void a_run_moved_in_part_is_purged_by_a_fresh_mapping(void **state)
{
    (void)state;
    struct ashlar_extent *run = keep_at(3 * TABLE, TABLE, 7);
    struct ashlar_extent *block = hold_at(3 * TABLE, TABLE);
    char *base = run->base;
    fake_os_fail(FAKE_OS_MOVE, 1, 1, ENOMEM);
    assert_int_equal(recycle(block, 0), TABLE);
    assert_true(fake_os_has_failed());
    fake_os_obey();
    assert_true(is_moved(run));
    assert_int_equal(run->state, ASHLAR_EXTENT_DIRTY);
    assert_int_equal(kept_bytes(), 3 * TABLE);
    assert_true(is_moved(block));
    assert_int_equal(move_mappings(), 4);
    for (size_t at = 0; at < 3 * TABLE; at += UNIT) {
        assert_int_equal(tag_of(block->base + at), at < TABLE ? 7 : 0);
        assert_int_equal(tag_of(base + at), at < TABLE ? 0 : 7);
    }
    unsigned mapped = fake_os_count(FAKE_OS_MAP_OVER);
    assert_true(ashlar_purge_all());
    assert_int_equal(fake_os_count(FAKE_OS_MAP_OVER), mapped + 1);
    assert_int_equal(run->state, ASHLAR_EXTENT_CLEAN);
    assert_false(is_moved(run));
    assert_int_equal(move_mappings(), 2);
    assert_true(test_is_zero(base, 3 * TABLE));
}

/* Plans until runs are to be moved, `most` times at most, and moves them; how many plans it took. */
static unsigned plan_until_moved(const struct ashlar_extent *target, unsigned most)
{
    for (unsigned plans = 1; plans <= most; plans++) {
        struct ashlar_recycle_plan plan = plan_for(target, 0);
        if (plan.count == 0)
            continue;
        (void)ashlar_recycle_run(&plan, (struct ashlar_extent *)(uintptr_t)target, 0);
        return plans;
    }
    fail_msg("no move in %u plans", most);
    return 0;
}

static void runs_that_were_never_written_are_moved_now_and_then_only(void **state)
{
    (void)state;
    struct ashlar_extent *target = hold(4 * UNIT);
    unsigned plans = 0;
    for (unsigned moves = 0; moves < 20; moves++) {
        struct ashlar_extent *unwritten = make_alone_at(4 * UNIT, UNIT);
        *unwritten->base =
            1; /* where it begins, as a program may that asks for much and uses little */
        (void)hold_at(PAGE, PAGE);
        put(unwritten, ASHLAR_EXTENT_DIRTY);
        plans += plan_until_moved(target, 16);
    }
    assert_true(plans >= 100);
    /* One that was written is enough to believe in moves again. */
    (void)keep(4, 1);
    (void)plan_until_moved(target, 16);
    for (unsigned moves = 0; moves < 4; moves++) {
        (void)keep(4, 2 + moves);
        assert_int_equal(plan_until_moved(target, 1), 1);
    }
}

static void what_was_planned_and_cancelled_is_kept_as_it_was(void **state)
{
    (void)state;
    struct ashlar_extent *old = keep(3, 7);
    struct ashlar_extent *block = hold(2 * UNIT);
    struct ashlar_recycle_plan plan = plan_for(block, 0);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.run_bytes[0], 2 * UNIT);
    assert_int_equal(plan.runs[0]->state, ASHLAR_EXTENT_BUSY);
    unsigned calls = fake_os_count_all();
    ashlar_recycle_cancel(&plan);
    assert_int_equal(fake_os_count_all(), calls);
    assert_int_equal(kept_bytes(), 3 * UNIT);
    assert_int_equal(old->state, ASHLAR_EXTENT_DIRTY);
    for (size_t at = 0; at < 3 * UNIT; at += UNIT)
        assert_int_equal(tag_of(old->base + at), 7);
    assert_false(is_moved(block));
    assert_int_equal(move_mappings(), 0);
}

static void an_emptied_run_is_put_back_during_a_fork_and_without_descriptors(void **state)
{
    (void)state;
    static struct ashlar_lock *const locks[] = {&ashlar_meta_lock, &ashlar_large_lock};
    for (int i = 0; i < 2; i++) {
        (void)keep(3, 7);
        struct ashlar_extent *block = hold(2 * UNIT);
        struct ashlar_recycle_plan plan = plan_for(block, 0);
        ashlar_lock_shut(locks[i]);
        assert_int_equal(ashlar_recycle_run(&plan, block, 0), 2 * UNIT);
        ashlar_lock_reopen(locks[i], false);
        lock();
        ashlar_mapcache_unlock();
        assert_int_equal(tag_of(block->base + UNIT), 7);
        assert_int_equal(kept_bytes(), 3 * UNIT); /* it could not be cut, so all of it is */
        (void)ashlar_purge_all();
        assert_int_equal(kept_bytes(), 0);
    }
}

/* For the case below: a whole freed block, and a part of one, move under a new block. */
#define NEW_BYTES (4 * UNIT)
struct attempt {
    struct ashlar_extent *block;
    struct ashlar_recycle_plan plan;
    size_t filled;
};

static void prepare(struct attempt *attempt)
{
    struct ashlar_extent *whole = keep(3, 1);
    struct ashlar_extent *part = keep(2, 2);
    ashlar_guard_set(whole->region, whole->base + UNIT + PAGE); /* which drops what was there */
    ashlar_guard_set(part->region, ashlar_extent_guard(part));
    attempt->block = make(NEW_BYTES);
    attempt->plan = plan_for(attempt->block, 0);
    assert_int_equal(attempt->plan.count, 2);
}

static bool try_to_recycle(void *context)
{
    struct attempt *attempt = context;
    attempt->filled = ashlar_recycle_run(&attempt->plan, attempt->block, 0);
    return attempt->filled == NEW_BYTES;
}

/* What is kept as clean reads as zero; whatever was not moved is kept. */
static void check_and_start_again(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    (void)has_succeeded;
    assert_int_equal(attempt->filled % UNIT, 0);
    for (size_t at = 0; at < attempt->filled; at += UNIT)
        assert_int_not_equal(*(uint64_t *)(void *)(attempt->block->base + at), 0);
    assert_true(test_is_zero(attempt->block->base + attempt->filled, NEW_BYTES - attempt->filled));
    assert_true(kept_bytes() >= 5 * UNIT - attempt->filled);
    const struct ashlar_list *all = &attempt->block->region->extents;
    for (struct ashlar_list *link = ashlar_list_first(all); link != NULL;
         link = ashlar_list_next(all, link)) {
        struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        assert_int_not_equal(extent->state, ASHLAR_EXTENT_BUSY);
        if (extent->state != ASHLAR_EXTENT_CLEAN)
            continue;
        assert_true(ashlar_guard_clear(extent->region, extent->base, ashlar_extent_end(extent)));
        assert_true(test_is_zero(extent->base, extent->len_bytes + PAGE));
    }
    put(attempt->block, ASHLAR_EXTENT_DIRTY);
    (void)end(NULL);
    prepare(attempt);
}

static void whichever_call_fails_no_page_is_lost_and_no_old_one_called_clean(void **state)
{
    (void)state;
    static const enum ashlar_guard_mode guards[] = {ASHLAR_GUARD_AUTO, ASHLAR_GUARD_MPROTECT,
                                                    ASHLAR_GUARD_OFF};
    struct attempt attempt;
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(guards); i++) {
        (void)ashlar_option_set(ASHLAR_OPTION_guard, guards[i]);
        for (int mode = FAKE_OS_ONE_FAILS; mode <= FAKE_OS_REST_FAILS; mode++) {
            prepare(&attempt);
            assert_true(fake_os_fail_each((enum fake_os_mode)mode, try_to_recycle,
                                          check_and_start_again, &attempt) >= 4);
            ashlar_recycle_cancel(&attempt.plan);
            put(attempt.block, ASHLAR_EXTENT_DIRTY);
            (void)end(NULL);
        }
    }
}

/* The model of the random case: the tag that each block was marked with; 0: there is none. */
#define RANDOM_BLOCKS 12
static uint64_t tags[RANDOM_BLOCKS];

/* What comes with moved pages is of no block that lives, or of none at all. */
static void expect_freed(const char *page)
{
    uint64_t tag = *(const uint64_t *)(const void *)page >> 32;
    for (size_t i = 0; tag != 0 && i < RANDOM_BLOCKS; i++)
        assert_int_not_equal(tag, tags[i]);
}

/* A marked block out of kept address space, or fresh, with what can be recycled. */
static struct ashlar_extent *take_random(uint64_t *seed, uint64_t tag)
{
    bool was_dirty = false;
    size_t len = (1 + test_random_below(seed, 12 * UNIT / PAGE)) * PAGE;
    lock();
    struct ashlar_extent *extent = ashlar_mapcache_take_locked(len, PAGE, ASHLAR_WANT_CLEAN,
                                                               &was_dirty);
    ashlar_mapcache_unlock();
    if (extent == NULL)
        extent = make_at(len, PAGE);
    size_t filled = recycle(extent, 0);
    for (size_t at = 0; at < filled; at += PAGE)
        expect_freed(extent->base + at);
    assert_true(test_is_zero(extent->base + filled, len - filled));
    mark(extent, tag);
    return extent;
}

static void random_blocks_never_see_one_another(void **state)
{
    (void)state;
    uint64_t seed = 1;
    struct ashlar_extent *live[RANDOM_BLOCKS] = {NULL};
    uint64_t moves = ashlar_count_read(recycle_moves);
    for (uint64_t step = 1; step <= 400; step++) {
        size_t i = test_random_below(&seed, RANDOM_BLOCKS);
        if (live[i] != NULL) {
            put(live[i], ASHLAR_EXTENT_DIRTY);
            live[i] = NULL;
            tags[i] = 0;
        } else {
            live[i] = take_random(&seed, step);
            tags[i] = step;
        }
        for (size_t k = 0; k < RANDOM_BLOCKS; k++)
            if (live[k] != NULL)
                expect_marked(live[k]->base, live[k]->len_bytes, tags[k], 0);
        if (step % 50 == 0)
            (void)ashlar_purge_all();
    }
    assert_true(ashlar_count_read(recycle_moves) > moves + 100);
    for (size_t i = 0; i < RANDOM_BLOCKS; i++)
        if (live[i] != NULL)
            put(live[i], ASHLAR_EXTENT_DIRTY);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(kept_pages_come_under_the_new_block_with_their_contents),
        CASE(nothing_is_planned_where_nothing_can_be_moved),
        CASE(whole_pages_move_and_no_more_than_fit),
        CASE(a_run_may_begin_and_end_at_any_page),
        CASE(a_long_block_is_not_made_of_crumbs),
        CASE(what_lies_in_front_of_the_offset_is_not_touched),
        CASE(many_short_runs_are_moved_one_behind_the_other),
        CASE(stale_guards_in_a_run_are_not_moved_with_it),
        CASE(with_the_budget_spent_nothing_moves),
        CASE(the_more_mappings_there_are_the_longer_a_run_has_to_be),
        CASE(when_one_move_fails_the_rest_stays_kept),
        CASE(a_run_in_kernel_mappings_of_its_own_is_known_as_such),
        CASE(the_longest_run_goes_first),
        CASE(what_is_left_is_filled_by_the_shortest_run_that_suffices),
        CASE(whole_tables_are_moved_by_a_call_each),
        CASE(no_call_goes_beyond_a_table_on_either_side),
        CASE(of_a_patchwork_one_mapping_is_moved_at_a_time),
        CASE(of_a_patchwork_goes_what_the_budget_allows),
        CASE(a_refused_move_leaves_no_hole_in_the_block),
        CASE(a_move_tells_how_much_has_gone_when_the_kernel_would_not_any_more),
        CASE(a_run_moved_in_part_is_purged_by_a_fresh_mapping),
        CASE(runs_that_were_never_written_are_moved_now_and_then_only),
        CASE(what_was_planned_and_cancelled_is_kept_as_it_was),
        CASE(an_emptied_run_is_put_back_during_a_fork_and_without_descriptors),
        CASE(whichever_call_fails_no_page_is_lost_and_no_old_one_called_clean),
        CASE(random_blocks_never_see_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
