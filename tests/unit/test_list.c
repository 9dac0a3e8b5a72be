/*
 * test_list.c - intrusive doubly linked lists
 */
#include "unit/testing.h"

#include "base/list.h"

#define NODES 40

struct item {
    int before; /* so that the link is not at the start */
    struct ashlar_list link;
};

static void a_zero_head_is_empty_and_ready(void **state)
{
    (void)state;
    struct ashlar_list head = {0};
    struct ashlar_list node = {0};
    assert_true(ashlar_list_is_empty(&head));
    assert_null(ashlar_list_first(&head));
    ashlar_list_push_back(&head, &node);
    assert_ptr_equal(ashlar_list_first(&head), &node);
    struct ashlar_list other = {0};
    struct ashlar_list second = {0};
    ashlar_list_push_front(&other, &second);
    assert_false(ashlar_list_is_empty(&other));
}

static void a_node_knows_whether_it_is_on_a_list(void **state)
{
    (void)state;
    struct ashlar_list head;
    struct item item = {0};
    ashlar_list_init(&head);
    assert_true(ashlar_list_is_empty(&head));
    assert_false(ashlar_list_is_linked(&item.link));
    ashlar_list_push_front(&head, &item.link);
    assert_true(ashlar_list_is_linked(&item.link));
    assert_ptr_equal(ASHLAR_CONTAINER_OF(ashlar_list_first(&head), struct item, link), &item);
    ashlar_list_remove(&item.link);
    assert_false(ashlar_list_is_linked(&item.link));
    assert_true(ashlar_list_is_empty(&head));
}

static void expect_order(const struct ashlar_list *head, struct ashlar_list *const *model, size_t n)
{
    struct ashlar_list *link = ashlar_list_first(head);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(link, model[i]);
        assert_ptr_equal(link->next->prev, link);
        assert_ptr_equal(link->prev->next, link);
        link = ashlar_list_next(head, link);
    }
    assert_null(link);
}

static void a_list_keeps_the_order_that_an_array_keeps(void **state)
{
    (void)state;
    struct ashlar_list head;
    struct ashlar_list nodes[NODES] = {{0}};
    struct ashlar_list *model[NODES];
    size_t count = 0;
    uint64_t seed = 3;

    ashlar_list_init(&head);
    for (int round = 0; round < 4000; round++) {
        struct ashlar_list *node = &nodes[test_random_below(&seed, NODES)];
        size_t at = 0;
        if (ashlar_list_is_linked(node)) {
            while (model[at] != node)
                at++;
            ashlar_list_remove(node);
            memmove(&model[at], &model[at + 1], (count - at - 1) * sizeof model[0]);
            count--;
        } else {
            switch (test_random_below(&seed, 3)) {
            case 0:
                ashlar_list_push_front(&head, node);
                at = 0;
                break;
            case 1:
                ashlar_list_push_back(&head, node);
                at = count;
                break;
            default:
                at = test_random_below(&seed, count + 1);
                ashlar_list_insert_after(at == 0 ? &head : model[at - 1], node);
            }
            memmove(&model[at + 1], &model[at], (count - at) * sizeof model[0]);
            model[at] = node;
            count++;
        }
        assert_int_equal(ashlar_list_is_empty(&head), count == 0);
        expect_order(&head, model, count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zero_head_is_empty_and_ready),
        cmocka_unit_test(a_node_knows_whether_it_is_on_a_list),
        cmocka_unit_test(a_list_keeps_the_order_that_an_array_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
