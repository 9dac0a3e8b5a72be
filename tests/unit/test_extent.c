/*
 * test_extent.c - one run of pages for one large block, live or freed
 *
 * Purpose     Extents are cut and joined without a look at the memory they stand for, so the region
 *             here is made up: a struct and addresses that nobody touches.
 */
#include "unit/testing.h"

#include "large/extent.h"
#include "map/meta.h"
#include "unit/fake_os.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define WHOLE_PAGES 200

static struct ashlar_region region;
static struct ashlar_list ages;
static char *start;

/* Descriptors that a test holds so that there is none left; linked by late_next. */
static struct ashlar_extent *hoard;

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    start = (char *)(uintptr_t)(64 * ASHLAR_GIB);
    ashlar_list_init(&region.extents);
    ashlar_list_init(&ages);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_os_obey();
    while (hoard != NULL) {
        struct ashlar_extent *extent = hoard;
        hoard = extent->late_next;
        ashlar_extent_delete(extent);
    }
    struct ashlar_list *link;
    while ((link = ashlar_list_first(&region.extents)) != NULL) {
        ashlar_list_remove(link);
        ashlar_extent_delete(ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours));
    }
    return 0;
}

/* Takes all descriptors that can be had while the kernel gives no memory. */
static void use_up_descriptors(void)
{
    struct ashlar_extent *extent;
    fake_os_fail(FAKE_OS_MAP, 0, UINT32_MAX, ENOMEM);
    while ((extent = ashlar_extent_new()) != NULL) {
        extent->late_next = hoard;
        hoard = extent;
    }
}

/* An extent of `npages` of payload, `at` pages behind the start, linked; DIRTY ones have an age. */
static struct ashlar_extent *make(size_t at, size_t npages, enum ashlar_extent_state state)
{
    struct ashlar_extent *extent = ashlar_extent_new();
    assert_non_null(extent);
    extent->region = &region;
    extent->base = start + at * PAGE;
    extent->len_bytes = npages * PAGE;
    extent->state = state;
    if (state == ASHLAR_EXTENT_DIRTY)
        ashlar_list_push_back(&ages, &extent->age);
    ashlar_extent_link(extent);
    return extent;
}

static void expect_span(const struct ashlar_extent *extent, size_t at, size_t npages,
                        size_t room_pages)
{
    assert_ptr_equal(extent->base, start + at * PAGE);
    assert_int_equal(extent->len_bytes, npages * PAGE);
    assert_int_equal(extent->room_bytes, room_pages * PAGE);
    assert_ptr_equal(extent->region, &region);
    assert_true(extent->is_linked);
}

static void a_new_descriptor_is_zero_whatever_it_was_before(void **state)
{
    (void)state;
    struct ashlar_extent *used = ashlar_extent_new();
    memset(used, 0xff, sizeof *used);
    used->surplus_bytes = 0; /* whoever frees a block sees to that */
    ashlar_extent_delete(used);
    struct ashlar_extent *extent = ashlar_extent_new();
    assert_ptr_equal(extent, used);
    assert_int_equal(extent->span.kind, ASHLAR_SPAN_LARGE);
    assert_int_equal(ashlar_span_owner(&extent->span), 0);
    assert_int_equal(extent->span.used, 0);
    assert_null(extent->base);
    assert_int_equal(extent->len_bytes | extent->room_bytes, 0);
    assert_null(extent->region);
    assert_false(ashlar_list_is_linked(&extent->neighbours));
    assert_false(ashlar_list_is_linked(&extent->bin));
    assert_false(ashlar_list_is_linked(&extent->age));
    assert_int_equal(extent->freed_ms, 0);
    assert_null(extent->late_next);
    assert_int_equal(extent->hole_bytes, 0);
    assert_false(extent->is_linked || extent->is_counted);
    assert_ptr_equal(ashlar_extent_of(&extent->span), extent);
    ashlar_extent_delete(extent);
}

static void a_deleted_descriptor_is_none_of_a_block(void **state)
{
    (void)state;
    struct ashlar_extent *extent = ashlar_extent_new();
    ashlar_extent_delete(extent);
    assert_int_not_equal(extent->span.kind, ASHLAR_SPAN_LARGE);
}

static void there_is_no_descriptor_without_memory_nor_during_a_fork(void **state)
{
    (void)state;
    use_up_descriptors();
    assert_null(ashlar_extent_new());
    fake_os_obey();
    ashlar_lock_shut(&ashlar_meta_lock);
    assert_null(ashlar_extent_new());
    ashlar_lock_reopen(&ashlar_meta_lock, false);
    struct ashlar_extent *extent = ashlar_extent_new();
    assert_non_null(extent);
    ashlar_extent_delete(extent);
}

static void payload_guard_and_room_lie_one_behind_the_other(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(3, 5, ASHLAR_EXTENT_LIVE);
    assert_ptr_equal(ashlar_extent_guard(extent), start + 8 * PAGE);
    assert_ptr_equal(ashlar_extent_end(extent), start + 9 * PAGE);
    extent->room_bytes = 2 * PAGE;
    assert_ptr_equal(ashlar_extent_guard(extent), start + 8 * PAGE);
    assert_ptr_equal(ashlar_extent_end(extent), start + 11 * PAGE);
}

static void extents_are_linked_by_address_in_whatever_order_they_come(void **state)
{
    (void)state;
    static const size_t order[] = {4, 0, 6, 2, 8};
    struct ashlar_extent *at[10] = {NULL};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(order); i++)
        at[order[i]] = make(order[i], 1, ASHLAR_EXTENT_LIVE);
    for (size_t i = 0; i <= 8; i += 2) {
        assert_ptr_equal(ashlar_extent_before(at[i]), i != 0 ? at[i - 2] : NULL);
        assert_ptr_equal(ashlar_extent_behind(at[i]), i != 8 ? at[i + 2] : NULL);
    }
}

/* An insertion that waits for a fork to end leaves a gap. */
static void extents_with_a_gap_between_them_are_not_neighbours(void **state)
{
    (void)state;
    struct ashlar_extent *low = make(0, 3, ASHLAR_EXTENT_DIRTY);
    struct ashlar_extent *high = make(5, 3, ASHLAR_EXTENT_DIRTY);
    assert_null(ashlar_extent_behind(low));
    assert_null(ashlar_extent_before(high));
    low->room_bytes = PAGE; /* the gap is the block's own */
    assert_ptr_equal(ashlar_extent_behind(low), high);
    assert_ptr_equal(ashlar_extent_before(high), low);
}

static void a_piece_cut_off_is_of_the_same_state_and_age(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 20, ASHLAR_EXTENT_DIRTY);
    extent->freed_ms = 77;
    struct ashlar_extent *front = ashlar_extent_cut_front(extent, start + 8 * PAGE);
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, 4 * PAGE);
    expect_span(front, 0, 7, 0);
    expect_span(extent, 8, 4, 0);
    expect_span(rear, 13, 7, 0);
    struct ashlar_extent *pieces[] = {front, rear};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pieces[i]->state, ASHLAR_EXTENT_DIRTY);
        assert_int_equal(pieces[i]->freed_ms, 77);
        assert_false(ashlar_list_is_linked(&pieces[i]->bin));
        assert_false(pieces[i]->is_counted);
    }
    assert_ptr_equal(ashlar_extent_behind(front), extent);
    assert_ptr_equal(ashlar_extent_behind(extent), rear);
}

static void expect_holes(const struct ashlar_extent *extent, size_t hole_pages)
{
    assert_int_equal(extent->hole_bytes, hole_pages * PAGE);
    assert_int_equal(ashlar_extent_full_bytes(extent), extent->len_bytes - hole_pages * PAGE);
}

static void holes_that_may_lie_on_either_side_of_a_cut_are_nobodys(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 20, ASHLAR_EXTENT_DIRTY);
    extent->hole_bytes = 6 * PAGE;
    struct ashlar_extent *front = ashlar_extent_cut_front(extent, start + 6 * PAGE);
    expect_span(front, 0, 5, 0); /* and the page between them */
    expect_holes(front, 0);
    expect_holes(extent, 0);
}

static void each_piece_has_the_holes_that_have_no_place_in_the_other(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 20, ASHLAR_EXTENT_DIRTY);
    extent->hole_bytes = 18 * PAGE;
    struct ashlar_extent *front = ashlar_extent_cut_front(extent, start + 12 * PAGE);
    expect_span(front, 0, 11, 0);
    expect_span(extent, 12, 8, 0);
    expect_holes(front, 18 - 8 - 1);
    expect_holes(extent, 18 - 11 - 1);
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, 3 * PAGE);
    expect_span(rear, 16, 4, 0);
    expect_holes(rear, 6 - 3 - 1);
    expect_holes(extent, 6 - 4 - 1);
}

static void pieces_of_nothing_but_holes_are_nothing_but_holes(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 20, ASHLAR_EXTENT_DIRTY);
    extent->hole_bytes = 20 * PAGE;
    struct ashlar_extent *front = ashlar_extent_cut_front(extent, start + 5 * PAGE);
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, 6 * PAGE);
    expect_holes(front, 4);
    expect_holes(extent, 6);
    expect_holes(rear, 8);
}

static void without_a_descriptor_holes_stay_where_they_are(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 20, ASHLAR_EXTENT_DIRTY);
    extent->hole_bytes = 5 * PAGE;
    use_up_descriptors();
    assert_null(ashlar_extent_cut_front(extent, start + 18 * PAGE));
    expect_holes(extent, 5);
    assert_null(ashlar_extent_cut_rear(extent, 12 * PAGE));
    expect_holes(extent, 5);
}

static void a_page_and_a_guard_are_the_least_front(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 20, ASHLAR_EXTENT_CLEAN);
    struct ashlar_extent *front = ashlar_extent_cut_front(extent, start + 2 * PAGE);
    expect_span(front, 0, 1, 0);
    expect_span(extent, 2, 18, 0);
    assert_int_equal(front->state, ASHLAR_EXTENT_CLEAN);
}

static void a_rest_of_two_pages_is_a_piece_and_of_one_page_room(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 10, ASHLAR_EXTENT_LIVE);
    assert_null(ashlar_extent_cut_rear(extent, 10 * PAGE));
    expect_span(extent, 0, 10, 0);
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, 8 * PAGE);
    expect_span(extent, 0, 8, 0);
    expect_span(rear, 9, 1, 0);
    assert_null(ashlar_extent_cut_rear(extent, 7 * PAGE));
    expect_span(extent, 0, 7, 1);
    assert_ptr_equal(ashlar_extent_behind(extent), rear);
    /* Room counts when more is cut off later. */
    struct ashlar_extent *more = ashlar_extent_cut_rear(extent, 6 * PAGE);
    expect_span(extent, 0, 6, 0);
    expect_span(more, 7, 1, 0);
    assert_ptr_equal(ashlar_extent_behind(more), rear);
}

static void without_a_descriptor_a_front_stays_and_a_rear_is_room(void **state)
{
    (void)state;
    struct ashlar_extent *extent = make(0, 20, ASHLAR_EXTENT_DIRTY);
    use_up_descriptors();
    assert_null(ashlar_extent_cut_front(extent, start + 8 * PAGE));
    expect_span(extent, 0, 20, 0);
    assert_null(ashlar_extent_cut_rear(extent, 5 * PAGE));
    expect_span(extent, 0, 5, 15);
    assert_ptr_equal(ashlar_extent_end(extent), start + 21 * PAGE);
}

static void of_two_joined_the_longer_one_stays_with_its_age(void **state)
{
    (void)state;
    for (int is_low_longer = 0; is_low_longer < 2; is_low_longer++) {
        size_t low_pages = is_low_longer ? 9 : 4;
        struct ashlar_extent *low = make(0, low_pages, ASHLAR_EXTENT_DIRTY);
        struct ashlar_extent *high = make(low_pages + 1, 13 - low_pages, ASHLAR_EXTENT_DIRTY);
        low->freed_ms = 100;
        high->freed_ms = 200;
        low->hole_bytes = PAGE;
        high->hole_bytes = 2 * PAGE;
        struct ashlar_extent *joined = ashlar_extent_join(low, high);
        assert_ptr_equal(joined, is_low_longer ? low : high);
        expect_span(joined, 0, 14, 0); /* the guard between them is payload now */
        assert_int_equal(joined->freed_ms, is_low_longer ? 100 : 200);
        assert_int_equal(joined->hole_bytes, 3 * PAGE);
        assert_int_equal(ashlar_extent_full_bytes(joined), 11 * PAGE); /* the guard's page, too */
        assert_null(ashlar_extent_before(joined));
        assert_null(ashlar_extent_behind(joined));
        /* The other is on neither list. */
        assert_ptr_equal(ashlar_list_first(&ages), &joined->age);
        assert_null(ashlar_list_next(&ages, &joined->age));
        assert_ptr_equal(ashlar_list_first(&region.extents), &joined->neighbours);
        ashlar_extent_forget_age(joined);
        ashlar_list_remove(&joined->neighbours);
        ashlar_extent_delete(joined);
    }
}

static void an_age_can_be_forgotten_more_than_once(void **state)
{
    (void)state;
    struct ashlar_extent *old = make(0, 1, ASHLAR_EXTENT_DIRTY);
    struct ashlar_extent *young = make(2, 1, ASHLAR_EXTENT_DIRTY);
    ashlar_extent_forget_age(old);
    ashlar_extent_forget_age(old);
    assert_ptr_equal(ashlar_list_first(&ages), &young->age);
    ashlar_extent_forget_age(young);
    assert_true(ashlar_list_is_empty(&ages));
}

/* The model of the random case: for each page the state of the extent that begins there. */
#define NOTHING_BEGINS (-1)
static int model[WHOLE_PAGES];

static size_t page_of(const char *address)
{
    return (size_t)(address - start) / PAGE;
}

static size_t expect_model(void)
{
    size_t count = 0;
    size_t at = 0;
    struct ashlar_extent *before = NULL;
    for (struct ashlar_list *link = ashlar_list_first(&region.extents); link != NULL;
         link = ashlar_list_next(&region.extents, link), count++) {
        struct ashlar_extent *extent = ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
        size_t next = at + 1;
        while (next < WHOLE_PAGES && model[next] == NOTHING_BEGINS)
            next++;
        assert_ptr_equal(extent->base, start + at * PAGE);
        assert_ptr_equal(ashlar_extent_end(extent), start + next * PAGE);
        assert_int_equal(extent->state, model[at]);
        assert_true(extent->len_bytes >= PAGE);
        assert_true(extent->state == ASHLAR_EXTENT_LIVE || extent->hole_bytes <= extent->len_bytes);
        assert_ptr_equal(ashlar_extent_before(extent), before);
        if (before != NULL)
            assert_ptr_equal(ashlar_extent_behind(before), extent);
        before = extent;
        at = next;
    }
    assert_int_equal(at, WHOLE_PAGES);
    return count;
}

static struct ashlar_extent *nth_extent(size_t n)
{
    struct ashlar_list *link = ashlar_list_first(&region.extents);
    while (n-- > 0)
        link = ashlar_list_next(&region.extents, link);
    return ASHLAR_CONTAINER_OF(link, struct ashlar_extent, neighbours);
}

/* Of so many holes in an extent of `npages`, those that a piece has wherever they are. */
static void expect_least_holes(const struct ashlar_extent *piece, size_t hole_bytes, size_t npages)
{
    size_t outside = npages * PAGE - piece->len_bytes;
    assert_int_equal(piece->hole_bytes, hole_bytes > outside ? hole_bytes - outside : 0);
}

/* Cuts a freed extent as a request would, the front (if there is one) two pages long at least. */
static void cut_for_a_request(struct ashlar_extent *extent, uint64_t *seed)
{
    size_t npages = extent->len_bytes / PAGE;
    size_t front = test_random_below(seed, npages);
    front = front >= 2 ? front : 0;
    size_t wanted = 1 + test_random_below(seed, npages - front);
    size_t base = page_of(extent->base) + front;
    size_t holes = extent->hole_bytes;
    int freed = (int)extent->state;
    if (front != 0) {
        struct ashlar_extent *piece = ashlar_extent_cut_front(extent, start + base * PAGE);
        assert_int_equal(page_of(piece->base), base - front);
        expect_least_holes(piece, holes, npages);
        expect_least_holes(extent, holes, npages);
    }
    struct ashlar_extent *rear = ashlar_extent_cut_rear(extent, wanted * PAGE);
    assert_int_equal(rear != NULL, npages - front - wanted >= 2);
    if (rear != NULL) {
        model[base + wanted + 1] = freed;
        expect_least_holes(rear, holes, npages);
        expect_least_holes(extent, holes, npages);
    }
    ashlar_extent_forget_age(extent);
    extent->state = ASHLAR_EXTENT_LIVE;
    model[base] = ASHLAR_EXTENT_LIVE;
}

/* Frees a live extent, without joining it with its neighbours. */
static void free_extent(struct ashlar_extent *extent, uint64_t *seed)
{
    extent->len_bytes += extent->room_bytes;
    extent->room_bytes = 0;
    extent->state = test_random_below(seed, 2) ? ASHLAR_EXTENT_CLEAN : ASHLAR_EXTENT_DIRTY;
    extent->hole_bytes = 0;
    if (extent->state == ASHLAR_EXTENT_DIRTY) {
        ashlar_list_push_back(&ages, &extent->age);
        extent->hole_bytes = test_random_below(seed, extent->len_bytes / PAGE + 1) * PAGE;
    }
    model[page_of(extent->base)] = (int)extent->state;
}

static void join_with_the_next(struct ashlar_extent *extent)
{
    struct ashlar_extent *behind = ashlar_extent_behind(extent);
    if (behind == NULL || behind->state != extent->state)
        return;
    model[page_of(behind->base)] = NOTHING_BEGINS;
    size_t holes = extent->hole_bytes + behind->hole_bytes;
    assert_int_equal(ashlar_extent_join(extent, behind)->hole_bytes, holes);
}

static void random_cuts_and_joins_always_cover_the_same_addresses(void **state)
{
    (void)state;
    uint64_t seed = 1;
    size_t most = 0;
    for (size_t i = 0; i < WHOLE_PAGES; i++)
        model[i] = NOTHING_BEGINS;
    make(0, WHOLE_PAGES - 1, ASHLAR_EXTENT_CLEAN);
    model[0] = ASHLAR_EXTENT_CLEAN;
    for (int step = 0; step < 20000; step++) {
        size_t count = expect_model();
        struct ashlar_extent *extent = nth_extent(test_random_below(&seed, count));
        most = ashlar_max_size(most, count);
        if (extent->state == ASHLAR_EXTENT_LIVE)
            free_extent(extent, &seed);
        else if (test_random_below(&seed, 2))
            join_with_the_next(extent);
        else
            cut_for_a_request(extent, &seed);
    }
    assert_true(most > WHOLE_PAGES / 10);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_descriptor_is_zero_whatever_it_was_before),
        CASE(a_deleted_descriptor_is_none_of_a_block),
        CASE(there_is_no_descriptor_without_memory_nor_during_a_fork),
        CASE(payload_guard_and_room_lie_one_behind_the_other),
        CASE(extents_are_linked_by_address_in_whatever_order_they_come),
        CASE(extents_with_a_gap_between_them_are_not_neighbours),
        CASE(a_piece_cut_off_is_of_the_same_state_and_age),
        CASE(holes_that_may_lie_on_either_side_of_a_cut_are_nobodys),
        CASE(each_piece_has_the_holes_that_have_no_place_in_the_other),
        CASE(pieces_of_nothing_but_holes_are_nothing_but_holes),
        CASE(without_a_descriptor_holes_stay_where_they_are),
        CASE(a_page_and_a_guard_are_the_least_front),
        CASE(a_rest_of_two_pages_is_a_piece_and_of_one_page_room),
        CASE(without_a_descriptor_a_front_stays_and_a_rear_is_room),
        CASE(of_two_joined_the_longer_one_stays_with_its_age),
        CASE(an_age_can_be_forgotten_more_than_once),
        CASE(random_cuts_and_joins_always_cover_the_same_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
