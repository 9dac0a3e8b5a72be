/*
 * purger.h - looks at what is kept, and a thread that does so when the program is idle
 *
 * Purpose     What is kept too long, or is too much, is looked for on the program's own calls; a
 *             program that makes none keeps what it has freed. A thread looks at the decay clock in
 *             its place.
 * Invariants  At most one runs. It makes no request of its own and receives no signal. While
 *             nothing is kept it sleeps until a free wakes it. It ends when the last thread that
 *             ever made a request has ended, so that a process still ends with its last thread. A
 *             forked child has none until it makes requests.
 * Locking     Thread-safe. It is started from malloc, never from free: the C library frees under
 *             the lock of its thread stacks, which pthread_create wants.
 * Layer       front/. Uses large, small, conf, os. Used by route, heaps, tcache, api/fork.
 */
#ifndef ASHLAR_FRONT_PURGER_H
#define ASHLAR_FRONT_PURGER_H

#include <stdatomic.h>

#include "base/base.h"

enum ashlar_purger_state {
    ASHLAR_PURGER_NONE,
    ASHLAR_PURGER_AWAKE,
    ASHLAR_PURGER_ASLEEP,
    ASHLAR_PURGER_QUITS,
    ASHLAR_PURGER_UNWANTED, /* by the options, or there was no thread to be had */
};

extern _Atomic uint32_t ashlar_purger_state;

/* Starts the thread if there is none, the options want one and the program is worth it. The caller
   is about to serve a request, holds no lock, and does this now and then. */
void ashlar_purger_start(void);

void ashlar_purger_wake_slow(void);

/* Something was freed and is kept. */
static inline void ashlar_purger_wake(void)
{
    if (ASHLAR_UNLIKELY(atomic_load_explicit(&ashlar_purger_state, memory_order_relaxed) ==
                        ASHLAR_PURGER_ASLEEP))
        ashlar_purger_wake_slow();
}

/* Purges, large and small, what has been idle for its time, or is too much. For any thread that
   holds no lock. */
void ashlar_purger_look(uint64_t now_ms);

/* Gives back all idle small memory if what is large could not give what the law asks for. */
void ashlar_purger_give_small_if_wanted(void);

/* If small memory has grown a good deal since this was called last, looks at large memory: what is
   kept there, and whose place it takes, goes. */
void ashlar_purger_look_if_grown(void);

/* The last thread that made requests ends. */
void ashlar_purger_quit(void);

/* In the child of a fork. */
void ashlar_purger_fork_child(void);

#endif
