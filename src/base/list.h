/*
 * list.h - intrusive doubly linked lists
 *
 * Purpose     Lists of descriptors whose links live inside them: no allocation to insert.
 * Invariants  A list is a ring through its head; an empty ring points at itself. A node not on
 *             any list has next == NULL.
 * Locking     The caller's.
 * Layer       base/.
 */
#ifndef ASHLAR_BASE_LIST_H
#define ASHLAR_BASE_LIST_H

#include "base/base.h"

struct ashlar_list {
    struct ashlar_list *next;
    struct ashlar_list *prev;
};

static inline void ashlar_list_init(struct ashlar_list *head)
{
    head->next = head;
    head->prev = head;
}

/* True also for a zero-initialised head, so that static heads need no start-up. */
static inline bool ashlar_list_is_empty(const struct ashlar_list *head)
{
    return head->next == head || head->next == NULL;
}

static inline bool ashlar_list_is_linked(const struct ashlar_list *node)
{
    return node->next != NULL;
}

static inline void ashlar_list_insert_after(struct ashlar_list *where, struct ashlar_list *node)
{
    node->next = where->next;
    node->prev = where;
    where->next->prev = node;
    where->next = node;
}

static inline void ashlar_list_push_front(struct ashlar_list *head, struct ashlar_list *node)
{
    if (head->next == NULL)
        ashlar_list_init(head);
    ashlar_list_insert_after(head, node);
}

static inline void ashlar_list_push_back(struct ashlar_list *head, struct ashlar_list *node)
{
    if (head->next == NULL)
        ashlar_list_init(head);
    ashlar_list_insert_after(head->prev, node);
}

static inline void ashlar_list_remove(struct ashlar_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = NULL;
    node->prev = NULL;
}

/* The first node, or NULL. */
static inline struct ashlar_list *ashlar_list_first(const struct ashlar_list *head)
{
    return ashlar_list_is_empty(head) ? NULL : head->next;
}

/* The node after `node`, or NULL at the end. */
static inline struct ashlar_list *ashlar_list_next(const struct ashlar_list *head,
                                                   const struct ashlar_list *node)
{
    return node->next == head ? NULL : node->next;
}

#endif
