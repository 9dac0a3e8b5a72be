/*
 * lock.h - ranked mutexes that a fork can close without anybody hanging
 *
 * Purpose     A mutex of one word on a futex. Two things set it apart from a pthread mutex:
 *             taking it can fail, and it can be shut. While fork copies the process every lock
 *             is shut; a thread that would take one is told so and goes to the emergency store
 *             instead of waiting, so a thread that holds a libc lock which fork wants never
 *             waits for fork. A thread that finds that it already holds the lock (malloc in a
 *             signal handler that interrupted malloc) is told so too.
 * Invariants  word == 0: free. Ranks are taken in ascending order; checked with --enable-debug.
 * Locking     This is it. The table below is the order.
 * Layer       base/. Calls futex(2) itself.
 */
#ifndef ASHLAR_BASE_LOCK_H
#define ASHLAR_BASE_LOCK_H

#include <stdatomic.h>

#include "base/base.h"

/* LOCK_RANK(name, may call the kernel while held, guards), taken first to last. */
#define ASHLAR_LOCK_RANKS(LOCK_RANK)                                                     \
    LOCK_RANK(BOOT, "yes", "one-time start-up")                                          \
    LOCK_RANK(HEAPS, "no", "list of heaps, the late heap")                               \
    LOCK_RANK(ARENA, "no", "one arena: its chunks and abandoned slabs")                  \
    LOCK_RANK(LARGE, "no", "spans of large blocks, the mapping cache")                   \
    LOCK_RANK(REGION, "yes", "reservation and commit edge of address space")             \
    LOCK_RANK(META, "yes", "store of the library's own structures")                      \
    LOCK_RANK(REPORT, "write(2) only", "one report at a time")

enum ashlar_lock_rank {
#define LOCK_RANK(name, may_call_kernel, guards) ASHLAR_RANK_##name,
    ASHLAR_LOCK_RANKS(LOCK_RANK)
#undef LOCK_RANK
    ASHLAR_RANK_COUNT
};

struct ashlar_lock {
    _Atomic uint32_t word;      /* owner id, SHUT and WAITERS bits: see lock.c */
    enum ashlar_lock_rank rank; /* constant */
};

#define ASHLAR_LOCK_INIT(rank_name) {0, ASHLAR_RANK_##rank_name}

void ashlar_lock_init(struct ashlar_lock *lock, enum ashlar_lock_rank rank);

/*
 * Takes the lock, waiting for another holder. False, at once, when the lock is shut for a fork
 * or when this thread holds it already: the caller must do without (emergency store, deferred
 * free) and must not wait.
 */
bool ashlar_lock_take(struct ashlar_lock *lock) __attribute__((warn_unused_result));

/*
 * Takes the lock, waiting also while it is shut. For work that may be put off but not dropped:
 * thread exit, trim, reports. False only when this thread holds the lock already.
 */
bool ashlar_lock_take_patiently(struct ashlar_lock *lock) __attribute__((warn_unused_result));

void ashlar_lock_release(struct ashlar_lock *lock);

/*
 * Fork gate. shut: waits for the holder to leave, then closes the lock to everyone; a lock that
 * this very thread holds (fork in a signal handler) is closed as it is. reopen: the reverse, in
 * parent and child; `in_child` says that no other thread exists any more.
 */
void ashlar_lock_shut(struct ashlar_lock *lock);
void ashlar_lock_reopen(struct ashlar_lock *lock, bool in_child);

bool ashlar_lock_is_shut(const struct ashlar_lock *lock);

/* How often any lock was refused so far, by any thread. A caller that sees it move while its
   request failed knows that memory need not be the reason. */
uint64_t ashlar_lock_refusals(void);

/* True when this thread holds the lock. */
bool ashlar_lock_is_mine(const struct ashlar_lock *lock);

#endif
