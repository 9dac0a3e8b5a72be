/*
 * fake_os.h - a kernel that fails to order and a clock that waits for the test
 *
 * Purpose     Stands in for os_linux.c at link time. As long as nothing is ordered every call goes
 *             to the real kernel, so blocks are real memory and guards real guards. A test can
 *             order single calls to fail, count them, set the clock, and pretend other facts of the
 *             machine (those in ashlar_os_facts it writes itself).
 * Invariants  A call that was ordered to fail has changed nothing.
 * Locking     Counters are atomic; orders are given while no other thread runs.
 */
#ifndef ASHLAR_TESTS_UNIT_FAKE_OS_H
#define ASHLAR_TESTS_UNIT_FAKE_OS_H

#include "os/os.h"

enum fake_os_call {
    FAKE_OS_RESERVE,
    FAKE_OS_MAP,
    FAKE_OS_MAP_OVER,
    FAKE_OS_RESERVE_OVER,
    FAKE_OS_COMMIT,
    FAKE_OS_PROTECT,
    FAKE_OS_UNMAP,
    FAKE_OS_PURGE, /* also once for each range of purge_many */
    FAKE_OS_GUARD_INSTALL,
    FAKE_OS_GUARD_REMOVE,
    FAKE_OS_MOVE,
    FAKE_OS_CALLS
};

/* Forgets all orders and counts; facts are found anew, the clock is a day further: it
   never goes back, since what is kept lives on between two cases. */
void fake_os_reset(void);

/* Forgets the orders to fail, and whether one was carried out. */
void fake_os_obey(void);

/* The calls of one kind number `first` to `first + count - 1` from now (0: the next) give `error`. */
void fake_os_fail(enum fake_os_call call, unsigned first, unsigned count, int error);

/* Of all calls from now, whatever their kind, the n-th gives ENOMEM (0: the next). */
void fake_os_fail_nth(unsigned n);

/* The same, and all calls behind it too, but for those that give memory back. */
void fake_os_fail_from(unsigned n);

/* True when a call was made to fail since the order. */
bool fake_os_has_failed(void);

/* Calls of one kind, of all kinds, and of purge_many, since the reset. */
unsigned fake_os_count(enum fake_os_call call);
unsigned fake_os_count_all(void);
unsigned fake_os_count_purge_many(void);

/* Address space that was mapped or reserved and not unmapped, since the process began. */
size_t fake_os_mapped_bytes(void);

/* Bytes for which huge pages were asked, since the reset. */
size_t fake_os_advised_bytes(void);

/* Bytes that were prefaulted, since the reset. */
size_t fake_os_prefaulted_bytes(void);

/* Reservations not unmapped as a whole; their number. Room for `room` of them at `starts`. */
size_t fake_os_reservations(void **starts, size_t room);

/* The clock stands until it is moved. */
void fake_os_set_clock(uint64_t now_ms);
void fake_os_pass_time(uint64_t ms);

/* Facts not in ashlar_os_facts. */
extern size_t fake_os_max_map_count;
extern size_t fake_os_huge_page_bytes;
extern size_t fake_os_address_limit;
extern size_t fake_os_memory_limit;
extern unsigned fake_os_cpu_count;
extern bool fake_os_is_privileged;

/* Whether the process seems to have threads, and the body of the thread last started: it does not
   run by itself. Who would sleep calls the sleeper, if there is one, and moves the clock. */
extern bool fake_os_has_threads;
extern void (*fake_os_thread_body)(void);
extern void (*fake_os_sleeper)(int ms);
unsigned fake_os_count_wakes(void);

/* Commits above this length succeed without being made: for blocks bigger than the machine. */
extern size_t fake_os_commit_pretended_above;

/*
 * Tries `attempt` with the first kernel call failing, then with the second, and so on until it no
 * longer comes to the call that is to fail; it must give true then. After each try `check` is
 * called (if not NULL) with nothing ordered. Gives the number of calls the attempt makes.
 */
enum fake_os_mode { FAKE_OS_ONE_FAILS, FAKE_OS_REST_FAILS };
unsigned fake_os_fail_each(enum fake_os_mode mode, bool (*attempt)(void *context),
                           void (*check)(void *context, bool has_succeeded), void *context);

#endif
