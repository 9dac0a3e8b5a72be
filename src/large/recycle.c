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

#include "base/check.h"
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

/* Where moves do not pay (sample.h) one in so many plans is tried. */
#define TRY_EVERY 16

/* A statistic, no more: a lost update does no harm. */
static _Atomic unsigned plans_skipped;

static bool is_worth_a_try(void)
{
    if (!ashlar_sample_are_freed_empty())
        return true;
    unsigned skipped = atomic_load_explicit(&plans_skipped, memory_order_relaxed) + 1;
    atomic_store_explicit(&plans_skipped, skipped, memory_order_relaxed);
    return skipped % TRY_EVERY == 0;
}

static size_t min_run_bytes(size_t len_bytes)
{
    size_t doublings = ashlar_count_read(move_mappings) / MAPPINGS_PER_DOUBLING;
    size_t least = ashlar_max_size(MIN_RUN_BYTES, len_bytes / MIN_RUN_PART);
    least = ashlar_max_size(least, 2 * ashlar_os_facts.page_bytes);
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
 * How much from `start` on lies in one kernel mapping, `len_bytes` at most. Guards that mprotect
 * set leave borders which nobody has noted: the kernel joins neighbours only if they were first
 * written as one. Before Linux 6.17 it moves nothing across a border; since then a call that fails
 * has moved what lies before one.
 */
static size_t one_mapping(char *start, size_t len_bytes)
{
    size_t page = ashlar_os_facts.page_bytes;
    if (ashlar_os_is_one_mapping(start, len_bytes))
        return len_bytes;
    size_t least = page;
    size_t most = len_bytes;
    while (most - least > page) {
        size_t middle = ashlar_align_down(least + (most - least) / 2, page);
        if (ashlar_os_is_one_mapping(start, middle))
            least = middle;
        else
            most = middle;
    }
    return least;
}

/*
 * Moves what lies in one mapping; how much. No call goes beyond a page table on either side,
 * although the kernel would move more by one: where the host of a virtual machine shadows its page
 * tables, those that are written by one call that touches several are built anew page by page as
 * they are used (300 to 1,000 us a MiB), and others mostly are not (6 to 60 us). Elsewhere the
 * calls cost 2 us a MiB more (doc/decisions/0009).
 */
static size_t move_piece(char *from, struct ashlar_region *to_region, char *to, size_t len_bytes)
{
    size_t table = ashlar_os_facts.table_bytes;
    size_t done = 0;
    while (done < len_bytes) {
        size_t step = ashlar_min_size(to_next((uintptr_t)from + done, table),
                                      to_next((uintptr_t)to + done, table));
        step = ashlar_min_size(step, len_bytes - done);
        if (ashlar_os_move(from + done, to + done, step) != 0) {
            /* It may have made room there before it refused. */
            if (!ashlar_os_is_mapped(to + done) && !ashlar_region_renew(to_region, to + done, step))
                ashlar_fatal("the kernel has neither moved nor mapped %zu bytes", step);
            break;
        }
        done += step;
    }
    return done;
}

size_t ashlar_recycle_move(struct ashlar_region *from_region, char *from,
                           struct ashlar_region *to_region, char *to, size_t len_bytes)
{
    size_t done = 0;
    if (!ashlar_os_facts.has_move_keep)
        return 0;
    while (done < len_bytes && ashlar_pieces_has_room() && !ashlar_os_is_locked(from + done)) {
        char *source = from + done;
        const char *next = ashlar_pieces_next(from_region, source, from + len_bytes);
        size_t piece_bytes = one_mapping(source, (size_t)(next - source));
        size_t moved_bytes = move_piece(source, to_region, to + done, piece_bytes);
        if (moved_bytes != 0) {
            ashlar_pieces_note_moved(to_region, to + done, to + done + moved_bytes);
            ashlar_pieces_note_moved(from_region, source, source + moved_bytes);
        }
        done += moved_bytes;
        if (moved_bytes != piece_bytes)
            break;
    }
    return done;
}

/* Moves the first bytes of a kept extent to `to`; how many. Fewer than `run_bytes`: the kernel
   would not, or too many mappings are spent. */
static size_t move_run(struct ashlar_extent *run, size_t run_bytes, struct ashlar_extent *extent,
                       char *to)
{
    /* Where most are empty this one is asked first: a long one takes many calls to move. */
    if (ashlar_sample_are_freed_empty() && ashlar_sample_is_empty(run->base, run_bytes))
        return 0;
    /* A move carries guards along, so the stale ones go first. */
    if (!ashlar_guard_clear(run->region, run->base, run->base + run_bytes))
        return 0;
    size_t moved_bytes = ashlar_recycle_move(run->region, run->base, extent->region, to, run_bytes);
    /* A run that may not be moved is worth as little as an empty one. */
    ashlar_sample_note_freed(moved_bytes == 0 || ashlar_sample_is_empty(to, moved_bytes));
    if (moved_bytes == 0)
        return 0;
    ashlar_count(recycle_moves);
    ashlar_count_add(recycle_bytes, moved_bytes);
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
            ashlar_mapcache_put(run, ASHLAR_EXTENT_DIRTY, run->freed_ms);
        }
    }
    return filled;
}

void ashlar_recycle_cancel(const struct ashlar_recycle_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        ashlar_mapcache_put(plan->runs[i], ASHLAR_EXTENT_DIRTY, plan->runs[i]->freed_ms);
}
