/*
 * mapcache.c - freed extents kept for reuse
 *
 * Purpose     See mapcache.h.
 * Invariants  Every DIRTY and every CLEAN extent is in kept.h's sets. One that is all of its region
 *             and clean is BUSY, on no list but `retired`, and its region off the list of regions.
 * Locking     LARGE. The stack `late` is lock-free (pushes only; the holder of LARGE takes all).
 * Layer       large/.
 */
#include "large/mapcache.h"

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/account.h"
#include "large/decay.h"
#include "large/front.h"
#include "large/kept.h"
#include "large/sample.h"

/*
 * What was purged, or lost its pages to a move, between freed blocks is joined with them up to this
 * length and this part of the whole: else it would keep them apart for good, and what fits into no
 * part would be moved or purged and faulted again (doc/decisions/0016). Longer holes are filled
 * with less work when they are known for what they are.
 */
#define HOLE_MAX_BYTES (1 * ASHLAR_MIB)
#define HOLE_PART 4

/* Kept pages that are less than this part of a request are not worth being lengthened for it. */
#define LONGER_PART 4

/* So much in the threads' fronts is a few blocks. */
#define FRONTS_SPARED_BYTES (16 * ASHLAR_MIB)

/* A block that grows leaves so much of its length free behind it, if that can be had. */
#define ROOM_PART 8

/* From a victim of the law as long as this goes what is too much, and this part of it beside, so
   that the next one is not due at once; in whole units. All of it would be faulted again. */
#define SPARE_MIN_BYTES (1 * ASHLAR_MIB)
#define SPARE_PART 16
#define SPARE_UNIT_BYTES (256 * ASHLAR_KIB)

struct ashlar_lock ashlar_large_lock = ASHLAR_LOCK_INIT(LARGE);

static struct ashlar_list retired;
static uint64_t front_oldest_ms; /* LARGE: nothing in the threads' fronts was freed before */
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

/* Cuts what lies in front of `place` off an extent that is in no bin. */
static bool cut_front(struct ashlar_extent *extent, char *place)
{
    if (place == extent->base)
        return true;
    struct ashlar_extent *front = ashlar_extent_cut_front(extent, place);
    if (front == NULL)
        return false;
    ashlar_kept_insert_piece(front, extent);
    return true;
}

/* Cuts both ends off an extent that is in no bin, to leave `len_bytes` at a multiple of `align`. */
static bool cut_to_size(struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    if (!cut_front(extent, ashlar_bins_place(extent, len_bytes, align)))
        return false;
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, len_bytes);
    if (rear != NULL)
        ashlar_kept_insert_piece(rear, extent);
    return true;
}

/* A DIRTY extent that fits. Before fresh pages are taken, what waits in the threads' fronts is
   joined with its neighbours: it may fit then, and can be recycled at least. But where there is
   room for more, a few blocks wait on: they serve the next request of their length without a
   call. */
static struct ashlar_extent *find_dirty(size_t len_bytes, size_t align)
{
    uint64_t freed_ms;
    bool has_more = false;
    struct ashlar_extent *found = ashlar_kept_find_dirty(len_bytes, align);
    if (found != NULL ||
        (ashlar_front_bytes() <= FRONTS_SPARED_BYTES && ashlar_mapcache_has_room_locked(len_bytes)))
        return found;
    struct ashlar_extent *extent;
    while ((extent = ashlar_front_flush(UINT64_MAX, &freed_ms)) != NULL) {
        ashlar_mapcache_put_locked(extent, ASHLAR_EXTENT_DIRTY, freed_ms);
        has_more = true;
    }
    return has_more ? ashlar_kept_find_dirty(len_bytes, align) : NULL;
}

/* Makes an extent that is in no bin serve a request: pages that are hardly more than asked for as
   they are, everything else cut to size. False: no descriptor. */
static bool fit(struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    size_t surplus = extent->len_bytes - len_bytes;
    if (extent->state == ASHLAR_EXTENT_DIRTY && ashlar_is_aligned(extent->base, align) &&
        surplus <= ashlar_account_surplus_allowed(len_bytes)) {
        ashlar_account_set_surplus(extent, surplus);
        return true;
    }
    return cut_to_size(extent, len_bytes, align);
}

struct ashlar_extent *ashlar_mapcache_take_locked(size_t len_bytes, size_t align,
                                                  enum ashlar_mapcache_want want, bool *was_dirty)
{
    struct ashlar_extent *extent = NULL;
    if (want == ASHLAR_WANT_ANY || want == ASHLAR_WANT_DIRTY)
        extent = find_dirty(len_bytes, align);
    if (want == ASHLAR_WANT_CLEAN_ROOMY)
        extent = ashlar_kept_find_clean(ASHLAR_PAGES_BASE, len_bytes + len_bytes / ROOM_PART,
                                        align);
    if (extent == NULL && want != ASHLAR_WANT_DIRTY) {
        bool is_huge = want == ASHLAR_WANT_CLEAN_HUGE;
        extent = ashlar_kept_find_clean(is_huge ? ASHLAR_PAGES_HUGE : ASHLAR_PAGES_BASE, len_bytes,
                                        align);
    }
    if (extent == NULL)
        return NULL;
    ashlar_kept_remove(extent);
    if (!fit(extent, len_bytes, align)) {
        ashlar_kept_insert(extent);
        return NULL;
    }
    *was_dirty = extent->state == ASHLAR_EXTENT_DIRTY;
    ashlar_extent_forget_age(extent);
    extent->hole_bytes = 0;
    extent->state = ASHLAR_EXTENT_LIVE;
    return extent;
}

/* True for a CLEAN extent that is small beside the DIRTY one it lies next to. */
static bool is_hole_in(const struct ashlar_extent *extent, const struct ashlar_extent *other)
{
    size_t whole = extent->len_bytes + other->len_bytes;
    return extent->state == ASHLAR_EXTENT_DIRTY && other->state == ASHLAR_EXTENT_CLEAN &&
           other->len_bytes <= HOLE_MAX_BYTES &&
           extent->hole_bytes + other->len_bytes <= whole / HOLE_PART;
}

static bool is_joinable(const struct ashlar_extent *extent, const struct ashlar_extent *other)
{
    return other != NULL && (other->state == extent->state || is_hole_in(extent, other));
}

/* Joins a freed extent, in no bin yet, with what lies on both sides of it. */
static struct ashlar_extent *join_neighbours(struct ashlar_extent *extent)
{
    for (;;) {
        struct ashlar_extent *before = ashlar_extent_before(extent);
        struct ashlar_extent *behind = ashlar_extent_behind(extent);
        struct ashlar_extent *other = is_joinable(extent, before) ? before : behind;
        if (!is_joinable(extent, other))
            return extent;
        ashlar_kept_remove(other);
        if (other->state != extent->state) {
            other->state = extent->state;
            other->hole_bytes = other->len_bytes;
        }
        extent = other == before ? ashlar_extent_join(before, extent)
                                 : ashlar_extent_join(extent, behind);
    }
}

/* Joins what was cut off a fresh extent with what lay there before. */
static void join_piece(struct ashlar_extent *piece)
{
    if (piece == NULL || piece->state != ASHLAR_EXTENT_CLEAN)
        return;
    ashlar_kept_remove(piece);
    ashlar_kept_insert(join_neighbours(piece));
}

static bool is_clean(const struct ashlar_extent *extent)
{
    return extent != NULL && extent->state == ASHLAR_EXTENT_CLEAN;
}

/* Where a payload begins that ends, or begins, with the DIRTY extent and has clean space for the
   rest; NULL: there is none. Huge pages would come into a block that did not ask for them. */
static char *place_longer(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    size_t page = ashlar_os_facts.page_bytes;
    size_t have = extent->len_bytes + page;
    const struct ashlar_extent *before = ashlar_extent_before(extent);
    const struct ashlar_extent *behind = ashlar_extent_behind(extent);
    if (extent->region->pages != ASHLAR_PAGES_BASE)
        return NULL;
    if (is_clean(behind) && len_bytes <= have + behind->len_bytes &&
        ashlar_is_aligned(extent->base, align))
        return extent->base;
    if (!is_clean(before) || len_bytes > have + before->len_bytes)
        return NULL;
    char *place = ashlar_extent_guard(extent) - len_bytes;
    bool has_cut = place == before->base || place >= before->base + 2 * page;
    return has_cut && ashlar_is_aligned(place, align) ? place : NULL;
}

static bool can_be_longer(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    return extent->len_bytes < len_bytes && place_longer(extent, len_bytes, align) != NULL;
}

struct ashlar_extent *ashlar_mapcache_take_longer_locked(size_t len_bytes, size_t align,
                                                         size_t *clean_at, size_t *clean_bytes)
{
    struct ashlar_extent *extent = ashlar_kept_longest_dirty(len_bytes / LONGER_PART, can_be_longer,
                                                             len_bytes, align);
    if (extent == NULL)
        return NULL;
    size_t page = ashlar_os_facts.page_bytes;
    char *place = place_longer(extent, len_bytes, align);
    bool is_first = place == extent->base;
    struct ashlar_extent *other = is_first ? ashlar_extent_behind(extent)
                                           : ashlar_extent_before(extent);
    *clean_at = is_first ? extent->len_bytes + page : 0;
    *clean_bytes = is_first ? len_bytes - *clean_at : (size_t)(extent->base - place);
    ashlar_kept_remove(other);
    if (!is_first && !cut_front(other, place)) {
        ashlar_kept_insert(other);
        return NULL;
    }
    ashlar_kept_remove(extent);
    ashlar_extent_forget_age(extent);
    extent->state = ASHLAR_EXTENT_CLEAN; /* as what is cut off behind */
    extent->hole_bytes = 0;
    extent = is_first ? ashlar_extent_join(extent, other) : ashlar_extent_join(other, extent);
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, len_bytes);
    if (rear != NULL)
        ashlar_kept_insert_piece(rear, extent);
    extent->state = ASHLAR_EXTENT_LIVE;
    return extent;
}

bool ashlar_mapcache_cut_fresh_locked(struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    ashlar_extent_link(extent);
    extent->state = ASHLAR_EXTENT_CLEAN;
    if (!cut_to_size(extent, len_bytes, align)) {
        ashlar_kept_insert(join_neighbours(extent));
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
    ashlar_count_add(cache_kept_bytes, ashlar_extent_full_bytes(extent));
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

void ashlar_mapcache_put_locked(struct ashlar_extent *extent, enum ashlar_extent_state state,
                                uint64_t now_ms)
{
    ashlar_assert(extent->state == ASHLAR_EXTENT_LIVE || extent->state == ASHLAR_EXTENT_BUSY);
    if (extent->state == ASHLAR_EXTENT_BUSY)
        ashlar_count_sub(cache_kept_bytes, ashlar_extent_full_bytes(extent));
    ashlar_account_uncount_locked(extent, now_ms);
    ashlar_account_set_surplus(extent, 0);
    if (!extent->is_linked)
        ashlar_extent_link(extent);
    extent->len_bytes += extent->room_bytes;
    extent->room_bytes = 0;
    if (extent->state == ASHLAR_EXTENT_LIVE || state == ASHLAR_EXTENT_CLEAN)
        extent->hole_bytes = 0;
    extent->state = state;
    if (state == ASHLAR_EXTENT_DIRTY) {
        extent->freed_ms = now_ms;
        ashlar_kept_list_by_age(extent);
    }
    extent = join_neighbours(extent);
    if (state != ASHLAR_EXTENT_CLEAN || !retire_region(extent))
        ashlar_kept_insert(extent);
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
    ashlar_kept_remove(behind);
    *was_dirty = behind->state == ASHLAR_EXTENT_DIRTY || extent->room_bytes != 0;
    char *end = ashlar_extent_end(behind);
    size_t rest = have + page + behind->len_bytes - len_bytes;
    extent->len_bytes = len_bytes;
    if (rest > page) {
        extent->room_bytes = 0;
        size_t old_bytes = behind->len_bytes;
        behind->base = extent->base + len_bytes + page;
        behind->len_bytes = (size_t)(end - behind->base) - page;
        /* What is gone may have been holes. */
        behind->hole_bytes -= ashlar_min_size(behind->hole_bytes, old_bytes - behind->len_bytes);
        ashlar_kept_insert(behind);
        return true;
    }
    extent->room_bytes = rest;
    ashlar_extent_forget_age(behind);
    ashlar_list_remove(&behind->neighbours);
    ashlar_extent_delete(behind);
    return true;
}

/* What the decay time asks for now, given the oldest freed extent. */
static size_t decayed_bytes(const struct ashlar_extent *oldest, uint64_t now_ms)
{
    return ashlar_decay_due_locked(ashlar_kept_bytes(), oldest->freed_ms, now_ms);
}

/* Cuts what may stay off a long victim that is not too old: what goes is to lie beside clean space,
   if there is any. */
static void spare_rest(struct ashlar_extent *extent, uint64_t now_ms)
{
    size_t due = ashlar_max_size(ashlar_account_excess_locked(ashlar_kept_bytes()),
                                 decayed_bytes(extent, now_ms));
    /* All holes may lie in what goes. */
    size_t goes = ashlar_align_up(due + extent->hole_bytes + extent->len_bytes / SPARE_PART,
                                  SPARE_UNIT_BYTES);
    if (extent->len_bytes < SPARE_MIN_BYTES || goes > extent->len_bytes / 4 * 3 ||
        ashlar_sample_are_freed_empty())
        return;
    ashlar_kept_remove(extent);
    struct ashlar_extent *rest = is_clean(ashlar_extent_before(extent))
                                     ? ashlar_extent_cut_rear(extent, goes)
                                     : ashlar_extent_cut_front(extent,
                                                               ashlar_extent_end(extent) - goes);
    if (rest != NULL)
        ashlar_kept_insert_piece(rest, extent);
    /* Without a descriptor it goes whole: a freed extent has no room. */
    extent->len_bytes += extent->room_bytes;
    extent->room_bytes = 0;
    ashlar_kept_insert(extent);
}

/* The freed extent to purge first, if one is to go; else NULL. */
static struct ashlar_extent *next_victim(enum ashlar_mapcache_victims which, uint64_t now_ms)
{
    struct ashlar_extent *extent = ashlar_kept_oldest();
    if (extent == NULL)
        return NULL;
    bool is_due = which == ASHLAR_VICTIMS_ALL ||
                  extent->freed_ms <= ashlar_decay_too_old_ms(now_ms) ||
                  decayed_bytes(extent, now_ms) != 0 ||
                  ashlar_account_is_too_much_locked(ashlar_kept_bytes());
    return is_due ? extent : NULL;
}

bool ashlar_mapcache_has_room_locked(size_t len_bytes)
{
    return ashlar_account_has_room_locked(ashlar_kept_bytes(), len_bytes);
}

/* True when something in the threads' fronts is old. Until the oldest of them is, none can be, and
   they need not be passed again. */
static bool is_front_due(uint64_t now_ms)
{
    uint64_t old_ms = ashlar_decay_old_ms(now_ms);
    if (old_ms < front_oldest_ms)
        return false;
    uint64_t oldest_ms = ashlar_front_oldest_ms();
    front_oldest_ms = oldest_ms < now_ms ? oldest_ms : now_ms;
    return front_oldest_ms <= old_ms;
}

bool ashlar_mapcache_is_due_locked(uint64_t now_ms)
{
    if (!ashlar_list_is_empty(&retired) || is_front_due(now_ms))
        return true;
    if (ashlar_kept_oldest() != NULL)
        return next_victim(ASHLAR_VICTIMS_DUE, now_ms) != NULL;
    return ashlar_account_is_too_much_locked(ashlar_kept_bytes()); /* in the fronts, or small */
}

/* Takes a DIRTY extent out of everybody's reach. */
static void detach(struct ashlar_extent *extent)
{
    ashlar_kept_remove(extent);
    ashlar_extent_forget_age(extent);
    if (!retire_region(extent))
        make_busy(extent);
}

/* Moved pages take the advice of their mapping along: those of huge regions stay there. */
static bool can_be_moved(const struct ashlar_extent *extent, size_t len_bytes, size_t align)
{
    (void)align;
    return extent->len_bytes >= len_bytes && extent->region->pages == ASHLAR_PAGES_BASE;
}

struct ashlar_extent *ashlar_mapcache_detach_run_locked(size_t want_bytes, size_t least_bytes,
                                                        size_t *run_bytes)
{
    size_t page = ashlar_os_facts.page_bytes;
    struct ashlar_extent *extent = ashlar_kept_find_dirty(want_bytes, page);
    if (extent == NULL || !can_be_moved(extent, want_bytes, page))
        extent = ashlar_kept_longest_dirty(least_bytes, can_be_moved, least_bytes, page);
    if (extent == NULL)
        return NULL;
    *run_bytes = ashlar_min_size(extent->len_bytes, want_bytes);
    ashlar_kept_remove(extent);
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
    ashlar_count_sub(cache_kept_bytes, ashlar_extent_full_bytes(extent));
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, run_bytes - page);
    make_busy(extent);
    if (rear != NULL) {
        make_busy(rear);
        ashlar_mapcache_put_locked(rear, ASHLAR_EXTENT_DIRTY, extent->freed_ms);
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
        if (which == ASHLAR_VICTIMS_DUE && extent->freed_ms > ashlar_decay_too_old_ms(now_ms))
            spare_rest(extent, now_ms);
        ashlar_decay_note_locked(ashlar_extent_full_bytes(extent));
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
