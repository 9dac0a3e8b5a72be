/*
 * test_chunk.c - a run of slices that slabs are cut from
 */
#include "unit/testing.h"

#include <sys/mman.h>

#include "conf/counters.h"
#include "map/meta.h"
#include "small/arena.h"
#include "unit/fake_os.h"

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

static struct ashlar_slicemap nothing;

static struct ashlar_run run_at(unsigned first, unsigned len)
{
    return (struct ashlar_run){first, len};
}

static unsigned take(struct ashlar_chunk *one, unsigned len)
{
    unsigned ndirty;
    return ashlar_chunk_take(one, len, &ndirty);
}

static struct ashlar_slicemap set_of(unsigned first, unsigned len)
{
    struct ashlar_slicemap set = {{0}};
    (void)ashlar_slicemap_add(&set, run_at(first, len));
    return set;
}

static bool has_slice(const struct ashlar_slicemap *set, unsigned index)
{
    return (set->words[index / 64] >> (index % 64) & 1) != 0;
}

static void expect_same(const struct ashlar_slicemap *set, const struct ashlar_slicemap *wanted)
{
    assert_memory_equal(set, wanted, sizeof *set);
}

/* Whatever a case left is cleaned and put back, so that the chunk can go. */
static int end(void **state)
{
    (void)state;
    struct ashlar_slicemap set;
    fake_os_obey();
    fake_os_fail(FAKE_OS_PURGE, 0, 0, 0);
    ashlar_chunk_collect(chunk);
    (void)ashlar_chunk_detach(chunk, ASHLAR_IDLE_ALL, &set);
    for (unsigned i = 0; i < ASHLAR_SLICEMAP_WORDS; i++)
        set.words[i] = ~chunk->free.words[i];
    ashlar_chunk_put_back(chunk, &nothing, &set);
    assert_true(ashlar_chunk_is_idle(chunk));
    assert_true(ashlar_chunk_unmap(chunk));
    expect_nothing_held();
    return 0;
}

static void expect_whole(const struct ashlar_chunk *one)
{
    for (unsigned i = 0; i < ASHLAR_SLICEMAP_WORDS; i++) {
        assert_int_equal(one->dirty.words[i] & ~one->free.words[i], 0);
        assert_int_equal(one->aged.words[i] & ~one->dirty.words[i], 0);
    }
    for (unsigned i = one->nslices; i < ASHLAR_CHUNK_SLICES; i++)
        assert_false(has_slice(&one->free, i));
    assert_int_equal(one->nfree, ashlar_slicemap_count(&one->free));
    assert_int_equal(one->ndirty, ashlar_slicemap_count(&one->dirty));
    unsigned ones = 0;
    for (unsigned i = ASHLAR_CHUNK_SLICES; i-- > 0;) {
        ones = !has_slice(&one->free, i) ? 0 : ones < ASHLAR_RUN_MAX ? ones + 1 : ones;
        assert_true(ones <= one->bounds[i / 64] && one->bounds[i / 64] <= one->longest);
    }
}

static char *slice_at(unsigned index)
{
    return chunk->base + index * ASHLAR_SLICE_BYTES;
}

static void a_fresh_chunk_is_idle_zero_and_of_4_mib(void **state)
{
    (void)state;
    assert_int_equal(chunk->nslices * ASHLAR_SLICE_BYTES, 4 * ASHLAR_MIB);
    assert_ptr_equal(chunk->arena, &arena);
    assert_true(ashlar_is_aligned(chunk->base, ASHLAR_SLICE_BYTES));
    assert_true(ashlar_chunk_is_idle(chunk));
    assert_int_equal(chunk->nfree, chunk->nslices);
    assert_true(test_is_zero(chunk->base, chunk->nslices * ASHLAR_SLICE_BYTES));
    slice_at(ASHLAR_CHUNK_SLICES - 1)[ASHLAR_SLICE_BYTES - 1] = 1;
    expect_whole(chunk);
}

static void a_chunk_shrinks_to_the_need_when_address_space_is_short(void **state)
{
    (void)state;
    static const unsigned needs[] = {1, 9, 16, 32};
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
            least = small->nslices;
            expect_whole(small);
            small->base[least * ASHLAR_SLICE_BYTES - 1] = 1;
            unsigned first = take(small, needs[i]);
            assert_true(first + needs[i] <= least);
            ashlar_chunk_put(small, run_at(first, needs[i]), 0);
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
    attempt->got = ashlar_chunk_map(&arena, 32);
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

/* Symptom: the last object of a slab that ended there did not look free when it was. */
static void no_slab_ends_at_a_multiple_of_4_gib(void **state)
{
    (void)state;
    const unsigned page = (unsigned)(ashlar_os_facts.page_bytes / ASHLAR_SLICE_BYTES);
    const size_t len = ASHLAR_CHUNK_SLICES * ASHLAR_SLICE_BYTES;
    const uintptr_t border = (uintptr_t)123 << 32;
    const char *before = (const char *)(border - len);
    const char *behind = (const char *)border;
    assert_int_equal(ashlar_chunk_slices_off_border(before, ASHLAR_CHUNK_SLICES),
                     ASHLAR_CHUNK_SLICES - page);
    assert_int_equal(ashlar_chunk_slices_off_border(before - len, ASHLAR_CHUNK_SLICES),
                     ASHLAR_CHUNK_SLICES);
    assert_int_equal(ashlar_chunk_slices_off_border(behind, ASHLAR_CHUNK_SLICES),
                     ASHLAR_CHUNK_SLICES);
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
    slice_at(0)[0] = slice_at(ASHLAR_CHUNK_SLICES - 1)[0] = 1;
    assert_true(take(chunk, 1) < ASHLAR_CHUNK_SLICES);
}

static void a_run_that_is_not_there_is_refused_and_remembered(void **state)
{
    (void)state;
    for (unsigned first = 0; first < ASHLAR_CHUNK_SLICES; first += 32)
        assert_int_equal(take(chunk, 32), first);
    assert_int_equal(chunk->longest, ASHLAR_RUN_MAX); /* a bound */
    assert_int_equal(take(chunk, 1), ASHLAR_SLICE_NONE);
    assert_int_equal(chunk->longest, 0);
    ashlar_chunk_put(chunk, run_at(64, 32), 0);
    ashlar_chunk_put(chunk, run_at(10, 4), 0);
    assert_int_equal(chunk->longest, 32);
    assert_int_equal(take(chunk, 20), 64);
    assert_int_equal(take(chunk, 20), ASHLAR_SLICE_NONE);
    assert_int_equal(chunk->longest, 19);
    ashlar_chunk_put(chunk, run_at(14, 5), 0); /* joins the four before it */
    assert_int_equal(chunk->longest, 19);
    assert_int_equal(take(chunk, 9), 10);
    expect_whole(chunk);
}

static void the_first_run_is_taken_and_its_pages_are_told(void **state)
{
    (void)state;
    unsigned ndirty;
    unsigned first = take(chunk, 16);
    unsigned second = take(chunk, 16);
    assert_int_equal(second, first + 16);
    ashlar_chunk_put(chunk, run_at(second, 16), 4);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 4 * ASHLAR_SLICE_BYTES);
    ashlar_chunk_put(chunk, run_at(first, 16), 0);
    assert_int_equal(ashlar_chunk_take(chunk, 16, &ndirty), first);
    assert_int_equal(ndirty, 0);
    assert_int_equal(ashlar_chunk_take(chunk, 3, &ndirty), second);
    assert_int_equal(ndirty, 3);
    assert_int_equal(ashlar_chunk_take(chunk, 8, &ndirty), second + 3);
    assert_int_equal(ndirty, 1);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 0);
    expect_whole(chunk);
}

static void only_what_was_dirty_at_the_last_tick_is_aged(void **state)
{
    (void)state;
    unsigned old = take(chunk, 4);
    unsigned young = take(chunk, 4);
    struct ashlar_slicemap old_set = set_of(old, 4);
    struct ashlar_slicemap young_set = set_of(young, 4);
    struct ashlar_slicemap victims;
    ashlar_chunk_put(chunk, run_at(old, 4), 4);
    assert_false(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED, &victims));
    ashlar_chunk_age(chunk);
    ashlar_chunk_put(chunk, run_at(young, 4), 4);
    assert_true(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED, &victims));
    expect_same(&victims, &old_set);
    assert_false(has_slice(&chunk->free, old)); /* out of reach */
    assert_false(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED, &victims));
    assert_true(ashlar_chunk_detach(chunk, ASHLAR_IDLE_ALL, &victims));
    expect_same(&victims, &young_set);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 0);
}

static void a_slice_used_again_is_young_again(void **state)
{
    (void)state;
    struct ashlar_slicemap victims;
    struct ashlar_run run = run_at(take(chunk, 1), 1);
    ashlar_chunk_put(chunk, run, 1);
    ashlar_chunk_age(chunk);
    assert_int_equal(take(chunk, 1), run.first);
    ashlar_chunk_put(chunk, run, 1);
    assert_false(ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED, &victims));
}

static void purged_slices_read_as_zero_and_the_others_are_as_they_were(void **state)
{
    (void)state;
    struct ashlar_slicemap wanted = {{[0] = 0xf00001, [15] = UINT64_C(1) << 63}};
    struct ashlar_slicemap dirty = wanted;
    struct ashlar_slicemap clean;
    memset(chunk->base, 0xee, chunk->nslices * ASHLAR_SLICE_BYTES);
    uint64_t bytes = ashlar_count_read(purge_bytes);
    ashlar_chunk_purge(chunk, &dirty, &clean);
    expect_same(&clean, &wanted);
    expect_same(&dirty, &nothing);
    assert_int_equal(ashlar_count_read(purge_bytes) - bytes, 6 * ASHLAR_SLICE_BYTES);
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES; i++) {
        bool is_zero = test_is_zero(slice_at(i), ASHLAR_SLICE_BYTES);
        assert_int_equal(is_zero, has_slice(&wanted, i));
        assert_true(is_zero || (unsigned char)slice_at(i)[ASHLAR_SLICE_BYTES - 1] == 0xee);
    }
}

static void more_runs_than_one_call_takes_are_purged_all(void **state)
{
    (void)state;
    struct ashlar_slicemap wanted;
    struct ashlar_slicemap clean;
    memset(&wanted, 0x55, sizeof wanted); /* every second slice */
    memset(chunk->base, 0xee, chunk->nslices * ASHLAR_SLICE_BYTES);
    struct ashlar_slicemap dirty = wanted;
    ashlar_chunk_purge(chunk, &dirty, &clean);
    expect_same(&clean, &wanted);
    expect_same(&dirty, &nothing);
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES; i++)
        assert_int_equal(test_is_zero(slice_at(i), ASHLAR_SLICE_BYTES), i % 2 == 0);
}

static void what_a_short_kernel_did_not_purge_is_said(void **state)
{
    (void)state;
    const struct ashlar_slicemap wanted = {{0x3 | 0xf0 | 0x100000}};
    memset(chunk->base, 0xee, 32 * ASHLAR_SLICE_BYTES);
    for (unsigned n = 0; n < 3; n++) {
        struct ashlar_slicemap dirty = wanted;
        struct ashlar_slicemap clean;
        fake_os_fail(FAKE_OS_PURGE, n, 1, ENOMEM);
        ashlar_chunk_purge(chunk, &dirty, &clean);
        assert_int_equal(dirty.words[0] & clean.words[0], 0);
        assert_int_equal(dirty.words[0] | clean.words[0], wanted.words[0]);
        assert_int_not_equal(dirty.words[0], 0);
        assert_int_equal(clean.words[0] != 0, n != 0);
        for (unsigned i = 0; i < 32; i++)
            assert_true(!has_slice(&clean, i) || test_is_zero(slice_at(i), ASHLAR_SLICE_BYTES));
    }
}

static void what_a_purger_left_comes_back_with_the_next_collect(void **state)
{
    (void)state;
    unsigned first = take(chunk, 4);
    struct ashlar_slicemap victims;
    ashlar_chunk_put(chunk, run_at(first, 4), 4);
    assert_true(ashlar_chunk_detach(chunk, ASHLAR_IDLE_ALL, &victims));
    struct ashlar_slicemap free_before = chunk->free;
    struct ashlar_slicemap one = set_of(first, 1);
    struct ashlar_slicemap two = set_of(first + 1, 1);
    struct ashlar_slicemap rest = set_of(first + 2, 2);
    ashlar_chunk_leave(chunk, &nothing, &one);
    ashlar_chunk_leave(chunk, &rest, &two);
    expect_same(&chunk->free, &free_before); /* the arena's map is not touched */
    ashlar_chunk_collect(chunk);
    assert_int_equal(chunk->nfree, ASHLAR_CHUNK_SLICES);
    expect_same(&chunk->dirty, &rest);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), 2 * ASHLAR_SLICE_BYTES);
    ashlar_chunk_collect(chunk);
    assert_int_equal(chunk->nfree, ASHLAR_CHUNK_SLICES);
    assert_false(ashlar_chunk_is_idle(chunk));
}

/* ---- a model: one letter for each slice ---------------------------------------------------- */

enum slice { CLEAN, DIRTY, AGED, IN_SLAB, DETACHED };

static struct ashlar_slicemap slices_that_are(const enum slice *model, enum slice what)
{
    struct ashlar_slicemap set = {{0}};
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES; i++)
        set.words[i / 64] |= (uint64_t)(model[i] == what) << (i % 64);
    return set;
}

static void set_slices(enum slice *model, struct ashlar_run run, enum slice what)
{
    for (unsigned i = run.first; i < run.first + run.len; i++)
        model[i] = what;
}

static void turn_slices(enum slice *model, enum slice from, enum slice to)
{
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES; i++)
        if (model[i] == from)
            model[i] = to;
}

static bool has_free_run(const enum slice *model, unsigned len)
{
    unsigned run = 0;
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES && run < len; i++)
        run = model[i] <= AGED ? run + 1 : 0;
    return run == len;
}

static void expect_as_in(const enum slice *model)
{
    bool is_idle = true;
    for (unsigned i = 0; i < ASHLAR_CHUNK_SLICES; i++) {
        assert_int_equal(has_slice(&chunk->free, i), model[i] <= AGED);
        assert_int_equal(has_slice(&chunk->dirty, i), model[i] == DIRTY || model[i] == AGED);
        assert_int_equal(has_slice(&chunk->aged, i), model[i] == AGED);
        is_idle &= model[i] == CLEAN;
    }
    expect_whole(chunk);
    assert_int_equal(ashlar_count_read(arena_dirty_bytes), chunk->ndirty * ASHLAR_SLICE_BYTES);
    assert_int_equal(ashlar_chunk_is_idle(chunk), is_idle);
}

#define SLABS_MOST 400

static void random_use_agrees_with_a_model_of_every_slice(void **state)
{
    (void)state;
    enum slice model[ASHLAR_CHUNK_SLICES] = {CLEAN};
    struct ashlar_run slabs[SLABS_MOST];
    size_t nslabs = 0;
    uint64_t seed = 41;
    for (int step = 0; step < 10000; step++) {
        size_t choice = test_random_below(&seed, 32);
        unsigned len = 1 + (unsigned)test_random_below(&seed, ASHLAR_RUN_MAX);
        struct ashlar_slicemap victims;
        if (choice < 14 && nslabs < SLABS_MOST) {
            unsigned ndirty;
            unsigned first = ashlar_chunk_take(chunk, len, &ndirty);
            assert_int_equal(first == ASHLAR_SLICE_NONE, !has_free_run(model, len));
            if (first == ASHLAR_SLICE_NONE)
                continue;
            assert_true(first + len <= ASHLAR_CHUNK_SLICES);
            for (unsigned i = first; i < first + len; i++)
                assert_true(model[i] <= (i < first + ndirty ? AGED : CLEAN));
            assert_true(ndirty == 0 || model[first + ndirty - 1] != CLEAN);
            slabs[nslabs++] = run_at(first, len);
            set_slices(model, run_at(first, len), IN_SLAB);
        } else if (choice < 28 && nslabs != 0) {
            size_t at = test_random_below(&seed, nslabs);
            struct ashlar_run run = slabs[at];
            unsigned ndirty = (unsigned)test_random_below(&seed, run.len + 1);
            slabs[at] = slabs[--nslabs];
            ashlar_chunk_put(chunk, run, ndirty);
            set_slices(model, run, CLEAN);
            set_slices(model, run_at(run.first, ndirty), DIRTY);
        } else if (choice == 28) {
            ashlar_chunk_age(chunk);
            turn_slices(model, DIRTY, AGED);
        } else if (choice == 29) {
            struct ashlar_slicemap wanted = slices_that_are(model, AGED);
            bool has_some = ashlar_chunk_detach(chunk, ASHLAR_IDLE_AGED, &victims);
            assert_int_equal(has_some, ashlar_slicemap_count(&wanted) != 0);
            if (has_some)
                expect_same(&victims, &wanted);
            turn_slices(model, AGED, DETACHED);
        } else if (choice == 30) {
            struct ashlar_slicemap left = slices_that_are(model, DETACHED);
            bool is_clean = test_random_below(&seed, 2) != 0;
            ashlar_chunk_leave(chunk, is_clean ? &nothing : &left, is_clean ? &left : &nothing);
            ashlar_chunk_collect(chunk);
            turn_slices(model, DETACHED, is_clean ? CLEAN : DIRTY);
        }
        expect_as_in(model);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_fresh_chunk_is_idle_zero_and_of_4_mib),
        CASE(a_chunk_shrinks_to_the_need_when_address_space_is_short),
        CASE(no_slab_ends_at_a_multiple_of_4_gib),
        CASE(a_map_that_fails_holds_nothing_whichever_call_failed),
        CASE(chunks_that_come_and_go_use_the_same_descriptors),
        CASE(a_shut_lock_refuses_a_chunk_at_once),
        CASE(a_chunk_the_kernel_would_not_unmap_is_still_there),
        CASE(a_run_that_is_not_there_is_refused_and_remembered),
        CASE(the_first_run_is_taken_and_its_pages_are_told),
        CASE(only_what_was_dirty_at_the_last_tick_is_aged),
        CASE(a_slice_used_again_is_young_again),
        CASE(purged_slices_read_as_zero_and_the_others_are_as_they_were),
        CASE(more_runs_than_one_call_takes_are_purged_all),
        CASE(what_a_short_kernel_did_not_purge_is_said),
        CASE(what_a_purger_left_comes_back_with_the_next_collect),
        CASE(random_use_agrees_with_a_model_of_every_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
