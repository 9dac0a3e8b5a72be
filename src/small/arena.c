/*
 * arena.c - slabs for thread caches, pages back to the kernel
 *
 * Purpose     See arena.h.
 * Invariants  A slab on a list `abandoned` has no owner, its ABANDONED flag set, and live objects.
 * Locking     The arena's lock for everything but the kernel calls, which chunk.c makes.
 * Layer       small/.
 */
#include "small/arena.h"

#include "base/check.h"
#include "base/rng.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "map/meta.h"
#include "map/pagemap.h"
#include "os/os.h"

/* Idle memory in all arenas from which one is asked for slices before another maps more. */
#define BORROW_FROM_BYTES (512 * ASHLAR_KIB)

/* Slabs that other threads have emptied, and their part of all, before they are looked for when
   memory is wanted: each look passes all slabs. */
#define TAKE_BACK_LEAST 8
#define TAKE_BACK_PART 64

/* Slabs that may be passed in a millisecond's time by looks that are not made for want of memory:
   at some 100 ns each a twentieth of it. */
#define TAKE_BACK_PER_MS 512

static struct ashlar_arena arenas[ASHLAR_ARENA_MAX];
static _Atomic uint64_t next_take_back_ms;
static _Atomic size_t adoptable_slabs[ASHLAR_CLASS_COUNT]; /* of all arenas: with free objects */
static _Atomic size_t emptied_slabs; /* by other threads, since they were last looked for */
static _Atomic unsigned arena_count;
static struct ashlar_meta_pool slab_pool = {.object_bytes = sizeof(struct ashlar_slab)};
static _Atomic uint64_t key_state;

struct ashlar_arena *ashlar_arena_at(unsigned index)
{
    ashlar_assert(index < ASHLAR_ARENA_MAX);
    unsigned count = atomic_load_explicit(&arena_count, memory_order_acquire);
    while (count <= index) {
        /* Zero is a ready arena but for the rank of its lock; two threads write the same value. */
        arenas[count].lock.rank = ASHLAR_RANK_ARENA;
        if (atomic_load_explicit(&key_state, memory_order_relaxed) == 0)
            atomic_store_explicit(&key_state, ashlar_os_random(), memory_order_relaxed);
        if (atomic_compare_exchange_strong(&arena_count, &count, count + 1))
            count++;
    }
    return &arenas[index];
}

unsigned ashlar_arena_count(void)
{
    return atomic_load_explicit(&arena_count, memory_order_acquire);
}

/* Unmaps a chunk that is on no list, or lists it again when the kernel would not. */
static void drop_chunk(struct ashlar_arena *arena, struct ashlar_chunk *chunk)
{
    if (chunk == NULL || ashlar_chunk_unmap(chunk))
        return;
    if (!ashlar_lock_take(&arena->lock))
        return; /* the kernel refused to unmap while a fork runs: the address space is lost */
    ashlar_chunklist_add(&arena->chunks, chunk);
    ashlar_lock_release(&arena->lock);
}

/* Those that are of use to a new owner stand first. Arena locked. */
static void list_abandoned(struct ashlar_arena *arena, struct ashlar_slab *slab)
{
    struct ashlar_list *head = &arena->abandoned[slab->class_id];
    if (!ashlar_slab_can_serve(slab)) {
        ashlar_list_push_back(head, &slab->all);
        return;
    }
    ashlar_list_push_front(head, &slab->all);
    atomic_fetch_add_explicit(&adoptable_slabs[slab->class_id], 1, memory_order_relaxed);
}

static void unlist_abandoned(struct ashlar_slab *slab)
{
    ashlar_list_remove(&slab->all);
    if (ashlar_slab_can_serve(slab))
        atomic_fetch_sub_explicit(&adoptable_slabs[slab->class_id], 1, memory_order_relaxed);
}

/* An abandoned slab of the class with free objects, for its new owner, arena locked; NULL: none. */
static struct ashlar_slab *adopt_of(struct ashlar_arena *arena, unsigned class_id,
                                    struct ashlar_slab_owner *owner)
{
    struct ashlar_list *link = ashlar_list_first(&arena->abandoned[class_id]);
    if (link == NULL)
        return NULL;
    struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, all);
    if (!ashlar_slab_can_serve(slab))
        return NULL;
    unlist_abandoned(slab);
    ashlar_span_set_owner(&slab->span, (uintptr_t)owner);
    ashlar_slab_adopt(slab);
    ashlar_count(slabs_adopted);
    return slab;
}

/* The same of any arena, the thread's own first: threads whose predecessors were of another one
   would leave the slabs behind that hold what they were handed. NULL: none, or a fork under way. */
static struct ashlar_slab *adopt_slab(const struct ashlar_arena *own, unsigned class_id,
                                      struct ashlar_slab_owner *owner)
{
    struct ashlar_slab *slab = NULL;
    unsigned count = ashlar_arena_count();
    for (unsigned i = 0; i < count && slab == NULL; i++) {
        struct ashlar_arena *arena = &arenas[((size_t)(own - arenas) + i) % count];
        if (atomic_load_explicit(&adoptable_slabs[class_id], memory_order_relaxed) == 0 ||
            !ashlar_lock_take(&arena->lock))
            break;
        slab = adopt_of(arena, class_id, owner);
        ashlar_lock_release(&arena->lock);
    }
    return slab;
}

static size_t slab_bytes(const struct ashlar_slab *slab)
{
    return slab->nslices * ASHLAR_SLICE_BYTES;
}

/* Makes a slab of a run of slices. */
static void cut_slab(struct ashlar_slab *slab, struct ashlar_chunk *chunk, unsigned first,
                     unsigned class_id, struct ashlar_slab_owner *owner)
{
    ashlar_slab_init(slab, class_id, chunk->base + first * ASHLAR_SLICE_BYTES,
                     ashlar_rng_shared(&key_state));
    ashlar_span_set_owner(&slab->span, (uintptr_t)owner);
    slab->chunk = chunk;
    slab->link.next = NULL;
    slab->all.next = NULL;
    ashlar_count(slabs);
    ashlar_count_add(slab_bytes, slab_bytes(slab));
}

/* Gives the slices of an empty slab back to their chunk, arena locked. */
static void put_slices(struct ashlar_slab *slab)
{
    struct ashlar_chunk *chunk = slab->chunk;
    unsigned first = (unsigned)((size_t)(slab->base - chunk->base) / ASHLAR_SLICE_BYTES);
    size_t ntouched = ashlar_slab_touched_bytes(slab) / ASHLAR_SLICE_BYTES;
    struct ashlar_run run = {first, slab->nslices};
    ashlar_pagemap_set(slab->base, slab_bytes(slab), NULL);
    ashlar_count_sub(slabs, 1);
    ashlar_count_sub(slab_bytes, slab_bytes(slab));
    ashlar_chunk_put(chunk, run, (unsigned)ntouched);
}

/* Maps a chunk more; false: out of memory, or a fork under way. */
static bool add_chunk(struct ashlar_arena *arena, unsigned need_slices)
{
    struct ashlar_chunk *chunk = ashlar_chunk_map(arena, need_slices);
    if (chunk == NULL)
        return false;
    if (!ashlar_lock_take(&arena->lock)) {
        (void)ashlar_chunk_unmap(chunk);
        return false;
    }
    chunk->turn = arena->next_chunk_turn++ % ASHLAR_CHUNK_TURNS;
    ashlar_chunklist_add(&arena->chunks, chunk);
    ashlar_lock_release(&arena->lock);
    return true;
}

/* A slab cut off the chunks there are; NULL: out of memory, a fork under way, or a chunk is
   needed. */
static struct ashlar_slab *get_slab(struct ashlar_arena *arena, unsigned class_id,
                                    struct ashlar_slab_owner *owner, bool *needs_chunk)
{
    *needs_chunk = false;
    struct ashlar_slab *slab = ashlar_meta_get(&slab_pool);
    if (slab == NULL)
        return NULL;
    if (!ashlar_lock_take(&arena->lock)) {
        ashlar_meta_put(&slab_pool, slab);
        return NULL;
    }
    struct ashlar_chunk *chunk;
    unsigned ndirty;
    unsigned first = ashlar_chunklist_take_run(&arena->chunks, ashlar_slab_slices(class_id), &chunk,
                                               &ndirty);
    *needs_chunk = first == ASHLAR_SLICE_NONE;
    if (!*needs_chunk) {
        cut_slab(slab, chunk, first, class_id, owner);
        slab->ntouched = (uint8_t)ndirty;
    }
    ashlar_lock_release(&arena->lock);
    if (!*needs_chunk)
        return slab;
    ashlar_meta_put(&slab_pool, slab);
    return NULL;
}

size_t ashlar_arena_note_emptied(void)
{
    return atomic_fetch_add_explicit(&emptied_slabs, 1, memory_order_relaxed) + 1;
}

size_t ashlar_arena_emptied(void)
{
    return atomic_load_explicit(&emptied_slabs, memory_order_relaxed);
}

bool ashlar_arena_is_take_back_due(void)
{
    size_t emptied = ashlar_arena_emptied();
    return emptied >= TAKE_BACK_LEAST && emptied >= ashlar_count_read(slabs) / TAKE_BACK_PART;
}

/* Arena locked. */
static bool take_back_in(struct ashlar_chunk *chunk, void *context)
{
    (void)context;
    unsigned slice = 0;
    struct ashlar_slab *slab;
    while ((slab = ashlar_slab_next_in(chunk, &slice)) != NULL) {
        if (!ashlar_slab_take_away(slab))
            continue;
        put_slices(slab);
        ashlar_count(slabs_taken_back);
        ashlar_slab_leave(slab);
    }
    ashlar_chunklist_relist(&chunk->arena->chunks, chunk);
    return true;
}

void ashlar_arena_take_back_all(void)
{
    if (atomic_exchange_explicit(&emptied_slabs, 0, memory_order_relaxed) == 0)
        return;
    for (unsigned i = 0; i < ashlar_arena_count(); i++) {
        if (!ashlar_lock_take(&arenas[i].lock)) {
            (void)ashlar_arena_note_emptied(); /* when the fork is over */
            continue;
        }
        ashlar_chunklist_visit(&arenas[i].chunks, take_back_in, NULL);
        ashlar_lock_release(&arenas[i].lock);
    }
}

void ashlar_arena_take_back_sometimes(uint64_t now_ms)
{
    if (ashlar_arena_emptied() == 0 ||
        now_ms < atomic_load_explicit(&next_take_back_ms, memory_order_relaxed))
        return;
    uint64_t pause_ms = ashlar_max_size(ashlar_count_read(slabs) / TAKE_BACK_PER_MS,
                                        ashlar_options_decay_step_ms());
    atomic_store_explicit(&next_take_back_ms, now_ms + pause_ms, memory_order_relaxed);
    ashlar_arena_take_back_all();
}

void ashlar_arena_bury(struct ashlar_slab *slab)
{
    ashlar_assert(ashlar_slab_is_gone(slab));
    ashlar_meta_put(&slab_pool, slab);
}

/* A slab of another arena, where much idle memory is held: what threads have freed that are gone,
   or that free more than they take. NULL: none. */
static struct ashlar_slab *borrow_slab(const struct ashlar_arena *own, unsigned class_id,
                                       struct ashlar_slab_owner *owner)
{
    struct ashlar_slab *slab = NULL;
    unsigned count = ashlar_arena_count();
    bool needs_chunk;
    if (ashlar_count_read(arena_dirty_bytes) < BORROW_FROM_BYTES)
        return NULL;
    for (unsigned i = 0; i < count && slab == NULL; i++) {
        if (&arenas[i] != own)
            slab = get_slab(&arenas[i], class_id, owner, &needs_chunk);
    }
    return slab;
}

struct ashlar_slab *ashlar_arena_get(struct ashlar_arena *arena, unsigned class_id,
                                     struct ashlar_slab_owner *owner)
{
    struct ashlar_slab *slab = adopt_slab(arena, class_id, owner);
    if (slab != NULL)
        return slab;
    bool needs_chunk;
    slab = get_slab(arena, class_id, owner, &needs_chunk);
    if (needs_chunk && ashlar_arena_is_take_back_due()) {
        ashlar_arena_take_back_all();
        slab = get_slab(arena, class_id, owner, &needs_chunk);
    }
    if (needs_chunk)
        slab = borrow_slab(arena, class_id, owner);
    while (slab == NULL && needs_chunk && add_chunk(arena, ashlar_slab_slices(class_id)))
        slab = get_slab(arena, class_id, owner, &needs_chunk);
    return slab;
}

/* Takes an empty slab apart, arena locked; a chunk to unmap, or NULL. */
static struct ashlar_chunk *put_slab(struct ashlar_arena *arena, struct ashlar_slab *slab)
{
    struct ashlar_chunk *chunk = slab->chunk;
    put_slices(slab);
    ashlar_span_set_owner(&slab->span, 0);
    ashlar_meta_put(&slab_pool, slab);
    return ashlar_chunklist_settle(&arena->chunks, chunk);
}

bool ashlar_arena_put(struct ashlar_slab *slab)
{
    struct ashlar_arena *arena = slab->chunk->arena;
    if (!ashlar_lock_take(&arena->lock))
        return false;
    struct ashlar_chunk *idle = put_slab(arena, slab);
    ashlar_lock_release(&arena->lock);
    drop_chunk(arena, idle);
    if (ashlar_opt.decay_ms == 0)
        (void)ashlar_arena_trim(arena);
    return true;
}

void ashlar_arena_abandon(struct ashlar_slab *slab)
{
    /* The chunk of one that is gone may be another's by now, but has an arena, and any will do. */
    struct ashlar_arena *arena = slab->chunk->arena;
    if (!ashlar_lock_take_patiently(&arena->lock))
        return;
    if (ashlar_slab_is_gone(slab)) {
        ashlar_lock_release(&arena->lock);
        ashlar_arena_bury(slab);
        return;
    }
    ashlar_slab_abandon(slab);
    ashlar_slab_collect(slab);
    struct ashlar_chunk *idle = NULL;
    if (slab->span.used == 0)
        idle = put_slab(arena, slab);
    else
        list_abandoned(arena, slab);
    ashlar_lock_release(&arena->lock);
    drop_chunk(arena, idle);
}

enum ashlar_arena_free ashlar_arena_free_abandoned(struct ashlar_slab *slab, char *object)
{
    /* The slab holds a live object, the caller's, so it stays a slab of this chunk. */
    struct ashlar_arena *arena = slab->chunk->arena;
    if (!ashlar_lock_take(&arena->lock))
        return ASHLAR_FREE_REFUSED;
    if (!ashlar_slab_is_abandoned(slab)) {
        ashlar_lock_release(&arena->lock);
        return ASHLAR_FREE_RETRY;
    }
    struct ashlar_chunk *idle = NULL;
    unlist_abandoned(slab);
    ashlar_slab_push(slab, object);
    ashlar_slab_collect(slab);
    if (slab->span.used == 0)
        idle = put_slab(arena, slab);
    else
        list_abandoned(arena, slab);
    ashlar_lock_release(&arena->lock);
    drop_chunk(arena, idle);
    return ASHLAR_FREE_DONE;
}

/* Chunks by their turns: bit i for those of turn i. */
#define ALL_TURNS ((1u << ASHLAR_CHUNK_TURNS) - 1)

static bool has_turn(const struct ashlar_chunk *chunk, unsigned turns)
{
    return (turns >> chunk->turn & 1) != 0;
}

struct purge_search {
    enum ashlar_idle_choice choice;
    unsigned turns;
    struct ashlar_chunk *chunk;
    struct ashlar_slicemap victims;
};

static bool find_victims(struct ashlar_chunk *chunk, void *context)
{
    struct purge_search *search = context;
    bool is_found = has_turn(chunk, search->turns) &&
                    ashlar_chunk_detach(chunk, search->choice, &search->victims);
    search->chunk = is_found ? chunk : NULL;
    return !is_found;
}

/* Takes back what a purger that met a fork has left. */
static bool collect_chunk(struct ashlar_chunk *chunk, void *context)
{
    (void)context;
    ashlar_chunk_collect(chunk);
    ashlar_chunklist_relist(&chunk->arena->chunks, chunk);
    return true;
}

/* Purges chunk after chunk of those turns, the lock released around each kernel call; true when one
   was. */
static bool purge_idle(struct ashlar_arena *arena, enum ashlar_idle_choice choice, unsigned turns)
{
    bool has_purged = false;
    struct purge_search search = {.choice = choice, .turns = turns};
    if (!ashlar_lock_take(&arena->lock))
        return false;
    ashlar_chunklist_visit(&arena->chunks, collect_chunk, NULL);
    ashlar_lock_release(&arena->lock);
    while (ashlar_lock_take(&arena->lock)) {
        search.chunk = NULL;
        ashlar_chunklist_visit(&arena->chunks, find_victims, &search);
        ashlar_lock_release(&arena->lock);
        if (search.chunk == NULL)
            break;
        struct ashlar_slicemap clean;
        ashlar_chunk_purge(search.chunk, &search.victims, &clean);
        bool is_short = ashlar_slicemap_next_run(&search.victims, 0).len != 0;
        has_purged |= ashlar_slicemap_next_run(&clean, 0).len != 0;
        if (!ashlar_lock_take(&arena->lock)) {
            ashlar_chunk_leave(search.chunk, &search.victims, &clean);
            break;
        }
        ashlar_chunk_put_back(search.chunk, &search.victims, &clean);
        struct ashlar_chunk *idle = ashlar_chunklist_settle(&arena->chunks, search.chunk);
        ashlar_lock_release(&arena->lock);
        drop_chunk(arena, idle);
        if (is_short)
            break; /* the kernel is short of memory or mappings: not now */
    }
    return has_purged;
}

static bool age_chunk(struct ashlar_chunk *chunk, void *context)
{
    if (has_turn(chunk, *(unsigned *)context))
        ashlar_chunk_age(chunk);
    return true;
}

/* Whose turn it is, for as many steps as have passed; 0: nobody's yet. */
static unsigned next_turns_locked(struct ashlar_arena *arena, uint64_t now_ms)
{
    uint64_t step_ms = ashlar_options_decay_step_ms();
    uint64_t steps = now_ms > arena->tick_ms ? (now_ms - arena->tick_ms) / step_ms : 0;
    if (steps >= ASHLAR_CHUNK_TURNS) {
        /* All are marked now, so none may go before the next turn of the last one. */
        arena->tick_ms = now_ms;
        arena->purge_from_ms = now_ms + ASHLAR_CHUNK_TURNS * step_ms;
        return ALL_TURNS;
    }
    arena->tick_ms += steps * step_ms;
    unsigned turns = 0;
    for (; steps != 0; steps--) {
        arena->turn = (arena->turn + 1) % ASHLAR_CHUNK_TURNS;
        turns |= 1u << arena->turn;
    }
    return turns;
}

/*
 * Two generations: what is dirty at one turn of its chunk and still is at the next goes, so memory
 * is purged between one half and one whole decay time after it fell idle. The chunks take turns,
 * so that not all that a burst has freed goes at once.
 */
void ashlar_arena_tick(struct ashlar_arena *arena, uint64_t now_ms)
{
    if (ashlar_opt.decay_ms < 0 || !ashlar_lock_take(&arena->lock))
        return;
    bool may_purge = now_ms >= arena->purge_from_ms;
    unsigned turns = next_turns_locked(arena, now_ms);
    ashlar_lock_release(&arena->lock);
    if (turns == 0)
        return;
    if (may_purge)
        (void)purge_idle(arena, ASHLAR_IDLE_AGED, turns);
    if (ashlar_lock_take(&arena->lock)) {
        ashlar_chunklist_visit(&arena->chunks, age_chunk, &turns);
        ashlar_lock_release(&arena->lock);
    }
}

bool ashlar_arena_trim(struct ashlar_arena *arena)
{
    return purge_idle(arena, ASHLAR_IDLE_ALL, ALL_TURNS);
}

void ashlar_arena_trim_all(void)
{
    ashlar_arena_take_back_all();
    for (unsigned i = 0; i < ashlar_arena_count(); i++)
        (void)ashlar_arena_trim(&arenas[i]);
}
