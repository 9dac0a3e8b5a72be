/*
 * mapcache.c - freed extents kept for reuse
 *
 * Purpose     See mapcache.h.
 * Invariants  dirty_bytes is the payload of DIRTY extents, all of them on `ages`, oldest first.
 *             Every DIRTY extent is in dirty_bins, every CLEAN one in clean_bins. An extent that is
 *             all of its region and CLEAN is on no list but `retired`, and its region is off the
 *             list of regions.
 * Locking     LARGE. The stack `late` is lock-free (pushes only; the holder of LARGE takes all).
 * Layer       large/.
 */
#include "large/mapcache.h"

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/account.h"
#include "large/bins.h"
#include "large/front.h"

struct ashlar_lock ashlar_large_lock = ASHLAR_LOCK_INIT(LARGE);

static struct ashlar_bins dirty_bins;
static struct ashlar_bins clean_bins[ASHLAR_PAGES_COUNT]; /* by the region's pages */
static struct ashlar_list ages;
static struct ashlar_list retired;
static size_t dirty_bytes;
static _Atomic(struct ashlar_extent *) late;

static void drain_late(void);

bool ashlar_mapcache_lock(void)
{
    if (!ashlar_lock_take(&ashlar_large_lock))
        return false;
    if (ASHLAR_UNLIKELY(atomic_load_explicit(&late, memory_order_relaxed) != NULL))
        drain_late();
    return true;
}

void ashlar_mapcache_unlock(void)
{
    ashlar_lock_release(&ashlar_large_lock);
}

static struct ashlar_bins *bins_of(const struct ashlar_extent *extent)
{
    return extent->state == ASHLAR_EXTENT_DIRTY ? &dirty_bins : &clean_bins[extent->region->pages];
}

/* Into and out of the bins; dirty_bytes follows. The place in `ages` is the caller's. */
static void bin_extent(struct ashlar_extent *extent)
{
    ashlar_bins_insert(bins_of(extent), extent);
    if (extent->state == ASHLAR_EXTENT_DIRTY) {
        dirty_bytes += extent->len_bytes;
        ashlar_count_add(cache_kept_bytes, extent->len_bytes);
    }
}

static void unbin_extent(struct ashlar_extent *extent)
{
    ashlar_bins_remove(bins_of(extent), extent);
    if (extent->state == ASHLAR_EXTENT_DIRTY) {
        dirty_bytes -= extent->len_bytes;
        ashlar_count_sub(cache_kept_bytes, extent->len_bytes);
    }
}

/* Puts a piece of a freed extent where the extent stood in the order of ages. */
static void keep_piece(struct ashlar_extent *piece, struct ashlar_extent *origin)
{
    if (piece->state == ASHLAR_EXTENT_DIRTY)
        ashlar_list_insert_after(&origin->age, &piece->age);
    bin_extent(piece);
}

/* Cuts what lies in front of `place` off an extent that is in no bin. */
static bool cut_front(struct ashlar_extent *extent, char *place)
{
    if (place == extent->base)
        return true;
    struct ashlar_extent *front = ashlar_extent_cut_front(extent, place);
    if (front == NULL)
        return false;
    keep_piece(front, extent);
    return true;
}

/* Cuts both ends off an extent that is in no bin, to leave `len_bytes` at a multiple of `align`. */
static bool cut_to_size(struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    if (!cut_front(extent, ashlar_bins_place(extent, len_bytes, align)))
        return false;
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, len_bytes);
    if (rear != NULL)
        keep_piece(rear, extent);
    return true;
}

/* A DIRTY extent that fits. Before fresh pages are taken, what waits in the threads' fronts is
   joined with its neighbours: it may fit then, and can be recycled at least. */
static struct ashlar_extent *find_dirty(size_t len_bytes, size_t align)
{
    uint64_t freed_ms;
    bool has_more = false;
    struct ashlar_extent *found = ashlar_bins_find(&dirty_bins, len_bytes, align);
    if (found != NULL)
        return found;
    struct ashlar_extent *extent;
    while ((extent = ashlar_front_flush(UINT64_MAX, &freed_ms)) != NULL) {
        ashlar_mapcache_put_locked(extent, ASHLAR_EXTENT_DIRTY, freed_ms);
        has_more = true;
    }
    return has_more ? ashlar_bins_find(&dirty_bins, len_bytes, align) : NULL;
}

struct ashlar_extent *ashlar_mapcache_take_locked(size_t len_bytes, size_t align,
                                                  enum ashlar_mapcache_want want, bool *was_dirty)
{
    struct ashlar_extent *extent = NULL;
    if (want == ASHLAR_WANT_ANY || want == ASHLAR_WANT_DIRTY)
        extent = find_dirty(len_bytes, align);
    if (extent == NULL && want != ASHLAR_WANT_DIRTY) {
        bool is_huge = want == ASHLAR_WANT_CLEAN_HUGE;
        extent = ashlar_bins_find(&clean_bins[is_huge ? ASHLAR_PAGES_HUGE : ASHLAR_PAGES_BASE],
                                  len_bytes, align);
    }
    if (extent == NULL)
        return NULL;
    unbin_extent(extent);
    if (!cut_to_size(extent, len_bytes, align)) {
        bin_extent(extent);
        return NULL;
    }
    *was_dirty = extent->state == ASHLAR_EXTENT_DIRTY;
    ashlar_extent_forget_age(extent);
    extent->state = ASHLAR_EXTENT_LIVE;
    return extent;
}

/* Joins a freed extent, in no bin yet, with its neighbours of the same state. */
static struct ashlar_extent *join_neighbours(struct ashlar_extent *extent)
{
    struct ashlar_extent *before = ashlar_extent_before(extent);
    if (before != NULL && before->state == extent->state) {
        unbin_extent(before);
        extent = ashlar_extent_join(before, extent);
    }
    struct ashlar_extent *behind = ashlar_extent_behind(extent);
    if (behind != NULL && behind->state == extent->state) {
        unbin_extent(behind);
        extent = ashlar_extent_join(extent, behind);
    }
    return extent;
}

/* Joins what was cut off a fresh extent with what lay there before. */
static void join_piece(struct ashlar_extent *piece)
{
    if (piece == NULL || piece->state != ASHLAR_EXTENT_CLEAN)
        return;
    unbin_extent(piece);
    bin_extent(join_neighbours(piece));
}

bool ashlar_mapcache_cut_fresh_locked(struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    ashlar_extent_link(extent);
    extent->state = ASHLAR_EXTENT_CLEAN;
    if (!cut_to_size(extent, len_bytes, align)) {
        bin_extent(join_neighbours(extent));
        return false;
    }
    extent->state = ASHLAR_EXTENT_LIVE;
    join_piece(ashlar_extent_before(extent));
    join_piece(ashlar_extent_behind(extent));
    return true;
}

static void make_busy(struct ashlar_extent *extent)
{
    extent->state = ASHLAR_EXTENT_BUSY;
    ashlar_count_add(cache_kept_bytes, extent->len_bytes);
}

/* Takes a region that is one freed extent off the list of regions, to be unmapped. */
static bool retire_region(struct ashlar_extent *extent)
{
    struct ashlar_list *all = &extent->region->extents;
    if (all->next != &extent->neighbours || all->prev != &extent->neighbours ||
        !ashlar_region_retire(extent->region, extent->base, ashlar_extent_end(extent)))
        return false;
    ashlar_list_push_back(&retired, &extent->bin);
    make_busy(extent);
    return true;
}

/* Into the list of ages. What comes from a thread's front was freed a while ago. */
static void list_by_age(struct ashlar_extent *extent)
{
    if (ages.next == NULL)
        ashlar_list_init(&ages);
    struct ashlar_list *where = ages.prev;
    while (where != &ages &&
           ASHLAR_CONTAINER_OF(where, struct ashlar_extent, age)->freed_ms > extent->freed_ms)
        where = where->prev;
    ashlar_list_insert_after(where, &extent->age);
}

void ashlar_mapcache_put_locked(struct ashlar_extent *extent, enum ashlar_extent_state state,
                                uint64_t now_ms)
{
    ashlar_assert(extent->state == ASHLAR_EXTENT_LIVE || extent->state == ASHLAR_EXTENT_BUSY);
    if (extent->state == ASHLAR_EXTENT_BUSY)
        ashlar_count_sub(cache_kept_bytes, extent->len_bytes);
    ashlar_account_uncount_locked(extent, now_ms);
    if (!extent->is_linked)
        ashlar_extent_link(extent);
    extent->len_bytes += extent->room_bytes;
    extent->room_bytes = 0;
    extent->state = state;
    if (state == ASHLAR_EXTENT_DIRTY) {
        extent->freed_ms = now_ms;
        list_by_age(extent);
    }
    extent = join_neighbours(extent);
    if (state != ASHLAR_EXTENT_CLEAN || !retire_region(extent))
        bin_extent(extent);
}

void ashlar_mapcache_put(struct ashlar_extent *extent, enum ashlar_extent_state state,
                         uint64_t now_ms)
{
    if (ashlar_mapcache_lock()) {
        ashlar_mapcache_put_locked(extent, state, now_ms);
        ashlar_mapcache_unlock();
        return;
    }
    extent->late_state = state;
    extent->freed_ms = now_ms;
    struct ashlar_extent *top = atomic_load_explicit(&late, memory_order_relaxed);
    do
        extent->late_next = top;
    while (!atomic_compare_exchange_weak_explicit(&late, &top, extent, memory_order_release,
                                                  memory_order_relaxed));
}

static void drain_late(void)
{
    struct ashlar_extent *extent = atomic_exchange_explicit(&late, NULL, memory_order_acquire);
    while (extent != NULL) {
        struct ashlar_extent *next = extent->late_next;
        ashlar_mapcache_put_locked(extent, extent->late_state, extent->freed_ms);
        extent = next;
    }
}

void ashlar_mapcache_shrink_locked(struct ashlar_extent *extent, size_t len_bytes, uint64_t now_ms)
{
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, len_bytes);
    if (rear == NULL)
        return;
    rear->state = ASHLAR_EXTENT_LIVE;
    ashlar_mapcache_put_locked(rear, ASHLAR_EXTENT_DIRTY, now_ms);
}

bool ashlar_mapcache_grow_locked(struct ashlar_extent *extent, size_t len_bytes, bool *was_dirty)
{
    size_t page = ashlar_os_facts.page_bytes;
    size_t have = extent->len_bytes + extent->room_bytes;
    *was_dirty = true;
    if (len_bytes <= have) {
        extent->room_bytes = have - len_bytes;
        extent->len_bytes = len_bytes;
        return true;
    }
    struct ashlar_extent *behind = ashlar_extent_behind(extent);
    if (behind == NULL ||
        (behind->state != ASHLAR_EXTENT_DIRTY && behind->state != ASHLAR_EXTENT_CLEAN) ||
        len_bytes > have + page + behind->len_bytes)
        return false;
    unbin_extent(behind);
    *was_dirty = behind->state == ASHLAR_EXTENT_DIRTY || extent->room_bytes != 0;
    char *end = ashlar_extent_end(behind);
    size_t rest = have + page + behind->len_bytes - len_bytes;
    extent->len_bytes = len_bytes;
    extent->is_patched |= behind->is_patched;
    if (rest > page) {
        extent->room_bytes = 0;
        behind->base = extent->base + len_bytes + page;
        behind->len_bytes = (size_t)(end - behind->base) - page;
        bin_extent(behind);
        return true;
    }
    extent->room_bytes = rest;
    extent->mappings_spent += behind->mappings_spent;
    ashlar_extent_forget_age(behind);
    ashlar_list_remove(&behind->neighbours);
    ashlar_extent_delete(behind);
    return true;
}

/* The freed extent to purge first, if one is to go; else NULL. */
static struct ashlar_extent *next_victim(enum ashlar_mapcache_victims which, uint64_t now_ms)
{
    struct ashlar_list *oldest = ashlar_list_first(&ages);
    if (oldest == NULL)
        return NULL;
    struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(oldest, struct ashlar_extent, age);
    bool is_due = which == ASHLAR_VICTIMS_ALL ||
                  extent->freed_ms <= ashlar_account_too_old_ms(now_ms) ||
                  ashlar_account_is_too_much_locked(dirty_bytes);
    return is_due ? extent : NULL;
}

bool ashlar_mapcache_has_room_locked(size_t len_bytes)
{
    return ashlar_account_has_room_locked(dirty_bytes, len_bytes);
}

bool ashlar_mapcache_is_due_locked(uint64_t now_ms)
{
    return !ashlar_list_is_empty(&retired) || next_victim(ASHLAR_VICTIMS_DUE, now_ms) != NULL ||
           ashlar_account_is_too_much_locked(dirty_bytes) ||
           ashlar_front_oldest_ms() <= ashlar_account_too_old_ms(now_ms);
}

/* Takes a DIRTY extent out of everybody's reach. */
static void detach(struct ashlar_extent *extent)
{
    unbin_extent(extent);
    ashlar_extent_forget_age(extent);
    if (!retire_region(extent))
        make_busy(extent);
}

struct ashlar_extent *ashlar_mapcache_detach_run_locked(size_t want_bytes, size_t unit_bytes,
                                                        size_t *run_bytes)
{
    struct ashlar_extent *extent = ashlar_bins_find(&dirty_bins, want_bytes, unit_bytes);
    if (extent == NULL)
        extent = ashlar_bins_longest(&dirty_bins, unit_bytes);
    if (extent == NULL)
        return NULL;
    unbin_extent(extent);
    if (!cut_front(extent, ashlar_bins_place(extent, unit_bytes, unit_bytes))) {
        bin_extent(extent);
        return NULL;
    }
    *run_bytes = ashlar_min_size(ashlar_align_down(extent->len_bytes, unit_bytes), want_bytes);
    ashlar_extent_forget_age(extent);
    make_busy(extent);
    return extent;
}

void ashlar_mapcache_put_run(struct ashlar_extent *extent, size_t run_bytes, uint64_t now_ms)
{
    size_t page = ashlar_os_facts.page_bytes;
    if (!ashlar_mapcache_lock()) {
        ashlar_mapcache_put(extent, ASHLAR_EXTENT_DIRTY, now_ms);
        return;
    }
    enum ashlar_extent_state state = ASHLAR_EXTENT_DIRTY;
    ashlar_count_sub(cache_kept_bytes, extent->len_bytes);
    extent->state = ASHLAR_EXTENT_LIVE; /* what it is cut from and joined with is settled below */
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, run_bytes - page);
    if (rear != NULL) {
        ashlar_mapcache_put_locked(rear, ASHLAR_EXTENT_DIRTY, now_ms);
        state = ASHLAR_EXTENT_CLEAN;
    }
    ashlar_mapcache_put_locked(extent, state, now_ms);
    ashlar_mapcache_unlock();
}

size_t ashlar_mapcache_detach_locked(enum ashlar_mapcache_victims which, uint64_t now_ms,
                                     struct ashlar_extent **victims, size_t room)
{
    size_t count = 0;
    struct ashlar_extent *extent;
    while (count < room && (extent = next_victim(which, now_ms)) != NULL) {
        detach(extent);
        if (!ashlar_list_is_linked(&extent->bin)) /* else its region is retired */
            victims[count++] = extent;
    }
    return count;
}

struct ashlar_extent *ashlar_mapcache_next_retired_locked(void)
{
    struct ashlar_list *link = ashlar_list_first(&retired);
    if (link == NULL)
        return NULL;
    ashlar_list_remove(link);
    return ASHLAR_CONTAINER_OF(link, struct ashlar_extent, bin);
}
