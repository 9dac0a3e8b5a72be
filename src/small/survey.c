/*
 * survey.c - what is where in small memory
 *
 * Purpose     See survey.h.
 * Invariants  None of its own.
 * Locking     See survey.h.
 * Layer       small/.
 */
#include "small/survey.h"

struct slab_visit {
    void (*visit)(const struct ashlar_slab *slab, void *context);
    void *context;
};

static bool visit_slabs(struct ashlar_chunk *chunk, void *context)
{
    const struct slab_visit *slabs = context;
    unsigned slice = 0;
    const struct ashlar_slab *slab;
    while ((slab = ashlar_slab_next_in(chunk, &slice)) != NULL)
        slabs->visit(slab, slabs->context);
    return true;
}

bool ashlar_survey_slabs(struct ashlar_arena *arena,
                         void (*visit)(const struct ashlar_slab *slab, void *context),
                         void *context)
{
    struct slab_visit slabs = {visit, context};
    if (!ashlar_lock_take_patiently(&arena->lock))
        return false;
    ashlar_chunklist_visit(&arena->chunks, visit_slabs, &slabs);
    ashlar_lock_release(&arena->lock);
    return true;
}

struct address_search {
    uintptr_t address;
    enum ashlar_survey_place place;
};

static void find_in_slab(const struct ashlar_slab *slab, void *context)
{
    struct address_search *search = context;
    if (search->address - (uintptr_t)slab->base < slab->nslices * ASHLAR_SLICE_BYTES)
        search->place = ASHLAR_SURVEY_IN_SLAB;
}

static bool find_address(struct ashlar_chunk *chunk, void *context)
{
    struct address_search *search = context;
    if (search->address - (uintptr_t)chunk->base >= chunk->nslices * ASHLAR_SLICE_BYTES)
        return true;
    search->place = ASHLAR_SURVEY_IDLE;
    visit_slabs(chunk, &(struct slab_visit){find_in_slab, search});
    return false;
}

enum ashlar_survey_place ashlar_survey_place_of(const void *address)
{
    struct address_search search = {(uintptr_t)address, ASHLAR_SURVEY_NOWHERE};
    for (unsigned i = 0; i < ashlar_arena_count() && search.place == ASHLAR_SURVEY_NOWHERE; i++) {
        struct ashlar_arena *arena = ashlar_arena_at(i);
        if (!ashlar_lock_take(&arena->lock))
            break;
        ashlar_chunklist_visit(&arena->chunks, find_address, &search);
        ashlar_lock_release(&arena->lock);
    }
    return search.place;
}
