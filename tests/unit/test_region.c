/*
 * test_region.c - address space reserved in pieces, committed at a moving edge
 */
#include "unit/testing.h"

#include "base/bits.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "map/region.h"
#include "unit/fake_os.h"

#define PAGE (ashlar_os_facts.page_bytes)

/* What a test has taken, so that it can all go back. */
static struct ashlar_region *seen[64];
static size_t seen_count;

static void note_region(struct ashlar_region *region)
{
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i] == region)
            return;
    assert_true(seen_count < 64);
    seen[seen_count++] = region;
}

static char *take(size_t len_bytes, struct ashlar_region **region)
{
    size_t taken_bytes;
    char *got = ashlar_region_take(len_bytes, PAGE, ASHLAR_PAGES_BASE, region, &taken_bytes);
    assert_true(got == NULL || taken_bytes == len_bytes);
    if (got != NULL)
        note_region(*region);
    return got;
}

static void give_all_back(void)
{
    while (seen_count > 0) {
        struct ashlar_region *region = seen[--seen_count];
        assert_true(ashlar_region_retire(region, region->payload, region->edge));
        assert_true(ashlar_region_unmap(region));
    }
}

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    return 0;
}

static void expect_nothing_held(void)
{
    assert_int_equal(ashlar_count_read(regions), 0);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
    assert_int_equal(ashlar_count_read(region_committed_bytes), 0);
    assert_int_equal(fake_os_mapped_bytes(), 0);
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    give_all_back();
    expect_nothing_held();
    return 0;
}

static void expect_whole(const struct ashlar_region *region)
{
    assert_true(region->base < region->payload);
    assert_true(region->payload <= region->edge);
    assert_true(region->edge <= region->committed);
    assert_true(region->committed <= region->base + region->len_bytes);
    assert_int_equal((uintptr_t)region->payload % PAGE, 0);
    assert_int_equal((uintptr_t)region->edge % PAGE, 0);
    assert_int_equal((uintptr_t)region->committed % PAGE, 0);
    assert_false(test_is_readable(region->payload - 1));
    if (region->committed < region->base + region->len_bytes)
        assert_false(test_is_readable(region->committed));
    assert_int_equal(region->npages, region->len_bytes / PAGE);
    /* Both maps lie in the header. */
    size_t words = ASHLAR_BITMAP_WORDS(region->npages);
    assert_true(region->marked + words <= region->protect);
    assert_true((uintptr_t)(region->protect + words) <= (uintptr_t)region->payload - PAGE);
}

static void pieces_are_handed_out_one_behind_the_other(void **state)
{
    (void)state;
    struct ashlar_region *region = NULL;
    struct ashlar_region *same = NULL;
    char *one = take(3 * PAGE, &region);
    char *two = take(5 * PAGE, &same);
    assert_non_null(one);
    assert_ptr_equal(region, same);
    assert_ptr_equal(one, region->payload);
    assert_ptr_equal(two, one + 3 * PAGE);
    assert_true(test_is_zero(one, 8 * PAGE));
    memset(one, 1, 8 * PAGE);
    expect_whole(region);
    assert_int_equal(ashlar_count_read(regions), 1);
}

static void many_pieces_need_few_kernel_calls(void **state)
{
    (void)state;
    struct ashlar_region *region;
    for (int i = 0; i < 2000; i++)
        assert_non_null(take(33 * PAGE, &region));
    /* 258 MiB: a handful of regions, a commit for each few MiB. */
    assert_true(fake_os_count(FAKE_OS_RESERVE) <= 4);
    assert_true(fake_os_count(FAKE_OS_COMMIT) <= 80);
    for (size_t i = 0; i < seen_count; i++)
        expect_whole(seen[i]);
}

static void a_request_longer_than_a_region_gets_one_of_its_own(void **state)
{
    (void)state;
    struct ashlar_region *small;
    struct ashlar_region *big;
    assert_non_null(take(PAGE, &small));
    char *got = take(3 * ASHLAR_GIB, &big);
    assert_non_null(got);
    assert_true(big != small);
    got[0] = 1;
    got[3 * ASHLAR_GIB - 1] = 1;
    expect_whole(big);
}

/* Symptom: the guard maps of a region of tens of GiB took more room than was set aside for them. */
static void however_long_a_request_is_its_region_has_room_for_it(void **state)
{
    (void)state;
    struct ashlar_region *region;
    fake_os_commit_pretended_above = ASHLAR_GIB;
    for (size_t len = ASHLAR_GIB; len <= 2048 * ASHLAR_GIB; len = len * 3 / 2 & ~(PAGE - 1)) {
        char *got = take(len, &region);
        if (got == NULL)
            fail_msg("%zu bytes were refused", len);
        assert_true(got + len <= region->base + region->len_bytes);
        give_all_back();
    }
}

static void absurd_lengths_are_refused_without_asking_the_kernel(void **state)
{
    (void)state;
    struct ashlar_region *region;
    assert_null(take(SIZE_MAX / 4 + 1, &region));
    assert_null(take((size_t)PTRDIFF_MAX, &region));
    assert_int_equal(fake_os_count_all(), 0);
}

static void the_edge_can_be_extended_by_whom_it_ends(void **state)
{
    (void)state;
    struct ashlar_region *region = NULL;
    char *one = take(4 * PAGE, &region);
    assert_false(ashlar_region_extend(region, one, PAGE));
    assert_true(ashlar_region_extend(region, one + 4 * PAGE, 2 * PAGE));
    assert_ptr_equal(region->edge, one + 6 * PAGE);
    memset(one, 1, 6 * PAGE);
    char *two = take(PAGE, &region);
    assert_ptr_equal(two, one + 6 * PAGE);
    assert_false(ashlar_region_extend(region, one + 6 * PAGE, PAGE));
    /* There is no more than the region holds. */
    size_t left = (size_t)(region->base + region->len_bytes - region->edge);
    assert_false(ashlar_region_extend(region, region->edge, left + PAGE));
    assert_true(ashlar_region_extend(region, region->edge, left));
    assert_ptr_equal(region->edge, region->base + region->len_bytes);
    expect_whole(region);
}

static void only_the_whole_of_a_region_can_be_retired(void **state)
{
    (void)state;
    struct ashlar_region *region = NULL;
    char *one = take(4 * PAGE, &region);
    assert_false(ashlar_region_retire(region, one + PAGE, region->edge));
    assert_false(ashlar_region_retire(region, one, region->edge - PAGE));
    assert_true(ashlar_region_retire(region, one, region->edge));
    /* Its edge moves no more: the next piece comes from elsewhere. */
    struct ashlar_region *other = NULL;
    assert_non_null(take(PAGE, &other));
    assert_true(other != region);
    assert_true(ashlar_region_unmap(region));
    seen[0] = other;
    seen_count = 1;
}

static void a_region_the_kernel_would_not_unmap_is_in_use_again(void **state)
{
    (void)state;
    struct ashlar_region *region = NULL;
    char *one = take(4 * PAGE, &region);
    one[0] = 5;
    assert_true(ashlar_region_retire(region, one, region->edge));
    fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
    assert_false(ashlar_region_unmap(region));
    fake_os_obey();
    assert_int_equal(one[0], 5);
    assert_ptr_equal(ashlar_region_find(one), region);
    assert_int_equal(ashlar_count_read(regions), 1);
    struct ashlar_region *same = NULL;
    assert_ptr_equal(take(PAGE, &same), one + 4 * PAGE);
    assert_ptr_equal(same, region);
}

static void an_address_is_found_in_its_region_and_remembered_when_that_is_gone(void **state)
{
    (void)state;
    struct ashlar_region *region = NULL;
    int local;
    char *one = take(4 * PAGE, &region);
    assert_ptr_equal(ashlar_region_find(one), region);
    assert_ptr_equal(ashlar_region_find(region->base), region);
    assert_ptr_equal(ashlar_region_find(region->base + region->len_bytes - 1), region);
    assert_null(ashlar_region_find(&local));
    assert_null(ashlar_region_find(NULL));
    give_all_back();
    assert_null(ashlar_region_find(one));
    assert_true(ashlar_region_was_ours(one));
    assert_false(ashlar_region_was_ours(&local));
}

struct attempt {
    size_t len_bytes;
    struct ashlar_region *region;
    char *got;
};

static bool try_to_take(void *context)
{
    struct attempt *attempt = context;
    attempt->got = take(attempt->len_bytes, &attempt->region);
    return attempt->got != NULL;
}

static void check_and_give_back(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    if (has_succeeded) {
        assert_true(test_is_zero(attempt->got, attempt->len_bytes));
        memset(attempt->got, 1, attempt->len_bytes);
        expect_whole(attempt->region);
        give_all_back();
    }
    expect_nothing_held();
}

static void a_take_that_fails_holds_nothing_whichever_call_failed(void **state)
{
    (void)state;
    struct attempt small = {.len_bytes = 5 * PAGE};
    struct attempt big = {.len_bytes = 100 * ASHLAR_MIB};
    fake_os_fail_each(FAKE_OS_ONE_FAILS, try_to_take, check_and_give_back, &small);
    assert_true(
        fake_os_fail_each(FAKE_OS_REST_FAILS, try_to_take, check_and_give_back, &small) >= 3);
    fake_os_fail_each(FAKE_OS_ONE_FAILS, try_to_take, check_and_give_back, &big);
    fake_os_fail_each(FAKE_OS_REST_FAILS, try_to_take, check_and_give_back, &big);
}

static void regions_shrink_when_address_space_is_short(void **state)
{
    (void)state;
    struct ashlar_region *region;
    fake_os_fail(FAKE_OS_RESERVE, 0, 6, ENOMEM);
    assert_non_null(take(10 * PAGE, &region));
    expect_whole(region);
    assert_true(region->len_bytes <= 64 * ASHLAR_MIB / 32);
}

static void regions_take_a_small_part_of_a_limited_address_space(void **state)
{
    (void)state;
    struct ashlar_region *region;
    fake_os_address_limit = 256 * ASHLAR_MIB;
    assert_non_null(take(10 * PAGE, &region));
    assert_true(region->len_bytes <= 256 * ASHLAR_MIB / 8);
    fake_os_address_limit = 3 * ASHLAR_MIB;
    give_all_back();
    assert_non_null(take(10 * PAGE, &region));
    expect_whole(region);
    assert_true(region->len_bytes <= 3 * ASHLAR_MIB / 4);
}

static void when_a_step_is_too_much_just_the_need_is_committed(void **state)
{
    (void)state;
    struct ashlar_region *region = NULL;
    assert_non_null(take(PAGE, &region));
    size_t ready = (size_t)(region->committed - region->edge);
    assert_non_null(take(ready, &region)); /* the edge is where nothing is ready */
    fake_os_fail(FAKE_OS_COMMIT, 0, 1, ENOMEM);
    struct ashlar_region *same = NULL;
    char *got = take(2 * PAGE, &same);
    assert_ptr_equal(same, region);
    assert_ptr_equal(region->committed, got + 2 * PAGE);
    expect_whole(region);
}

static void a_shut_lock_refuses_but_retired_regions_are_still_told_apart(void **state)
{
    (void)state;
    struct ashlar_region *region = NULL;
    char *one = take(PAGE, &region);
    ashlar_lock_shut(&ashlar_region_lock);
    struct ashlar_region *other;
    assert_null(take(PAGE, &other));
    assert_false(ashlar_region_extend(region, one + PAGE, PAGE));
    assert_false(ashlar_region_retire(region, one, one + PAGE));
    assert_null(ashlar_region_find(one));
    ashlar_lock_reopen(&ashlar_region_lock, false);
    assert_ptr_equal(ashlar_region_find(one), region);
}

static void chunks_are_aligned_zero_and_counted(void **state)
{
    (void)state;
    for (size_t align = PAGE; align <= 64 * ASHLAR_MIB; align *= 4) {
        size_t len = align < 4 * ASHLAR_MIB ? 4 * align : align;
        char *chunk = ashlar_region_map_chunk(len, align);
        assert_non_null(chunk);
        assert_true(ashlar_is_aligned(chunk, align));
        assert_int_equal(ashlar_count_read(region_reserved_bytes), len);
        assert_int_equal(ashlar_count_read(region_committed_bytes), len);
        assert_int_equal(fake_os_mapped_bytes(), len);
        assert_int_equal(chunk[0] | chunk[len - 1], 0);
        chunk[0] = chunk[len - 1] = 1;
        assert_true(ashlar_region_unmap_chunk(chunk, len));
        assert_true(ashlar_region_was_ours(chunk));
        expect_nothing_held();
    }
}

struct chunk_attempt {
    char *chunk;
};

static bool try_to_map_chunk(void *context)
{
    struct chunk_attempt *attempt = context;
    attempt->chunk = ashlar_region_map_chunk(ASHLAR_MIB, 16 * ASHLAR_MIB);
    return attempt->chunk != NULL;
}

static void check_and_unmap_chunk(void *context, bool has_succeeded)
{
    struct chunk_attempt *attempt = context;
    if (has_succeeded)
        assert_true(ashlar_region_unmap_chunk(attempt->chunk, ASHLAR_MIB));
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
}

static void a_chunk_that_fails_is_not_counted_whichever_call_failed(void **state)
{
    (void)state;
    struct chunk_attempt attempt;
    fake_os_fail_each(FAKE_OS_REST_FAILS, try_to_map_chunk, check_and_unmap_chunk, &attempt);
    assert_int_equal(fake_os_mapped_bytes(), 0);
}

static void a_chunk_the_kernel_would_not_unmap_is_still_counted(void **state)
{
    (void)state;
    char *chunk = ashlar_region_map_chunk(ASHLAR_MIB, PAGE);
    fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
    assert_false(ashlar_region_unmap_chunk(chunk, ASHLAR_MIB));
    assert_int_equal(ashlar_count_read(region_reserved_bytes), ASHLAR_MIB);
    chunk[0] = 1;
    assert_true(ashlar_region_unmap_chunk(chunk, ASHLAR_MIB));
}

static void a_shut_lock_does_not_keep_a_chunk_from_going(void **state)
{
    (void)state;
    char *chunk = ashlar_region_map_chunk(ASHLAR_MIB, PAGE);
    ashlar_lock_shut(&ashlar_region_lock);
    assert_true(ashlar_region_unmap_chunk(chunk, ASHLAR_MIB));
    chunk = ashlar_region_map_chunk(ASHLAR_MIB, PAGE);
    assert_non_null(chunk);
    assert_true(ashlar_region_unmap_chunk(chunk, ASHLAR_MIB));
    ashlar_lock_reopen(&ashlar_region_lock, false);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(pieces_are_handed_out_one_behind_the_other),
        CASE(many_pieces_need_few_kernel_calls),
        CASE(a_request_longer_than_a_region_gets_one_of_its_own),
        CASE(however_long_a_request_is_its_region_has_room_for_it),
        CASE(absurd_lengths_are_refused_without_asking_the_kernel),
        CASE(the_edge_can_be_extended_by_whom_it_ends),
        CASE(only_the_whole_of_a_region_can_be_retired),
        CASE(a_region_the_kernel_would_not_unmap_is_in_use_again),
        CASE(an_address_is_found_in_its_region_and_remembered_when_that_is_gone),
        CASE(a_take_that_fails_holds_nothing_whichever_call_failed),
        CASE(regions_shrink_when_address_space_is_short),
        CASE(regions_take_a_small_part_of_a_limited_address_space),
        CASE(when_a_step_is_too_much_just_the_need_is_committed),
        CASE(a_shut_lock_refuses_but_retired_regions_are_still_told_apart),
        CASE(chunks_are_aligned_zero_and_counted),
        CASE(a_chunk_that_fails_is_not_counted_whichever_call_failed),
        CASE(a_chunk_the_kernel_would_not_unmap_is_still_counted),
        CASE(a_shut_lock_does_not_keep_a_chunk_from_going),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
