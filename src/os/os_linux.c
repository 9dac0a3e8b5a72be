/*
 * os_linux.c - the contract of os.h on Linux
 *
 * Purpose     The only file that names mmap, munmap, mremap, mprotect, madvise and their kin.
 * Invariants  errno is the caller's: every wrapper puts it back.
 * Locking     None. ashlar_os_facts is written by ashlar_os_boot only.
 * Layer       os/.
 */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

/* Newer than the C library's headers. */
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
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* A pidfd of 6.14 and later that means "this process" without opening anything. */
#define PIDFD_SELF_PROCESS (-10001)

#define PURGE_BATCH_MAX 64

/* Of our own thread. It may be the last one and then runs what atexit has registered. */
#define THREAD_STACK_BYTES (256 * ASHLAR_KIB)

struct ashlar_os_facts ashlar_os_facts = {.page_bytes = 4096, .table_bytes = 2 * ASHLAR_MIB};

/* The errno value of a libc call that gave `result`, with errno put back as it was. */
static int settle(int result, int saved_errno)
{
    int error = result == 0 ? 0 : errno;
    errno = saved_errno;
    return error;
}

static int map_anonymous(void *where, size_t len_bytes, int prot, int extra_flags, void **addr)
{
    int saved = errno;
    void *got = mmap(where, len_bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | extra_flags, -1, 0);
    if (got == MAP_FAILED)
        return settle(-1, saved);
    *addr = got;
    return 0;
}

/* Anything but ENOMEM from the calls that change a range of ours is a bug of ours. */
static int survive_enomem(int error, const char *call, void *addr, size_t len_bytes)
{
    if (error != 0 && error != ENOMEM)
        ashlar_fatal("%s(%p, %zu) failed with errno %d", call, addr, len_bytes, error);
    return error;
}

int ashlar_os_reserve(size_t len_bytes, void **addr)
{
    return map_anonymous(NULL, len_bytes, PROT_NONE, 0, addr);
}

int ashlar_os_map(size_t len_bytes, void **addr)
{
    return map_anonymous(NULL, len_bytes, PROT_READ | PROT_WRITE, 0, addr);
}

int ashlar_os_map_over(void *addr, size_t len_bytes)
{
    void *got = NULL;
    int error = map_anonymous(addr, len_bytes, PROT_READ | PROT_WRITE, MAP_FIXED, &got);
    /* EAGAIN: mlockall(MCL_FUTURE) and RLIMIT_MEMLOCK. */
    return error == EAGAIN ? ENOMEM : survive_enomem(error, "mmap", addr, len_bytes);
}

int ashlar_os_reserve_over(void *addr, size_t len_bytes)
{
    void *got = NULL;
    int error = map_anonymous(addr, len_bytes, PROT_NONE, MAP_FIXED, &got);
    return error == EAGAIN ? ENOMEM : survive_enomem(error, "mmap", addr, len_bytes);
}

int ashlar_os_commit(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = settle(mprotect(addr, len_bytes, PROT_READ | PROT_WRITE), saved);
    return error == EAGAIN ? ENOMEM : survive_enomem(error, "mprotect", addr, len_bytes);
}

int ashlar_os_protect(void *addr, size_t len_bytes)
{
    int saved = errno;
    return survive_enomem(settle(mprotect(addr, len_bytes, PROT_NONE), saved), "mprotect", addr,
                          len_bytes);
}

int ashlar_os_unmap(void *addr, size_t len_bytes)
{
    int saved = errno;
    return survive_enomem(settle(munmap(addr, len_bytes), saved), "munmap", addr, len_bytes);
}

void ashlar_os_name(void *addr, size_t len_bytes, const char *name)
{
    if (!ashlar_os_facts.has_names)
        return;
    int saved = errno;
    (void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len_bytes, name);
    errno = saved;
}

/* EINVAL: the range is mlocked. */
static int drop_pages(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error = settle(madvise(addr, len_bytes, MADV_DONTNEED), saved);
    return error == EINVAL ? error : survive_enomem(error, "madvise", addr, len_bytes);
}

int ashlar_os_purge(void *addr, size_t len_bytes)
{
    int error = drop_pages(addr, len_bytes);
    return error == EINVAL ? ashlar_os_map_over(addr, len_bytes) : error;
}

/* Purges up to PURGE_BATCH_MAX ranges by one call; the number of whole ranges purged. */
static size_t purge_batch(const struct ashlar_os_range *ranges, size_t nranges)
{
    struct iovec vec[PURGE_BATCH_MAX];
    for (size_t i = 0; i < nranges; i++)
        vec[i] = (struct iovec){.iov_base = ranges[i].addr, .iov_len = ranges[i].len_bytes};
    int saved = errno;
    long advised = syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, vec, nranges, MADV_DONTNEED, 0);
    errno = saved;
    size_t done = 0;
    while (done < nranges && advised > 0 && (size_t)advised >= ranges[done].len_bytes) {
        advised -= (long)ranges[done].len_bytes;
        done++;
    }
    return done;
}

int ashlar_os_purge_many(const struct ashlar_os_range *ranges, size_t nranges, size_t *done)
{
    *done = 0;
    while (*done < nranges) {
        size_t batch = ashlar_min_size(nranges - *done, PURGE_BATCH_MAX);
        if (ashlar_os_facts.has_purge_batch && batch > 1) {
            size_t purged = purge_batch(ranges + *done, batch);
            *done += purged;
            if (purged == batch)
                continue;
        }
        int error = drop_pages(ranges[*done].addr, ranges[*done].len_bytes);
        if (error != 0)
            return error;
        ++*done;
    }
    return 0;
}

int ashlar_os_guard_install(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error;
    do
        error = settle(madvise(addr, len_bytes, MADV_GUARD_INSTALL), saved);
    while (error == EAGAIN || error == EINTR);
    return error;
}

int ashlar_os_guard_remove(void *addr, size_t len_bytes)
{
    int saved = errno;
    int error;
    do
        error = settle(madvise(addr, len_bytes, MADV_GUARD_REMOVE), saved);
    while (error == EAGAIN || error == EINTR);
    return error;
}

bool ashlar_os_is_locked(void *addr)
{
    int saved = errno;
    /* Locked memory refuses this advice; on one page it does no harm. */
    bool is_refused = madvise(addr, ashlar_os_facts.page_bytes, MADV_COLD) != 0 && errno == EINVAL;
    errno = saved;
    return is_refused;
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
    void *got = mremap(from, len_bytes, len_bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                       to);
    int error = settle(got == MAP_FAILED ? -1 : 0, saved);
    if (error == EINVAL)
        ashlar_os_facts.has_move_keep = false;
    return error;
}

void ashlar_os_advise_huge(void *addr, size_t len_bytes)
{
    int saved = errno;
    (void)madvise(addr, len_bytes, MADV_HUGEPAGE);
    errno = saved;
}

void ashlar_os_prefault(void *addr, size_t len_bytes)
{
    int saved = errno;
    (void)madvise(addr, len_bytes, MADV_POPULATE_WRITE);
    errno = saved;
}

/* What mincore(2) says of one page; false: nothing is mapped there. */
static bool find_residency(const void *addr, unsigned char *residency)
{
    uintptr_t page = ashlar_align_down((uintptr_t)addr, ashlar_os_facts.page_bytes);
    int saved = errno;
    return settle(mincore((void *)page, 1, residency), saved) == 0;
}

bool ashlar_os_is_resident(const void *addr)
{
    unsigned char residency = 0;
    return find_residency(addr, &residency) && (residency & 1) != 0;
}

bool ashlar_os_is_mapped(const void *addr)
{
    unsigned char residency;
    return find_residency(addr, &residency);
}

uint64_t ashlar_os_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Reads a small text file into `text` (always terminated); false when it is not there. */
static bool read_text(const char *path, char *text, size_t size)
{
    int saved = errno;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = -1;
    if (fd >= 0) {
        len = read(fd, text, size - 1);
        close(fd);
    }
    errno = saved;
    text[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* A decimal number at *text, which moves behind it; false when there is none. */
static bool parse_number(const char **text, uint64_t *number)
{
    const char *p = *text;
    uint64_t n = 0;
    while (*p == ' ' || *p == '\n')
        p++;
    if (*p < '0' || *p > '9')
        return false;
    while (*p >= '0' && *p <= '9' && n < UINT64_MAX / 10 - 1)
        n = n * 10 + (uint64_t)(*p++ - '0');
    *text = p;
    *number = n;
    return true;
}

static uint64_t read_number(const char *path, uint64_t otherwise)
{
    char text[64];
    const char *p = text;
    uint64_t number;
    if (!read_text(path, text, sizeof text) || !parse_number(&p, &number))
        return otherwise;
    return number;
}

/* CPUs worth of time that cgroup v2 grants ("quota period" or "max period"), rounded up. */
static unsigned cgroup_cpus(const char *path, unsigned otherwise)
{
    char text[64];
    const char *p = text;
    uint64_t quota;
    uint64_t period;
    if (!read_text(path, text, sizeof text) || !parse_number(&p, &quota) ||
        !parse_number(&p, &period) || period == 0)
        return otherwise;
    uint64_t cpus = (quota + period - 1) / period;
    return cpus < otherwise ? (cpus > 0 ? (unsigned)cpus : 1) : otherwise;
}

/* A file ("/cpu.max") of the process's own cgroup, by the "0::/path" line of /proc/self/cgroup. */
static bool own_cgroup_file(const char *leaf, char *path, size_t size)
{
    static const char root[] = "/sys/fs/cgroup";
    char text[512];
    if (!read_text("/proc/self/cgroup", text, sizeof text))
        return false;
    const char *line = strstr(text, "0::/");
    if (line == NULL)
        return false;
    line += 3;
    size_t len = strcspn(line, "\n");
    size_t leaf_size = strlen(leaf) + 1;
    if (sizeof root - 1 + len + leaf_size > size)
        return false;
    memcpy(path, root, sizeof root - 1);
    memcpy(path + sizeof root - 1, line, len);
    memcpy(path + sizeof root - 1 + len, leaf, leaf_size);
    return true;
}

unsigned ashlar_os_cpu_count(void)
{
    /* The kernel's own mask, whatever its width: cpu_set_t stops at 1024. */
    unsigned long mask[128];
    int saved = errno;
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    errno = saved;
    unsigned cpus = 0;
    for (size_t i = 0; bytes > 0 && i < (size_t)bytes / sizeof mask[0]; i++)
        cpus += (unsigned)__builtin_popcountl(mask[i]);
    if (cpus == 0)
        cpus = 1;
    char path[600];
    cpus = cgroup_cpus("/sys/fs/cgroup/cpu.max", cpus);
    return own_cgroup_file("/cpu.max", path, sizeof path) ? cgroup_cpus(path, cpus) : cpus;
}

size_t ashlar_os_memory_limit(void)
{
    char path[600];
    /* In a container the cgroup's own files lie at the top. "max" is no number. */
    uint64_t limit = read_number("/sys/fs/cgroup/memory.max", SIZE_MAX);
    if (own_cgroup_file("/memory.max", path, sizeof path)) {
        uint64_t own = read_number(path, SIZE_MAX);
        limit = own < limit ? own : limit;
    }
    return (size_t)limit;
}

unsigned ashlar_os_cpu_index(void)
{
    int saved = errno;
    int cpu = sched_getcpu();
    errno = saved;
    return cpu > 0 ? (unsigned)cpu : 0;
}

uint64_t ashlar_os_random(void)
{
    uint64_t random = 0;
    int saved = errno;
    ssize_t got = getrandom(&random, sizeof random, GRND_NONBLOCK);
    errno = saved;
    if (got == (ssize_t)sizeof random)
        return random;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_nsec ^ ((uint64_t)now.tv_sec << 32) ^ (uint64_t)(uintptr_t)&now ^
           ((uint64_t)(uintptr_t)&ashlar_os_facts << 16);
}

bool ashlar_os_is_privileged(void)
{
    return getauxval(AT_SECURE) != 0;
}

size_t ashlar_os_address_limit(void)
{
    struct rlimit limit;
    int saved = errno;
    int result = getrlimit(RLIMIT_AS, &limit);
    errno = saved;
    return result != 0 || limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

void ashlar_os_wait(_Atomic uint32_t *word, uint32_t seen, int ms)
{
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, ms < 0 ? NULL : &limit, NULL, 0);
    errno = saved;
}

void ashlar_os_wake(_Atomic uint32_t *word)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

bool ashlar_os_has_threads(void)
{
    return !__libc_single_threaded;
}

static void *start_body(void *body)
{
    (void)prctl(PR_SET_NAME, "ashlar-purge");
    ((void (*)(void))(uintptr_t)body)();
    return NULL;
}

int ashlar_os_start_thread(void (*body)(void))
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    int saved = errno;
    sigfillset(&all);
    int error = pthread_attr_init(&attr);
    if (error != 0)
        return error;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited */
    error = pthread_create(&thread, &attr, start_body, (void *)(uintptr_t)body);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    errno = saved;
    return error;
}

size_t ashlar_os_huge_page_bytes(void)
{
    char text[64];
    if (!read_text("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text) ||
        strstr(text, "[never]") != NULL)
        return 0;
    return (size_t)read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", 0);
}

size_t ashlar_os_max_map_count(void)
{
    return (size_t)read_number("/proc/sys/vm/max_map_count", 65530);
}

/*
 * Whether the kernel knows advice `advice`: on a length of 0 the answer depends on the advice
 * alone (EINVAL: unknown), and nothing is touched.
 */
static bool knows_advice(int advice)
{
    int saved = errno;
    return settle(madvise(NULL, 0, advice), saved) == 0;
}

void ashlar_os_boot(void)
{
    struct ashlar_os_facts *facts = &ashlar_os_facts;
    size_t page = (size_t)getauxval(AT_PAGESZ);
    facts->page_bytes = page != 0 ? page : 4096;
    facts->table_bytes = facts->page_bytes / sizeof(uint64_t) * facts->page_bytes;
    facts->has_guard_markers = knows_advice(MADV_GUARD_INSTALL);
    facts->has_move_keep = true;
    /* As with advice: nothing is there to be named. */
    int saved = errno;
    facts->has_names = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, NULL, 0, ASHLAR_OS_NAME_META) == 0;
    /* Purging by process_madvise came with PIDFD_SELF, so a call for nothing tells. */
    facts->has_purge_batch = syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, NULL, 0,
                                     MADV_DONTNEED, 0) == 0;
    errno = saved;
}
