/*
 * recycle.c - pages of freed blocks moved under new ones
 *
 * Purpose     See recycle.h.
 * Invariants  A run given back as CLEAN holds no pages, and lies in one kernel mapping with its
 *             surroundings again.
 * Locking     See recycle.h.
 * Layer       large/.
 */
#include "large/recycle.h"

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "os/os.h"

#define UNIT ASHLAR_RECYCLE_UNIT_BYTES

/* A moved run lies in a mapping of its own between two halves of another. */
#define MAPPINGS_PER_MOVE 2

void ashlar_recycle_plan_locked(struct ashlar_recycle_plan *plan,
                                const struct ashlar_extent *extent, size_t offset_bytes)
{
    plan->count = 0;
    if (ashlar_opt.recycle == ASHLAR_RECYCLE_OFF || !ashlar_os_facts.has_move_keep ||
        !ashlar_is_aligned(extent->base + offset_bytes, UNIT) || extent->len_bytes < offset_bytes)
        return;
    size_t want = ashlar_align_down(extent->len_bytes - offset_bytes, UNIT);
    while (want != 0 && plan->count < ASHLAR_RECYCLE_RUNS) {
        size_t bytes;
        struct ashlar_extent *run = ashlar_mapcache_detach_run_locked(want, UNIT, &bytes);
        if (run == NULL)
            return;
        plan->runs[plan->count] = run;
        plan->run_bytes[plan->count++] = bytes;
        want -= bytes;
    }
}

/* Moves the first bytes of a kept extent to `to`; false: the kernel would not, or too many mappings
   are spent. */
static bool move_run(struct ashlar_extent *run, size_t run_bytes, struct ashlar_extent *extent,
                     char *to)
{
    /* A move carries guards along, so the stale ones go first. */
    if (!ashlar_guard_clear(run->region, run->base, run->base + run_bytes) ||
        !ashlar_guard_spend_mappings(MAPPINGS_PER_MOVE))
        return false;
    if (ashlar_os_move(run->base, to, run_bytes) != 0) {
        ashlar_guard_return_mappings(MAPPINGS_PER_MOVE);
        return false;
    }
    extent->is_patched = true;
    extent->mappings_spent += MAPPINGS_PER_MOVE;
    ashlar_count(recycle_moves);
    ashlar_count_add(recycle_bytes, run_bytes);
    return true;
}

/* Gives an emptied run back. A fresh mapping joins what the move has cut off. */
static void put_emptied(struct ashlar_extent *run, size_t run_bytes, uint64_t now_ms)
{
    bool is_joined = ashlar_os_map_over(run->base, run_bytes) == 0;
    run->is_patched |= !is_joined;
    if (run->len_bytes != run_bytes) {
        ashlar_mapcache_put_run(run, run_bytes, now_ms);
        return;
    }
    if (is_joined) {
        ashlar_guard_return_mappings(run->mappings_spent);
        run->mappings_spent = 0;
        run->is_patched = false;
    }
    /* Clean up to its end, under the guard too. */
    bool is_clean = ashlar_guard_empty(run->region, ashlar_extent_guard(run));
    ashlar_mapcache_put(run, is_clean ? ASHLAR_EXTENT_CLEAN : ASHLAR_EXTENT_DIRTY, now_ms);
}

size_t ashlar_recycle_run(const struct ashlar_recycle_plan *plan, struct ashlar_extent *extent,
                          size_t offset_bytes)
{
    uint64_t now_ms = plan->count != 0 ? ashlar_os_now_ms() : 0;
    size_t filled = 0;
    bool is_moving = true;
    for (size_t i = 0; i < plan->count; i++) {
        struct ashlar_extent *run = plan->runs[i];
        char *to = extent->base + offset_bytes + filled;
        is_moving = is_moving && move_run(run, plan->run_bytes[i], extent, to);
        if (is_moving) {
            filled += plan->run_bytes[i];
            put_emptied(run, plan->run_bytes[i], now_ms);
        } else {
            ashlar_mapcache_put(run, ASHLAR_EXTENT_DIRTY, now_ms);
        }
    }
    return filled;
}

void ashlar_recycle_cancel(const struct ashlar_recycle_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        ashlar_mapcache_put(plan->runs[i], ASHLAR_EXTENT_DIRTY, ashlar_os_now_ms());
}
