/*
 * test_huge.c - which large blocks are to lie on huge pages
 *
 * Purpose     Mappings of the test's own stand for blocks; what it has written decides. The votes
 *             live on between cases, so each takes lengths that are not like those of the others.
 */
#include "unit/testing.h"

#include <sys/mman.h>

#include "conf/options.h"
#include "large/huge.h"
#include "unit/fake_os.h"

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    ashlar_opt.thp = ASHLAR_THP_AUTO;
    return 0;
}

/* A mapping of which every `step`-th page is written; 0: none. */
static char *make(size_t len_bytes, size_t step)
{
    char *block = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(block != MAP_FAILED);
    (void)madvise(block, len_bytes, MADV_NOHUGEPAGE);
    for (size_t at = 0; step != 0 && at < len_bytes; at += step * ashlar_os_facts.page_bytes)
        block[at] = 1;
    return block;
}

static void observe(size_t len_bytes, size_t step)
{
    char *block = make(len_bytes, step);
    ashlar_huge_observe(block, len_bytes);
    munmap(block, len_bytes);
}

static void nobody_gets_them_unasked(void **state)
{
    (void)state;
    assert_false(ashlar_huge_is_wanted(64 * ASHLAR_MIB));
    assert_false(ashlar_huge_is_wanted(ASHLAR_GIB));
}

static void always_means_from_one_huge_page_up_and_never_means_never(void **state)
{
    (void)state;
    ashlar_opt.thp = ASHLAR_THP_ALWAYS;
    assert_true(ashlar_huge_is_wanted(2 * ASHLAR_MIB));
    assert_false(ashlar_huge_is_wanted(2 * ASHLAR_MIB - 1));
    ashlar_opt.thp = ASHLAR_THP_NEVER;
    assert_false(ashlar_huge_is_wanted(ASHLAR_GIB));
}

static void two_blocks_written_throughout_are_believed(void **state)
{
    (void)state;
    size_t len = 64 * ASHLAR_MIB;
    observe(len, 1);
    assert_false(ashlar_huge_is_wanted(len));
    observe(len, 1);
    assert_true(ashlar_huge_is_wanted(len));
    assert_true(ashlar_huge_is_wanted(4 * len));
    assert_false(ashlar_huge_is_wanted(8 * len));
    assert_false(ashlar_huge_is_wanted(32 * ASHLAR_MIB - 1));
}

/* Every hundredth page of a table, as in a big sparse array. */
static void a_sparse_block_of_the_same_length_turns_the_belief(void **state)
{
    (void)state;
    size_t len = 64 * ASHLAR_MIB;
    observe(len, 1);
    observe(len, 1);
    assert_true(ashlar_huge_is_wanted(len));
    for (int i = 0; i < 3; i++)
        observe(len, 100);
    assert_false(ashlar_huge_is_wanted(len));
}

static void a_block_not_written_yet_does_not_count_when_the_next_one_comes(void **state)
{
    (void)state;
    size_t len = ASHLAR_GIB;
    char *empty = make(len, 0);
    char *sparse = make(len, 100);
    for (int i = 0; i < 4; i++) {
        ashlar_huge_remember(empty, len);
        ashlar_huge_remember(sparse, len);
    }
    assert_false(ashlar_huge_is_wanted(len));
    munmap(empty, len);
    /* Gone by now: looked at, not touched. */
    ashlar_huge_remember(sparse, len);
    munmap(sparse, len);
    ashlar_huge_remember(NULL, len);
}

static void what_was_written_before_the_next_one_came_counts(void **state)
{
    (void)state;
    size_t len = 32 * ASHLAR_MIB;
    char *blocks[3];
    for (size_t i = 0; i < 3; i++) {
        blocks[i] = make(len, 1);
        ashlar_huge_remember(blocks[i], len);
    }
    assert_true(ashlar_huge_is_wanted(len));
    for (size_t i = 0; i < 3; i++)
        munmap(blocks[i], len);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nobody_gets_them_unasked),
        CASE(always_means_from_one_huge_page_up_and_never_means_never),
        CASE(two_blocks_written_throughout_are_believed),
        CASE(a_sparse_block_of_the_same_length_turns_the_belief),
        CASE(a_block_not_written_yet_does_not_count_when_the_next_one_comes),
        CASE(what_was_written_before_the_next_one_came_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
