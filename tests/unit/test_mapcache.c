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
static size_t lent_bytes;

static void lock(void)
{
    assert_true(ashlar_mapcache_lock());
}

/* Whether the law leaves room for more: none as long as so much small memory is kept. */
static void set_room(bool has_room)
{
    ashlar_count_sub(arena_dirty_bytes, lent_bytes);
    lent_bytes = has_room ? 0 : 1024 * ASHLAR_GIB;
    ashlar_count_add(arena_dirty_bytes, lent_bytes);
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
        assert_true(is_live || extent->hole_bytes <= extent->len_bytes);
        assert_true(extent->state != CLEAN || extent->hole_bytes == 0);
        kept_bytes += is_live || extent->state == CLEAN ? 0
                                                        : extent->len_bytes - extent->hole_bytes;
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
    set_room(true);
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

static void without_room_who_wants_pages_gets_what_waits_in_a_front(void **state)
{
    (void)state;
    bool was_dirty = false;
    struct ashlar_extent *waiting = make(10);
    struct ashlar_extent *clean = make(10);
    (void)make(1);
    put(clean, CLEAN);
    assert_null(ashlar_front_put(waiting, now_ms));
    set_room(false);
    assert_ptr_equal(take_aligned(10, PAGE, ASHLAR_WANT_CLEAN, &was_dirty), clean);
    assert_int_equal(ashlar_front_blocks(), 1); /* clean ones lie elsewhere: it was let alone */
    assert_ptr_equal(take_aligned(10, PAGE, ASHLAR_WANT_DIRTY, &was_dirty), waiting);
    assert_true(was_dirty);
    assert_int_equal(ashlar_front_blocks(), 0);
}

static void with_room_what_waits_in_a_front_is_let_alone(void **state)
{
    (void)state;
    bool was_dirty = true;
    struct ashlar_extent *waiting = make(10);
    struct ashlar_extent *kept = make(20);
    (void)make(1);
    struct ashlar_extent *clean = make(100);
    (void)make(1);
    put(kept, DIRTY);
    put(clean, CLEAN);
    assert_null(ashlar_front_put(waiting, now_ms));
    assert_null(take_aligned(30, PAGE, ASHLAR_WANT_DIRTY, &was_dirty));
    assert_ptr_equal(take_aligned(30, PAGE, ASHLAR_WANT_ANY, &was_dirty), clean);
    assert_false(was_dirty);
    assert_ptr_equal(take_aligned(10, PAGE, ASHLAR_WANT_DIRTY, &was_dirty), kept);
    assert_int_equal(ashlar_front_blocks(), 1);
    assert_int_equal(waiting->state, ASHLAR_EXTENT_LIVE);
    (void)ashlar_purge_all();
    assert_int_equal(ashlar_front_blocks(), 0);
}

/* Room for the request is what counts: a longer one may find none. */
static void a_request_too_long_for_the_law_flushes_the_fronts(void **state)
{
    (void)state;
    bool was_dirty;
    assert_null(ashlar_front_put(make(10), now_ms));
    (void)make(1);
    assert_null(take_aligned(200, PAGE, ASHLAR_WANT_DIRTY, &was_dirty));
    assert_int_equal(ashlar_front_blocks(), 1);
    assert_null(take_aligned(300, PAGE, ASHLAR_WANT_DIRTY, &was_dirty)); /* a MiB may come */
    assert_int_equal(ashlar_front_blocks(), 0);
    assert_int_equal(expect_whole(), 3);
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

/* A block behind which the next one begins in the middle of two units, wherever the region lies. */
static struct ashlar_extent *make_up_to_middle(void)
{
    uintptr_t begin_at = (uintptr_t)ashlar_extent_end(pin) + PAGE;
    size_t npages = (size_t)((UNIT / 2 - PAGE - begin_at) % UNIT) / PAGE;
    struct ashlar_extent *extent = make(npages != 0 ? npages : UNIT / PAGE);
    assert_int_equal((uintptr_t)(ashlar_extent_end(extent) + PAGE) % UNIT, UNIT / 2);
    return extent;
}

static void an_alignment_is_cut_out_of_the_middle(void **state)
{
    (void)state;
    bool was_dirty;
    struct ashlar_extent *before = make_up_to_middle();
    struct ashlar_extent *block = make(3 * UNIT / PAGE);
    (void)make(1);
    put(block, DIRTY);
    assert_ptr_equal(ashlar_extent_before(block), before);
    block = take_aligned(UNIT / PAGE, UNIT, ASHLAR_WANT_ANY, &was_dirty);
    assert_true(ashlar_is_aligned(block->base, UNIT));
    assert_ptr_not_equal(ashlar_extent_before(block), before);
    assert_int_equal(expect_whole(), 6);
    put(block, DIRTY);
    assert_int_equal(expect_whole(), 4);
}

static void without_descriptors_only_what_needs_no_front_is_taken(void **state)
{
    (void)state;
    bool was_dirty;
    (void)make_up_to_middle();
    struct ashlar_extent *block = make(3 * UNIT / PAGE);
    (void)make(1);
    put(block, DIRTY);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(take_aligned(UNIT / PAGE, UNIT, ASHLAR_WANT_ANY, &was_dirty));
    assert_int_equal(expect_whole(), 4);
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
    (void)make_up_to_middle();
    struct ashlar_extent *fresh = take_fresh(3 * UNIT, PAGE);
    ashlar_lock_shut(&ashlar_meta_lock);
    lock();
    assert_false(ashlar_mapcache_cut_fresh_locked(fresh, UNIT, UNIT));
    ashlar_mapcache_unlock();
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(expect_whole(), 3);
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
    now_ms += (uint64_t)ashlar_opt.decay_ms * 3 / 4 - 11;
    assert_false(is_due());
    assert_int_equal(detach(ASHLAR_VICTIMS_DUE, victims, 4), 0);
    now_ms++;
    assert_true(is_due()); /* three quarters of its time: a part of what is kept */
    assert_int_equal(detach(ASHLAR_VICTIMS_DUE, victims, 4), 1);
    assert_ptr_equal(victims[0], old);
    assert_false(is_due());
    now_ms += (uint64_t)ashlar_opt.decay_ms / 4 + 10;
    assert_true(is_due());
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

static void without_room_what_waits_in_a_front_is_joined_before_fresh_pages_are_taken(void **state)
{
    (void)state;
    struct ashlar_extent *low = make(10);
    struct ashlar_extent *high = make(10);
    char *base = low->base;
    (void)make(1);
    assert_null(ashlar_front_put(low, now_ms));
    put(high, DIRTY);
    set_room(false);
    assert_ptr_equal(take(21)->base, base);
}

static void what_waits_in_a_front_is_due_when_three_quarters_of_its_time_are_up(void **state)
{
    (void)state;
    assert_null(ashlar_front_put(make(10), now_ms));
    (void)make(1);
    now_ms += (uint64_t)ashlar_opt.decay_ms * 3 / 4 - 1;
    assert_false(is_due());
    ashlar_purge_due(now_ms);
    assert_int_equal(ashlar_front_blocks(), 1);
    now_ms++;
    assert_true(is_due());
    ashlar_purge_due(now_ms);
    assert_int_equal(ashlar_front_blocks(), 0);
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

static size_t kept_pages(void)
{
    return ashlar_count_read(cache_kept_bytes) / PAGE;
}

static void a_small_hole_beside_a_freed_block_is_joined_and_not_kept(void **state)
{
    (void)state;
    bool was_dirty = false;
    struct ashlar_extent *low = make(20);
    struct ashlar_extent *hole = make(4);
    struct ashlar_extent *high = make(20);
    char *base = low->base;
    (void)make(1);
    put(hole, CLEAN);
    put(low, DIRTY);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 21); /* the guard in front of it may have been written */
    put(high, DIRTY);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 42);
    assert_ptr_equal(take_aligned(46, PAGE, ASHLAR_WANT_DIRTY, &was_dirty)->base, base);
    assert_true(was_dirty);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 0);
}

static void a_hole_that_comes_later_is_joined_with_the_next_freed_block(void **state)
{
    (void)state;
    struct ashlar_extent *low = make(20);
    struct ashlar_extent *hole = make(4);
    struct ashlar_extent *high = make(20);
    (void)make(1);
    put(low, DIRTY);
    put(hole, CLEAN);
    assert_int_equal(expect_whole(), 5);
    put(high, DIRTY); /* with the hole, and then with what lies in front of that */
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 42);
}

static void what_was_joined_may_be_long_enough_for_the_next_hole(void **state)
{
    (void)state;
    struct ashlar_extent *run[5];
    static const size_t lengths[] = {20, 20, 8, 20, 1};
    for (int i = 0; i < 5; i++)
        run[i] = make(lengths[i]);
    put(run[2], CLEAN);
    put(run[1], DIRTY);
    put(run[3], DIRTY);
    assert_int_equal(expect_whole(), 6); /* eight pages are too many for twenty */
    put(run[0], DIRTY);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 3 * 20 + 3);
}

/* Frees a hole, and a block in front of it; the extents there are then. */
static size_t extents_with(size_t block_pages, size_t hole_pages)
{
    struct ashlar_extent *block = make(block_pages);
    struct ashlar_extent *hole = make(hole_pages);
    (void)make(1);
    put(hole, CLEAN);
    put(block, DIRTY);
    size_t count = expect_whole();
    (void)ashlar_purge_all();
    assert_non_null(take(block_pages + 1 + hole_pages)); /* out of the way */
    return count;
}

static void a_hole_is_a_mib_and_a_quarter_of_the_whole_at_most(void **state)
{
    (void)state;
    size_t most = ASHLAR_MIB / PAGE;
    assert_int_equal(extents_with(8 * most, most), 3);
    assert_int_equal(extents_with(8 * most, most + 1), 2 + 4);
    assert_int_equal(extents_with(24, 8), 4 + 3);
    assert_int_equal(extents_with(23, 8), 6 + 4);
}

static void all_holes_together_are_a_quarter_at_most(void **state)
{
    (void)state;
    struct ashlar_extent *first = make(1);
    struct ashlar_extent *block = make(24);
    struct ashlar_extent *second = make(8);
    (void)make(1);
    put(first, CLEAN);
    put(second, CLEAN);
    put(block, DIRTY); /* eight alone would do */
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(block->hole_bytes, PAGE);
    assert_int_equal(second->state, CLEAN);
}

/* 46 pages, of which four surely hold nothing, between live ones. */
static struct ashlar_extent *keep_with_hole(void)
{
    struct ashlar_extent *low = make(20);
    struct ashlar_extent *hole = make(4);
    struct ashlar_extent *high = make(20);
    (void)make(1);
    put(hole, CLEAN);
    put(low, DIRTY);
    put(high, DIRTY);
    struct ashlar_extent *extent = ashlar_extent_behind(pin);
    assert_int_equal(extent->len_bytes, 46 * PAGE);
    assert_int_equal(extent->hole_bytes, 4 * PAGE);
    return extent;
}

static void a_block_with_holes_takes_them_out_of_the_account(void **state)
{
    (void)state;
    (void)keep_with_hole();
    struct ashlar_extent *block = take(10); /* which may have had all of them */
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 35);
    put(block, DIRTY); /* it may have been written */
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 46);
}

static void what_a_block_has_no_place_for_stays_a_hole(void **state)
{
    (void)state;
    (void)keep_with_hole();
    (void)take(2);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 43 - 1); /* one of four is neither in it nor under its guard */
    (void)take(43);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 0);
}

static void holes_are_grown_over_first(void **state)
{
    (void)state;
    bool was_dirty = false;
    struct ashlar_extent *block = make(10);
    struct ashlar_extent *hole = make(4);
    struct ashlar_extent *behind = make(20);
    (void)make(1);
    put(hole, CLEAN);
    put(behind, DIRTY);
    assert_int_equal(kept_pages(), 21);
    assert_true(grow(block, 12, &was_dirty)); /* over two of them: a guard has moved */
    assert_true(was_dirty);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 21);
    assert_true(grow(block, 33, &was_dirty));
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 2); /* which were never holes */
    assert_true(grow(block, 36, &was_dirty));
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 0);
}

static void what_is_purged_has_no_holes_any_more(void **state)
{
    (void)state;
    bool was_dirty = true;
    struct ashlar_extent *victim;
    struct ashlar_extent *kept = keep_with_hole();
    char *base = kept->base;
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, &victim, 1), 1);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 42);
    put(victim, DIRTY); /* the kernel would not */
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 42);
    uint64_t purged = ashlar_count_read(purge_bytes);
    assert_true(ashlar_purge_all());
    assert_int_equal(ashlar_count_read(purge_bytes), purged + 42 * PAGE);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 0);
    assert_ptr_equal(take_aligned(46, PAGE, ASHLAR_WANT_CLEAN, &was_dirty)->base, base);
    assert_false(was_dirty);
}

static void what_is_late_keeps_its_holes(void **state)
{
    (void)state;
    struct ashlar_extent *victim;
    (void)keep_with_hole();
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, &victim, 1), 1);
    ashlar_lock_shut(&ashlar_large_lock);
    put(victim, DIRTY);
    ashlar_lock_reopen(&ashlar_large_lock, false);
    lock();
    ashlar_mapcache_unlock();
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 42);
}

static void a_region_with_holes_is_retired_and_kept_again(void **state)
{
    (void)state;
    struct ashlar_extent *hole = make(4);
    struct ashlar_extent *high = make(20);
    char *base = pin->base;
    struct ashlar_region *region = pin->region;
    put(hole, CLEAN);
    put(high, DIRTY);
    put(pin, DIRTY);
    fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
    (void)ashlar_purge_all();
    fake_os_obey();
    assert_ptr_equal(ashlar_region_find(base), region);
    size_t full_pages = kept_pages();
    assert_int_equal(full_pages, 1 + 1 + 1 + 20);
    pin = take(1);
    assert_ptr_equal(pin->base, base);
    assert_int_equal(expect_whole(), 2);
}

static struct ashlar_extent *detach_run(size_t want_bytes, size_t least_bytes, size_t *run_bytes)
{
    lock();
    struct ashlar_extent *run = ashlar_mapcache_detach_run_locked(want_bytes, least_bytes,
                                                                  run_bytes);
    ashlar_mapcache_unlock();
    return run;
}

static void a_run_taken_out_of_an_extent_with_holes_leaves_the_accounts_right(void **state)
{
    (void)state;
    size_t run_bytes;
    (void)keep_with_hole();
    struct ashlar_extent *run = detach_run(16 * PAGE, 10 * PAGE, &run_bytes);
    assert_int_equal(run_bytes, 16 * PAGE);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 42);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    assert_int_equal(run->state, CLEAN);
    assert_int_equal(run->len_bytes, 15 * PAGE);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 30); /* the holes may have been in the run */
}

static void holes_that_a_run_had_no_place_for_are_left_behind_it(void **state)
{
    (void)state;
    size_t run_bytes;
    (void)keep_with_hole();
    struct ashlar_extent *run = detach_run(3 * PAGE, 3 * PAGE, &run_bytes);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    assert_int_equal(run->len_bytes, 2 * PAGE);
    assert_int_equal(expect_whole(), 4);
    assert_in_range(kept_pages(), 43 - 1, 43); /* one of four cannot have been in it */
}

static void a_run_begins_where_its_extent_does_and_the_rest_stays_kept(void **state)
{
    (void)state;
    size_t run_bytes;
    struct ashlar_extent *block = make(20);
    char *base = block->base;
    (void)make(1);
    assert_null(detach_run(4 * PAGE, 4 * PAGE, &run_bytes));
    put(block, CLEAN);
    assert_null(detach_run(4 * PAGE, 4 * PAGE, &run_bytes)); /* no pages there */
    put(take(20), DIRTY);
    struct ashlar_extent *run = detach_run(8 * PAGE, 4 * PAGE, &run_bytes);
    assert_int_equal(run_bytes, 8 * PAGE);
    assert_ptr_equal(run->base, base);
    assert_int_equal(run->len_bytes, 20 * PAGE); /* it stays whole meanwhile */
    assert_int_equal(run->state, ASHLAR_EXTENT_BUSY);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 20);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(run->state, CLEAN);
    assert_int_equal(run->len_bytes, 7 * PAGE);
    struct ashlar_extent *rest = ashlar_extent_behind(run);
    assert_int_equal(rest->state, DIRTY);
    assert_int_equal(rest->len_bytes, 12 * PAGE);
    assert_int_equal(kept_pages(), 12);
    assert_ptr_equal(detach_run(100 * PAGE, 4 * PAGE, &run_bytes), rest);
    assert_int_equal(run_bytes, 12 * PAGE); /* no more than there is */
    put(rest, DIRTY);
}

static void a_run_is_one_that_suffices_or_the_longest(void **state)
{
    (void)state;
    size_t run_bytes = 0;
    static const size_t lengths[] = {30, 70, 300};
    struct ashlar_extent *kept[3];
    for (int i = 0; i < 3; i++) {
        kept[i] = make(lengths[i]);
        (void)make(1);
    }
    for (int i = 0; i < 3; i++)
        put(kept[i], DIRTY);
    assert_null(detach_run(1000 * PAGE, 301 * PAGE, &run_bytes));
    struct ashlar_extent *run = detach_run(1000 * PAGE, 300 * PAGE, &run_bytes);
    assert_ptr_equal(run, kept[2]);
    assert_int_equal(run_bytes, 300 * PAGE);
    put(run, DIRTY);
    run = detach_run(50 * PAGE, 3 * PAGE, &run_bytes);
    assert_ptr_equal(run, kept[1]); /* the shortest that has all of it */
    assert_int_equal(run_bytes, 50 * PAGE);
    put(run, DIRTY);
    run = detach_run(30 * PAGE, 30 * PAGE, &run_bytes);
    assert_ptr_equal(run, kept[0]);
    assert_int_equal(run_bytes, 30 * PAGE);
    put(run, DIRTY);
}

static void a_run_that_cannot_be_cut_is_kept_dirty(void **state)
{
    (void)state;
    size_t run_bytes;
    struct ashlar_extent *block = make(20);
    (void)make(1);
    put(block, DIRTY);
    ashlar_lock_shut(&ashlar_meta_lock);
    struct ashlar_extent *run = detach_run(4 * PAGE, 4 * PAGE, &run_bytes);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 20);
    run = detach_run(4 * PAGE, 4 * PAGE, &run_bytes);
    ashlar_lock_shut(&ashlar_large_lock);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
    ashlar_lock_reopen(&ashlar_large_lock, false);
    lock();
    ashlar_mapcache_unlock();
    assert_int_equal(expect_whole(), 3);
    assert_int_equal(kept_pages(), 20);
}

/* As take, of a kept extent and the clean one beside it; which of its pages are clean. */
static struct ashlar_extent *take_longer(size_t npages, size_t align, size_t *clean_page,
                                         size_t *clean_pages)
{
    size_t clean_at = 0;
    size_t clean_bytes = 0;
    lock();
    struct ashlar_extent *extent = ashlar_mapcache_take_longer_locked(npages * PAGE, align,
                                                                      &clean_at, &clean_bytes);
    if (extent != NULL)
        ashlar_account_count_locked(extent, now_ms);
    ashlar_mapcache_unlock();
    *clean_page = clean_at / PAGE;
    *clean_pages = clean_bytes / PAGE;
    if (extent == NULL)
        return NULL;
    assert_int_equal(extent->state, ASHLAR_EXTENT_LIVE);
    assert_int_equal(extent->len_bytes, npages * PAGE);
    assert_true(ashlar_is_aligned(extent->base, align));
    return extent;
}

static struct ashlar_extent *lengthen(size_t npages)
{
    size_t clean_page;
    size_t clean_pages;
    return take_longer(npages, PAGE, &clean_page, &clean_pages);
}

/* A kept extent with clean space behind it, or in front of it, between live ones. The kept one. */
static struct ashlar_extent *keep_before_clean(size_t dirty_pages, size_t clean_pages)
{
    struct ashlar_extent *dirty = make(dirty_pages);
    struct ashlar_extent *clean = make(clean_pages);
    (void)make(1);
    put(clean, CLEAN);
    put(dirty, DIRTY);
    assert_ptr_equal(ashlar_extent_behind(dirty), clean);
    return dirty;
}

static struct ashlar_extent *keep_behind_clean(size_t dirty_pages, size_t clean_pages)
{
    struct ashlar_extent *clean = make(clean_pages);
    struct ashlar_extent *dirty = make(dirty_pages);
    (void)make(1);
    put(clean, CLEAN);
    put(dirty, DIRTY);
    assert_ptr_equal(ashlar_extent_before(dirty), clean);
    return dirty;
}

static void a_kept_extent_is_lengthened_into_the_clean_space_behind_it(void **state)
{
    (void)state;
    size_t clean_page;
    size_t clean_pages;
    char *base = keep_before_clean(20, 60)->base;
    struct ashlar_extent *block = take_longer(50, PAGE, &clean_page, &clean_pages);
    assert_ptr_equal(block->base, base);
    assert_int_equal(clean_page, 21); /* what lies under the guard between them is not known */
    assert_int_equal(clean_pages, 29);
    assert_int_equal(block->room_bytes, 0);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 0);
    assert_int_equal(ashlar_extent_behind(block)->state, CLEAN);
    assert_int_equal(ashlar_extent_behind(block)->len_bytes, 30 * PAGE);
    put(block, DIRTY);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 50); /* all of it may have been written */
    block = lengthen(80);
    assert_int_equal(block->room_bytes, PAGE);
    assert_int_equal(expect_whole(), 3);
}

static void a_kept_extent_is_lengthened_into_the_clean_space_in_front_of_it(void **state)
{
    (void)state;
    size_t clean_page;
    size_t clean_pages;
    struct ashlar_extent *dirty = keep_behind_clean(20, 60);
    char *base = dirty->base;
    char *guard = ashlar_extent_guard(dirty);
    struct ashlar_extent *block = take_longer(50, PAGE, &clean_page, &clean_pages);
    assert_ptr_equal(ashlar_extent_guard(block), guard);
    assert_ptr_equal(block->base, base - 30 * PAGE);
    assert_int_equal(clean_page, 0);
    assert_int_equal(clean_pages, 30); /* the guard of the clean one, too */
    assert_int_equal(block->room_bytes, 0);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 0);
    assert_int_equal(ashlar_extent_before(block)->state, CLEAN);
    assert_int_equal(ashlar_extent_before(block)->len_bytes, 30 * PAGE);
    put(block, DIRTY);
    assert_int_equal(kept_pages(), 50);
    assert_int_equal(expect_whole(), 4);
}

/* What becomes of 20 kept pages and 60 clean ones: clean pages of the block, 0 and no extents when
   there is none; and extents in the region. */
struct lengthened {
    size_t npages;
    size_t clean_pages;
    size_t extents;
};

static void expect_lengthened(const struct lengthened *row, bool is_in_front, size_t extents)
{
    size_t clean_page;
    size_t clean_pages;
    struct ashlar_extent *kept = is_in_front ? keep_behind_clean(20, 60)
                                             : keep_before_clean(20, 60);
    struct ashlar_extent *block = take_longer(row->npages, PAGE, &clean_page, &clean_pages);
    assert_int_equal(block != NULL, row->extents != 0);
    assert_int_equal(expect_whole(), extents + (block != NULL ? row->extents : 4));
    assert_int_equal(kept_pages(), block != NULL ? 0 : 20);
    if (block != NULL) {
        assert_int_equal(clean_page, is_in_front ? 0 : 21);
        assert_int_equal(clean_pages, row->clean_pages);
        put(block, DIRTY);
    } else {
        assert_int_equal(kept->state, DIRTY);
    }
    (void)ashlar_purge_all();
    assert_non_null(take(81)); /* out of the way */
}

static void what_is_left_of_a_lengthened_extent_is_one_or_room(void **state)
{
    (void)state;
    static const struct lengthened behind[] = {{82, 0, 0}, {81, 60, 3}, {80, 59, 3}, {79, 58, 4},
                                               {22, 1, 4}, {21, 0, 4},  {20, 0, 0}};
    /* A page in front would be nobody's. */
    static const struct lengthened in_front[] = {{82, 0, 0}, {81, 61, 3}, {80, 0, 0}, {79, 59, 4},
                                                 {22, 2, 4}, {21, 1, 4},  {20, 0, 0}};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(behind); i++) {
        expect_lengthened(&behind[i], false, 4 * i);
        expect_lengthened(&in_front[i], true, 4 * i + 2);
    }
}

static void the_longest_kept_extent_that_can_be_is_lengthened(void **state)
{
    (void)state;
    (void)keep_before_clean(20, 100);
    struct ashlar_extent *longest = keep_before_clean(40, 100);
    struct ashlar_extent *alone = make(60);
    (void)make(1);
    put(alone, DIRTY); /* longer, and nothing clean beside it */
    char *base = longest->base;
    assert_ptr_equal(lengthen(70)->base, base);
    assert_int_equal(alone->state, DIRTY);
    assert_int_equal(kept_pages(), 20 + 60);
    (void)expect_whole();
}

static void the_space_behind_is_taken_before_that_in_front(void **state)
{
    (void)state;
    struct ashlar_extent *low = make(100);
    struct ashlar_extent *kept = make(40);
    struct ashlar_extent *high = make(60);
    char *base = kept->base;
    (void)make(1);
    put(low, CLEAN);
    put(high, CLEAN);
    put(kept, DIRTY);
    struct ashlar_extent *block = lengthen(70);
    assert_ptr_equal(block->base, base);
    put(block, DIRTY);
    (void)ashlar_purge_all();
    block = take(202);
    shrink(block, 100);
    (void)ashlar_purge_all();
    struct ashlar_extent *behind = take(101);
    put(block, CLEAN);
    shrink(behind, 40);
    (void)ashlar_purge_all();
    put(behind, DIRTY); /* as before */
    assert_ptr_equal(lengthen(110)->base, base + 40 * PAGE - 110 * PAGE);
    (void)expect_whole();
}

static void kept_pages_that_are_few_beside_the_request_are_let_alone(void **state)
{
    (void)state;
    (void)keep_before_clean(32, 400);
    assert_null(lengthen(4 * 36));
    assert_int_equal(kept_pages(), 32);
    assert_non_null(lengthen(4 * 32));
    assert_int_equal(kept_pages(), 0);
}

/* Live blocks up to a multiple of `align`. */
static void fill_up_to(size_t align)
{
    const char *edge = pin->region->edge;
    size_t gap = (ashlar_align_up((uintptr_t)edge, align) - (uintptr_t)edge) / PAGE;
    if (gap == 1)
        gap += align / PAGE;
    if (gap != 0)
        (void)make(gap - 1);
}

static void a_lengthened_extent_lies_at_a_multiple_of_the_alignment(void **state)
{
    (void)state;
    size_t clean_page;
    size_t clean_pages;
    fill_up_to(16 * PAGE);
    char *base = keep_before_clean(20, 60)->base;
    assert_ptr_equal(take_longer(50, 16 * PAGE, &clean_page, &clean_pages)->base, base);
    assert_non_null(take(30)); /* the rest */
    fill_up_to(16 * PAGE);
    (void)make(1);
    base = keep_before_clean(20, 60)->base;
    assert_null(take_longer(50, 4 * PAGE, &clean_page, &clean_pages));
    assert_ptr_equal(take_longer(50, 2 * PAGE, &clean_page, &clean_pages)->base, base);
    assert_non_null(take(30));
    fill_up_to(16 * PAGE);
    struct ashlar_extent *kept = keep_behind_clean(20, 60); /* ends 81 pages behind a multiple */
    char *guard = ashlar_extent_guard(kept);
    assert_null(take_longer(50, 2 * PAGE, &clean_page, &clean_pages));
    assert_int_equal(kept_pages(), 20);
    struct ashlar_extent *block = take_longer(49, 16 * PAGE, &clean_page, &clean_pages);
    assert_non_null(block);
    assert_ptr_equal(ashlar_extent_guard(block), guard);
    assert_int_equal(clean_pages, 29);
    (void)expect_whole();
}

static void huge_pages_do_not_come_into_a_block_that_is_lengthened(void **state)
{
    (void)state;
    struct ashlar_region *region;
    struct ashlar_extent *parts[3];
    static const size_t lengths[] = {20, 60, 1};
    for (int i = 0; i < 3; i++) {
        size_t taken_bytes;
        parts[i] = ashlar_extent_new();
        parts[i]->base = ashlar_region_take((lengths[i] + 1) * PAGE, PAGE, ASHLAR_PAGES_HUGE,
                                            &parts[i]->region, &taken_bytes);
        assert_non_null(parts[i]->base);
        parts[i]->len_bytes = taken_bytes - PAGE;
        lock();
        assert_true(ashlar_mapcache_cut_fresh_locked(parts[i], lengths[i] * PAGE, PAGE));
        ashlar_mapcache_unlock();
    }
    region = parts[0]->region;
    assert_ptr_not_equal(region, pin->region);
    put(parts[1], CLEAN);
    put(parts[0], DIRTY);
    assert_ptr_equal(ashlar_extent_behind(parts[0]), parts[1]);
    assert_null(lengthen(50));
    assert_int_equal(parts[0]->state, DIRTY);
    put(parts[2], DIRTY);
    (void)ashlar_purge_all();
    assert_int_equal(expect_whole(), 1);
}

static void
without_a_descriptor_nothing_is_cut_off_in_front_and_the_rest_behind_is_room(void **state)
{
    (void)state;
    struct ashlar_extent *kept = keep_behind_clean(20, 60);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(lengthen(50));
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept->state, DIRTY);
    assert_int_equal(kept->len_bytes, 20 * PAGE);
    assert_int_equal(kept_pages(), 20);
    assert_non_null(lengthen(81)); /* nothing to be cut off */
    assert_int_equal(expect_whole(), 3);
    char *base = keep_before_clean(20, 60)->base;
    ashlar_lock_shut(&ashlar_meta_lock);
    struct ashlar_extent *block = lengthen(50);
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_ptr_equal(block->base, base);
    assert_int_equal(block->room_bytes, 31 * PAGE);
    assert_int_equal(expect_whole(), 5);
}

/* Symptom: what could not be cut was kept whole beside another kept one. */
static void without_a_descriptor_clean_space_between_two_kept_extents_stays_clean(void **state)
{
    (void)state;
    struct ashlar_extent *low = make(20);
    struct ashlar_extent *clean = make(60);
    struct ashlar_extent *high = make(30);
    (void)make(1);
    put(clean, CLEAN);
    put(low, DIRTY);
    put(high, DIRTY);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(lengthen(85));
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(expect_whole(), 5);
    assert_int_equal(kept_pages(), 50);
}

static size_t detach_due(struct ashlar_extent **victims, size_t room)
{
    return detach(ASHLAR_VICTIMS_DUE, victims, room);
}

/* So much of what is kept is too much. */
static void set_excess(size_t npages)
{
    ashlar_opt.cache_max = (int64_t)(ashlar_count_read(cache_kept_bytes) - npages * PAGE);
}

#define MIB_PAGES (ASHLAR_MIB / PAGE)
#define UNIT_PAGES (UNIT / PAGE)

static void of_a_long_victim_of_the_law_its_end_goes(void **state)
{
    (void)state;
    struct ashlar_extent *victims[3];
    struct ashlar_extent *block = make(16 * MIB_PAGES);
    (void)make(1);
    put(block, DIRTY);
    char *end_of_block = ashlar_extent_end(block);
    /* A page and a sixteenth, in whole units. */
    set_excess(1);
    assert_true(is_due());
    assert_int_equal(detach_due(victims, 3), 1);
    assert_ptr_equal(ashlar_extent_end(victims[0]), end_of_block);
    assert_int_equal(victims[0]->len_bytes, ASHLAR_MIB + UNIT - PAGE);
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 16 * MIB_PAGES - 1); /* but for a guard */
    put(victims[0], CLEAN);
    assert_false(is_due());
    size_t kept = 15 * MIB_PAGES - UNIT_PAGES;
    assert_int_equal(kept_pages(), kept);
    assert_int_equal(expect_whole(), 4);
    /* The next one lies beside it, and is as old as before. */
    set_excess(UNIT_PAGES);
    assert_int_equal(detach_due(victims, 3), 1);
    put(victims[0], CLEAN);
    assert_false(is_due());
    assert_int_equal(kept_pages(), kept - MIB_PAGES - UNIT_PAGES);
    assert_int_equal(expect_whole(), 4);
}

static void what_goes_of_a_victim_lies_beside_the_clean_space_in_front(void **state)
{
    (void)state;
    struct ashlar_extent *victims[3];
    struct ashlar_extent *clean = make(2 * MIB_PAGES);
    struct ashlar_extent *block = make(8 * MIB_PAGES);
    (void)make(1);
    char *base = block->base;
    put(clean, CLEAN);
    put(block, DIRTY);
    set_excess(1);
    assert_int_equal(detach_due(victims, 3), 1);
    assert_ptr_equal(victims[0]->base, base);
    assert_int_equal(victims[0]->len_bytes, 3 * UNIT);
    assert_int_equal(expect_whole(), 5);
    put(victims[0], CLEAN);
    assert_false(is_due());
    assert_int_equal(expect_whole(), 4);
    assert_int_equal(kept_pages(), 8 * MIB_PAGES - 3 * UNIT_PAGES - 1);
    assert_int_equal(ashlar_extent_behind(pin)->len_bytes, 2 * ASHLAR_MIB + PAGE + 3 * UNIT);
}

static void what_is_old_goes_whole_however_long(void **state)
{
    (void)state;
    struct ashlar_extent *victims[3];
    struct ashlar_extent *old = make(8 * MIB_PAGES);
    (void)make(1);
    struct ashlar_extent *young = make(8 * MIB_PAGES);
    (void)make(1);
    put(old, DIRTY);
    now_ms += (uint64_t)ashlar_opt.decay_ms;
    put(young, DIRTY);
    set_excess(1);
    assert_int_equal(detach_due(victims, 3), 1);
    assert_ptr_equal(victims[0], old);
    assert_int_equal(old->len_bytes, 8 * ASHLAR_MIB);
    put(victims[0], CLEAN);
    set_excess(1);
    assert_int_equal(detach_due(victims, 3), 1);
    assert_int_equal(victims[0]->len_bytes, 3 * UNIT - PAGE);
    put(victims[0], CLEAN);
    put(take(8 * MIB_PAGES), DIRTY);
    assert_int_equal(detach(ASHLAR_VICTIMS_ALL, victims, 3), 2); /* and so does all of everything */
    put(victims[0], CLEAN);
    put(victims[1], CLEAN);
    assert_int_equal(kept_pages(), 0);
}

/* Frees a block of which so much is too much; the length of the victim. */
static size_t victim_pages(size_t npages, size_t excess_pages)
{
    struct ashlar_extent *victim;
    struct ashlar_extent *block = make(npages);
    (void)make(1);
    put(block, DIRTY);
    set_excess(excess_pages);
    assert_int_equal(detach_due(&victim, 1), 1);
    size_t gone = victim->len_bytes / PAGE;
    put(victim, CLEAN);
    (void)ashlar_purge_all();
    return gone;
}

static void a_short_victim_and_one_of_which_most_is_too_much_go_whole(void **state)
{
    (void)state;
    assert_int_equal(victim_pages(MIB_PAGES - 1, 1), MIB_PAGES - 1);
    assert_int_equal(victim_pages(MIB_PAGES, 1), UNIT_PAGES - 1);
    assert_int_equal(victim_pages(4 * MIB_PAGES, 3 * MIB_PAGES), 4 * MIB_PAGES);
    assert_int_equal(victim_pages(4 * MIB_PAGES, 3 * MIB_PAGES - UNIT_PAGES), 3 * MIB_PAGES - 1);
    assert_int_equal(victim_pages(4 * MIB_PAGES, 3 * MIB_PAGES - UNIT_PAGES + 1), 4 * MIB_PAGES);
}

static void a_part_of_a_victim_with_holes_may_be_nothing_but_holes(void **state)
{
    (void)state;
    struct ashlar_extent *victims[4];
    struct ashlar_extent *low = make(4 * MIB_PAGES);
    struct ashlar_extent *hole = make(MIB_PAGES);
    struct ashlar_extent *high = make(3 * MIB_PAGES);
    (void)make(1);
    put(hole, CLEAN);
    put(low, DIRTY);
    put(high, DIRTY);
    assert_int_equal(expect_whole(), 3);
    size_t kept = kept_pages();
    assert_int_equal(kept, 7 * MIB_PAGES + 2);
    set_excess(1);
    while (is_due()) {
        size_t count = detach_due(victims, 4);
        assert_in_range(count, 1, 4);
        (void)expect_whole();
        for (size_t i = 0; i < count; i++)
            put(victims[i], CLEAN);
    }
    (void)expect_whole();
    assert_in_range(kept_pages(), 5 * MIB_PAGES, kept - 1);
}

/* Symptom: without a descriptor for what may stay, its old contents were called clean. */
static void without_a_descriptor_a_victim_goes_whole(void **state)
{
    (void)state;
    for (int is_beside_clean = 0; is_beside_clean < 2; is_beside_clean++) {
        struct ashlar_extent *victim;
        struct ashlar_extent *block = is_beside_clean
                                          ? keep_behind_clean(4 * MIB_PAGES, 2 * MIB_PAGES)
                                          : make(4 * MIB_PAGES);
        (void)make(1);
        if (!is_beside_clean)
            put(block, DIRTY);
        set_excess(1);
        ashlar_lock_shut(&ashlar_meta_lock);
        assert_int_equal(detach_due(&victim, 1), 1);
        ashlar_lock_reopen(&ashlar_meta_lock, false);
        assert_ptr_equal(victim, block);
        assert_int_equal(victim->room_bytes, 0);
        assert_int_equal(victim->len_bytes, 4 * ASHLAR_MIB);
        (void)expect_whole();
        put(victim, CLEAN);
        assert_int_equal(kept_pages(), 0);
    }
}

/* Purges what is due; the number of victims. */
static size_t purge_due(void)
{
    struct ashlar_extent *victims[4];
    size_t count = 0;
    while (is_due()) {
        size_t more = detach_due(victims, ASHLAR_ARRAY_LEN(victims));
        assert_in_range(more, 1, ASHLAR_ARRAY_LEN(victims));
        for (size_t i = 0; i < more; i++)
            put(victims[i], CLEAN);
        count += more;
    }
    (void)expect_whole();
    return count;
}

/* Frees 40 blocks of so many pages, none beside another. */
static void free_burst(size_t npages)
{
    struct ashlar_extent *burst[40];
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(burst); i++) {
        burst[i] = make(npages);
        (void)make(1);
    }
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(burst); i++)
        put(burst[i], DIRTY);
}

/* Symptom: a call that came when the decay time was over paid for all that a burst had freed. */
static void a_burst_of_freed_blocks_goes_in_steps(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    free_burst(64);
    size_t burst_pages = kept_pages();
    unsigned steps = 0;
    assert_int_equal(burst_pages, 40 * 64);
    for (uint64_t age_ms = 0; age_ms < 800; age_ms++, now_ms++) {
        size_t before = kept_pages();
        (void)purge_due();
        size_t gone = before - kept_pages();
        assert_true(gone == 0 || (age_ms >= 600 && age_ms % 50 == 0 && gone == burst_pages / 5));
        steps += gone != 0;
    }
    assert_int_equal(steps, 4);
    assert_int_equal(kept_pages(), burst_pages / 5);
    (void)purge_due();
    assert_int_equal(kept_pages(), 0);
}

static void a_long_freed_block_is_cut_and_does_not_go_whole(void **state)
{
    (void)state;
    ashlar_opt.decay_ms = 800;
    struct ashlar_extent *block = make(40 * MIB_PAGES);
    (void)make(1);
    put(block, DIRTY);
    char *base = block->base;
    now_ms += 600;
    for (int step = 0; step < 4; step++, now_ms += 50) {
        size_t before = kept_pages();
        assert_int_equal(purge_due(), 1); /* as long as it has to be */
        size_t gone = before - kept_pages();
        assert_in_range(gone, before / (5 - (size_t)step), 40 * MIB_PAGES / 5 * 2);
        assert_ptr_equal(ashlar_extent_behind(pin)->base, base); /* its end goes */
        assert_true(kept_pages() > 0);
    }
    assert_int_equal(purge_due(), 1);
    assert_int_equal(kept_pages(), 0);
}

static void what_was_freed_less_than_three_quarters_of_the_decay_time_ago_stays(void **state)
{
    (void)state;
    /* Whether somebody looks in between, or only when the old ones are too old. */
    for (uint64_t pause_ms = 1; pause_ms <= 199; pause_ms += 198) {
        ashlar_opt.decay_ms = 800;
        free_burst(64);
        now_ms += 601;
        free_burst(100);
        for (uint64_t age_ms = 601; age_ms < 800; age_ms += pause_ms, now_ms += pause_ms)
            if (pause_ms == 1)
                (void)purge_due();
        assert_int_equal(kept_pages(), (pause_ms == 1 ? 40 * 100 : 40 * 164));
        (void)purge_due();
        assert_int_equal(kept_pages(), 40 * 100);
        now_ms += 400; /* 599 after it was freed */
        (void)purge_due();
        assert_int_equal(kept_pages(), 40 * 100);
        now_ms++;
        (void)purge_due();
        assert_true(kept_pages() < 40 * 100);
        (void)ashlar_purge_all();
        now_ms += 10000;
    }
}

/* The model of the random case: whether a page may have been written since it was clean. */
#define MODEL_PAGES 16384
#define BLOCKS 24
static bool is_written[MODEL_PAGES];
static struct ashlar_extent *blocks[BLOCKS];
static size_t lengthened;

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

/* The same of a kept extent that is too short: of its pages some are told to be clean. */
static struct ashlar_extent *take_longer_kept(size_t npages, size_t align)
{
    size_t clean_page;
    size_t clean_pages;
    struct ashlar_extent *extent = take_longer(npages, align, &clean_page, &clean_pages);
    if (extent == NULL)
        return NULL;
    assert_in_range(clean_page + clean_pages, 1, npages);
    for (size_t i = clean_page; i < clean_page + clean_pages; i++)
        assert_false(*written(extent->base + i * PAGE));
    mark(extent, true);
    lengthened++;
    return extent;
}

static struct ashlar_extent *take_random(uint64_t *seed)
{
    static const enum ashlar_mapcache_want wants[] = {ASHLAR_WANT_ANY, ASHLAR_WANT_DIRTY,
                                                      ASHLAR_WANT_CLEAN};
    bool was_dirty = false;
    size_t npages = 1 + test_random_below(seed, 1u << (1 + test_random_below(seed, 8)));
    size_t align = PAGE << (test_random_below(seed, 4) == 0 ? 3 : 0);
    enum ashlar_mapcache_want want = wants[test_random_below(seed, ASHLAR_ARRAY_LEN(wants))];
    struct ashlar_extent *extent = take_kept(npages, align, want, &was_dirty);
    if (extent == NULL && want == ASHLAR_WANT_DIRTY) {
        extent = take_longer_kept(npages, align);
        if (extent != NULL)
            return extent;
        extent = take_kept(npages, align, ASHLAR_WANT_CLEAN, &was_dirty);
    }
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

/* So much of a kept extent is known to be holes, and so much was not written. */
static void expect_holes_unwritten(void)
{
    const struct ashlar_list *all = &pin->region->extents;
    for (struct ashlar_list *link = ashlar_list_first(all); link != NULL;
         link = ashlar_list_next(all, link)) {
        struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        size_t unwritten = 0;
        if (extent->state == ASHLAR_EXTENT_LIVE)
            continue;
        for (bool *page = written(extent->base); page < written(ashlar_extent_guard(extent));
             page++)
            unwritten += !*page;
        if (extent->state == CLEAN)
            assert_int_equal(unwritten, extent->len_bytes / PAGE);
        else
            assert_in_range(extent->hole_bytes / PAGE, 0, unwritten);
    }
}

/* Purges some; the guard behind each, too, or it is dirty as before. */
static void purge_random(enum ashlar_mapcache_victims which, uint64_t *seed)
{
    struct ashlar_extent *victims[3];
    size_t count = detach(which, victims, 3);
    for (size_t i = 0; i < count; i++) {
        bool is_clean = test_random_below(seed, 4) != 0;
        (void)expect_whole();
        if (is_clean)
            mark(victims[i], false);
        put(victims[i], is_clean ? CLEAN : DIRTY);
    }
}

/* The same because of the law. */
static void purge_some_random(uint64_t *seed)
{
    ashlar_opt.cache_max = (int64_t)test_random_below(seed,
                                                      ashlar_count_read(cache_kept_bytes) + 1);
    purge_random(ASHLAR_VICTIMS_DUE, seed);
    ashlar_opt.cache_max = (int64_t)ASHLAR_GIB;
}

/* Moves a run out of what is kept. */
static void move_random(uint64_t *seed)
{
    size_t run_bytes;
    size_t least = 2 + test_random_below(seed, 30);
    size_t want = least + test_random_below(seed, 200);
    struct ashlar_extent *run = detach_run(want * PAGE, least * PAGE, &run_bytes);
    if (run == NULL)
        return;
    (void)expect_whole();
    assert_in_range(run_bytes / PAGE, least, want);
    if (run_bytes == run->len_bytes) {
        mark(run, false);
        put(run, CLEAN);
        return;
    }
    memset(written(run->base), false, run_bytes / PAGE);
    ashlar_mapcache_put_run(run, run_bytes, now_ms);
}

static void random_operations_lose_no_page_and_call_no_written_one_clean(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t random = seed;
        memset(is_written, 0, sizeof is_written);
        memset(blocks, 0, sizeof blocks);
        lengthened = 0;
        for (int step = 0; step < 8000; step++) {
            struct ashlar_extent **block = &blocks[test_random_below(&random, BLOCKS)];
            now_ms += test_random_below(&random, 3);
            if (*block == NULL) {
                *block = take_random(&random);
            } else if (test_random_below(&random, 3) == 0) {
                resize_random(*block, &random);
            } else {
                put(*block, DIRTY);
                *block = NULL;
            }
            if (step % 16 == 0)
                purge_random(ASHLAR_VICTIMS_ALL, &random);
            if (step % 16 == 5)
                purge_some_random(&random);
            if (step % 8 == 3)
                move_random(&random);
            expect_holes_unwritten();
            (void)expect_whole();
        }
        assert_true(lengthened > 50);
        for (size_t i = 0; i < BLOCKS; i++)
            if (blocks[i] != NULL)
                put(blocks[i], DIRTY);
        (void)ashlar_purge_all();
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
        CASE(without_room_who_wants_pages_gets_what_waits_in_a_front),
        CASE(with_room_what_waits_in_a_front_is_let_alone),
        CASE(a_request_too_long_for_the_law_flushes_the_fronts),
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
        CASE(an_insertion_that_meets_a_shut_lock_waits_for_the_next_holder),
        CASE(what_was_freed_is_due_when_its_time_is_up_and_not_before),
        CASE(the_oldest_go_first_whatever_the_order_they_came_in),
        CASE(a_piece_is_as_old_as_what_it_was_cut_from),
        CASE(what_is_too_much_is_due_and_no_more_than_that),
        CASE(without_room_what_waits_in_a_front_is_joined_before_fresh_pages_are_taken),
        CASE(what_waits_in_a_front_is_due_when_three_quarters_of_its_time_are_up),
        CASE(what_is_being_purged_is_out_of_reach_and_counts_as_kept),
        CASE(a_region_of_nothing_but_one_freed_extent_is_retired),
        CASE(a_small_hole_beside_a_freed_block_is_joined_and_not_kept),
        CASE(a_hole_that_comes_later_is_joined_with_the_next_freed_block),
        CASE(what_was_joined_may_be_long_enough_for_the_next_hole),
        CASE(a_hole_is_a_mib_and_a_quarter_of_the_whole_at_most),
        CASE(all_holes_together_are_a_quarter_at_most),
        CASE(a_block_with_holes_takes_them_out_of_the_account),
        CASE(what_a_block_has_no_place_for_stays_a_hole),
        CASE(holes_are_grown_over_first),
        CASE(what_is_purged_has_no_holes_any_more),
        CASE(what_is_late_keeps_its_holes),
        CASE(a_region_with_holes_is_retired_and_kept_again),
        CASE(a_run_taken_out_of_an_extent_with_holes_leaves_the_accounts_right),
        CASE(holes_that_a_run_had_no_place_for_are_left_behind_it),
        CASE(a_run_begins_where_its_extent_does_and_the_rest_stays_kept),
        CASE(a_run_is_one_that_suffices_or_the_longest),
        CASE(a_run_that_cannot_be_cut_is_kept_dirty),
        CASE(a_kept_extent_is_lengthened_into_the_clean_space_behind_it),
        CASE(a_kept_extent_is_lengthened_into_the_clean_space_in_front_of_it),
        CASE(what_is_left_of_a_lengthened_extent_is_one_or_room),
        CASE(the_longest_kept_extent_that_can_be_is_lengthened),
        CASE(the_space_behind_is_taken_before_that_in_front),
        CASE(kept_pages_that_are_few_beside_the_request_are_let_alone),
        CASE(a_lengthened_extent_lies_at_a_multiple_of_the_alignment),
        CASE(huge_pages_do_not_come_into_a_block_that_is_lengthened),
        CASE(without_a_descriptor_nothing_is_cut_off_in_front_and_the_rest_behind_is_room),
        CASE(without_a_descriptor_clean_space_between_two_kept_extents_stays_clean),
        CASE(of_a_long_victim_of_the_law_its_end_goes),
        CASE(what_goes_of_a_victim_lies_beside_the_clean_space_in_front),
        CASE(what_is_old_goes_whole_however_long),
        CASE(a_short_victim_and_one_of_which_most_is_too_much_go_whole),
        CASE(a_part_of_a_victim_with_holes_may_be_nothing_but_holes),
        CASE(without_a_descriptor_a_victim_goes_whole),
        CASE(a_burst_of_freed_blocks_goes_in_steps),
        CASE(a_long_freed_block_is_cut_and_does_not_go_whole),
        CASE(what_was_freed_less_than_three_quarters_of_the_decay_time_ago_stays),
        CASE(random_operations_lose_no_page_and_call_no_written_one_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
