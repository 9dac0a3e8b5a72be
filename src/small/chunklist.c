/*
 * chunklist.c - the chunks of an arena, by their longest free run
 *
 * Purpose     See chunklist.h.
 * Invariants  See chunklist.h.
 * Locking     See chunklist.h.
 * Layer       small/.
 */
#include "small/chunklist.h"

static struct ashlar_chunk *chunk_of(struct ashlar_list *link)
{
    return ASHLAR_CONTAINER_OF(link, struct ashlar_chunk, link);
}

void ashlar_chunklist_add(struct ashlar_chunklist *chunks, struct ashlar_chunk *chunk)
{
    chunk->listed = chunk->longest;
    ashlar_list_push_front(&chunks->by_longest[chunk->listed], &chunk->link);
}

void ashlar_chunklist_relist(struct ashlar_chunklist *chunks, struct ashlar_chunk *chunk)
{
    if (chunk->longest == chunk->listed)
        return;
    ashlar_list_remove(&chunk->link);
    ashlar_chunklist_add(chunks, chunk);
}

struct ashlar_chunk *ashlar_chunklist_settle(struct ashlar_chunklist *chunks,
                                             struct ashlar_chunk *chunk)
{
    ashlar_chunklist_relist(chunks, chunk);
    if (!ashlar_chunk_is_idle(chunk))
        return NULL;
    ashlar_list_remove(&chunk->link);
    return chunk;
}

unsigned ashlar_chunklist_take_run(struct ashlar_chunklist *chunks, unsigned len,
                                   struct ashlar_chunk **chunk, unsigned *ndirty)
{
    for (unsigned longest = len; longest <= ASHLAR_RUN_MAX; longest++) {
        struct ashlar_list *link;
        while ((link = ashlar_list_first(&chunks->by_longest[longest])) != NULL) {
            *chunk = chunk_of(link);
            unsigned first = ashlar_chunk_take(*chunk, len, ndirty);
            if (first != ASHLAR_SLICE_NONE)
                return first;
            ashlar_chunklist_relist(chunks, *chunk); /* below `len`: it was listed by a bound */
        }
    }
    return ASHLAR_SLICE_NONE;
}

void ashlar_chunklist_visit(struct ashlar_chunklist *chunks, ashlar_chunklist_visitor *visit,
                            void *context)
{
    for (unsigned longest = 0; longest <= ASHLAR_RUN_MAX; longest++) {
        struct ashlar_list *head = &chunks->by_longest[longest];
        struct ashlar_list *link = ashlar_list_first(head);
        while (link != NULL) {
            struct ashlar_chunk *chunk = chunk_of(link);
            link = ashlar_list_next(head, link);
            if (!visit(chunk, context))
                return;
        }
    }
}
