/*
 * fork.c - what happens to the allocator at fork
 *
 * Purpose     glibc runs these handlers first and takes its own locks (stdio's list) afterwards.
 *             Were ours held like ordinary locks, a thread that holds a stdio lock and allocates
 *             would wait for fork, and fork for it. So prepare shuts them: whoever needs one
 *             meanwhile uses the emergency store (front/emergency.h).
 * Invariants  Between prepare and its counterpart this thread receives no signal: a handler that
 *             forks in between would find its own gate shut for ever.
 *             The slabs of the parent's other threads stay as they are in the child, unused: their
 *             owners may have been in the middle of anything.
 * Locking     Every lock of lock.h but REPORT, which is a leaf, may be held over a slow write, and
 *             is made anew in the child.
 * Layer       api/.
 */
#include "api/fork.h"

#include <pthread.h>
#include <signal.h>

#include "api/boot.h"
#include "api/report.h"
#include "base/lock.h"
#include "front/heaps.h"
#include "front/purger.h"
#include "large/mapcache.h"
#include "map/meta.h"
#include "map/region.h"
#include "small/arena.h"

/* In rank order; the arenas, as many as there are, stand between HEAPS and LARGE. */
static struct ashlar_lock *const before_arenas[] = {&ashlar_boot_lock, &ashlar_heaps_lock};
static struct ashlar_lock *const behind_arenas[] = {&ashlar_large_lock, &ashlar_region_lock,
                                                    &ashlar_meta_lock};

/* Written by the forking thread while it holds the gate. */
static sigset_t signals_before;
static unsigned arenas_shut;

static void shut_if_mine(struct ashlar_lock *lock)
{
    if (ashlar_lock_is_mine(lock))
        ashlar_lock_shut(lock);
}

static void visit_locks(void (*visit)(struct ashlar_lock *lock))
{
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(before_arenas); i++)
        visit(before_arenas[i]);
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        visit(&ashlar_arena_at(i)->lock);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(behind_arenas); i++)
        visit(behind_arenas[i]);
}

static void prepare(void)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* What a signal handler's fork has interrupted comes first, whatever its rank: another thread
       may wait for that lock while it holds one of a lower rank, and would never give the latter
       up. */
    visit_locks(shut_if_mine);
    visit_locks(ashlar_lock_shut);
    signals_before = before;
    /* No arena has appeared since HEAPS was shut: a new one takes a new cache. */
    arenas_shut = ashlar_arena_count();
}

static void reopen(bool in_child)
{
    sigset_t before = signals_before;
    for (size_t i = ASHLAR_ARRAY_LEN(behind_arenas); i-- > 0;)
        ashlar_lock_reopen(behind_arenas[i], in_child);
    for (unsigned i = arenas_shut; i-- > 0;)
        ashlar_lock_reopen(&ashlar_arena_at(i)->lock, in_child);
    for (size_t i = ASHLAR_ARRAY_LEN(before_arenas); i-- > 0;)
        ashlar_lock_reopen(before_arenas[i], in_child);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void resume_parent(void)
{
    reopen(false);
}

static void resume_child(void)
{
    ashlar_lock_init(&ashlar_report_lock, ASHLAR_RANK_REPORT);
    ashlar_heaps_fork_child();
    ashlar_purger_fork_child();
    reopen(true);
}

void ashlar_fork_boot(void)
{
    (void)pthread_atfork(prepare, resume_parent, resume_child);
}
