/*
 * test_mapcache.c - freed extents kept for reuse
 *
 * Purpose     Extents on a real region, whose pages nobody touches: the cache looks at addresses
 *             and states only. The first extent stays live, so that the region is not retired.
 */
#include "unit/testing.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "large/account.h"
#include "large/front.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "large/purge.h"
#include "map/meta.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"
#include "unit/large_checks.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define UNIT (256 * ASHLAR_KIB)
#define DIRTY ASHLAR_EXTENT_DIRTY
#define CLEAN ASHLAR_EXTENT_CLEAN

static struct ashlar_extent *pin;
static uint64_t now_ms;

static void lock(void)
{
    assert_true(ashlar_mapcache_lock());
}

/* What a region hands out for a payload of `len_bytes`, as an extent that nobody knows yet. */
static struct ashlar_extent *take_fresh(size_t len_bytes, size_t align)
{
    size_t taken_bytes;
    struct ashlar_extent *extent = ashlar_extent_new();
    assert_non_null(extent);
    extent->base = ashlar_region_take(len_bytes + PAGE, align, ASHLAR_PAGES_BASE, &extent->region,
                                      &taken_bytes);
    assert_non_null(extent->base);
    extent->len_bytes = taken_bytes - PAGE;
    return extent;
}

/* A counted block of fresh pages. */
static struct ashlar_extent *make(size_t npages)
{
    struct ashlar_extent *extent = take_fresh(npages * PAGE, PAGE);
    lock();
    assert_true(ashlar_mapcache_cut_fresh_locked(extent, npages * PAGE, PAGE));
    ashlar_account_count_locked(extent, now_ms);
    ashlar_mapcache_unlock();
    assert_int_equal(extent->state, ASHLAR_EXTENT_LIVE);
    assert_int_equal(extent->len_bytes, npages * PAGE);
    return extent;
}

static void put(struct ashlar_extent *extent, enum ashlar_extent_state state)
{
    ashlar_mapcache_put(extent, state, now_ms);
}

static struct ashlar_extent *take_aligned(size_t npages, size_t align,
                                          enum ashlar_mapcache_want want, bool *was_dirty)
{
    lock();
    struct ashlar_extent *extent =
        ashlar_mapcache_take_locked(npages * PAGE, align, want, was_dirty);
    if (extent != NULL)
        ashlar_account_count_locked(extent, now_ms);
    ashlar_mapcache_unlock();
    return extent;
}

static struct ashlar_extent *take(size_t npages)
{
    bool was_dirty;
    return take_aligned(npages, PAGE, ASHLAR_WANT_ANY, &was_dirty);
}

static void shrink(struct ashlar_extent *extent, size_t npages)
{
    lock();
    ashlar_account_shrink_locked(extent->len_bytes - npages * PAGE, now_ms);
    ashlar_mapcache_shrink_locked(extent, npages * PAGE, now_ms);
    ashlar_mapcache_unlock();
    assert_int_equal(extent->len_bytes, npages * PAGE);
}

static bool grow(struct ashlar_extent *extent, size_t npages, bool *was_dirty)
{
    size_t old_len = extent->len_bytes;
    lock();
    bool is_grown = ashlar_mapcache_grow_locked(extent, npages * PAGE, was_dirty);
    if (is_grown)
        ashlar_account_grow_locked(npages * PAGE - old_len, now_ms);
    ashlar_mapcache_unlock();
    assert_int_equal(extent->len_bytes, is_grown ? npages * PAGE : old_len);
    return is_grown;
}

static size_t detach(enum ashlar_mapcache_victims which, struct ashlar_extent **victims,
                     size_t room)
{
    lock();
    size_t count = ashlar_mapcache_detach_locked(which, now_ms, victims, room);
    ashlar_mapcache_unlock();
    return count;
}

static bool is_due(void)
{
    lock();
    bool is = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    return is;
}

/* Walks the region: no gap, no freed neighbours that could be one, and the sums of the counters.
   Gives the number of extents. */
static size_t expect_whole(void)
{
    const struct ashlar_region *region = pin->region;
    const char *at = region->payload;
    size_t kept_bytes = 0;
    size_t live_bytes = 0;
    size_t count = 0;
    enum ashlar_extent_state before = ASHLAR_EXTENT_LIVE;
    for (struct ashlar_list *link = ashlar_list_first(&region->extents); link != NULL;
         link = ashlar_list_next(&region->extents, link), count++) {
        const struct ashlar_extent *extent =
            ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        bool is_live = extent->state == ASHLAR_EXTENT_LIVE;
        assert_ptr_equal(extent->base, at);
        assert_true(extent->state != before || (extent->state != DIRTY && extent->state != CLEAN));
        assert_true(is_live || extent->room_bytes == 0);
        assert_int_equal(extent->is_counted, is_live);
        assert_int_equal(ashlar_list_is_linked(&extent->age), extent->state == DIRTY);
        assert_int_equal(ashlar_list_is_linked(&extent->bin),
                         extent->state == DIRTY || extent->state == CLEAN);
        live_bytes += is_live ? extent->len_bytes : 0;
        kept_bytes += is_live || extent->state == CLEAN ? 0 : extent->len_bytes;
        before = extent->state;
        at = ashlar_extent_end(extent);
    }
    assert_ptr_equal(at, region->edge);
    assert_int_equal(ashlar_count_read(large_counted_bytes), live_bytes);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), kept_bytes);
    return count;
}

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    now_ms = ashlar_os_now_ms();
    pin = make(1);
    return 0;
}

static struct ashlar_extent *first_live(const struct ashlar_region *region)
{
    for (struct ashlar_list *link = ashlar_list_first(&region->extents); link != NULL;
         link = ashlar_list_next(&region->extents, link)) {
        struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        if (extent->state == ASHLAR_EXTENT_LIVE)
            return extent;
    }
    return NULL;
}

static int end(void **state)
{
    (void)state;
    const struct ashlar_region *region = pin->region;
    struct ashlar_extent *extent;
    fake_os_obey();
    (void)expect_whole();
    while ((extent = first_live(region)) != NULL)
        put(extent, DIRTY);
    (void)ashlar_purge_all();
    large_check_nothing_held();
    return 0;
}

static void nothing_is_taken_where_nothing_is_kept(void **state)
{
    (void)state;
    assert_null(take(1));
    assert_false(is_due());
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, NULL, 0), 0);
}

static void what_was_freed_serves_the_next_request_and_tells_of_old_contents(void **state)
{
    (void)state;
    for (int is_clean = 0; is_clean < 2; is_clean++) {
        bool was_dirty = is_clean;
        struct ashlar_extent *block = make(10);
        char *base = block->base;
        (void)make(1);
        put(block, is_clean ? CLEAN : DIRTY);
        assert_null(take(12));
        block = take_aligned(10, PAGE, ASHLAR_WANT_ANY, &was_dirty);
        assert_ptr_equal(block->base, base);
        assert_int_equal(block->len_bytes, 10 * PAGE);
        assert_int_equal(block->state, ASHLAR_EXTENT_LIVE);
        assert_int_equal(was_dirty, !is_clean);
        (void)expect_whole();
    }
}

static void who_wants_clean_pages_gets_no_others(void **state)
{
    (void)state;
    bool was_dirty = true;
    struct ashlar_extent *dirty = make(10);
    (void)make(1);
    struct ashlar_extent *clean = make(20);
    (void)make(1);
    put(dirty, DIRTY);
    assert_null(take_aligned(10, PAGE, ASHLAR_WANT_CLEAN, &was_dirty));
    put(clean, CLEAN);
    assert_ptr_equal(take_aligned(10, PAGE, ASHLAR_WANT_CLEAN, &was_dirty)->base, clean->base);
    assert_false(was_dirty);
}

static void who_wants_pages_gets_no_empty_address_space(void **state)
{
    (void)state;
    bool was_dirty = false;
    struct ashlar_extent *clean = make(10);
    (void)make(1);
    struct ashlar_extent *dirty = make(20);
    (void)make(1);
    put(clean, CLEAN);
    assert_null(take_aligned(10, PAGE, ASHLAR_WANT_DIRTY, &was_dirty));
    put(dirty, DIRTY);
    assert_null(take_aligned(21, PAGE, ASHLAR_WANT_DIRTY, &was_dirty));
    assert_ptr_equal(take_aligned(10, PAGE, ASHLAR_WANT_DIRTY, &was_dirty), dirty);
    assert_true(was_dirty);
    assert_int_equal(dirty->state, ASHLAR_EXTENT_LIVE);
    assert_null(take_aligned(10, PAGE, ASHLAR_WANT_DIRTY, &was_dirty)); /* a guard is gone */
    assert_int_equal(take_aligned(9, PAGE, ASHLAR_WANT_DIRTY, &was_dirty)->room_bytes, 0);
    assert_ptr_equal(take(10), clean);
}

static void who_wants_pages_gets_what_waits_in_a_front(void **state)
{
    (void)state;
    bool was_dirty = false;
    struct ashlar_extent *waiting = make(10);
    struct ashlar_extent *clean = make(10);
    (void)make(1);
    put(clean, CLEAN);
    assert_null(ashlar_front_put(waiting, now_ms));
    assert_ptr_equal(take_aligned(10, PAGE, ASHLAR_WANT_CLEAN, &was_dirty), clean);
    assert_int_equal(ashlar_front_blocks(), 1); /* clean ones lie elsewhere: it was let alone */
    assert_ptr_equal(take_aligned(10, PAGE, ASHLAR_WANT_DIRTY, &was_dirty), waiting);
    assert_true(was_dirty);
    assert_int_equal(ashlar_front_blocks(), 0);
}

static void freed_neighbours_of_one_state_become_one(void **state)
{
    (void)state;
    struct ashlar_extent *blocks[5];
    for (int i = 0; i < 5; i++)
        blocks[i] = make(4);
    char *base = blocks[0]->base;
    (void)make(1);
    put(blocks[0], DIRTY);
    put(blocks[2], CLEAN);
    put(blocks[4], DIRTY);
    assert_int_equal(expect_whole(), 7);
    put(blocks[1], DIRTY); /* with the one in front */
    assert_int_equal(expect_whole(), 6);
    put(blocks[3], DIRTY); /* with the one behind */
    assert_int_equal(expect_whole(), 5);
    put(take(9), DIRTY);
    assert_true(ashlar_purge_all()); /* clean, all of them, and the guards between them payload */
    assert_int_equal(expect_whole(), 3);
    assert_ptr_equal(take(5 * 4 + 4)->base, base);
}

static void what_a_request_leaves_is_kept(void **state)
{
    (void)state;
    struct ashlar_extent *block = make(20);
    char *base = block->base;
    (void)make(1);
    put(block, DIRTY);
    block = take(10);
    assert_ptr_equal(block->base, base);
    assert_int_equal(expect_whole(), 4);
    struct ashlar_extent *rest = take(9);
    assert_ptr_equal(rest->base, base + 11 * PAGE);
    put(block, DIRTY);
    put(rest, DIRTY);
    assert_int_equal(expect_whole(), 3);
    /* One page behind the guard is too short to be an extent: it stays the block's. */
    block = take(19);
    assert_int_equal(block->room_bytes, PAGE);
    assert_int_equal(expect_whole(), 3);
    put(block, DIRTY);
    assert_int_equal(take(20)->room_bytes, 0);
}

static void an_alignment_is_cut_out_of_the_middle(void **state)
{
    (void)state;
    bool was_dirty;
    struct ashlar_extent *block = make(3 * UNIT / PAGE);
    (void)make(1);
    put(block, DIRTY);
    block = take_aligned(UNIT / PAGE, UNIT, ASHLAR_WANT_ANY, &was_dirty);
    assert_true(ashlar_is_aligned(block->base, UNIT));
    assert_ptr_not_equal(ashlar_extent_before(block), pin);
    assert_int_equal(expect_whole(), 5);
    put(block, DIRTY);
    assert_int_equal(expect_whole(), 3);
}

static void without_descriptors_only_what_needs_no_front_is_taken(void **state)
{
    (void)state;
    bool was_dirty;
    struct ashlar_extent *block = make(3 * UNIT / PAGE);
    (void)make(1);
    put(block, DIRTY);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(take_aligned(UNIT / PAGE, UNIT, ASHLAR_WANT_ANY, &was_dirty));
    assert_int_equal(expect_whole(), 3);
    block = take(10);
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(block->len_bytes + block->room_bytes, 3 * UNIT);
    put(block, DIRTY);
    assert_int_equal(take(3 * UNIT / PAGE)->room_bytes, 0);
}

static void a_fresh_extent_is_cut_to_size_and_the_rest_kept_clean(void **state)
{
    (void)state;
    bool was_dirty = true;
    struct ashlar_extent *fresh = take_fresh(3 * UNIT, PAGE);
    lock();
    assert_true(ashlar_mapcache_cut_fresh_locked(fresh, UNIT, UNIT));
    ashlar_account_count_locked(fresh, now_ms);
    ashlar_mapcache_unlock();
    assert_true(ashlar_is_aligned(fresh->base, UNIT));
    assert_int_equal(fresh->len_bytes, UNIT);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 0);
    assert_non_null(take_aligned(2, PAGE, ASHLAR_WANT_CLEAN, &was_dirty));
    assert_false(was_dirty);
}

static void what_is_cut_off_a_fresh_extent_joins_what_lay_there(void **state)
{
    (void)state;
    struct ashlar_extent *before = make(10);
    char *base = before->base;
    struct ashlar_extent *fresh = take_fresh(3 * UNIT, PAGE);
    put(before, CLEAN);
    lock();
    assert_true(ashlar_mapcache_cut_fresh_locked(fresh, UNIT, UNIT));
    ashlar_account_count_locked(fresh, now_ms);
    ashlar_mapcache_unlock();
    assert_int_equal(expect_whole(), 4);
    assert_ptr_equal(ashlar_extent_before(fresh)->base, base);
    fresh = take_fresh(4 * PAGE, PAGE);
    struct ashlar_extent *behind = take_fresh(10 * PAGE, PAGE);
    put(behind, CLEAN);
    lock();
    assert_true(ashlar_mapcache_cut_fresh_locked(fresh, 2 * PAGE, PAGE));
    ashlar_account_count_locked(fresh, now_ms);
    ashlar_mapcache_unlock();
    assert_int_equal(expect_whole(), 6);
    assert_int_equal(ashlar_extent_behind(fresh)->len_bytes, 12 * PAGE);
}

static void a_fresh_extent_that_cannot_be_cut_is_kept_as_freed(void **state)
{
    (void)state;
    struct ashlar_extent *fresh = take_fresh(3 * UNIT, PAGE);
    ashlar_lock_shut(&ashlar_meta_lock);
    lock();
    assert_false(ashlar_mapcache_cut_fresh_locked(fresh, UNIT, UNIT));
    ashlar_mapcache_unlock();
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(expect_whole(), 2);
    assert_ptr_equal(take(3 * UNIT / PAGE), fresh);
}

static void shrinking_keeps_two_pages_and_leaves_one_as_room(void **state)
{
    (void)state;
    struct ashlar_extent *block = make(10);
    (void)make(1);
    shrink(block, 9);
    assert_int_equal(block->room_bytes, PAGE);
    assert_int_equal(expect_whole(), 3);
    shrink(block, 8); /* with the room it had */
    assert_int_equal(block->room_bytes, 0);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), PAGE);
    shrink(block, 5); /* and what was kept before */
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 4 * PAGE);
    ashlar_lock_shut(&ashlar_meta_lock);
    shrink(block, 1);
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(block->room_bytes, 4 * PAGE);
    assert_int_equal(expect_whole(), 4);
}

static void growing_takes_what_is_free_behind_and_no_more(void **state)
{
    (void)state;
    bool was_dirty = false;
    struct ashlar_extent *block = make(10);
    struct ashlar_extent *behind = make(10);
    (void)make(1);
    assert_false(grow(block, 11, &was_dirty));
    put(behind, DIRTY);
    assert_false(grow(block, 22, &was_dirty));
    assert_true(grow(block, 15, &was_dirty));
    assert_true(was_dirty);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 5 * PAGE);
    assert_true(grow(block, 20, &was_dirty)); /* the last page is too short to be kept */
    assert_int_equal(block->room_bytes, PAGE);
    assert_int_equal(expect_whole(), 3);
    assert_true(grow(block, 21, &was_dirty));
    assert_true(was_dirty);
    assert_int_equal(block->room_bytes, 0);
    assert_false(grow(block, 22, &was_dirty));
}

static void a_block_grown_over_clean_pages_is_told_so(void **state)
{
    (void)state;
    bool was_dirty = true;
    struct ashlar_extent *block = make(10);
    struct ashlar_extent *behind = make(10);
    (void)make(1);
    put(behind, CLEAN);
    assert_true(grow(block, 19, &was_dirty));
    assert_false(was_dirty);
    shrink(block, 18);
    assert_int_equal(block->room_bytes, PAGE); /* which was the block's, so it may be written */
    assert_true(grow(block, 21, &was_dirty));
    assert_true(was_dirty);
}

/* They are given back when the block is purged; the end of the case sees to that. */
static void a_block_grown_over_moved_pages_owes_their_mappings(void **state)
{
    (void)state;
    bool was_dirty;
    struct ashlar_extent *block = make(10);
    struct ashlar_extent *behind = make(10);
    (void)make(1);
    assert_true(ashlar_guard_spend_mappings(2));
    behind->mappings_spent = 2;
    behind->is_patched = true;
    put(behind, DIRTY);
    assert_true(grow(block, 15, &was_dirty));
    assert_true(block->is_patched);
    assert_true(grow(block, 21, &was_dirty));
    assert_int_equal(block->mappings_spent, 2);
}

static void an_insertion_that_meets_a_shut_lock_waits_for_the_next_holder(void **state)
{
    (void)state;
    struct ashlar_extent *victims[2];
    struct ashlar_extent *blocks[3];
    for (int i = 0; i < 3; i++)
        blocks[i] = make(10);
    (void)make(1);
    uint64_t kept = ashlar_count_read(cache_kept_bytes);
    ashlar_lock_shut(&ashlar_large_lock);
    put(blocks[0], DIRTY);
    put(blocks[1], DIRTY);
    ashlar_lock_reopen(&ashlar_large_lock, false);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), kept);
    lock();
    put(blocks[2], DIRTY); /* from inside, as a signal handler would */
    ashlar_mapcache_unlock();
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, victims, 2), 1);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(victims[0]->len_bytes, 32 * PAGE);
    assert_int_equal(victims[0]->freed_ms, now_ms); /* then, not when it was taken in */
    put(victims[0], DIRTY);
}

static void what_was_freed_is_due_when_its_time_is_up_and_not_before(void **state)
{
    (void)state;
    struct ashlar_extent *victims[4];
    struct ashlar_extent *old = make(10);
    (void)make(1);
    struct ashlar_extent *young = make(10);
    (void)make(1);
    put(old, DIRTY);
    now_ms += 10;
    put(young, DIRTY);
    now_ms += (uint64_t)ashlar_opt.decay_ms - 11;
    assert_false(is_due());
    assert_int_equal(detach(ASHLAR_VICTIMS_DUE, victims, 4), 0);
    now_ms++;
    assert_true(is_due());
    assert_int_equal(detach(ASHLAR_VICTIMS_DUE, victims, 4), 1);
    assert_ptr_equal(victims[0], old);
    assert_false(is_due());
    now_ms += 10;
    assert_int_equal(detach(ASHLAR_VICTIMS_DUE, victims + 1, 3), 1);
    assert_ptr_equal(victims[1], young);
    put(old, CLEAN);
    put(young, CLEAN);
    assert_false(is_due());
}

static void the_oldest_go_first_whatever_the_order_they_came_in(void **state)
{
    (void)state;
    static const uint64_t freed[] = {30, 10, 50, 20, 40};
    struct ashlar_extent *victims[6];
    struct ashlar_extent *blocks[5];
    for (int i = 0; i < 5; i++) {
        blocks[i] = make(10);
        (void)make(1);
    }
    for (int i = 0; i < 5; i++)
        ashlar_mapcache_put(blocks[i], DIRTY, now_ms + freed[i]);
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, victims, 2), 2); /* as many as there is room for */
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, victims + 2, 4), 3);
    for (int i = 0; i < 5; i++)
        assert_int_equal(victims[i]->freed_ms, now_ms + (uint64_t)(i + 1) * 10);
    for (int i = 0; i < 5; i++)
        put(victims[i], CLEAN);
}

static void a_piece_is_as_old_as_what_it_was_cut_from(void **state)
{
    (void)state;
    struct ashlar_extent *victims[3];
    struct ashlar_extent *old = make(5);
    (void)make(1);
    struct ashlar_extent *young = make(20);
    (void)make(1);
    ashlar_mapcache_put(old, DIRTY, now_ms);
    ashlar_mapcache_put(young, DIRTY, now_ms + 10);
    assert_ptr_equal(take(10), young);
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, victims, 3), 2);
    assert_ptr_equal(victims[0], old);
    assert_int_equal(victims[1]->len_bytes, 9 * PAGE);
    assert_int_equal(victims[1]->freed_ms, now_ms + 10);
    put(victims[0], CLEAN);
    put(victims[1], CLEAN);
}

static void what_is_too_much_is_due_and_no_more_than_that(void **state)
{
    (void)state;
    struct ashlar_extent *victims[3];
    struct ashlar_extent *blocks[3];
    (void)ashlar_option_set(ASHLAR_OPTION_cache_max, (int64_t)(20 * PAGE));
    for (int i = 0; i < 3; i++) {
        blocks[i] = make(10);
        (void)make(1);
    }
    put(blocks[0], DIRTY);
    put(blocks[1], DIRTY);
    assert_false(is_due());
    put(blocks[2], DIRTY);
    assert_true(is_due());
    assert_int_equal(detach(ASHLAR_VICTIMS_DUE, victims, 3), 1);
    assert_ptr_equal(victims[0], blocks[0]);
    put(victims[0], CLEAN);
    assert_false(is_due());
}

static void what_waits_in_a_front_is_joined_before_fresh_pages_are_taken(void **state)
{
    (void)state;
    struct ashlar_extent *low = make(10);
    struct ashlar_extent *high = make(10);
    char *base = low->base;
    (void)make(1);
    assert_null(ashlar_front_put(low, now_ms));
    put(high, DIRTY);
    assert_ptr_equal(take(21)->base, base);
}

static void what_waits_in_a_front_is_due_when_its_time_is_up(void **state)
{
    (void)state;
    assert_null(ashlar_front_put(make(10), now_ms));
    (void)make(1);
    now_ms += (uint64_t)ashlar_opt.decay_ms - 1;
    assert_false(is_due());
    now_ms++;
    assert_true(is_due());
    ashlar_purge_due(now_ms);
    assert_false(is_due());
}

static void what_is_being_purged_is_out_of_reach_and_counts_as_kept(void **state)
{
    (void)state;
    bool was_dirty;
    struct ashlar_extent *victim;
    struct ashlar_extent *low = make(10);
    struct ashlar_extent *middle = make(10);
    struct ashlar_extent *high = make(10);
    (void)make(1);
    put(middle, DIRTY);
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, &victim, 1), 1);
    assert_ptr_equal(victim, middle);
    assert_int_equal(victim->state, ASHLAR_EXTENT_BUSY);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 10 * PAGE);
    assert_null(take(10));
    assert_false(grow(low, 11, &was_dirty));
    put(low, DIRTY);
    put(high, CLEAN);
    assert_int_equal(expect_whole(), 5);
    put(victim, CLEAN);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 10 * PAGE);
}

static void a_region_of_nothing_but_one_freed_extent_is_retired(void **state)
{
    (void)state;
    struct ashlar_extent *victim;
    for (int is_clean = 0; is_clean < 2; is_clean++) {
        char *base = pin->base;
        struct ashlar_region *region = pin->region;
        put(pin, is_clean ? CLEAN : DIRTY);
        assert_int_equal(detach(ASHLAR_VICTIMS_ALL, &victim, 1), 0);
        assert_true(is_due());
        assert_null(ashlar_region_find(base));
        assert_null(take(1));
        lock();
        struct ashlar_extent *whole = ashlar_mapcache_next_retired_locked();
        assert_null(ashlar_mapcache_next_retired_locked());
        ashlar_mapcache_unlock();
        assert_ptr_equal(whole, pin);
        assert_int_equal(whole->state, ASHLAR_EXTENT_BUSY);
        /* The kernel would not unmap it: it is in use again. */
        fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
        assert_false(ashlar_region_unmap(region));
        fake_os_obey();
        put(whole, DIRTY);
        assert_ptr_equal(ashlar_region_find(base), region);
        pin = take(1);
        assert_ptr_equal(pin->base, base);
    }
}

static struct ashlar_extent *detach_run(size_t want_bytes, size_t *run_bytes)
{
    lock();
    struct ashlar_extent *run = ashlar_mapcache_detach_run_locked(want_bytes, UNIT, run_bytes);
    ashlar_mapcache_unlock();
    return run;
}

static void a_run_begins_with_whole_units_and_its_front_stays_kept(void **state)
{
    (void)state;
    size_t run_bytes;
    struct ashlar_extent *block = make(5 * UNIT / PAGE);
    (void)make(1);
    assert_null(detach_run(UNIT, &run_bytes));
    put(block, CLEAN);
    assert_null(detach_run(UNIT, &run_bytes)); /* no pages there */
    put(take(5 * UNIT / PAGE), DIRTY);
    struct ashlar_extent *run = detach_run(2 * UNIT, &run_bytes);
    assert_int_equal(run_bytes, 2 * UNIT);
    assert_true(ashlar_is_aligned(run->base, UNIT));
    assert_int_equal(run->state, ASHLAR_EXTENT_BUSY);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 5 * UNIT - PAGE); /* but for a guard */
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    assert_int_equal(expect_whole(), 5); /* front, run, what lies behind it */
    assert_int_equal(run->state, CLEAN);
    assert_int_equal(run->len_bytes, 2 * UNIT - PAGE);
    struct ashlar_extent *rest = ashlar_extent_behind(run);
    assert_int_equal(rest->state, DIRTY);
    assert_ptr_equal(detach_run(100 * UNIT, &run_bytes), rest);
    assert_int_equal(run_bytes, 2 * UNIT); /* no more than there is */
    put(rest, DIRTY);
}

static void a_run_that_cannot_be_cut_is_kept_dirty(void **state)
{
    (void)state;
    size_t run_bytes;
    struct ashlar_extent *block = make(5 * UNIT / PAGE);
    (void)make(1);
    put(block, DIRTY);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(detach_run(UNIT, &run_bytes));
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(expect_whole(), 3);
    struct ashlar_extent *run = detach_run(UNIT, &run_bytes);
    ashlar_lock_shut(&ashlar_meta_lock);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 5 * UNIT);
    run = detach_run(UNIT, &run_bytes);
    ashlar_lock_shut(&ashlar_large_lock);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    ashlar_lock_reopen(&ashlar_large_lock, false);
    lock();
    ashlar_mapcache_unlock();
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(ashlar_count_read(cache_kept_bytes), 5 * UNIT);
}

/* The model of the random case: whether a page may have been written since it was clean. */
#define MODEL_PAGES 16384
#define BLOCKS 24
static bool is_written[MODEL_PAGES];
static struct ashlar_extent *blocks[BLOCKS];

static bool *written(const char *address)
{
    size_t page = (size_t)(address - pin->base) / PAGE;
    assert_true(page < MODEL_PAGES);
    return &is_written[page];
}

/* Everything of a block, its guard and its room too: they were payload once or will be. */
static void mark(const struct ashlar_extent *extent, bool is)
{
    memset(written(extent->base), is,
           (size_t)(written(ashlar_extent_end(extent) - PAGE) - written(extent->base)) + 1);
}

/* The longest payload kept in the pages wanted: nothing half as long as that may be refused. */
static size_t longest_kept(enum ashlar_mapcache_want want)
{
    size_t longest = 0;
    const struct ashlar_list *all = &pin->region->extents;
    for (struct ashlar_list *link = ashlar_list_first(all); link != NULL;
         link = ashlar_list_next(all, link)) {
        struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        if ((extent->state == CLEAN && want != ASHLAR_WANT_DIRTY) ||
            (extent->state == DIRTY && want != ASHLAR_WANT_CLEAN))
            longest = ashlar_max_size(longest, extent->len_bytes);
    }
    return longest;
}

static struct ashlar_extent *take_kept(size_t npages, size_t align, enum ashlar_mapcache_want want,
                                       bool *was_dirty)
{
    size_t longest = longest_kept(want);
    struct ashlar_extent *extent = take_aligned(npages, align, want, was_dirty);
    if (extent == NULL) {
        assert_true(longest < 2 * (npages * PAGE + align));
        return NULL;
    }
    assert_true(ashlar_is_aligned(extent->base, align));
    assert_true(want == ASHLAR_WANT_ANY || *was_dirty == (want == ASHLAR_WANT_DIRTY));
    return extent;
}

static struct ashlar_extent *take_random(uint64_t *seed)
{
    static const enum ashlar_mapcache_want wants[] = {ASHLAR_WANT_ANY, ASHLAR_WANT_DIRTY,
                                                      ASHLAR_WANT_CLEAN};
    bool was_dirty = false;
    size_t npages = 1 + test_random_below(seed, 1u << (1 + test_random_below(seed, 7)));
    size_t align = PAGE << (test_random_below(seed, 4) == 0 ? 3 : 0);
    enum ashlar_mapcache_want want = wants[test_random_below(seed, ASHLAR_ARRAY_LEN(wants))];
    struct ashlar_extent *extent = take_kept(npages, align, want, &was_dirty);
    if (extent == NULL && want == ASHLAR_WANT_DIRTY)
        extent = take_kept(npages, align, ASHLAR_WANT_CLEAN, &was_dirty);
    if (extent == NULL) {
        extent = make(npages);
        was_dirty = false;
    }
    assert_int_equal(extent->len_bytes, npages * PAGE);
    for (bool *page = written(extent->base); page < written(ashlar_extent_guard(extent)); page++)
        assert_true(was_dirty || !*page);
    mark(extent, true);
    return extent;
}

static void resize_random(struct ashlar_extent *extent, uint64_t *seed)
{
    bool was_dirty;
    size_t npages = extent->len_bytes / PAGE;
    if (npages > 1 && test_random_below(seed, 2))
        shrink(extent, 1 + test_random_below(seed, npages - 1));
    else if (grow(extent, npages + 1 + test_random_below(seed, 30), &was_dirty))
        for (bool *page = written(extent->base + (npages + 1) * PAGE);
             page < written(ashlar_extent_guard(extent)); page++)
            assert_true(was_dirty || !*page);
    mark(extent, true);
}

/* Purges some; the guard behind each, too, or it is dirty as before. */
static void purge_random(uint64_t *seed)
{
    struct ashlar_extent *victims[3];
    size_t count = detach(ASHLAR_VICTIMS_ALL, victims, 3);
    for (size_t i = 0; i < count; i++) {
        bool is_clean = test_random_below(seed, 4) != 0;
        (void)expect_whole();
        if (is_clean)
            mark(victims[i], false);
        put(victims[i], is_clean ? CLEAN : DIRTY);
    }
}

static void random_operations_lose_no_page_and_call_no_written_one_clean(void **state)
{
    (void)state;
    uint64_t seed = 1;
    memset(is_written, 0, sizeof is_written);
    memset(blocks, 0, sizeof blocks);
    for (int step = 0; step < 20000; step++) {
        struct ashlar_extent **block = &blocks[test_random_below(&seed, BLOCKS)];
        now_ms += test_random_below(&seed, 3);
        if (*block == NULL) {
            *block = take_random(&seed);
        } else if (test_random_below(&seed, 3) == 0) {
            resize_random(*block, &seed);
        } else {
            put(*block, DIRTY);
            *block = NULL;
        }
        if (step % 16 == 0)
            purge_random(&seed);
        (void)expect_whole();
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_taken_where_nothing_is_kept),
        CASE(what_was_freed_serves_the_next_request_and_tells_of_old_contents),
        CASE(who_wants_clean_pages_gets_no_others),
        CASE(who_wants_pages_gets_no_empty_address_space),
        CASE(who_wants_pages_gets_what_waits_in_a_front),
        CASE(freed_neighbours_of_one_state_become_one),
        CASE(what_a_request_leaves_is_kept),
        CASE(an_alignment_is_cut_out_of_the_middle),
        CASE(without_descriptors_only_what_needs_no_front_is_taken),
        CASE(a_fresh_extent_is_cut_to_size_and_the_rest_kept_clean),
        CASE(what_is_cut_off_a_fresh_extent_joins_what_lay_there),
        CASE(a_fresh_extent_that_cannot_be_cut_is_kept_as_freed),
        CASE(shrinking_keeps_two_pages_and_leaves_one_as_room),
        CASE(growing_takes_what_is_free_behind_and_no_more),
        CASE(a_block_grown_over_clean_pages_is_told_so),
        CASE(a_block_grown_over_moved_pages_owes_their_mappings),
        CASE(an_insertion_that_meets_a_shut_lock_waits_for_the_next_holder),
        CASE(what_was_freed_is_due_when_its_time_is_up_and_not_before),
        CASE(the_oldest_go_first_whatever_the_order_they_came_in),
        CASE(a_piece_is_as_old_as_what_it_was_cut_from),
        CASE(what_is_too_much_is_due_and_no_more_than_that),
        CASE(what_waits_in_a_front_is_joined_before_fresh_pages_are_taken),
        CASE(what_waits_in_a_front_is_due_when_its_time_is_up),
        CASE(what_is_being_purged_is_out_of_reach_and_counts_as_kept),
        CASE(a_region_of_nothing_but_one_freed_extent_is_retired),
        CASE(a_run_begins_with_whole_units_and_its_front_stays_kept),
        CASE(a_run_that_cannot_be_cut_is_kept_dirty),
        CASE(random_operations_lose_no_page_and_call_no_written_one_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
