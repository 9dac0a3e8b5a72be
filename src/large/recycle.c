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

#include <stdatomic.h>

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "large/sample.h"
#include "os/os.h"

#define UNIT ASHLAR_RECYCLE_UNIT_BYTES

/* A moved run lies in a mapping of its own between two halves of another. */
#define MAPPINGS_PER_MOVE 2

/*
 * Moves pay only where freed blocks hold pages: one of a run that was written spares faults of ten
 * to thirty times its cost, one of a run that was not is lost. So each moved run is sampled, and
 * after so many empty ones on end moves are tried now and then only
 * (doc/decisions/0012).
 */
#define EMPTY_RUNS_BORNE 8
#define TRY_EVERY 16

/* Statistics, no more: a lost update does no harm. */
static _Atomic unsigned empty_runs;    /* moved on end */
static _Atomic unsigned plans_skipped; /* since then */

static void judge_run(const char *base, size_t len_bytes)
{
    unsigned before = atomic_load_explicit(&empty_runs, memory_order_relaxed);
    bool is_empty = ashlar_sample_is_empty(base, len_bytes);
    atomic_store_explicit(&empty_runs, is_empty ? before + 1 : 0, memory_order_relaxed);
}

static bool is_worth_a_try(void)
{
    if (atomic_load_explicit(&empty_runs, memory_order_relaxed) < EMPTY_RUNS_BORNE)
        return true;
    unsigned skipped = atomic_load_explicit(&plans_skipped, memory_order_relaxed) + 1;
    atomic_store_explicit(&plans_skipped, skipped, memory_order_relaxed);
    return skipped % TRY_EVERY == 0;
}

/* A run for the place `at` of a payload of which `want_bytes` are left to fill; NULL: none kept. */
static struct ashlar_extent *find_run(size_t at, size_t want_bytes, size_t *run_bytes)
{
    size_t table = ashlar_os_facts.table_bytes;
    size_t to_table = ashlar_align_up(at, table) - at;
    if (to_table == 0 && want_bytes >= table) {
        struct ashlar_extent *run = ashlar_mapcache_detach_run_locked(want_bytes, table, run_bytes);
        if (run != NULL)
            return run;
    }
    /* Up to the next place where a table may stand. */
    size_t want = to_table != 0 ? ashlar_min_size(to_table, want_bytes) : want_bytes;
    return ashlar_mapcache_detach_run_locked(want, UNIT, run_bytes);
}

void ashlar_recycle_plan_locked(struct ashlar_recycle_plan *plan, size_t len_bytes,
                                size_t offset_bytes)
{
    plan->count = 0;
    if (ashlar_opt.recycle == ASHLAR_RECYCLE_OFF || !ashlar_os_facts.has_move_keep ||
        offset_bytes % UNIT != 0 || len_bytes < offset_bytes || !is_worth_a_try())
        return;
    size_t at = offset_bytes;
    size_t want = ashlar_align_down(len_bytes - offset_bytes, UNIT);
    while (want != 0 && plan->count < ASHLAR_RECYCLE_RUNS) {
        size_t bytes;
        struct ashlar_extent *run = find_run(at, want, &bytes);
        if (run == NULL)
            return;
        plan->runs[plan->count] = run;
        plan->run_bytes[plan->count++] = bytes;
        at += bytes;
        want -= bytes;
    }
}

size_t ashlar_recycle_align(const struct ashlar_recycle_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->run_bytes[i] >= ashlar_os_facts.table_bytes)
            return ashlar_os_facts.table_bytes;
    }
    return UNIT;
}

/*
 * A call for each whole page table, although the kernel would move several by one: where the host
 * of a virtual machine shadows its page tables, tables moved by one call are built anew page by
 * page as they are touched (1,000 us a MiB), and those moved by a call each mostly are not (6 us).
 * Elsewhere the calls cost 2 us a MiB more (doc/decisions/0009).
 */
size_t ashlar_recycle_move(char *from, char *to, size_t len_bytes)
{
    size_t table = ashlar_os_facts.table_bytes;
    bool has_tables = ((uintptr_t)from ^ (uintptr_t)to) % table == 0;
    size_t done = 0;
    while (done < len_bytes) {
        size_t step = len_bytes - done;
        if (has_tables) {
            uintptr_t at = (uintptr_t)from + done;
            step = ashlar_min_size(step, ashlar_align_down(at, table) + table - at);
        }
        if (ashlar_os_move(from + done, to + done, step) != 0)
            break;
        done += step;
    }
    return done;
}

/* Moves the first bytes of a kept extent to `to`; how many. Fewer than `run_bytes`: the kernel
   would not, or too many mappings are spent. */
static size_t move_run(struct ashlar_extent *run, size_t run_bytes, struct ashlar_extent *extent,
                       char *to)
{
    /* A move carries guards along, so the stale ones go first. */
    if (!ashlar_guard_clear(run->region, run->base, run->base + run_bytes) ||
        !ashlar_guard_spend_mappings(MAPPINGS_PER_MOVE))
        return 0;
    size_t moved_bytes = ashlar_recycle_move(run->base, to, run_bytes);
    if (moved_bytes == 0) {
        ashlar_guard_return_mappings(MAPPINGS_PER_MOVE);
        return 0;
    }
    extent->is_patched = true;
    extent->mappings_spent += MAPPINGS_PER_MOVE;
    ashlar_count(recycle_moves);
    ashlar_count_add(recycle_bytes, moved_bytes);
    judge_run(to, moved_bytes);
    return moved_bytes;
}

/* Gives an emptied run back. A fresh mapping joins what the move has cut off. */
static void put_emptied(struct ashlar_extent *run, size_t run_bytes, uint64_t now_ms)
{
    bool is_joined = ashlar_region_renew(run->region, run->base, run_bytes);
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
        size_t moved = is_moving ? move_run(run, plan->run_bytes[i], extent, to) : 0;
        is_moving = moved == plan->run_bytes[i];
        filled += moved;
        if (is_moving) {
            put_emptied(run, moved, now_ms);
        } else {
            run->is_patched |= moved != 0;
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
