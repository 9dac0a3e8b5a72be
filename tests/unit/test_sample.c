/*
 * test_sample.c - how much of a range is in memory, from a few of its pages
 */
#include "unit/testing.h"

#include <sys/mman.h>

#include "large/sample.h"

#define PAGE ((size_t)4096)
#define NPAGES ((size_t)64)

static char *range;

static int begin(void **state)
{
    (void)state;
    range = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return range == MAP_FAILED ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    return munmap(range, NPAGES * PAGE);
}

static void write_pages(size_t first, size_t count)
{
    memset(range + first * PAGE, 1, count * PAGE);
}

static void what_was_never_written_is_empty_and_stays_so(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_true(ashlar_sample_is_empty(range, NPAGES * PAGE));
}

static void what_was_written_throughout_is_dense(void **state)
{
    (void)state;
    write_pages(0, NPAGES);
    assert_true(ashlar_sample_is_dense(range, NPAGES * PAGE));
    assert_true(ashlar_sample_is_dense(range, PAGE));
}

static void what_was_written_where_it_begins_counts_as_empty(void **state)
{
    (void)state;
    write_pages(0, 4);
    assert_true(ashlar_sample_is_empty(range, NPAGES * PAGE));
}

static void a_half_that_was_written_is_mixed_whichever_it_is(void **state)
{
    (void)state;
    write_pages(0, NPAGES / 2);
    assert_false(ashlar_sample_is_empty(range, NPAGES * PAGE));
    assert_false(ashlar_sample_is_dense(range, NPAGES * PAGE));
    madvise(range, NPAGES * PAGE, MADV_DONTNEED);
    write_pages(NPAGES / 2, NPAGES / 2);
    assert_false(ashlar_sample_is_empty(range, NPAGES * PAGE));
    assert_false(ashlar_sample_is_dense(range, NPAGES * PAGE));
}

static void what_is_gone_is_empty(void **state)
{
    (void)state;
    void *gone = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(gone, PAGE);
    assert_true(ashlar_sample_is_empty(gone, PAGE));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_never_written_is_empty_and_stays_so),
        CASE(what_was_written_throughout_is_dense),
        CASE(what_was_written_where_it_begins_counts_as_empty),
        CASE(a_half_that_was_written_is_mixed_whichever_it_is),
        CASE(what_is_gone_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
