/*
 * lock.c - ranked mutexes that a fork can close without anybody hanging
 *
 * Purpose     See lock.h.
 * Invariants  The word: bits 0..29 owner id (0: nobody), bit 30 SHUT, bit 31 WAITERS. WAITERS may
 *             be set with nobody waiting (a wasted wake), never the reverse.
 * Locking     The mutex is Drepper's, "Futexes are tricky" (2011), mutex 3, with an owner in the
 *             word.
 * Layer       base/. futex(2) is called directly: os/ lies above.
 */
#include "base/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

#define OWNER_MASK UINT32_C(0x3fffffff)
#define SHUT (UINT32_C(1) << 30)
#define WAITERS (UINT32_C(1) << 31)

/* Tries before sleeping: a lock is held for a few hundred instructions at most. */
#define SPIN_TRIES 100

/*
 * Identity of the calling thread without a system call or a word of TLS: the address of its
 * control block, which is 64-byte aligned. Two threads share an id only when their blocks lie a
 * multiple of 64 GiB apart; the price is an emergency allocation, not a broken lock.
 */
static inline uint32_t own_id(void)
{
    uint32_t id = (uint32_t)((uintptr_t)__builtin_thread_pointer() >> 6) & OWNER_MASK;
    return id != 0 ? id : 1;
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    errno = saved;
}

static void futex_wake(_Atomic uint32_t *word, int nthreads)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, nthreads, NULL, NULL, 0);
    errno = saved;
}

#if defined(ASHLAR_DEBUG)
/* Ranks this thread holds, one bit each. Debug builds spend a third TLS word on it. */
static ASHLAR_TLS uint32_t held_ranks;

static void note_taken(const struct ashlar_lock *lock)
{
    uint32_t bit = UINT32_C(1) << lock->rank;
    ashlar_check(held_ranks < bit); /* every rank held is lower */
    held_ranks |= bit;
}

static void note_released(const struct ashlar_lock *lock)
{
    uint32_t bit = UINT32_C(1) << lock->rank;
    ashlar_check((held_ranks & bit) != 0);
    held_ranks &= ~bit;
}
#else
static inline void note_taken(const struct ashlar_lock *lock)
{
    (void)lock;
}

static inline void note_released(const struct ashlar_lock *lock)
{
    (void)lock;
}
#endif

static _Atomic uint64_t refusals;

uint64_t ashlar_lock_refusals(void)
{
    return atomic_load_explicit(&refusals, memory_order_relaxed);
}

bool ashlar_lock_is_shut(const struct ashlar_lock *lock)
{
    return (atomic_load_explicit(&lock->word, memory_order_relaxed) & SHUT) != 0;
}

void ashlar_lock_init(struct ashlar_lock *lock, enum ashlar_lock_rank rank)
{
    atomic_init(&lock->word, 0);
    lock->rank = rank;
}

bool ashlar_lock_is_mine(const struct ashlar_lock *lock)
{
    return (atomic_load_explicit(&lock->word, memory_order_relaxed) & OWNER_MASK) == own_id();
}

enum patience { IMPATIENT, PATIENT };

static ASHLAR_NOINLINE bool take_slowly(struct ashlar_lock *lock, enum patience patience)
{
    uint32_t id = own_id();
    uint32_t mark = 0; /* WAITERS once we have slept: others may still be asleep */
    int spins = 0;
    uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
    for (;;) {
        if ((seen & OWNER_MASK) == id)
            return false;
        if ((seen & SHUT) != 0 && patience == IMPATIENT)
            return false;
        if ((seen & (OWNER_MASK | SHUT)) == 0) {
            if (atomic_compare_exchange_weak_explicit(&lock->word, &seen,
                                                      id | mark | (seen & WAITERS),
                                                      memory_order_acquire, memory_order_relaxed))
                return true;
            continue;
        }
        if (spins++ < SPIN_TRIES) {
            pause_cpu();
            seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
            continue;
        }
        if ((seen & WAITERS) == 0 &&
            !atomic_compare_exchange_weak_explicit(&lock->word, &seen, seen | WAITERS,
                                                   memory_order_relaxed, memory_order_relaxed))
            continue;
        mark = WAITERS;
        futex_wait(&lock->word, seen | WAITERS);
        seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
    }
}

bool ashlar_lock_take(struct ashlar_lock *lock)
{
    uint32_t expected = 0;
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, own_id(),
                                                 memory_order_acquire, memory_order_relaxed) &&
        !take_slowly(lock, IMPATIENT)) {
        atomic_fetch_add_explicit(&refusals, 1, memory_order_relaxed);
        return false;
    }
    note_taken(lock);
    return true;
}

bool ashlar_lock_take_patiently(struct ashlar_lock *lock)
{
    if (!take_slowly(lock, PATIENT)) {
        atomic_fetch_add_explicit(&refusals, 1, memory_order_relaxed);
        return false;
    }
    note_taken(lock);
    return true;
}

void ashlar_lock_release(struct ashlar_lock *lock)
{
    note_released(lock);
    uint32_t old = atomic_fetch_and_explicit(&lock->word, SHUT, memory_order_release);
    ashlar_assert((old & OWNER_MASK) == own_id());
    if (ASHLAR_UNLIKELY((old & WAITERS) != 0))
        futex_wake(&lock->word, 1);
}

/*
 * Everybody asleep is woken, WAITERS or not: release clears the bit and leaves it to the thread it
 * wakes to set it again for the others, and that thread may find the lock shut and go its way.
 */
void ashlar_lock_shut(struct ashlar_lock *lock)
{
    /* Held by the code this signal handler interrupted: nobody else can change what it guards. */
    if (ashlar_lock_is_mine(lock)) {
        atomic_fetch_or_explicit(&lock->word, SHUT, memory_order_acq_rel);
    } else {
        bool taken = take_slowly(lock, PATIENT);
        ashlar_check(taken);
        /* Closed, but owned by nobody: this thread too goes to the emergency store meanwhile. */
        atomic_store_explicit(&lock->word, SHUT, memory_order_release);
    }
    futex_wake(&lock->word, INT32_MAX);
}

void ashlar_lock_reopen(struct ashlar_lock *lock, bool in_child)
{
    uint32_t keep = in_child ? OWNER_MASK : OWNER_MASK | WAITERS;
    uint32_t old = atomic_fetch_and_explicit(&lock->word, keep, memory_order_release);
    ashlar_assert((old & SHUT) != 0);
    if (!in_child && (old & WAITERS) != 0)
        futex_wake(&lock->word, INT32_MAX);
}
