/*
 * purger.c - looks at what is kept, and a thread that does so when the program is idle
 *
 * Purpose     See purger.h.
 * Invariants  Whoever changes the state from NONE to AWAKE starts the thread; only the thread makes
 *             it ASLEEP, or NONE again.
 * Locking     The state, which the thread also sleeps on, is all that is shared.
 * Layer       front/.
 */
#include "front/purger.h"

#include "conf/counters.h"
#include "conf/options.h"
#include "large/large.h"
#include "os/os.h"
#include "small/arena.h"

/* The longest pause between two looks at the clock: memory is back within the decay time and a
   second. */
#define MAX_PAUSE_MS 500

/* Looks that find nothing kept before the thread goes to sleep. */
#define IDLE_LOOKS 4

/* Memory in the hands of a program, used or not, that is worth a thread to purge_thread:auto. */
#define AUTO_BYTES (8 * ASHLAR_MIB)

/* Growth of small memory after which large memory is looked at. */
#define GROWN_BYTES (1 * ASHLAR_MIB)

_Atomic uint32_t ashlar_purger_state;

static _Atomic size_t looked_at_bytes; /* small memory when it had grown last */

static bool change_state(uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(&ashlar_purger_state, &from, to);
}

static size_t kept_bytes(void)
{
    return ashlar_large_usage().kept_bytes + ashlar_count_read(arena_dirty_bytes) +
           ashlar_arena_emptied();
}

static void pause_awhile(uint32_t state)
{
    uint64_t ms = ashlar_min_size(ashlar_options_decay_step_ms(), MAX_PAUSE_MS);
    ashlar_os_wait(&ashlar_purger_state, state, (int)ms);
}

void ashlar_purger_look(uint64_t now_ms)
{
    ashlar_large_tick(now_ms);
    ashlar_arena_take_back_sometimes(now_ms);
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        ashlar_arena_tick(ashlar_arena_at(i), now_ms);
}

void ashlar_purger_give_small_if_wanted(void)
{
    if (ASHLAR_UNLIKELY(ashlar_large_wants_small()))
        ashlar_arena_trim_all();
}

void ashlar_purger_look_if_grown(void)
{
    size_t bytes = ashlar_count_read(slab_bytes) + ashlar_count_read(arena_dirty_bytes);
    size_t before = atomic_load_explicit(&looked_at_bytes, memory_order_relaxed);
    if (ASHLAR_LIKELY(bytes < before + GROWN_BYTES && bytes + GROWN_BYTES > before))
        return;
    atomic_store_explicit(&looked_at_bytes, bytes, memory_order_relaxed);
    if (bytes < before)
        return;
    ashlar_large_tick(ashlar_os_now_ms());
    (void)ashlar_large_wants_small(); /* small memory that grows comes upon idle slices itself */
}

/* Until a free says that there is something to do. */
static void sleep_soundly(void)
{
    if (!change_state(ASHLAR_PURGER_AWAKE, ASHLAR_PURGER_ASLEEP))
        return;
    /* What was freed by those who had not seen that yet is seen after a pause. */
    pause_awhile(ASHLAR_PURGER_ASLEEP);
    if (kept_bytes() != 0)
        (void)change_state(ASHLAR_PURGER_ASLEEP, ASHLAR_PURGER_AWAKE);
    while (atomic_load(&ashlar_purger_state) == ASHLAR_PURGER_ASLEEP)
        ashlar_os_wait(&ashlar_purger_state, ASHLAR_PURGER_ASLEEP, -1);
}

static void run(void)
{
    int idle_looks = 0;
    while (atomic_load(&ashlar_purger_state) != ASHLAR_PURGER_QUITS) {
        pause_awhile(ASHLAR_PURGER_AWAKE);
        ashlar_purger_look(ashlar_os_now_ms());
        idle_looks = kept_bytes() != 0 ? 0 : idle_looks + 1;
        if (idle_looks == IDLE_LOOKS) {
            sleep_soundly();
            idle_looks = 0;
        }
    }
    atomic_store(&ashlar_purger_state, ASHLAR_PURGER_NONE);
}

/*
 * auto: only in a program that has threads already. A second thread in a program written for one
 * changes what unshare(2) and setns(2) allow and what stdio's locks cost (doc/decisions/0010).
 */
static bool is_worth_it(void)
{
    return ashlar_opt.purge_thread == ASHLAR_PURGE_THREAD_ON ||
           (ashlar_os_has_threads() && ashlar_count_read(region_committed_bytes) > AUTO_BYTES);
}

void ashlar_purger_start(void)
{
    if (atomic_load_explicit(&ashlar_purger_state, memory_order_relaxed) != ASHLAR_PURGER_NONE)
        return;
    if (ashlar_opt.purge_thread == ASHLAR_PURGE_THREAD_OFF || ashlar_opt.decay_ms <= 0) {
        (void)change_state(ASHLAR_PURGER_NONE, ASHLAR_PURGER_UNWANTED);
        return;
    }
    if (!is_worth_it() || !change_state(ASHLAR_PURGER_NONE, ASHLAR_PURGER_AWAKE))
        return;
    if (ashlar_os_start_thread(run) == 0)
        ashlar_count(purge_threads);
    else
        (void)change_state(ASHLAR_PURGER_AWAKE, ASHLAR_PURGER_UNWANTED);
}

void ashlar_purger_wake_slow(void)
{
    if (change_state(ASHLAR_PURGER_ASLEEP, ASHLAR_PURGER_AWAKE))
        ashlar_os_wake(&ashlar_purger_state);
}

void ashlar_purger_quit(void)
{
    if (change_state(ASHLAR_PURGER_AWAKE, ASHLAR_PURGER_QUITS) ||
        change_state(ASHLAR_PURGER_ASLEEP, ASHLAR_PURGER_QUITS))
        ashlar_os_wake(&ashlar_purger_state);
}

void ashlar_purger_fork_child(void)
{
    if (atomic_load(&ashlar_purger_state) != ASHLAR_PURGER_UNWANTED)
        atomic_store(&ashlar_purger_state, ASHLAR_PURGER_NONE);
}
