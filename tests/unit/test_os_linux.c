/*
 * test_os_linux.c - the contract of os.h, asked of the real kernel
 */
#include "unit/testing.h"

#include <sys/resource.h>
#include <sys/syscall.h>

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

static void we_are_not_privileged_and_yielding_returns(void **state)
{
    (void)state;
    assert_false(ashlar_os_is_privileged());
    ashlar_os_yield();
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
        CASE(purged_pages_read_as_zero_also_when_they_are_locked),
        CASE(many_ranges_are_purged_and_nothing_between_them),
        CASE(guard_markers_stand_until_they_are_removed),
        CASE(moved_pages_are_at_their_new_place_and_the_old_one_is_empty),
        CASE(the_clock_never_runs_backwards),
        CASE(the_cpus_counted_are_those_we_may_use),
        CASE(random_numbers_differ),
        CASE(we_are_not_privileged_and_yielding_returns),
        CASE(the_address_limit_is_known_and_felt_as_enomem),
        CASE(a_call_that_fails_for_another_reason_than_memory_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
