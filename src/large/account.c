/*
 * account.c - how much large memory is live, and how much may be kept
 *
 * Purpose     See account.h.
 * Invariants  See account.h.
 * Locking     LARGE for everything static here but what is atomic.
 * Layer       large/.
 */
#include "large/account.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "large/front.h"
#include "os/os.h"

/* Kept bytes above the peak, for each block that came to life in the two windows, also out of a
   thread's front: what lies ready spares it system calls and faults, so a program of few large
   blocks has little use for it. */
#define SLACK_PER_BLOCK_BYTES (32 * ASHLAR_KIB)
#define MIN_SLACK_BYTES (1 * ASHLAR_MIB)
#define MAX_SLACK_BYTES (16 * ASHLAR_MIB)

/* A surplus is this part of a block, and so long, at most; all of them together are no longer than
   that when one is added (doc/decisions/0021). */
#define SURPLUS_PART 4
#define SURPLUS_BYTES (256 * ASHLAR_KIB)
#define SURPLUS_MAX_BYTES (8 * ASHLAR_MIB)

/* So many blocks that came to life in two times so long, or less, are a rush. */
#define RUSH_BLOCKS 4096
#define RUSH_MS 1000

/* Live memory from which the limit of the cgroup is looked up. */
#define LEARN_FROM_BYTES (32 * ASHLAR_MIB)

/* Notes of which one passes the fronts for certain. */
#define LOOK_EVERY 16

/* Window of the recent peak when the decay time says nothing (0 or never). */
#define DEFAULT_WINDOW_MS 1000

static size_t live_bytes;
static size_t counted_blocks; /* ever */
static size_t front_hits;     /* as of front_hits_ms: summing them up takes a while */
static uint64_t front_hits_ms;
static size_t front_bytes; /* as of the last look at them: that takes as long */
static unsigned notes;     /* ever */

static _Atomic bool wants_small;
static _Atomic bool is_rush;
static _Atomic bool has_learned;
static _Atomic size_t most_bytes = SIZE_MAX; /* live and kept, as far as kept goes */

/* A time that is running and the one before: new_blocks when they began. */
struct window {
    size_t now_first_block;
    size_t before_first_block;
    uint64_t start_ms;
};

/* Highest really_live_bytes of the two. */
static struct {
    struct window window;
    size_t now_bytes;
    size_t before_bytes;
} peak;

static struct window rush;

/* Slabs are live, whatever of them is in use. */
static size_t small_live_bytes(void)
{
    return ashlar_count_read(slab_bytes);
}

static size_t small_kept_bytes(void)
{
    return ashlar_count_read(arena_dirty_bytes);
}

/* Large memory without what waits in the threads' fronts or was not asked for, and small. */
static size_t really_live_bytes(void)
{
    size_t not_asked = front_bytes + ashlar_count_read(surplus_bytes);
    return (live_bytes > not_asked ? live_bytes - not_asked : 0) + small_live_bytes();
}

/* True when live memory may be above its highest so far: by what the fronts had last, or unknown
   for a while. A peak that is missed is only a reason to keep less. */
static bool may_be_peak(void)
{
    return really_live_bytes() > peak.now_bytes || ++notes % LOOK_EVERY == 0;
}

/* Live and kept, large (the fronts are in live_bytes) and small. */
static size_t all_bytes(size_t dirty_bytes)
{
    return live_bytes + dirty_bytes + small_live_bytes() + small_kept_bytes();
}

/* Blocks that came to life so far. */
static size_t new_blocks(void)
{
    return counted_blocks + front_hits;
}

/* Blocks that came to life since the one of that number. */
static size_t blocks_since(size_t first)
{
    /* Threads that share a line of fronts may lose a hit, so the number may have gone back. */
    return ashlar_max_size(new_blocks(), first) - first;
}

size_t ashlar_account_surplus_allowed(size_t len_bytes)
{
    if (!atomic_load_explicit(&is_rush, memory_order_relaxed) ||
        ashlar_count_read(surplus_bytes) >= SURPLUS_MAX_BYTES)
        return 0;
    return ashlar_min_size(len_bytes / SURPLUS_PART, SURPLUS_BYTES);
}

void ashlar_account_set_surplus(struct ashlar_extent *extent, size_t surplus_bytes)
{
    if (extent->surplus_bytes == surplus_bytes)
        return;
    ashlar_count_add(surplus_bytes, surplus_bytes - extent->surplus_bytes); /* modulo 2^64 */
    extent->surplus_bytes = surplus_bytes;
}

static uint64_t age_ms_of(const struct window *window, uint64_t now_ms)
{
    /* What comes from a thread's front brings the time when it was freed. */
    return now_ms > window->start_ms ? now_ms - window->start_ms : 0;
}

/* Begins the next one. After a pause there is none before it. */
static void turn(struct window *window, bool has_paused, uint64_t now_ms)
{
    window->before_first_block = has_paused ? new_blocks() : window->now_first_block;
    window->now_first_block = new_blocks();
    window->start_ms = now_ms;
}

static void note_rush(uint64_t now_ms)
{
    uint64_t age_ms = age_ms_of(&rush, now_ms);
    if (age_ms >= RUSH_MS)
        turn(&rush, age_ms >= 2 * RUSH_MS, now_ms);
    bool is_now = ashlar_opt.guard == ASHLAR_GUARD_AUTO &&
                  blocks_since(rush.before_first_block) >= RUSH_BLOCKS;
    atomic_store_explicit(&is_rush, is_now, memory_order_relaxed);
}

void ashlar_account_note_locked(uint64_t now_ms)
{
    uint64_t window_ms = ashlar_opt.decay_ms > 0 ? (uint64_t)ashlar_opt.decay_ms
                                                 : DEFAULT_WINDOW_MS;
    uint64_t age_ms = age_ms_of(&peak.window, now_ms);
    if (now_ms > front_hits_ms) {
        front_hits = ashlar_front_hits();
        front_hits_ms = now_ms;
    }
    note_rush(now_ms);
    if (age_ms < window_ms && !may_be_peak())
        return;
    front_bytes = ashlar_front_bytes();
    size_t live = really_live_bytes();
    /* decay_ms:-1 never gives back, so the peak it is measured against is that of all time. */
    if (age_ms >= window_ms && ashlar_opt.decay_ms >= 0) {
        bool has_paused = age_ms >= 2 * window_ms;
        peak.before_bytes = has_paused ? live : peak.now_bytes;
        peak.now_bytes = live;
        turn(&peak.window, has_paused, now_ms);
    }
    peak.now_bytes = ashlar_max_size(peak.now_bytes, live);
}

void ashlar_account_grow_locked(size_t more_bytes, uint64_t now_ms)
{
    live_bytes += more_bytes;
    ashlar_count_add(large_counted_bytes, more_bytes);
    ashlar_account_note_locked(now_ms);
}

void ashlar_account_shrink_locked(size_t less_bytes, uint64_t now_ms)
{
    ashlar_account_note_locked(now_ms);
    live_bytes -= less_bytes;
    ashlar_count_sub(large_counted_bytes, less_bytes);
}

void ashlar_account_count_locked(struct ashlar_extent *extent, uint64_t now_ms)
{
    extent->is_counted = true;
    ashlar_count(large_counted_blocks);
    ashlar_account_grow_locked(extent->len_bytes, now_ms);
    counted_blocks++;
}

void ashlar_account_uncount_locked(struct ashlar_extent *extent, uint64_t now_ms)
{
    if (!extent->is_counted)
        return;
    extent->is_counted = false;
    ashlar_count_sub(large_counted_blocks, 1);
    ashlar_account_shrink_locked(extent->len_bytes, now_ms);
}

static size_t slack_bytes(void)
{
    size_t blocks = ashlar_min_size(blocks_since(peak.window.before_first_block),
                                    MAX_SLACK_BYTES / SLACK_PER_BLOCK_BYTES);
    /* Surplus is live and not in the peak, so it is paid out of this. */
    return ashlar_max_size(blocks * SLACK_PER_BLOCK_BYTES,
                           MIN_SLACK_BYTES + ashlar_count_read(surplus_bytes));
}

static size_t memory_limit(void)
{
    size_t high = ashlar_max_size(peak.now_bytes, peak.before_bytes);
    size_t lawful = high + high / 100 * (size_t)ashlar_opt.cache_slack + slack_bytes();
    return ashlar_min_size(lawful, atomic_load_explicit(&most_bytes, memory_order_relaxed));
}

void ashlar_account_learn_limit(void)
{
    if (ASHLAR_LIKELY(atomic_load_explicit(&has_learned, memory_order_relaxed)) ||
        ashlar_count_read(large_counted_bytes) + small_live_bytes() < LEARN_FROM_BYTES)
        return;
    atomic_store_explicit(&has_learned, true, memory_order_relaxed);
    size_t limit = ashlar_os_memory_limit();
    atomic_store_explicit(&most_bytes, limit / 8 * 7, memory_order_relaxed);
}

bool ashlar_account_is_too_much_locked(size_t dirty_bytes)
{
    size_t all = all_bytes(dirty_bytes);
    bool is_lawful = all <= memory_limit();
    if (is_lawful && all <= (size_t)ashlar_opt.cache_max)
        return false;
    size_t kept = dirty_bytes + ashlar_front_bytes();
    if (!is_lawful && kept == 0 && small_kept_bytes() != 0)
        atomic_store_explicit(&wants_small, true, memory_order_relaxed);
    return kept > (size_t)ashlar_opt.cache_max || (kept != 0 && !is_lawful);
}

size_t ashlar_account_excess_locked(size_t dirty_bytes)
{
    size_t all = all_bytes(dirty_bytes);
    size_t kept = dirty_bytes + ashlar_front_bytes();
    size_t limit = memory_limit();
    size_t over_law = all > limit ? all - limit : 0;
    size_t over_max = kept > (size_t)ashlar_opt.cache_max ? kept - (size_t)ashlar_opt.cache_max : 0;
    return ashlar_max_size(over_law, over_max);
}

bool ashlar_account_wants_small(void)
{
    return atomic_load_explicit(&wants_small, memory_order_relaxed) &&
           atomic_exchange_explicit(&wants_small, false, memory_order_relaxed);
}

bool ashlar_account_has_room_locked(size_t dirty_bytes, size_t more_bytes)
{
    size_t all = all_bytes(dirty_bytes);
    return all + more_bytes <= memory_limit() &&
           (all <= (size_t)ashlar_opt.cache_max ||
            dirty_bytes + ashlar_front_bytes() <= (size_t)ashlar_opt.cache_max);
}
