/*
 * test_os_linux.c - the contract of os.h, asked of the real kernel
 */
#include "unit/testing.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "os/os.h"

#define PAGE (ashlar_os_facts.page_bytes)

static int begin(void **state)
{
    (void)state;
    ashlar_os_boot();
    errno = EDOM; /* every case also checks that it stays */
    return 0;
}

static int end(void **state)
{
    (void)state;
    return errno == EDOM ? 0 : -1;
}

static char *map_pages(size_t npages)
{
    void *addr = NULL;
    assert_int_equal(ashlar_os_map(npages * PAGE, &addr), 0);
    return addr;
}

/* Asked directly: AddressSanitizer makes mlock do nothing. False where RLIMIT_MEMLOCK forbids it. */
static bool lock_pages(char *pages, size_t npages)
{
    int saved = errno;
    bool is_locked = syscall(SYS_mlock, pages, npages * PAGE) == 0;
    errno = saved;
    return is_locked;
}

static bool is_readable(const char *address)
{
    int saved = errno;
    bool answer = test_is_readable(address);
    errno = saved;
    return answer;
}

static void the_page_size_is_that_of_the_machine(void **state)
{
    (void)state;
    assert_int_equal(PAGE, (size_t)sysconf(_SC_PAGESIZE));
    size_t huge = ashlar_os_huge_page_bytes();
    assert_true(huge == 0 || (huge > PAGE && ashlar_is_power_of_2(huge)));
    assert_true(ashlar_os_max_map_count() >= 1000);
}

static void mapped_pages_are_zero_and_can_be_given_back(void **state)
{
    (void)state;
    char *pages = map_pages(4);
    assert_true(test_is_zero(pages, 4 * PAGE));
    memset(pages, 1, 4 * PAGE);
    assert_int_equal(ashlar_os_unmap(pages, 4 * PAGE), 0);
    assert_false(is_readable(pages));
}

static void a_reservation_cannot_be_touched_until_it_is_committed(void **state)
{
    (void)state;
    void *addr;
    assert_int_equal(ashlar_os_reserve(8 * PAGE, &addr), 0);
    char *pages = addr;
    assert_false(is_readable(pages));
    assert_int_equal(ashlar_os_commit(pages + PAGE, 2 * PAGE), 0);
    assert_false(is_readable(pages));
    assert_true(is_readable(pages + PAGE));
    assert_false(is_readable(pages + 3 * PAGE));
    memset(pages + PAGE, 7, 2 * PAGE);
    assert_int_equal(ashlar_os_protect(pages + PAGE, PAGE), 0);
    assert_false(is_readable(pages + PAGE));
    assert_int_equal(pages[2 * PAGE], 7);
    assert_int_equal(ashlar_os_commit(pages + PAGE, PAGE), 0);
    assert_int_equal(pages[PAGE], 7); /* contents were kept */
    assert_int_equal(ashlar_os_reserve_over(pages + PAGE, PAGE), 0);
    assert_false(is_readable(pages + PAGE));
    assert_int_equal(ashlar_os_map_over(pages + PAGE, 2 * PAGE), 0);
    assert_true(test_is_zero(pages + PAGE, 2 * PAGE));
    assert_int_equal(ashlar_os_unmap(pages, 8 * PAGE), 0);
}

static void prefaulted_pages_are_resident_and_zero(void **state)
{
    (void)state;
    char *pages = map_pages(4);
    ashlar_os_prefault(pages + PAGE, 2 * PAGE);
    if (ashlar_os_is_resident(pages + PAGE)) { /* else the kernel is older than 5.14 */
        assert_true(ashlar_os_is_resident(pages + 2 * PAGE));
        assert_false(ashlar_os_is_resident(pages) || ashlar_os_is_resident(pages + 3 * PAGE));
    }
    assert_true(test_is_zero(pages, 4 * PAGE));
    assert_int_equal(ashlar_os_unmap(pages, 4 * PAGE), 0);
    ashlar_os_prefault(pages, 4 * PAGE); /* as any advice, it may fail; errno: see the end */
}

static void purged_pages_read_as_zero_also_when_they_are_locked(void **state)
{
    (void)state;
    char *pages = map_pages(4);
    memset(pages, 1, 4 * PAGE);
    assert_int_equal(ashlar_os_purge(pages + PAGE, 2 * PAGE), 0);
    assert_int_equal(pages[0], 1);
    assert_true(test_is_zero(pages + PAGE, 2 * PAGE));
    assert_int_equal(pages[3 * PAGE], 1);
    if (lock_pages(pages, 4)) {
        memset(pages, 1, 4 * PAGE);
        assert_int_equal(ashlar_os_purge(pages, 4 * PAGE), 0);
        assert_true(test_is_zero(pages, 4 * PAGE));
    }
    assert_int_equal(ashlar_os_unmap(pages, 4 * PAGE), 0);
}

static void purge_many_ranges(void)
{
    enum { RANGES = 150 };
    struct ashlar_os_range ranges[RANGES];
    char *pages = map_pages(3 * RANGES);
    memset(pages, 1, 3 * RANGES * PAGE);
    for (size_t i = 0; i < RANGES; i++)
        ranges[i] = (struct ashlar_os_range){pages + 3 * i * PAGE, (1 + i % 2) * PAGE};
    size_t done = 0;
    assert_int_equal(ashlar_os_purge_many(ranges, RANGES, &done), 0);
    assert_int_equal(done, RANGES);
    for (size_t i = 0; i < RANGES; i++) {
        assert_true(test_is_zero(ranges[i].addr, ranges[i].len_bytes));
        assert_int_equal(pages[3 * i * PAGE + 2 * PAGE], 1);
        if (i % 2 == 0)
            assert_int_equal(pages[3 * i * PAGE + PAGE], 1);
    }
    assert_int_equal(ashlar_os_purge_many(ranges, 0, &done), 0);
    assert_int_equal(done, 0);
    assert_int_equal(ashlar_os_unmap(pages, 3 * RANGES * PAGE), 0);
}

static void many_ranges_are_purged_and_nothing_between_them(void **state)
{
    (void)state;
    purge_many_ranges();
    ashlar_os_facts.has_purge_batch = false;
    purge_many_ranges();
}

#define LOCKED_RANGES 100 /* more than one call takes */

/* One page of range `locked` is mlocked; false where that is forbidden. */
static bool purge_up_to_locked(size_t locked)
{
    struct ashlar_os_range ranges[LOCKED_RANGES];
    size_t done = SIZE_MAX;
    char *pages = map_pages(2 * LOCKED_RANGES);
    memset(pages, 1, 2 * LOCKED_RANGES * PAGE);
    for (size_t i = 0; i < LOCKED_RANGES; i++)
        ranges[i] = (struct ashlar_os_range){pages + 2 * i * PAGE, PAGE};
    bool is_locked = lock_pages(ranges[locked].addr, 1);
    if (is_locked) {
        assert_int_equal(ashlar_os_purge_many(ranges, LOCKED_RANGES, &done), EINVAL);
        assert_int_equal(done, locked);
        for (size_t i = 0; i < LOCKED_RANGES; i++)
            assert_int_equal(test_is_zero(ranges[i].addr, PAGE), i < locked);
        /* Whoever asked goes on behind it. */
        size_t left = LOCKED_RANGES - locked - 1;
        assert_int_equal(ashlar_os_purge_many(ranges + locked + 1, left, &done), 0);
        assert_int_equal(done, left);
        for (size_t i = 0; i < LOCKED_RANGES; i++)
            assert_int_equal(test_is_zero(ranges[i].addr, PAGE), i != locked);
    }
    assert_int_equal(ashlar_os_unmap(pages, 2 * LOCKED_RANGES * PAGE), 0);
    return is_locked;
}

static void purging_many_ranges_stops_at_a_locked_one_and_says_which(void **state)
{
    (void)state;
    static const size_t places[] = {0, 1, 63, 64, 65, LOCKED_RANGES - 1};
    for (int is_batch = ashlar_os_facts.has_purge_batch; is_batch >= 0; is_batch--) {
        ashlar_os_facts.has_purge_batch = is_batch;
        for (size_t i = 0; i < ASHLAR_ARRAY_LEN(places); i++) {
            if (!purge_up_to_locked(places[i])) {
                print_message("no page can be locked here\n");
                skip();
            }
        }
    }
}

static void what_is_mapped_and_what_is_in_memory_is_known_of_any_address(void **state)
{
    (void)state;
    void *reserved;
    char *pages = map_pages(2);
    assert_true(ashlar_os_is_mapped(pages));
    assert_true(ashlar_os_is_mapped(pages + 2 * PAGE - 1));
    assert_false(ashlar_os_is_resident(pages + PAGE));
    pages[PAGE] = 1;
    assert_true(ashlar_os_is_resident(pages + PAGE + 77));
    assert_int_equal(ashlar_os_reserve(PAGE, &reserved), 0);
    assert_true(ashlar_os_is_mapped(reserved));
    assert_int_equal(ashlar_os_unmap(reserved, PAGE), 0);
    assert_int_equal(ashlar_os_unmap(pages + PAGE, PAGE), 0);
    assert_true(ashlar_os_is_mapped(pages + PAGE - 1));
    assert_false(ashlar_os_is_mapped(pages + PAGE));
    assert_false(ashlar_os_is_resident(pages + PAGE));
    assert_int_equal(ashlar_os_unmap(pages, PAGE), 0);
    /* Others' memory, and what is no address at all. */
    assert_true(ashlar_os_is_mapped(&reserved));
    assert_true(ashlar_os_is_mapped("text"));
    static const uintptr_t nowhere[] = {0, 1, UINTPTR_MAX, UINTPTR_MAX / 2 + 1, UINTPTR_MAX / 2};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(nowhere); i++) {
        assert_false(ashlar_os_is_mapped((const void *)nowhere[i]));
        assert_false(ashlar_os_is_resident((const void *)nowhere[i]));
    }
}

static void guard_markers_stand_until_they_are_removed(void **state)
{
    (void)state;
    if (!ashlar_os_facts.has_guard_markers) {
        print_message("this kernel has no guard markers\n");
        skip();
    }
    char *pages = map_pages(4);
    memset(pages, 1, 4 * PAGE);
    assert_int_equal(ashlar_os_guard_install(pages + PAGE, PAGE), 0);
    assert_true(is_readable(pages));
    assert_false(is_readable(pages + PAGE));
    assert_true(is_readable(pages + 2 * PAGE));
    assert_int_equal(ashlar_os_purge(pages, 4 * PAGE), 0);
    assert_false(is_readable(pages + PAGE));
    assert_int_equal(ashlar_os_guard_remove(pages + PAGE, PAGE), 0);
    assert_true(test_is_zero(pages, 4 * PAGE));
    if (lock_pages(pages, 4))
        assert_int_equal(ashlar_os_guard_install(pages, PAGE), EINVAL);
    assert_int_equal(ashlar_os_unmap(pages, 4 * PAGE), 0);
}

static void moved_pages_are_at_their_new_place_and_the_old_one_is_empty(void **state)
{
    (void)state;
    char *from = map_pages(4);
    char *to = map_pages(4);
    memset(from, 5, 4 * PAGE);
    memset(to, 6, 4 * PAGE);
    assert_int_equal(ashlar_os_move(from + PAGE, to + PAGE, 2 * PAGE), 0);
    assert_int_equal(to[0], 6);
    assert_int_equal(to[PAGE], 5);
    assert_int_equal(to[3 * PAGE - 1], 5);
    assert_int_equal(to[3 * PAGE], 6);
    assert_int_equal(from[0], 5);
    assert_true(test_is_zero(from + PAGE, 2 * PAGE));
    assert_int_equal(from[3 * PAGE], 5);
    assert_int_equal(ashlar_os_unmap(from, 4 * PAGE), 0);
    assert_int_equal(ashlar_os_unmap(to, 4 * PAGE), 0);
}

/* By the system calls: a sanitizer makes the functions do nothing. */
/* A border that mprotect has made is one also where the access on both sides is the same again: the
   halves were first written apart. */
static void a_border_between_mappings_is_seen_and_not_crossed(void **state)
{
    (void)state;
    void *reserved;
    assert_int_equal(ashlar_os_reserve(10 * PAGE, &reserved), 0);
    char *pages = (char *)reserved + PAGE; /* not beside what was written before */
    assert_int_equal(ashlar_os_commit(pages, 8 * PAGE), 0);
    assert_true(ashlar_os_is_one_mapping(pages, 7 * PAGE));
    assert_int_equal(ashlar_os_protect(pages + 3 * PAGE, PAGE), 0);
    assert_true(ashlar_os_is_one_mapping(pages, PAGE));
    assert_true(ashlar_os_is_one_mapping(pages, 3 * PAGE));
    assert_false(ashlar_os_is_one_mapping(pages, 4 * PAGE));
    assert_false(ashlar_os_is_one_mapping(pages + PAGE, 6 * PAGE));
    assert_true(ashlar_os_is_one_mapping(pages + 3 * PAGE, PAGE));
    assert_true(ashlar_os_is_one_mapping(pages + 4 * PAGE, 3 * PAGE));
    memset(pages, 1, 3 * PAGE);
    memset(pages + 4 * PAGE, 2, 4 * PAGE);
    assert_int_equal(ashlar_os_commit(pages + 3 * PAGE, PAGE), 0);
    assert_false(ashlar_os_is_one_mapping(pages, 7 * PAGE));
    assert_int_equal(pages[3 * PAGE - 1], 1);
    assert_int_equal(pages[4 * PAGE], 2);
    assert_int_equal(ashlar_os_unmap(reserved, 10 * PAGE), 0);
}

/* True when the line of /proc/self/maps that begins at `address` has the name. */
static bool is_named(const char *address, const char *name)
{
    int saved = errno;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    char start[32];
    char line[512];
    bool is_found = false;
    (void)snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)address);
    while (!is_found && fgets(line, sizeof line, maps) != NULL)
        is_found = strncmp(line, start, strlen(start)) == 0 && strstr(line, name) != NULL;
    assert_int_equal(fclose(maps), 0);
    errno = saved;
    return is_found;
}

static void names_are_seen_where_the_kernel_has_them(void **state)
{
    (void)state;
    char *pages = map_pages(4);
    ashlar_os_name(pages + PAGE, 2 * PAGE, ASHLAR_OS_NAME_SMALL);
    bool is_seen = is_named(pages + PAGE, "[anon:" ASHLAR_OS_NAME_SMALL "]");
    assert_int_equal(is_seen, ashlar_os_facts.has_names);
    assert_true(test_is_zero(pages, 4 * PAGE));
    assert_int_equal(ashlar_os_unmap(pages, 4 * PAGE), 0);
    ashlar_os_name(pages, 4 * PAGE, ASHLAR_OS_NAME_SMALL); /* nothing is there: no harm */
}

static void locked_pages_are_known_as_such(void **state)
{
    (void)state;
    char *pages = map_pages(4);
    assert_false(ashlar_os_is_locked(pages)); /* nothing there yet */
    memset(pages, 5, 4 * PAGE);
    assert_false(ashlar_os_is_locked(pages + PAGE));
    if (syscall(SYS_mlock, pages, 2 * PAGE) != 0)
        skip();
    assert_true(ashlar_os_is_locked(pages));
    assert_true(ashlar_os_is_locked(pages + PAGE));
    assert_false(ashlar_os_is_locked(pages + 2 * PAGE));
    assert_int_equal((int)syscall(SYS_munlock, pages, 2 * PAGE), 0);
    assert_false(ashlar_os_is_locked(pages));
    assert_int_equal(pages[0], 5);
    assert_int_equal(ashlar_os_unmap(pages, 4 * PAGE), 0);
}

static void the_clock_never_runs_backwards(void **state)
{
    (void)state;
    uint64_t last = ashlar_os_now_ms();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = ashlar_os_now_ms();
        assert_true(now >= last);
        last = now;
    }
    assert_true(last > 0);
}

static void the_cpus_counted_are_those_we_may_use(void **state)
{
    (void)state;
    unsigned cpus = ashlar_os_cpu_count();
    assert_in_range(cpus, 1, (unsigned)sysconf(_SC_NPROCESSORS_CONF));
    assert_true(ashlar_os_cpu_index() < (unsigned)sysconf(_SC_NPROCESSORS_CONF));
}

static void random_numbers_differ(void **state)
{
    (void)state;
    uint64_t one = ashlar_os_random();
    uint64_t two = ashlar_os_random();
    uint64_t three = ashlar_os_random();
    assert_true(one != two && two != three && one != three);
}

static uint64_t precise_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void sleep_ms(long ms)
{
    int saved = errno;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
    errno = saved;
}

static void who_waits_sleeps_until_the_time_is_up(void **state)
{
    (void)state;
    _Atomic uint32_t word = 5;
    unsigned returns = 0; /* one may be for no reason */
    uint64_t start_ms = precise_ms();
    for (; precise_ms() - start_ms < 30; returns++)
        ashlar_os_wait(&word, 5, 30);
    assert_in_range(returns, 1, 5);
    ashlar_os_wait(&word, 5, 0);
    ashlar_os_wake(&word); /* nobody */
    assert_int_equal(word, 5);
}

static void nobody_waits_for_what_has_happened_already(void **state)
{
    (void)state;
    _Atomic uint32_t word = 6;
    ashlar_os_wait(&word, 5, -1);
    ashlar_os_wait(&word, 7, 100000);
}

#define PATIENCE_MS 2000

static _Atomic bool is_done;

/* Runs `body`, which sets is_done, in a thread of its own. */
static void start_thread(void (*body)(void))
{
    is_done = false;
    assert_int_equal(ashlar_os_start_thread(body), 0);
}

static bool is_done_in_time(void)
{
    for (int ms = 0; !is_done && ms < PATIENCE_MS; ms++)
        sleep_ms(1);
    return is_done;
}

static _Atomic pid_t tid_there;

static void be_done(void)
{
    tid_there = gettid();
    is_done = true;
}

/* Threads of this process, a sanitizer's among them. */
static unsigned count_threads(void)
{
    struct stat tasks;
    assert_int_equal(stat("/proc/self/task", &tasks), 0);
    return (unsigned)tasks.st_nlink - 2; /* . and .. */
}

static bool has_ended_in_time(pid_t tid)
{
    char path[64];
    int saved = errno;
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)tid);
    for (int ms = 0; access(path, F_OK) == 0 && ms < PATIENCE_MS; ms++)
        sleep_ms(1);
    bool has_ended = access(path, F_OK) != 0;
    errno = saved;
    return has_ended;
}

/* The first case that starts a thread. */
static void a_thread_is_noticed_and_not_forgotten_when_it_ends(void **state)
{
    (void)state;
    if (count_threads() == 1)
        assert_false(ashlar_os_has_threads());
    start_thread(be_done);
    assert_true(ashlar_os_has_threads());
    assert_true(is_done_in_time());
    assert_true(has_ended_in_time(tid_there));
    assert_true(ashlar_os_has_threads());
}

static sigset_t blocked_there;
static int detach_state;
static int errno_there;

static _Atomic uint32_t nobody_waits;

static void look_around(void)
{
    pthread_attr_t attr;
    errno = EDOM;
    ashlar_os_wake(&nobody_waits);
    errno_there = errno;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &blocked_there);
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        (void)pthread_attr_getdetachstate(&attr, &detach_state);
        (void)pthread_attr_destroy(&attr);
    }
    is_done = true;
}

static bool is_blockable(int signal_number)
{
    bool is_of_libc = signal_number >= 32 && signal_number < SIGRTMIN;
    return signal_number != SIGKILL && signal_number != SIGSTOP && !is_of_libc;
}

static void a_thread_is_detached_and_receives_no_signal(void **state)
{
    (void)state;
    sigset_t mine;
    sigset_t still_mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mine, NULL);
    detach_state = -1;
    start_thread(look_around);
    pthread_sigmask(SIG_SETMASK, NULL, &still_mine);
    assert_true(is_done_in_time());
    assert_int_equal(detach_state, PTHREAD_CREATE_DETACHED);
    assert_int_equal(errno_there, EDOM);
    for (int signal_number = 1; signal_number <= SIGRTMAX; signal_number++) {
        if (is_blockable(signal_number))
            assert_int_equal(sigismember(&blocked_there, signal_number), 1);
        assert_int_equal(sigismember(&still_mine, signal_number), signal_number == SIGUSR2);
    }
    sigemptyset(&mine);
    pthread_sigmask(SIG_SETMASK, &mine, NULL);
}

static _Atomic uint32_t bell;
static _Atomic unsigned waits;

static void wait_for_bell(void)
{
    while (bell == 0) {
        waits++;
        ashlar_os_wait(&bell, 0, -1);
    }
    is_done = true;
}

static void who_sleeps_without_end_is_woken(void **state)
{
    (void)state;
    bell = 0;
    waits = 0;
    start_thread(wait_for_bell);
    for (int ms = 0; waits == 0 && ms < PATIENCE_MS; ms++)
        sleep_ms(1);
    sleep_ms(20); /* asleep by now */
    assert_false(is_done);
    ashlar_os_wake(&bell); /* for no reason */
    sleep_ms(5);
    assert_false(is_done);
    bell = 1;
    ashlar_os_wake(&bell);
    assert_true(is_done_in_time());
    assert_in_range(waits, 1, 5);
}

static void expect_no_thread(void *context)
{
    (void)context;
    struct rlimit limit = {0, 0};
    if (setrlimit(RLIMIT_NPROC, &limit) != 0 || (geteuid() == 0 && setuid(65534) != 0))
        _exit(77); /* the limit does not bind root */
    errno = EDOM;
    if (ashlar_os_start_thread(be_done) != EAGAIN || errno != EDOM)
        _exit(1);
}

static void where_no_thread_is_to_be_had_the_caller_is_told(void **state)
{
    (void)state;
    int saved = errno;
    struct test_outcome outcome = test_in_child(expect_no_thread, NULL);
    errno = saved;
    if (WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 77) {
        print_message("threads cannot be forbidden here\n");
        skip();
    }
    assert_true(test_went_well(&outcome));
}

static void we_are_not_privileged(void **state)
{
    (void)state;
    assert_false(ashlar_os_is_privileged());
}

static void expect_enomem_beyond_limit(void *context)
{
    (void)context;
    void *addr;
    struct rlimit limit = {(rlim_t)1 << 33, (rlim_t)1 << 33};
    if (ashlar_os_address_limit() != SIZE_MAX || setrlimit(RLIMIT_AS, &limit) != 0)
        _exit(1);
    if (ashlar_os_address_limit() != (size_t)1 << 33)
        _exit(2);
    if (ashlar_os_reserve((size_t)1 << 34, &addr) != ENOMEM ||
        ashlar_os_map((size_t)1 << 34, &addr) != ENOMEM)
        _exit(3);
}

static void the_address_limit_is_known_and_felt_as_enomem(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("a sanitizer's shadow needs more address space\n");
    skip();
#endif
    int saved = errno;
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    if (limit.rlim_cur == RLIM_INFINITY) {
        struct test_outcome outcome = test_in_child(expect_enomem_beyond_limit, NULL);
        assert_true(test_went_well(&outcome));
    }
    errno = saved;
}

static void protect_what_is_not_ours(void *context)
{
    (void)context;
    (void)ashlar_os_protect((void *)(uintptr_t)1, PAGE);
}

static void a_call_that_fails_for_another_reason_than_memory_stops_the_process(void **state)
{
    (void)state;
    int saved = errno;
    struct test_outcome outcome = test_in_child(protect_what_is_not_ours, NULL);
    assert_true(test_was_aborted(&outcome));
    assert_int_equal(strncmp(outcome.text, "ashlar: mprotect(0x1, ", 22), 0);
    assert_int_equal(test_count_lines(outcome.text), 1);
    errno = saved;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_page_size_is_that_of_the_machine),
        CASE(mapped_pages_are_zero_and_can_be_given_back),
        CASE(a_reservation_cannot_be_touched_until_it_is_committed),
        CASE(prefaulted_pages_are_resident_and_zero),
        CASE(purged_pages_read_as_zero_also_when_they_are_locked),
        CASE(many_ranges_are_purged_and_nothing_between_them),
        CASE(purging_many_ranges_stops_at_a_locked_one_and_says_which),
        CASE(what_is_mapped_and_what_is_in_memory_is_known_of_any_address),
        CASE(guard_markers_stand_until_they_are_removed),
        CASE(moved_pages_are_at_their_new_place_and_the_old_one_is_empty),
        CASE(a_border_between_mappings_is_seen_and_not_crossed),
        CASE(names_are_seen_where_the_kernel_has_them),
        CASE(locked_pages_are_known_as_such),
        CASE(the_clock_never_runs_backwards),
        CASE(the_cpus_counted_are_those_we_may_use),
        CASE(random_numbers_differ),
        CASE(we_are_not_privileged),
        CASE(the_address_limit_is_known_and_felt_as_enomem),
        CASE(a_call_that_fails_for_another_reason_than_memory_stops_the_process),
        CASE(who_waits_sleeps_until_the_time_is_up),
        CASE(nobody_waits_for_what_has_happened_already),
        CASE(a_thread_is_noticed_and_not_forgotten_when_it_ends),
        CASE(a_thread_is_detached_and_receives_no_signal),
        CASE(who_sleeps_without_end_is_woken),
        CASE(where_no_thread_is_to_be_had_the_caller_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
