/*
 * os.h - the contract with the kernel
 *
 * Purpose     Every system call about memory, time and the machine that the library makes, by
 *             its meaning. os_linux.c is the only file that names them; the unit tests link
 *             tests/unit/fake_os.c in front of it to inject failures and a clock.
 * Rules       `addr` and `len_bytes` are multiples of the page size unless said otherwise.
 *             int results are 0 or an errno value. errno itself is never changed.
 *             Only ENOMEM (or what a comment names) is survivable from a call that gives
 *             memory back or changes its protection; on anything else the process stops with a
 *             message, since it means that we passed a range that is not ours.
 *             Calls are thread-safe and async-signal-safe and take no lock.
 * Layer       os/. Includes base. Used by everything above.
 */
#ifndef ASHLAR_OS_OS_H
#define ASHLAR_OS_OS_H

#include <stdatomic.h>

#include "base/base.h"

/* What this kernel and machine offer; constant after ashlar_os_boot, but for has_move_keep. */
struct ashlar_os_facts {
    size_t page_bytes;      /* base page */
    size_t table_bytes;     /* what one page table of the lowest level maps, and a huge page */
    bool has_guard_markers; /* MADV_GUARD_INSTALL is known (Linux 6.13) */
    _Atomic bool
        has_move_keep;    /* mremap(MREMAP_DONTUNMAP) is known (Linux 5.7), or not tried yet */
    bool has_purge_batch; /* process_madvise on oneself purges (Linux 6.13 or so) */
    bool has_names;       /* anonymous mappings can be named (CONFIG_ANON_VMA_NAME) */
};

extern struct ashlar_os_facts ashlar_os_facts;

/* Finds the facts. Called once, before anything else of ours; needs no libc initialisation. */
void ashlar_os_boot(void);

/* Transparent huge page; 0: none, or switched off. vm.max_map_count: most mappings of a process.
   Read files; slow. */
size_t ashlar_os_huge_page_bytes(void);
size_t ashlar_os_max_map_count(void);

/* Reserves address space without access. It costs no memory but counts against RLIMIT_AS. */
int ashlar_os_reserve(size_t len_bytes, void **addr);

/* Maps fresh zero pages, readable and writable. */
int ashlar_os_map(size_t len_bytes, void **addr);

/* Lays fresh zero pages, readable and writable, over a range of ours. What was there is gone.
   ENOMEM: nothing has changed. */
int ashlar_os_map_over(void *addr, size_t len_bytes);

/* Lays an inaccessible reservation over a range of ours; memory and commit charge go back. */
int ashlar_os_reserve_over(void *addr, size_t len_bytes);

/* Makes a reserved or protected range readable and writable. ENOMEM: commit limit or map count. */
int ashlar_os_commit(void *addr, size_t len_bytes);

/* Makes a committed range inaccessible, contents kept. ENOMEM: map count. */
int ashlar_os_protect(void *addr, size_t len_bytes);

/* Gives the range back to the system. ENOMEM: map count; the caller keeps the range. */
int ashlar_os_unmap(void *addr, size_t len_bytes);

/* Gives the pages back, keeps the range: it reads as zero afterwards. Guard markers stay.
   Mlocked pages are given back by a fresh mapping instead, which is accessible throughout. ENOMEM:
   nothing has changed. */
int ashlar_os_purge(void *addr, size_t len_bytes);

/* What mappings are named in /proc/PID/maps, as [anon:...]. */
#define ASHLAR_OS_NAME_LARGE "ashlar large"
#define ASHLAR_OS_NAME_SMALL "ashlar small"
#define ASHLAR_OS_NAME_META "ashlar meta"

/* Names a range of ours, where the kernel can. Neighbours of one name are joined as those without
   a name are, so what is laid over a named range has to be named again. Advice only. */
void ashlar_os_name(void *addr, size_t len_bytes, const char *name);

struct ashlar_os_range {
    void *addr;
    size_t len_bytes;
};

/* Purges several ranges, in one call where the kernel can. Stops at the first failure and gives
   its errno value; *done is the number of ranges purged. EINVAL: the next one is mlocked. */
int ashlar_os_purge_many(const struct ashlar_os_range *ranges, size_t nranges, size_t *done);

/*
 * Sets (removes) guard markers: touching a marked page is SIGSEGV, no mapping is spent.
 * EINVAL: this memory cannot carry them (old kernel, mlocked). ENOMEM: no page table.
 */
int ashlar_os_guard_install(void *addr, size_t len_bytes);
int ashlar_os_guard_remove(void *addr, size_t len_bytes);

/* True when the mapping that the page of `addr` lies in is locked into memory (mlock). */
bool ashlar_os_is_locked(void *addr);

/* True when [addr, addr + len_bytes) lies in one mapping of the kernel's. Something must be mapped
   behind it. */
bool ashlar_os_is_one_mapping(void *addr, size_t len_bytes);

/*
 * Moves the pages of [from, from + len_bytes) to `to`, over what was there, which becomes a mapping
 * of its own. The source stays mapped, empty, with the same access; all of its mapping is unlocked
 * if it was locked. Errors: nothing has moved, but nothing may be mapped at `to` any more. EFAULT:
 * the pages lie in several mappings (before Linux 6.17). EINVAL: not known (before 5.7);
 * has_move_keep is false from then on. ENOMEM: too many mappings.
 */
int ashlar_os_move(void *from, void *to, size_t len_bytes);

/* Asks for huge pages where a writable range covers whole ones. Advice only. */
void ashlar_os_advise_huge(void *addr, size_t len_bytes);

/* Makes the pages of a writable range resident, as a write to each would (Linux 5.14). Advice
   only. */
void ashlar_os_prefault(void *addr, size_t len_bytes);

/* True when the page of `addr`, which may be any address, is mapped and in memory. */
bool ashlar_os_is_resident(const void *addr);

/* True when something, ours or not, is mapped at the page of `addr`, which may be any address. */
bool ashlar_os_is_mapped(const void *addr);

/* Milliseconds of a monotonic clock; coarse (a tick), cheap, no system call. */
uint64_t ashlar_os_now_ms(void);

/* CPUs the process may use: affinity mask and cgroup cpu.max, at least 1. Reads files; slow. */
unsigned ashlar_os_cpu_count(void);

/* Index of the CPU the thread runs on, for spreading threads over arenas. Cheap. */
unsigned ashlar_os_cpu_index(void);

/* 64 bits from the kernel's generator; from clock and addresses where it is not ready. */
uint64_t ashlar_os_random(void);

/* True when the program runs with more rights than its caller (setuid, file capabilities). */
bool ashlar_os_is_privileged(void);

/* Bytes of memory that cgroup v2 allows the processes of this one's cgroup; SIZE_MAX: no limit. */
size_t ashlar_os_memory_limit(void);

/* Bytes of address space still allowed by RLIMIT_AS as a whole (not what is left); SIZE_MAX: no
   limit. */
size_t ashlar_os_address_limit(void);

/* Sleeps while *word is `seen`, until woken or for `ms` (-1: without end). It may also return for
   no reason. wake: wakes one who sleeps on `word`. */
void ashlar_os_wait(_Atomic uint32_t *word, uint32_t seen, int ms);
void ashlar_os_wake(_Atomic uint32_t *word);

/* True when the process has, or had, more than one thread. One load. */
bool ashlar_os_has_threads(void);

/* Runs `body` in a detached thread with all signals blocked. The C library allocates for it, so no
   lock may be held. EAGAIN: no thread to be had. */
int ashlar_os_start_thread(void (*body)(void));

#endif
