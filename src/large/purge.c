/*
 * purge.c - kept extents given back to the kernel
 *
 * Purpose     See purge.h.
 * Invariants  See purge.h.
 * Locking     See purge.h.
 * Layer       large/.
 */
#include "large/purge.h"

#include <errno.h>
#include <stdatomic.h>

#include "conf/counters.h"
#include "large/account.h"
#include "large/decay.h"
#include "large/front.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "large/pieces.h"
#include "os/os.h"

/* Extents purged between two looks at the lock. */
#define PURGE_BATCH 16

/* The longest wait for what other threads purge, when all is to go. */
#define AWAIT_MS 200

static _Atomic uint32_t under_way; /* calls that may hold extents which are on no list */

static void begin_holding(void)
{
    atomic_fetch_add_explicit(&under_way, 1, memory_order_acquire);
}

static void end_holding(void)
{
    atomic_fetch_sub_explicit(&under_way, 1, memory_order_release);
}

/* Lays a fresh mapping over the payload. It opens mprotect guards, and joins what moves have cut
   into pieces. Not over the rear guard: it is the neighbour's front guard. */
static bool renew(const struct ashlar_extent *extent)
{
    return ashlar_pieces_renew(extent->region, extent->base, ashlar_extent_guard(extent));
}

/* Purges ranges, those of mlocked memory one by one; how many, in order, hold no pages now. */
static size_t empty_ranges(struct ashlar_extent **extents, const struct ashlar_os_range *ranges,
                           size_t count)
{
    size_t done = 0;
    while (done < count) {
        size_t now_done;
        int error = ashlar_os_purge_many(ranges + done, count - done, &now_done);
        done += now_done;
        if (error != 0 && (error != EINVAL || !renew(extents[done])))
            break;
        done += error != 0 ? 1 : 0;
    }
    return done;
}

/* Makes detached extents clean, several by one call. False: the kernel was short of memory or
   mappings, and some are kept DIRTY. */
static bool purge_extents(struct ashlar_extent **extents, size_t count, uint64_t now_ms)
{
    struct ashlar_os_range ranges[PURGE_BATCH];
    size_t nclean = 0;
    for (size_t i = 0; i < count; i++) {
        if (ashlar_pieces_is_any(extents[i]->region, extents[i]->base,
                                 ashlar_extent_guard(extents[i])))
            (void)renew(extents[i]);
        ranges[i] = (struct ashlar_os_range){extents[i]->base, extents[i]->len_bytes};
    }
    size_t done = empty_ranges(extents, ranges, count);
    for (size_t i = 0; i < count; i++) {
        /* The guard page too: what it held before it became one would come to light when two clean
           extents are joined. */
        bool is_clean = i < done &&
                        ashlar_guard_empty(extents[i]->region, ashlar_extent_guard(extents[i]));
        if (is_clean) {
            nclean++;
            ashlar_count(purge_calls);
            ashlar_count_add(purge_bytes, ashlar_extent_full_bytes(extents[i]));
        }
        ashlar_mapcache_put(extents[i], is_clean ? ASHLAR_EXTENT_CLEAN : ASHLAR_EXTENT_DIRTY,
                            now_ms);
    }
    return nclean == count;
}

/* Unmaps a retired region; its only extent goes with it. False as purge_extents. */
static bool unmap_retired(struct ashlar_extent *extent, uint64_t now_ms)
{
    /* The guards, and the maps that know of them, go with the region or stay with it. */
    size_t moved = ashlar_count_read(move_mappings) != 0 ? ashlar_pieces_count(extent->region) : 0;
    size_t spent = ashlar_guard_count_mappings(extent->region, extent->base,
                                               ashlar_extent_end(extent));
    if (!ashlar_region_unmap(extent->region)) {
        /* DIRTY, though its pages go if they can: as CLEAN it would be retired again at once, and
           be of no use to anybody while the kernel has no room for the hole. */
        struct ashlar_os_range range = {extent->base, extent->len_bytes};
        size_t done;
        (void)ashlar_os_purge_many(&range, 1, &done);
        ashlar_mapcache_put(extent, ASHLAR_EXTENT_DIRTY, now_ms);
        return false;
    }
    ashlar_guard_return_mappings(spent);
    ashlar_pieces_return(moved);
    ashlar_count_sub(cache_kept_bytes, ashlar_extent_full_bytes(extent));
    ashlar_extent_delete(extent);
    return true;
}

/* Takes in from the threads' fronts what was freed at `until_ms` or before; true when something
   was. */
static bool flush_fronts(uint64_t until_ms)
{
    bool has_flushed = false;
    uint64_t freed_ms;
    struct ashlar_extent *extent;
    begin_holding();
    while ((extent = ashlar_front_flush(until_ms, &freed_ms)) != NULL) {
        ashlar_mapcache_put(extent, ASHLAR_EXTENT_DIRTY, freed_ms);
        has_flushed = true;
    }
    end_holding();
    return has_flushed;
}

/* One batch. False: nothing left to do, or no more can be done now. */
static bool purge_batch(enum ashlar_mapcache_victims which, uint64_t now_ms)
{
    struct ashlar_extent *victims[PURGE_BATCH];
    if (!ashlar_mapcache_lock())
        return false;
    size_t count = ashlar_mapcache_detach_locked(which, now_ms, victims, PURGE_BATCH);
    struct ashlar_extent *retired = ashlar_mapcache_next_retired_locked();
    bool is_due_still = count == 0 && retired == NULL && ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (count == 0 && retired == NULL)
        return is_due_still && flush_fronts(UINT64_MAX);
    bool is_done = retired == NULL || unmap_retired(retired, now_ms);
    return purge_extents(victims, count, now_ms) && is_done;
}

/* The same, counted. */
static bool purge_some(enum ashlar_mapcache_victims which, uint64_t now_ms)
{
    begin_holding();
    bool has_more = purge_batch(which, now_ms);
    end_holding();
    return has_more;
}

/* What others have detached to be purged is on its way back; false: there was nothing. A thread
   that did so may not exist any more, in the child of a fork: so not for ever. */
static bool await_others(void)
{
    for (int i = 0; i < AWAIT_MS; i++) {
        uint32_t others = atomic_load_explicit(&under_way, memory_order_acquire);
        if (others == 0)
            return i != 0;
        ashlar_os_wait(&under_way, others, 1);
    }
    return true;
}

static void purge_everything(void)
{
    (void)flush_fronts(UINT64_MAX);
    uint64_t now_ms = ashlar_os_now_ms();
    while (purge_some(ASHLAR_VICTIMS_ALL, now_ms))
        continue;
}

void ashlar_purge_due(uint64_t now_ms)
{
    (void)flush_fronts(ashlar_decay_old_ms(now_ms));
    while (purge_some(ASHLAR_VICTIMS_DUE, now_ms))
        continue;
}

void ashlar_purge_if_due(uint64_t now_ms)
{
    if (!ashlar_mapcache_lock())
        return;
    bool is_due = ashlar_mapcache_is_due_locked(now_ms);
    ashlar_mapcache_unlock();
    if (is_due)
        ashlar_purge_due(now_ms);
}

bool ashlar_purge_all(void)
{
    uint64_t purged = ashlar_count_read(purge_bytes);
    uint64_t reserved = ashlar_count_read(region_reserved_bytes);
    purge_everything();
    if (await_others())
        purge_everything();
    return ashlar_count_read(purge_bytes) != purged ||
           ashlar_count_read(region_reserved_bytes) != reserved;
}
