/*
 * recycle.c - pages of freed blocks moved under new ones
 *
 * Purpose     See recycle.h.
 * Invariants  A run given back as CLEAN holds no pages.
 * Locking     See recycle.h.
 * Layer       large/.
 */
#include "large/recycle.h"

#include <stdatomic.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "large/guard.h"
#include "large/mapcache.h"
#include "large/pieces.h"
#include "large/sample.h"
#include "os/os.h"

/*
 * The shortest run that is moved: below MIN_RUN_BYTES the calls cost more than the faults they
 * spare, and below so much of the block, or twice as much with each so many mappings that moves
 * have made, they leave blocks in crumbs that are moved again and again. After five doublings
 * only a run as long as the block will do (doc/decisions/0016).
 */
#define MIN_RUN_BYTES (64 * ASHLAR_KIB)
#define MIN_RUN_PART 32
#define MAPPINGS_PER_DOUBLING 512u
#define DOUBLINGS_MAX 5u

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

static size_t min_run_bytes(size_t len_bytes)
{
    size_t doublings = ashlar_count_read(move_mappings) / MAPPINGS_PER_DOUBLING;
    size_t least = ashlar_max_size(MIN_RUN_BYTES, len_bytes / MIN_RUN_PART);
    return least << ashlar_min_size(doublings, DOUBLINGS_MAX);
}

void ashlar_recycle_plan_locked(struct ashlar_recycle_plan *plan, size_t len_bytes,
                                size_t offset_bytes)
{
    plan->count = 0;
    if (ashlar_opt.recycle == ASHLAR_RECYCLE_OFF || !ashlar_os_facts.has_move_keep ||
        len_bytes < offset_bytes || !is_worth_a_try())
        return;
    size_t want = len_bytes - offset_bytes;
    size_t least = min_run_bytes(len_bytes);
    while (want >= least && plan->count < ASHLAR_RECYCLE_RUNS) {
        size_t bytes;
        struct ashlar_extent *run = ashlar_mapcache_detach_run_locked(want, least, &bytes);
        if (run == NULL)
            return;
        plan->runs[plan->count] = run;
        plan->run_bytes[plan->count++] = bytes;
        want -= bytes;
    }
}

static size_t to_next(uintptr_t place, size_t unit)
{
    return ashlar_align_down(place, unit) + unit - place;
}

/*
 * Moves what lies in one mapping; how much. No call goes beyond a page table on either side,
 * although the kernel would move more by one: where the host of a virtual machine shadows its page
 * tables, those that are written by one call that touches several are built anew page by page as
 * they are used (300 to 1,000 us a MiB), and others mostly are not (6 to 60 us). Elsewhere the
 * calls cost 2 us a MiB more (doc/decisions/0009).
 */
static size_t move_piece(char *from, char *to, size_t len_bytes)
{
    size_t table = ashlar_os_facts.table_bytes;
    size_t done = 0;
    while (done < len_bytes) {
        size_t step = ashlar_min_size(to_next((uintptr_t)from + done, table),
                                      to_next((uintptr_t)to + done, table));
        step = ashlar_min_size(step, len_bytes - done);
        if (ashlar_os_move(from + done, to + done, step) != 0)
            break;
        done += step;
    }
    return done;
}

size_t ashlar_recycle_move(struct ashlar_region *from_region, char *from,
                           struct ashlar_region *to_region, char *to, size_t len_bytes)
{
    size_t done = 0;
    size_t moved_bytes;
    size_t piece_bytes;
    if (!ashlar_os_facts.has_move_keep)
        return 0;
    do {
        /* A mapping at a time: before Linux 6.17 no call takes more. */
        char *source = from + done;
        piece_bytes = (size_t)(ashlar_pieces_next(from_region, source, from + len_bytes) - source);
        moved_bytes = ashlar_pieces_has_room() ? move_piece(source, to + done, piece_bytes) : 0;
        if (moved_bytes == 0)
            break;
        ashlar_pieces_note_moved(to_region, to + done, to + done + moved_bytes);
        ashlar_pieces_note_moved(from_region, source, source + moved_bytes);
        done += moved_bytes;
    } while (done < len_bytes && moved_bytes == piece_bytes);
    return done;
}

/* Moves the first bytes of a kept extent to `to`; how many. Fewer than `run_bytes`: the kernel
   would not, or too many mappings are spent. */
static size_t move_run(struct ashlar_extent *run, size_t run_bytes, struct ashlar_extent *extent,
                       char *to)
{
    /* A move carries guards along, so the stale ones go first. */
    if (!ashlar_guard_clear(run->region, run->base, run->base + run_bytes))
        return 0;
    size_t moved_bytes = ashlar_recycle_move(run->region, run->base, extent->region, to, run_bytes);
    if (moved_bytes == 0)
        return 0;
    ashlar_count(recycle_moves);
    ashlar_count_add(recycle_bytes, moved_bytes);
    judge_run(to, moved_bytes);
    return moved_bytes;
}

/* Gives an emptied run back. A fresh mapping joins what the move has cut off. */
static void put_emptied(struct ashlar_extent *run, size_t run_bytes, uint64_t now_ms)
{
    (void)ashlar_pieces_renew(run->region, run->base, run->base + run_bytes);
    if (run->len_bytes != run_bytes) {
        ashlar_mapcache_put_run(run, run_bytes, now_ms);
        return;
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
