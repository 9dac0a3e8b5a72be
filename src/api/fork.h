/*
 * fork.h - what happens to the allocator at fork
 *
 * Purpose     The fork gate: the child finds every structure whole, and no thread waits meanwhile.
 * Locking     Shuts every lock in rank order; see base/lock.h.
 * Layer       api/.
 */
#ifndef ASHLAR_API_FORK_H
#define ASHLAR_API_FORK_H

/* Registers the handlers. Called from a constructor: registering may allocate. */
void ashlar_fork_boot(void);

#endif
