/*
 * test_chunk.c - a run of slices that slabs are cut from
 */
#include "unit/testing.h"

#include <sys/mman.h>

#include "base/bits.h"
#include "conf/counters.h"
#include "map/meta.h"
#include "small/arena.h"
#include "unit/fake_os.h"

#define ALL_SLICES UINT64_MAX

/* More than two leaves of the page map. */
#define HOLE_BYTES (9 * ASHLAR_GIB)

static struct ashlar_arena arena; /* whose chunks these are; chunk.c only notes it */

static struct ashlar_chunk *chunk; /* the one most cases are about */

static void expect_nothing_held(void)
{
    assert_int_equal(ashlar_count_read(region_reserved_bytes), 0);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 0);
}

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    chunk = ashlar_chunk_map(&arena, 16);
    return chunk != NULL ? 0 : -1;
}

/* Whatever a case left is cleaned and put back, so that the chunk can go. */
static int end(void **state)
{
    (void)state;
    fake_os_obey();
    fake_os_fail(FAKE_OS_PURGE, 0, 0, 0);
    ashlar_chunk_collect(chunk);
    (void)ashlar_chunk_detach(chunk, ASHLAR_IDLE_ALL);
    ashlar_chunk_put(chunk, ashlar_bit_run(0, chunk->nslices) & ~chunk->free, 0);
    assert_true(ashlar_chunk_is_idle(chunk));
    assert_true(ashlar_chunk_unmap(chunk));
    expect_nothing_held();
    return 0;
}

static void expect_whole(const struct ashlar_chunk *one)
{
    assert_int_equal(one->free & ~ashlar_bit_run(0, one->nslices), 0);
    assert_int_equal(one->dirty & ~one->free, 0);
    assert_int_equal(one->aged & ~one->dirty, 0);
}

static char *slice_at(unsigned index)
{
    return chunk->base + index * ASHLAR_SLICE_BYTES;
}

static void a_fresh_chunk_is_idle_zero_and_of_64_slices(void **state)
{
    (void)state;
    assert_int_equal(chunk->nslices, ASHLAR_CHUNK_SLICES);
    assert_ptr_equal(chunk->arena, &arena);
    assert_true(ashlar_is_aligned(chunk->base, ASHLAR_SLICE_BYTES));
    assert_true(ashlar_chunk_is_idle(chunk));
    assert_int_equal(chunk->free, ALL_SLICES);
    assert_int_equal(ashlar_chunk_fit(chunk), 0);
    assert_true(test_is_zero(chunk->base, chunk->nslices * ASHLAR_SLICE_BYTES));
    slice_at(63)[ASHLAR_SLICE_BYTES - 1] = 1;
    expect_whole(chunk);
}

static void a_chunk_shrinks_to_the_need_when_address_space_is_short(void **state)
{
    (void)state;
    static const unsigned needs[] = {1, 4, 16, 64};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(needs); i++) {
        unsigned least = ASHLAR_CHUNK_SLICES;
        bool is_out = false;
        for (unsigned nfails = 0; !is_out; nfails++) {
            fake_os_fail(FAKE_OS_MAP, 0, nfails, ENOMEM);
            fake_os_fail(FAKE_OS_RESERVE, 0, nfails, ENOMEM);
            struct ashlar_chunk *small = ashlar_chunk_map(&arena, needs[i]);
            is_out = small == NULL;
            if (is_out)
                break;
            assert_true(small->nslices >= needs[i] && small->nslices <= least);
            assert_true(ashlar_chunk_fit_slices(ashlar_chunk_fit(small)) >=
                        (needs[i] < 16 ? needs[i] : 16));
            least = small->nslices;
            expect_whole(small);
            small->base[least * ASHLAR_SLICE_BYTES - 1] = 1;
            assert_true(ashlar_chunk_unmap(small));
        }
        assert_int_equal(least, needs[i]);
        fake_os_fail(FAKE_OS_MAP, 0, 0, 0);
        fake_os_fail(FAKE_OS_RESERVE, 0, 0, 0);
    }
}

struct attempt {
    struct ashlar_chunk *got;
    size_t held_bytes;
};

static bool try_to_map(void *context)
{
    struct attempt *attempt = context;
    attempt->got = ashlar_chunk_map(&arena, ASHLAR_CHUNK_SLICES);
    return attempt->got != NULL;
}

static void check_and_unmap(void *context, bool has_succeeded)
{
    struct attempt *attempt = context;
    if (has_succeeded) {
        expect_whole(attempt->got);
        assert_true(ashlar_chunk_unmap(attempt->got));
    }
    assert_int_equal(ashlar_count_read(region_reserved_bytes), attempt->held_bytes);
}

/* Takes the address space near the chunks, so that the page map has to grow for the next one. */
static void *push_away(void)
{
    void *hole = mmap(NULL, HOLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
    assert_ptr_not_equal(hole, MAP_FAILED);
    return hole;
}

static void a_map_that_fails_holds_nothing_whichever_call_failed(void **state)
{
    (void)state;
    static const enum fake_os_mode modes[] = {FAKE_OS_ONE_FAILS, FAKE_OS_REST_FAILS};
    struct attempt attempt = {.held_bytes = ashlar_count_read(region_reserved_bytes)};
    void *holes[ASHLAR_ARRAY_LEN(modes)];
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(modes); i++) {
        holes[i] = push_away();
        assert_true(fake_os_fail_each(modes[i], try_to_map, check_and_unmap, &attempt) >= 2);
        assert_true(fake_os_fail_each(modes[i], try_to_map, check_and_unmap, &attempt) >= 1);
    }
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(modes); i++)
        munmap(holes[i], HOLE_BYTES);
}

static void chunks_that_come_and_go_use_the_same_descriptors(void **state)
{
    (void)state;
    assert_true(ashlar_chunk_unmap(ashlar_chunk_map(&arena, 1)));
    size_t meta_bytes = ashlar_count_read(meta_bytes);
    for (int i = 0; i < 2000; i++) {
        assert_true(ashlar_chunk_unmap(ashlar_chunk_map(&arena, 1)));
        fake_os_fail_from(0);
        assert_null(ashlar_chunk_map(&arena, 1));
        fake_os_obey();
    }
    assert_int_equal(ashlar_count_read(meta_bytes), meta_bytes);
}

static void a_shut_lock_refuses_a_chunk_at_once(void **state)
{
    (void)state;
    size_t held_bytes = ashlar_count_read(region_reserved_bytes);
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(ashlar_chunk_map(&arena, 1));
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    assert_int_equal(ashlar_count_read(region_reserved_bytes), held_bytes);
}

static void a_chunk_the_kernel_would_not_unmap_is_still_there(void **state)
{
    (void)state;
    fake_os_fail(FAKE_OS_UNMAP, 0, 1, ENOMEM);
    assert_false(ashlar_chunk_unmap(chunk));
    assert_true(ashlar_chunk_is_idle(chunk));
    slice_at(0)[0] = slice_at(63)[0] = 1;
    assert_true(ashlar_chunk_take(chunk, 1) < ASHLAR_CHUNK_SLICES);
}

static void a_chunk_is_filed_by_the_longest_run_it_can_still_give(void **state)
{
    (void)state;
    static const struct {
        uint64_t free;
        unsigned slices;
    } rows[] = {
        {0, 0},
        {1, 1},
        {UINT64_C(1) << 63, 1},
        {UINT64_C(0x7777777777777777), 1},
        {0xf, 4},
        {UINT64_C(0xf) << 60, 4},
        {0x7fff, 4},
        {UINT64_C(0x7fff7fff7fff7fff), 4},
        {0xffff, 16},
        {UINT64_C(0xffff) << 48, 16},
        {UINT64_C(0xffff) << 7, 16},
        {UINT64_MAX, 16},
    };
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(rows); i++) {
        struct ashlar_chunk one = {.nslices = 64, .free = rows[i].free};
        assert_int_equal(ashlar_chunk_fit_slices(ashlar_chunk_fit(&one)), rows[i].slices);
    }
}

static void slices_with_pages_are_taken_first(void **state)
{
    (void)state;
    unsigned first = ashlar_chunk_take(chunk, 16);
    unsigned second = ashlar_chunk_take(chunk, 16);
    assert_int_not_equal(first, second);
    ashlar_chunk_put(chunk, ashlar_bit_run(first, 16), 0);
    ashlar_chunk_put(chunk, ashlar_bit_run(second, 16), ashlar_bit_run(second + 5, 4));
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 4 * ASHLAR_SLICE_BYTES);
    assert_int_equal(ashlar_chunk_take(chunk, 4), second + 5);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 0);
    ashlar_chunk_put(chunk, ashlar_bit_run(second + 5, 4), ashlar_bit_run(second + 7, 1));
    assert_int_equal(ashlar_chunk_take(chunk, 1), second + 7);
    ashlar_chunk_put(chunk, ashlar_bit_run(second + 7, 1), ashlar_bit_run(second + 7, 1));
    unsigned run = ashlar_chunk_take(chunk, 4); /* no four with pages: any four */
    assert_int_equal(chunk->free & ashlar_bit_run(run, 4), 0);
    expect_whole(chunk);
}

static void only_what_was_dirty_at_the_last_tick_is_aged(void **state)
{
    (void)state;
    unsigned old = ashlar_chunk_take(chunk, 4);
    unsigned young = ashlar_chunk_take(chunk, 4);
    ashlar_chunk_put(chunk, ashlar_bit_run(old, 4), ashlar_bit_run(old, 4));
    assert_int_equal(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED), 0);
    ashlar_chunk_age(chunk);
    ashlar_chunk_put(chunk, ashlar_bit_run(young, 4), ashlar_bit_run(young, 4));
    assert_int_equal(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED), ashlar_bit_run(old, 4));
    assert_int_equal(chunk->free & ashlar_bit_run(old, 4), 0); /* out of reach */
    assert_int_equal(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED), 0);
    assert_int_equal(ashlar_chunk_detach(chunk, ASHLAR_IDLE_ALL), ashlar_bit_run(young, 4));
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 0);
}

static void a_slice_used_again_is_young_again(void **state)
{
    (void)state;
    uint64_t run = ashlar_bit_run(ashlar_chunk_take(chunk, 1), 1);
    ashlar_chunk_put(chunk, run, run);
    ashlar_chunk_age(chunk);
    assert_int_equal(ashlar_bit_run(ashlar_chunk_take(chunk, 1), 1), run);
    ashlar_chunk_put(chunk, run, run);
    assert_int_equal(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED), 0);
}

static void purged_slices_read_as_zero_and_the_others_are_as_they_were(void **state)
{
    (void)state;
    const uint64_t purged = UINT64_C(0x8000000000f00001);
    memset(chunk->base, 0xee, chunk->nslices * ASHLAR_SLICE_BYTES);
    uint64_t bytes = ashlar_count_read(purge_bytes);
    assert_int_equal(ashlar_chunk_purge(chunk, purged), purged);
    assert_int_equal(ashlar_count_read(purge_bytes) - bytes, 6 * ASHLAR_SLICE_BYTES);
    for (unsigned i = 0; i < 64; i++) {
        bool is_zero = test_is_zero(slice_at(i), ASHLAR_SLICE_BYTES);
        assert_int_equal(is_zero, purged >> i & 1);
        assert_true(is_zero || (unsigned char)slice_at(i)[ASHLAR_SLICE_BYTES - 1] == 0xee);
    }
    assert_int_equal(ashlar_chunk_purge(chunk, ALL_SLICES), ALL_SLICES);
    assert_true(test_is_zero(chunk->base, 64 * ASHLAR_SLICE_BYTES));
    const uint64_t every_second = UINT64_C(0x5555555555555555);
    assert_int_equal(ashlar_chunk_purge(chunk, every_second), every_second);
}

static void what_a_short_kernel_did_not_purge_is_said(void **state)
{
    (void)state;
    const uint64_t slices = 0x3 | 0xf0 | 0x100000;
    memset(chunk->base, 0xee, 32 * ASHLAR_SLICE_BYTES);
    for (unsigned n = 0; n < 3; n++) {
        fake_os_fail(FAKE_OS_PURGE, n, 1, ENOMEM);
        uint64_t clean = ashlar_chunk_purge(chunk, slices);
        assert_int_equal(clean & ~slices, 0);
        assert_int_not_equal(clean, slices);
        assert_int_equal(clean != 0, n != 0);
        for (unsigned i = 0; i < 32; i++)
            assert_true((clean >> i & 1) == 0 || test_is_zero(slice_at(i), ASHLAR_SLICE_BYTES));
    }
}

static void what_a_purger_left_comes_back_with_the_next_collect(void **state)
{
    (void)state;
    unsigned first = ashlar_chunk_take(chunk, 4);
    ashlar_chunk_put(chunk, ashlar_bit_run(first, 4), ashlar_bit_run(first, 4));
    assert_int_equal(ashlar_chunk_detach(chunk, ASHLAR_IDLE_ALL), ashlar_bit_run(first, 4));
    uint64_t free_before = chunk->free;
    ashlar_chunk_leave(chunk, ashlar_bit_run(first, 1), 0);
    ashlar_chunk_leave(chunk, ashlar_bit_run(first + 1, 1), ashlar_bit_run(first + 2, 2));
    assert_int_equal(chunk->free, free_before); /* the arena's word is not touched */
    ashlar_chunk_collect(chunk);
    assert_int_equal(chunk->free, ALL_SLICES);
    assert_int_equal(chunk->dirty, ashlar_bit_run(first + 2, 2));
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 2 * ASHLAR_SLICE_BYTES);
    ashlar_chunk_collect(chunk);
    assert_int_equal(chunk->free, ALL_SLICES);
    assert_false(ashlar_chunk_is_idle(chunk));
}

/* ---- a model: one letter for each slice ---------------------------------------------------- */

enum slice { CLEAN, DIRTY, AGED, IN_SLAB, DETACHED };

static uint64_t slices_that_are(const enum slice *model, enum slice what)
{
    uint64_t slices = 0;
    for (unsigned i = 0; i < 64; i++)
        slices |= (uint64_t)(model[i] == what) << i;
    return slices;
}

static void set_slices(enum slice *model, uint64_t slices, enum slice what)
{
    for (unsigned i = 0; i < 64; i++)
        if ((slices >> i & 1) != 0)
            model[i] = what;
}

static bool has_free_run(const enum slice *model, unsigned len)
{
    unsigned run = 0;
    for (unsigned i = 0; i < 64 && run < len; i++)
        run = model[i] <= AGED ? run + 1 : 0;
    return run == len;
}

static void expect_as_in(const enum slice *model)
{
    uint64_t dirty = slices_that_are(model, DIRTY) | slices_that_are(model, AGED);
    assert_int_equal(chunk->free, slices_that_are(model, CLEAN) | dirty);
    assert_int_equal(chunk->dirty, dirty);
    assert_int_equal(chunk->aged, slices_that_are(model, AGED));
    assert_int_equal(ashlar_count_read(arena_dirty_bytes),
                     ashlar_bit_count(dirty) * ASHLAR_SLICE_BYTES);
    assert_int_equal(ashlar_chunk_is_idle(chunk), slices_that_are(model, CLEAN) == ALL_SLICES);
    unsigned promise = ashlar_chunk_fit_slices(ashlar_chunk_fit(chunk));
    assert_true(promise == 0 || has_free_run(model, promise));
    assert_false(promise < 16 && has_free_run(model, promise == 0 ? 1 : promise * 4));
}

static void random_use_agrees_with_a_model_of_every_slice(void **state)
{
    (void)state;
    static const unsigned lens[] = {1, 4, 16};
    enum slice model[64] = {CLEAN};
    struct {
        unsigned first;
        unsigned len;
    } slabs[64];
    size_t nslabs = 0;
    uint64_t seed = 41;
    for (int step = 0; step < 20000; step++) {
        size_t choice = test_random_below(&seed, 16);
        unsigned len = lens[test_random_below(&seed, 3)];
        if (choice < 6 && has_free_run(model, len)) {
            unsigned first = ashlar_chunk_take(chunk, len);
            assert_true(first + len <= 64);
            for (unsigned i = first; i < first + len; i++)
                assert_true(model[i] <= AGED);
            set_slices(model, ashlar_bit_run(first, len), IN_SLAB);
            slabs[nslabs].first = first;
            slabs[nslabs++].len = len;
        } else if (choice < 12 && nslabs != 0) {
            size_t at = test_random_below(&seed, nslabs);
            uint64_t run = ashlar_bit_run(slabs[at].first, slabs[at].len);
            uint64_t dirty = run & test_random(&seed);
            slabs[at] = slabs[--nslabs];
            ashlar_chunk_put(chunk, run, dirty);
            set_slices(model, run, CLEAN);
            set_slices(model, dirty, DIRTY);
        } else if (choice == 12) {
            ashlar_chunk_age(chunk);
            set_slices(model, slices_that_are(model, DIRTY), AGED);
        } else if (choice == 13) {
            uint64_t wanted = slices_that_are(model, AGED);
            assert_int_equal(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED), wanted);
            set_slices(model, wanted, DETACHED);
        } else if (choice == 14) {
            uint64_t left = slices_that_are(model, DETACHED);
            uint64_t dirty = left & test_random(&seed);
            ashlar_chunk_leave(chunk, left & ~dirty, dirty);
            ashlar_chunk_collect(chunk);
            set_slices(model, left, CLEAN);
            set_slices(model, dirty, DIRTY);
        }
        expect_as_in(model);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_fresh_chunk_is_idle_zero_and_of_64_slices),
        CASE(a_chunk_shrinks_to_the_need_when_address_space_is_short),
        CASE(a_map_that_fails_holds_nothing_whichever_call_failed),
        CASE(chunks_that_come_and_go_use_the_same_descriptors),
        CASE(a_shut_lock_refuses_a_chunk_at_once),
        CASE(a_chunk_the_kernel_would_not_unmap_is_still_there),
        CASE(a_chunk_is_filed_by_the_longest_run_it_can_still_give),
        CASE(slices_with_pages_are_taken_first),
        CASE(only_what_was_dirty_at_the_last_tick_is_aged),
        CASE(a_slice_used_again_is_young_again),
        CASE(purged_slices_read_as_zero_and_the_others_are_as_they_were),
        CASE(what_a_short_kernel_did_not_purge_is_said),
        CASE(what_a_purger_left_comes_back_with_the_next_collect),
        CASE(random_use_agrees_with_a_model_of_every_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
