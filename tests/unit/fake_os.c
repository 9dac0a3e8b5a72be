/*
 * fake_os.c - a kernel that fails to order and a clock that waits for the test
 *
 * Purpose     See fake_os.h.
 * Invariants  Defines every name of os.h, so that os_linux.o is never taken from the archive.
 */
#define _GNU_SOURCE
#include "unit/fake_os.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define CLOCK_START_MS 1000000
#define CLOCK_STEP_MS 100000000
#define RESERVATIONS_MAX 4096

struct ashlar_os_facts ashlar_os_facts = {.page_bytes = 4096};

size_t fake_os_max_map_count;
size_t fake_os_huge_page_bytes;
size_t fake_os_address_limit;
size_t fake_os_memory_limit;
unsigned fake_os_cpu_count;
bool fake_os_is_privileged;
bool fake_os_has_threads;
void (*fake_os_thread_body)(void);
void (*fake_os_sleeper)(int ms);
size_t fake_os_commit_pretended_above = SIZE_MAX;

static _Atomic unsigned counts[FAKE_OS_CALLS];
static _Atomic unsigned count_all;
static _Atomic unsigned count_purge_many;
static _Atomic unsigned wakes;
static _Atomic size_t advised_bytes;
static _Atomic size_t prefaulted_bytes;
static _Atomic size_t mapped_bytes;
static _Atomic uint64_t clock_ms = CLOCK_START_MS;

/* Orders. A counter runs from the order on. */
static struct {
    unsigned first;
    unsigned count; /* 0: no order */
    int error;
    _Atomic unsigned seen;
} orders[FAKE_OS_CALLS];

static enum { EVERYTHING_WORKS, NTH_FAILS, FROM_NTH_FAILS } order_for_all;
static unsigned order_n;
static _Atomic unsigned seen_all;
static _Atomic bool has_failed;

static _Atomic(void *) reservations[RESERVATIONS_MAX];

void fake_os_obey(void)
{
    for (int i = 0; i < FAKE_OS_CALLS; i++)
        orders[i].count = 0;
    order_for_all = EVERYTHING_WORKS;
    has_failed = false;
}

void fake_os_reset(void)
{
    fake_os_obey();
    for (int i = 0; i < FAKE_OS_CALLS; i++)
        counts[i] = 0;
    count_all = 0;
    count_purge_many = 0;
    clock_ms += CLOCK_STEP_MS;
    fake_os_max_map_count = 65530;
    fake_os_huge_page_bytes = 2 * ASHLAR_MIB;
    fake_os_address_limit = SIZE_MAX;
    fake_os_memory_limit = SIZE_MAX;
    fake_os_cpu_count = 2;
    fake_os_is_privileged = false;
    fake_os_has_threads = false;
    fake_os_thread_body = NULL;
    fake_os_sleeper = NULL;
    wakes = 0;
    advised_bytes = 0;
    prefaulted_bytes = 0;
    fake_os_commit_pretended_above = SIZE_MAX;
    ashlar_os_boot();
}

void fake_os_fail(enum fake_os_call call, unsigned first, unsigned count, int error)
{
    orders[call].first = first;
    orders[call].count = count;
    orders[call].error = error;
    orders[call].seen = 0;
}

static void order_all(unsigned n)
{
    order_n = n;
    seen_all = 0;
    has_failed = false;
}

void fake_os_fail_nth(unsigned n)
{
    order_all(n);
    order_for_all = NTH_FAILS;
}

void fake_os_fail_from(unsigned n)
{
    order_all(n);
    order_for_all = FROM_NTH_FAILS;
}

bool fake_os_has_failed(void)
{
    return has_failed;
}

unsigned fake_os_count(enum fake_os_call call)
{
    return counts[call];
}

unsigned fake_os_count_all(void)
{
    return count_all;
}

unsigned fake_os_count_purge_many(void)
{
    return count_purge_many;
}

size_t fake_os_mapped_bytes(void)
{
    return mapped_bytes;
}

size_t fake_os_reservations(void **starts, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < RESERVATIONS_MAX && count < room; i++) {
        void *start = reservations[i];
        if (start != NULL)
            starts[count++] = start;
    }
    return count;
}

void fake_os_set_clock(uint64_t now_ms)
{
    clock_ms = now_ms;
}

void fake_os_pass_time(uint64_t ms)
{
    clock_ms += ms;
}

unsigned fake_os_fail_each(enum fake_os_mode mode, bool (*attempt)(void *context),
                           void (*check)(void *context, bool has_succeeded), void *context)
{
    for (unsigned n = 0;; n++) {
        if (mode == FAKE_OS_ONE_FAILS)
            fake_os_fail_nth(n);
        else
            fake_os_fail_from(n);
        bool has_succeeded = attempt(context);
        bool was_reached = has_failed;
        fake_os_obey();
        if (check != NULL)
            check(context, has_succeeded);
        if (!was_reached) {
            if (!has_succeeded) {
                fprintf(stderr, "fake_os: the attempt failed though no call did (n = %u)\n", n);
                abort();
            }
            return n;
        }
    }
}

static bool gives_back(enum fake_os_call call)
{
    return call == FAKE_OS_UNMAP || call == FAKE_OS_PURGE;
}

/* Counts a call; the errno value it was ordered to fail with, else 0. */
static int enter(enum fake_os_call call)
{
    atomic_fetch_add(&counts[call], 1);
    atomic_fetch_add(&count_all, 1);
    int error = 0;
    if (orders[call].count != 0) {
        unsigned index = atomic_fetch_add(&orders[call].seen, 1);
        if (index - orders[call].first < orders[call].count)
            error = orders[call].error;
    }
    if (order_for_all == NTH_FAILS && atomic_fetch_add(&seen_all, 1) == order_n)
        error = ENOMEM;
    if (order_for_all == FROM_NTH_FAILS && !gives_back(call) &&
        atomic_fetch_add(&seen_all, 1) >= order_n)
        error = ENOMEM;
    if (error != 0)
        has_failed = true;
    return error;
}

/* The errno value of a real call that must not change errno. */
static int settle(bool is_done, int saved_errno)
{
    int error = is_done ? 0 : errno;
    errno = saved_errno;
    return error;
}

/* A fresh mapping, at a multiple of the pretended page size. */
static int map_fresh(size_t len_bytes, int prot, void **addr)
{
    int saved = errno;
    size_t page = ashlar_os_facts.page_bytes;
    size_t whole = len_bytes + page;
    char *got = mmap(NULL, whole, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED)
        return settle(false, saved);
    size_t front = (page - (uintptr_t)got % page) % page;
    if (front != 0)
        munmap(got, front);
    munmap(got + front + len_bytes, page - front);
    *addr = got + front;
    atomic_fetch_add(&mapped_bytes, len_bytes);
    errno = saved;
    return 0;
}

static int map_over(void *addr, size_t len_bytes, int prot)
{
    int saved = errno;
    void *got = mmap(addr, len_bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return settle(got != MAP_FAILED, saved);
}

int ashlar_os_reserve(size_t len_bytes, void **addr)
{
    int error = enter(FAKE_OS_RESERVE);
    if (error == 0)
        error = map_fresh(len_bytes, PROT_NONE, addr);
    for (size_t i = 0; error == 0 && i < RESERVATIONS_MAX; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(&reservations[i], &none, *addr))
            break;
    }
    return error;
}

int ashlar_os_map(size_t len_bytes, void **addr)
{
    int error = enter(FAKE_OS_MAP);
    return error != 0 ? error : map_fresh(len_bytes, PROT_READ | PROT_WRITE, addr);
}

int ashlar_os_map_over(void *addr, size_t len_bytes)
{
    int error = enter(FAKE_OS_MAP_OVER);
    return error != 0 ? error : map_over(addr, len_bytes, PROT_READ | PROT_WRITE);
}

int ashlar_os_reserve_over(void *addr, size_t len_bytes)
{
    int error = enter(FAKE_OS_RESERVE_OVER);
    return error != 0 ? error : map_over(addr, len_bytes, PROT_NONE);
}

int ashlar_os_commit(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = enter(FAKE_OS_COMMIT);
    if (error != 0 || len_bytes > fake_os_commit_pretended_above)
        return error;
    return settle(mprotect(addr, len_bytes, PROT_READ | PROT_WRITE) == 0, saved);
}

int ashlar_os_protect(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = enter(FAKE_OS_PROTECT);
    return error != 0 ? error : settle(mprotect(addr, len_bytes, PROT_NONE) == 0, saved);
}

int ashlar_os_unmap(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = enter(FAKE_OS_UNMAP);
    if (error != 0)
        return error;
    for (size_t i = 0; i < RESERVATIONS_MAX; i++) {
        void *start = addr;
        if (atomic_compare_exchange_strong(&reservations[i], &start, NULL))
            break;
    }
    error = settle(munmap(addr, len_bytes) == 0, saved);
    if (error == 0)
        atomic_fetch_sub(&mapped_bytes, len_bytes);
    return error;
}

int ashlar_os_purge(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = enter(FAKE_OS_PURGE);
    return error != 0 ? error : settle(madvise(addr, len_bytes, MADV_DONTNEED) == 0, saved);
}

int ashlar_os_purge_many(const struct ashlar_os_range *ranges, size_t nranges, size_t *done)
{
    atomic_fetch_add(&count_purge_many, 1);
    for (*done = 0; *done < nranges; ++*done) {
        int error = ashlar_os_purge(ranges[*done].addr, ranges[*done].len_bytes);
        if (error != 0)
            return error;
    }
    return 0;
}

int ashlar_os_guard_install(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = enter(FAKE_OS_GUARD_INSTALL);
    return error != 0 ? error : settle(madvise(addr, len_bytes, MADV_GUARD_INSTALL) == 0, saved);
}

int ashlar_os_guard_remove(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = enter(FAKE_OS_GUARD_REMOVE);
    return error != 0 ? error : settle(madvise(addr, len_bytes, MADV_GUARD_REMOVE) == 0, saved);
}

bool ashlar_os_is_locked(void *addr)
{
    (void)addr;
    return false;
}

void ashlar_os_name(void *addr, size_t len_bytes, const char *name)
{
    (void)addr;
    (void)len_bytes;
    (void)name;
}

bool ashlar_os_is_one_mapping(void *addr, size_t len_bytes)
{
    int saved = errno;
    /* Asks to make it longer where it is: refused in any case, as there is no room, but with EFAULT
       only when it is not part of one mapping. */
    void *got = mremap(addr, len_bytes, len_bytes + ashlar_os_facts.page_bytes, 0);
    bool is_one = got != MAP_FAILED || errno != EFAULT;
    errno = saved;
    return is_one;
}

int ashlar_os_move(void *from, void *to, size_t len_bytes)
{
    int saved = errno;
    int error = enter(FAKE_OS_MOVE);
    if (error == 0 && !ashlar_os_is_one_mapping(from, len_bytes))
        error = EFAULT; /* as before Linux 6.17 */
    if (error != 0) {
        /* Before Linux 6.17 there is room made for a source that is refused. */
        if (error == EFAULT)
            (void)munmap(to, len_bytes);
        return error;
    }
    void *got = mremap(from, len_bytes, len_bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                       to);
    return settle(got != MAP_FAILED, saved);
}

void ashlar_os_advise_huge(void *addr, size_t len_bytes)
{
    int saved = errno;
    (void)madvise(addr, len_bytes, MADV_HUGEPAGE);
    advised_bytes += len_bytes;
    errno = saved;
}

void ashlar_os_prefault(void *addr, size_t len_bytes)
{
    int saved = errno;
    (void)madvise(addr, len_bytes, MADV_POPULATE_WRITE);
    prefaulted_bytes += len_bytes;
    errno = saved;
}

size_t fake_os_prefaulted_bytes(void)
{
    return prefaulted_bytes;
}

size_t fake_os_advised_bytes(void)
{
    return advised_bytes;
}

bool ashlar_os_is_resident(const void *addr)
{
    unsigned char residency = 0;
    int saved = errno;
    uintptr_t page = (uintptr_t)addr & ~(uintptr_t)4095;
    return settle(mincore((void *)page, 1, &residency) == 0, saved) == 0 && (residency & 1) != 0;
}

bool ashlar_os_is_mapped(const void *addr)
{
    unsigned char residency;
    int saved = errno;
    uintptr_t page = (uintptr_t)addr & ~(uintptr_t)4095;
    return settle(mincore((void *)page, 1, &residency) == 0, saved) == 0;
}

uint64_t ashlar_os_now_ms(void)
{
    return clock_ms;
}

unsigned ashlar_os_cpu_count(void)
{
    return fake_os_cpu_count != 0 ? fake_os_cpu_count : 1;
}

unsigned ashlar_os_cpu_index(void)
{
    return 0;
}

uint64_t ashlar_os_random(void)
{
    static _Atomic uint64_t state = UINT64_C(0x123456789abcdef);
    return atomic_fetch_add(&state, UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0x9e3779b97f4a7c15);
}

bool ashlar_os_is_privileged(void)
{
    return fake_os_is_privileged;
}

size_t ashlar_os_memory_limit(void)
{
    return fake_os_memory_limit;
}

size_t ashlar_os_address_limit(void)
{
    return fake_os_address_limit != 0 ? fake_os_address_limit : SIZE_MAX;
}

size_t ashlar_os_huge_page_bytes(void)
{
    return fake_os_huge_page_bytes;
}

size_t ashlar_os_max_map_count(void)
{
    return fake_os_max_map_count != 0 ? fake_os_max_map_count : 65530;
}

void ashlar_os_wait(_Atomic uint32_t *word, uint32_t seen, int ms)
{
    if (atomic_load(word) != seen)
        return;
    if (fake_os_sleeper != NULL)
        fake_os_sleeper(ms);
    fake_os_pass_time(ms > 0 ? (uint64_t)ms : 1);
}

void ashlar_os_wake(_Atomic uint32_t *word)
{
    (void)word;
    wakes++;
}

unsigned fake_os_count_wakes(void)
{
    return wakes;
}

bool ashlar_os_has_threads(void)
{
    return fake_os_has_threads;
}

int ashlar_os_start_thread(void (*body)(void))
{
    fake_os_thread_body = body;
    return 0;
}

void ashlar_os_boot(void)
{
    int saved = errno;
    ashlar_os_facts.page_bytes = (size_t)getauxval(AT_PAGESZ);
    ashlar_os_facts.table_bytes = ashlar_os_facts.page_bytes / sizeof(uint64_t) *
                                  ashlar_os_facts.page_bytes;
    ashlar_os_facts.has_guard_markers = madvise(NULL, 0, MADV_GUARD_INSTALL) == 0;
    ashlar_os_facts.has_move_keep = true;
    ashlar_os_facts.has_purge_batch = false;
    errno = saved;
}
