/*
 * mapcache.c - freed extents kept for reuse
 *
 * Purpose     See mapcache.h.
 * Invariants  dirty_bytes is the payload of DIRTY extents, all of them on `ages`, oldest first;
 *             busy_bytes that of BUSY ones. Every DIRTY extent is in dirty_bins, every CLEAN one in
 *             clean_bins. An extent that is all of its region and CLEAN is on no list but
 *             `retired`, and its region is off the list of regions.
 * Locking     LARGE. The stack `late` is lock-free (pushes only; the holder of LARGE takes all).
 * Layer       large/.
 */
#include "large/mapcache.h"

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/bins.h"
#include "large/front.h"
#include "large/guard.h"

/* Kept bytes that are not worth a system call, whatever the peak. */
#define FREE_SLACK_BYTES (16 * ASHLAR_MIB)

/* Window of the recent peak when the decay time says nothing (0 or never). */
#define DEFAULT_WINDOW_MS 1000

/* Extents purged between two looks at the lock. */
#define PURGE_BATCH 16

struct ashlar_lock ashlar_large_lock = ASHLAR_LOCK_INIT(LARGE);

static struct ashlar_bins dirty_bins;
static struct ashlar_bins clean_bins;
static struct ashlar_list ages;
static struct ashlar_list retired;
static size_t live_bytes;
static size_t dirty_bytes;
static size_t busy_bytes;
static _Atomic(struct ashlar_extent *) late;

/* Highest live_bytes of the running window and of the one before. */
static struct {
    size_t now_bytes;
    size_t before_bytes;
    uint64_t start_ms;
} peak;

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
    return extent->state == ASHLAR_EXTENT_DIRTY ? &dirty_bins : &clean_bins;
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
    if (want == ASHLAR_WANT_ANY)
        extent = find_dirty(len_bytes, align);
    if (extent == NULL)
        extent = ashlar_bins_find(&clean_bins, len_bytes, align);
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
    busy_bytes += extent->len_bytes;
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
    if (extent->state == ASHLAR_EXTENT_BUSY) {
        busy_bytes -= extent->len_bytes;
        ashlar_count_sub(cache_kept_bytes, extent->len_bytes);
    }
    if (extent->is_counted) {
        extent->is_counted = false;
        ashlar_count_sub(large_counted_blocks, 1);
        ashlar_mapcache_sub_live_locked(extent->len_bytes, now_ms);
    }
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

/* live_bytes without what waits in the threads' fronts. */
static size_t really_live_bytes(void)
{
    size_t front = ashlar_front_bytes();
    return live_bytes > front ? live_bytes - front : 0;
}

static void note_peak(uint64_t now_ms)
{
    uint64_t window_ms =
        ashlar_opt.decay_ms > 0 ? (uint64_t)ashlar_opt.decay_ms : DEFAULT_WINDOW_MS;
    uint64_t age_ms = now_ms - peak.start_ms;
    if (age_ms < window_ms && live_bytes <= peak.now_bytes)
        return;
    size_t live = really_live_bytes();
    /* decay_ms:-1 never gives back, so the peak it is measured against is that of all time. */
    if (age_ms >= window_ms && ashlar_opt.decay_ms >= 0) {
        peak.before_bytes = age_ms >= 2 * window_ms ? live : peak.now_bytes;
        peak.now_bytes = live;
        peak.start_ms = now_ms;
    }
    peak.now_bytes = ashlar_max_size(peak.now_bytes, live);
}

void ashlar_mapcache_count_live_locked(struct ashlar_extent *extent, uint64_t now_ms)
{
    extent->is_counted = true;
    ashlar_count(large_counted_blocks);
    ashlar_mapcache_add_live_locked(extent->len_bytes, now_ms);
}

void ashlar_mapcache_add_live_locked(size_t more_bytes, uint64_t now_ms)
{
    live_bytes += more_bytes;
    ashlar_count_add(large_counted_bytes, more_bytes);
    note_peak(now_ms);
}

void ashlar_mapcache_sub_live_locked(size_t less_bytes, uint64_t now_ms)
{
    note_peak(now_ms);
    live_bytes -= less_bytes;
    ashlar_count_sub(large_counted_bytes, less_bytes);
}

static size_t memory_limit(void)
{
    size_t high = ashlar_max_size(peak.now_bytes, peak.before_bytes);
    return high + high / 100 * (size_t)ashlar_opt.cache_slack + FREE_SLACK_BYTES;
}

/* Kept bytes are dirty_bytes and the fronts'; the latter are in live_bytes already. */
static bool is_too_much(void)
{
    size_t all = live_bytes + dirty_bytes;
    if (all <= memory_limit() && all <= (size_t)ashlar_opt.cache_max)
        return false;
    size_t kept = dirty_bytes + ashlar_front_bytes();
    return kept > (size_t)ashlar_opt.cache_max ||
           (kept != 0 && all > memory_limit());
}

/* What was freed up to then is too old. Time starts at 1, so 0 means that nothing is. */
static uint64_t too_old_ms(uint64_t now_ms)
{
    bool has_decay = ashlar_opt.decay_ms >= 0 && now_ms >= (uint64_t)ashlar_opt.decay_ms;
    return has_decay ? now_ms - (uint64_t)ashlar_opt.decay_ms : 0;
}

/* The freed extent to purge first, when it is too old or there is too much; else NULL. */
static struct ashlar_extent *next_victim(uint64_t now_ms)
{
    struct ashlar_list *oldest = ashlar_list_first(&ages);
    if (oldest == NULL)
        return NULL;
    struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(oldest, struct ashlar_extent, age);
    return extent->freed_ms <= too_old_ms(now_ms) || is_too_much() ? extent : NULL;
}

bool ashlar_mapcache_is_due_locked(uint64_t now_ms)
{
    return !ashlar_list_is_empty(&retired) || next_victim(now_ms) != NULL || is_too_much() ||
           ashlar_front_oldest_ms() <= too_old_ms(now_ms);
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
    busy_bytes -= extent->len_bytes;
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

/* Makes the pages of detached extents clean, several by one call where none is patched. False: the
   kernel was short of memory or mappings, and some are kept DIRTY. */
static bool purge_extents(struct ashlar_extent **extents, size_t count, uint64_t now_ms)
{
    struct ashlar_os_range ranges[PURGE_BATCH];
    struct ashlar_extent *plain[PURGE_BATCH];
    size_t nplain = 0;
    for (size_t i = 0; i < count; i++) {
        struct ashlar_extent *extent = extents[i];
        ashlar_count(purge_calls);
        ashlar_count_add(purge_bytes, extent->len_bytes);
        /* A fresh mapping on top joins what moves have cut into pieces. Not over the rear guard: it
           is the neighbour's front guard. */
        if (extent->is_patched && ashlar_os_map_over(extent->base, extent->len_bytes) == 0) {
            ashlar_guard_forget(extent->region, extent->base, ashlar_extent_guard(extent));
            ashlar_guard_return_mappings(extent->mappings_spent);
            extent->mappings_spent = 0;
            extent->is_patched = false;
        }
        ranges[nplain] = (struct ashlar_os_range){extent->base, extent->len_bytes};
        plain[nplain++] = extent;
    }
    size_t done = 0;
    size_t nclean = 0;
    if (nplain != 0)
        (void)ashlar_os_purge_many(ranges, nplain, &done);
    for (size_t i = 0; i < nplain; i++) {
        /* The guard page too: what it held before it became one would come to light when two clean
           extents are joined. */
        bool is_clean =
            i < done && ashlar_guard_empty(plain[i]->region, ashlar_extent_guard(plain[i]));
        ashlar_mapcache_put(plain[i], is_clean ? ASHLAR_EXTENT_CLEAN : ASHLAR_EXTENT_DIRTY, now_ms);
        nclean += is_clean ? 1 : 0;
    }
    return nclean == nplain;
}

/* Unmaps a retired region; its only extent goes with it. False as purge_extents. */
static bool unmap_retired(struct ashlar_extent *extent, uint64_t now_ms)
{
    size_t len = extent->len_bytes;
    /* The guards, and the maps that know of them, go with the region or stay with it. */
    size_t spent = extent->mappings_spent +
                   ashlar_guard_count_mappings(extent->region, extent->base,
                                               ashlar_extent_end(extent));
    if (!ashlar_region_unmap(extent->region)) {
        /* DIRTY, though its pages go: as CLEAN it would be retired again at once, and be of no use
           to anybody while the kernel has no room for the hole. */
        (void)ashlar_os_purge(extent->base, len);
        ashlar_mapcache_put(extent, ASHLAR_EXTENT_DIRTY, now_ms);
        return false;
    }
    ashlar_guard_return_mappings(spent);
    ashlar_count_sub(cache_kept_bytes, len);
    if (ashlar_lock_take(&ashlar_large_lock)) {
        busy_bytes -= len;
        ashlar_lock_release(&ashlar_large_lock);
    }
    ashlar_extent_delete(extent);
    return true;
}

static struct ashlar_extent *next_retired(void)
{
    struct ashlar_list *link = ashlar_list_first(&retired);
    if (link == NULL)
        return NULL;
    ashlar_list_remove(link);
    return ASHLAR_CONTAINER_OF(link, struct ashlar_extent, bin);
}

/* Detaches up to PURGE_BATCH victims; retired regions go to `retired` meanwhile. */
static size_t detach_victims(struct ashlar_extent **victims, uint64_t now_ms)
{
    size_t count = 0;
    struct ashlar_extent *extent;
    while (count < PURGE_BATCH && (extent = next_victim(now_ms)) != NULL) {
        detach(extent);
        if (!ashlar_list_is_linked(&extent->bin))
            victims[count++] = extent;
    }
    return count;
}

/* Takes in from the threads' fronts what was freed at `until_ms` or before; true when something
   was. */
static bool flush_fronts(uint64_t until_ms)
{
    bool has_flushed = false;
    uint64_t freed_ms;
    struct ashlar_extent *extent;
    while ((extent = ashlar_front_flush(until_ms, &freed_ms)) != NULL) {
        ashlar_mapcache_put(extent, ASHLAR_EXTENT_DIRTY, freed_ms);
        has_flushed = true;
    }
    return has_flushed;
}

void ashlar_mapcache_purge(uint64_t now_ms)
{
    (void)flush_fronts(too_old_ms(now_ms));
    for (;;) {
        struct ashlar_extent *victims[PURGE_BATCH];
        if (!ashlar_mapcache_lock())
            return;
        size_t count = detach_victims(victims, now_ms);
        bool is_too_much_still = count == 0 && is_too_much();
        struct ashlar_extent *whole = next_retired();
        ashlar_mapcache_unlock();
        if (is_too_much_still && flush_fronts(UINT64_MAX))
            continue;
        if (count == 0 && whole == NULL)
            return;
        bool is_done = whole == NULL || unmap_retired(whole, now_ms);
        if (!purge_extents(victims, count, now_ms) || !is_done)
            return;
    }
}

bool ashlar_mapcache_trim(void)
{
    uint64_t purged = ashlar_count_read(purge_bytes);
    uint64_t reserved = ashlar_count_read(region_reserved_bytes);
    (void)flush_fronts(UINT64_MAX);
    for (;;) {
        struct ashlar_extent *victim = NULL;
        if (!ashlar_mapcache_lock())
            break;
        struct ashlar_list *oldest = ashlar_list_first(&ages);
        if (oldest != NULL) {
            victim = ASHLAR_CONTAINER_OF(oldest, struct ashlar_extent, age);
            detach(victim);
            if (ashlar_list_is_linked(&victim->bin))
                victim = NULL;
        }
        struct ashlar_extent *whole = next_retired();
        ashlar_mapcache_unlock();
        if (victim == NULL && whole == NULL)
            break;
        bool is_done = whole == NULL || unmap_retired(whole, 0);
        if ((victim != NULL && !purge_extents(&victim, 1, 0)) || !is_done)
            break;
    }
    return ashlar_count_read(purge_bytes) != purged ||
           ashlar_count_read(region_reserved_bytes) != reserved;
}
