/*
 * chunk.c - a run of slices that slabs are cut from
 *
 * Purpose     See chunk.h.
 * Invariants  See chunk.h; ashlar_counters.arena_dirty_bytes follows every change of a dirty word.
 * Locking     See chunk.h.
 * Layer       small/.
 */
#include "small/chunk.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "conf/counters.h"
#include "map/meta.h"
#include "map/region.h"
#include "os/os.h"

static struct ashlar_meta_pool chunk_pool = {.object_bytes = sizeof(struct ashlar_chunk)};

/* Slabs neither lie across a multiple of this nor end there: see slab.h. */
#define BORDER_BYTES ((uintptr_t)4 * ASHLAR_GIB)

/* Ranges purged by one call of the kernel. */
#define PURGE_RANGES 64

unsigned ashlar_chunk_slices_off_border(const char *base, unsigned nslices)
{
    uintptr_t end = (uintptr_t)base + nslices * ASHLAR_SLICE_BYTES;
    bool ends_there = end % BORDER_BYTES == 0;
    return ends_there ? nslices - (unsigned)(ashlar_os_facts.page_bytes / ASHLAR_SLICE_BYTES)
                      : nslices;
}

/* Gives the last page of a chunk that ends at a border back; what is left. */
static unsigned cut_at_border(char *base, unsigned nslices, unsigned need_slices)
{
    unsigned left = ashlar_chunk_slices_off_border(base, nslices);
    if (left == nslices || left < need_slices)
        return nslices;
    size_t left_bytes = left * ASHLAR_SLICE_BYTES;
    /* If the kernel will not unmap it, a page of address space is lost. */
    (void)ashlar_region_unmap_chunk(base + left_bytes, nslices * ASHLAR_SLICE_BYTES - left_bytes);
    return left;
}

/* The longest chunk that address space allows, 4 MiB if possible; NULL: not even the need. */
static char *map_slices(unsigned need_slices, unsigned *nslices)
{
    for (*nslices = ASHLAR_CHUNK_SLICES;;) {
        size_t len = *nslices * ASHLAR_SLICE_BYTES;
        size_t align = *nslices == ASHLAR_CHUNK_SLICES ? len : ASHLAR_SLICE_BYTES;
        char *base = ashlar_region_map_chunk(len, align);
        if (base != NULL && ashlar_pagemap_prepare(base, len)) {
            *nslices = cut_at_border(base, *nslices, need_slices);
            return base;
        }
        if (base != NULL)
            (void)ashlar_region_unmap_chunk(base, len);
        if (*nslices == need_slices)
            return NULL;
        *nslices = *nslices / 4 > need_slices ? *nslices / 4 : need_slices;
    }
}

struct ashlar_chunk *ashlar_chunk_map(struct ashlar_arena *arena, unsigned need_slices)
{
    struct ashlar_chunk *chunk = ashlar_meta_get(&chunk_pool);
    if (chunk == NULL)
        return NULL;
    unsigned nslices;
    char *base = map_slices(need_slices, &nslices);
    if (base == NULL) {
        ashlar_meta_put(&chunk_pool, chunk);
        return NULL;
    }
    /* Never without an arena: see ashlar_arena_abandon. */
    chunk->arena = arena;
    chunk->link = (struct ashlar_list){NULL, NULL};
    memset(&chunk->base, 0, sizeof *chunk - offsetof(struct ashlar_chunk, base));
    chunk->base = base;
    chunk->nslices = nslices;
    chunk->nfree = ashlar_slicemap_add(&chunk->free, (struct ashlar_run){0, nslices});
    chunk->longest = ASHLAR_RUN_MAX;
    memset(chunk->bounds, ASHLAR_RUN_MAX, sizeof chunk->bounds);
    return chunk;
}

bool ashlar_chunk_unmap(struct ashlar_chunk *chunk)
{
    ashlar_assert(ashlar_chunk_is_idle(chunk));
    if (!ashlar_region_unmap_chunk(chunk->base, chunk->nslices * ASHLAR_SLICE_BYTES))
        return false;
    ashlar_meta_put(&chunk_pool, chunk);
    return true;
}

/* Follows a change of the map `dirty`. */
static void count_dirty(struct ashlar_chunk *chunk, unsigned more, unsigned less)
{
    chunk->ndirty += more - less;
    if (more != 0)
        ashlar_count_add(arena_dirty_bytes, more * ASHLAR_SLICE_BYTES);
    if (less != 0)
        ashlar_count_sub(arena_dirty_bytes, less * ASHLAR_SLICE_BYTES);
}

/* No run of `len` slices starts in the words in front of `end`. */
static void lower_bounds(struct ashlar_chunk *chunk, unsigned end, unsigned len)
{
    for (unsigned i = 0; i < end; i++) {
        if (chunk->bounds[i] >= len)
            chunk->bounds[i] = (uint8_t)(len - 1);
    }
}

static void raise_bounds(struct ashlar_chunk *chunk, struct ashlar_run run)
{
    unsigned len = run.len < ASHLAR_RUN_MAX ? run.len : ASHLAR_RUN_MAX;
    for (unsigned i = run.first / 64; i <= (run.first + run.len - 1) / 64; i++) {
        if (chunk->bounds[i] < len)
            chunk->bounds[i] = (uint8_t)len;
    }
    if (chunk->longest < len)
        chunk->longest = len;
}

static unsigned find_free(struct ashlar_chunk *chunk, unsigned len)
{
    unsigned first = ashlar_slicemap_find(&chunk->free, len, chunk->bounds);
    bool is_found = first != ASHLAR_SLICE_NONE;
    lower_bounds(chunk, is_found ? first / 64 : ASHLAR_SLICEMAP_WORDS, len);
    if (is_found)
        return first;
    chunk->longest = 0;
    for (unsigned i = 0; i < ASHLAR_SLICEMAP_WORDS; i++) {
        if (chunk->longest < chunk->bounds[i])
            chunk->longest = chunk->bounds[i];
    }
    return first;
}

static void take_out(struct ashlar_chunk *chunk, struct ashlar_run run)
{
    chunk->nfree -= ashlar_slicemap_remove(&chunk->free, run);
    if (chunk->ndirty == 0)
        return;
    (void)ashlar_slicemap_remove(&chunk->aged, run);
    count_dirty(chunk, 0, ashlar_slicemap_remove(&chunk->dirty, run));
}

unsigned ashlar_chunk_take(struct ashlar_chunk *chunk, unsigned len, unsigned *ndirty)
{
    unsigned first = find_free(chunk, len);
    *ndirty = 0;
    if (first == ASHLAR_SLICE_NONE)
        return first;
    struct ashlar_run run = {first, len};
    if (chunk->ndirty != 0)
        *ndirty = ashlar_slicemap_last_in(&chunk->dirty, run);
    take_out(chunk, run);
    return first;
}

static void put_clean(struct ashlar_chunk *chunk, struct ashlar_run run)
{
    unsigned added = ashlar_slicemap_add(&chunk->free, run);
    ashlar_assert(added == run.len);
    chunk->nfree += added;
    raise_bounds(chunk, ashlar_slicemap_around(&chunk->free, run));
}

static void mark_dirty(struct ashlar_chunk *chunk, struct ashlar_run run)
{
    count_dirty(chunk, ashlar_slicemap_add(&chunk->dirty, run), 0);
}

static void put_dirty(struct ashlar_chunk *chunk, struct ashlar_run run)
{
    put_clean(chunk, run);
    mark_dirty(chunk, run);
}

void ashlar_chunk_put(struct ashlar_chunk *chunk, struct ashlar_run run, unsigned ndirty)
{
    ashlar_assert((run.first | ndirty) * ASHLAR_SLICE_BYTES % ashlar_os_facts.page_bytes == 0);
    put_clean(chunk, run);
    mark_dirty(chunk, (struct ashlar_run){run.first, ndirty});
}

void ashlar_chunk_age(struct ashlar_chunk *chunk)
{
    chunk->aged = chunk->dirty;
}

/* Calls `visit` for each run of a set. */
static void visit_runs(struct ashlar_chunk *chunk, const struct ashlar_slicemap *set,
                       void (*visit)(struct ashlar_chunk *chunk, struct ashlar_run run))
{
    for (struct ashlar_run run = ashlar_slicemap_next_run(set, 0); run.len != 0;
         run = ashlar_slicemap_next_run(set, run.first + run.len))
        visit(chunk, run);
}

bool ashlar_chunk_detach(struct ashlar_chunk *chunk, enum ashlar_idle_choice choice,
                         struct ashlar_slicemap *victims)
{
    if (chunk->ndirty == 0)
        return false;
    *victims = choice == ASHLAR_IDLE_ALL ? chunk->dirty : chunk->aged;
    unsigned before = chunk->ndirty;
    visit_runs(chunk, victims, take_out);
    return chunk->ndirty != before;
}

/* The first runs of a set as ranges of addresses; their number. */
static size_t ranges_of(const struct ashlar_chunk *chunk, const struct ashlar_slicemap *set,
                        struct ashlar_os_range *ranges, struct ashlar_run *runs)
{
    size_t count = 0;
    struct ashlar_run run = ashlar_slicemap_next_run(set, 0);
    while (run.len != 0 && count < PURGE_RANGES) {
        ranges[count] = (struct ashlar_os_range){chunk->base + run.first * ASHLAR_SLICE_BYTES,
                                                 run.len * ASHLAR_SLICE_BYTES};
        runs[count++] = run;
        run = ashlar_slicemap_next_run(set, run.first + run.len);
    }
    return count;
}

/* Purges ranges until the kernel fails; how many. */
static size_t purge_ranges(const struct ashlar_os_range *ranges, size_t count)
{
    size_t done = 0;
    if (ashlar_os_purge_many(ranges, count, &done) == EINVAL) {
        /* mlocked, so one by one */
        while (done < count && ashlar_os_purge(ranges[done].addr, ranges[done].len_bytes) == 0)
            done++;
    }
    ashlar_count(purge_calls);
    return done;
}

void ashlar_chunk_purge(const struct ashlar_chunk *chunk, struct ashlar_slicemap *dirty,
                        struct ashlar_slicemap *clean)
{
    struct ashlar_os_range ranges[PURGE_RANGES];
    struct ashlar_run runs[PURGE_RANGES];
    memset(clean, 0, sizeof *clean);
    for (;;) {
        size_t count = ranges_of(chunk, dirty, ranges, runs);
        size_t done = count != 0 ? purge_ranges(ranges, count) : 0;
        for (size_t i = 0; i < done; i++) {
            (void)ashlar_slicemap_remove(dirty, runs[i]);
            (void)ashlar_slicemap_add(clean, runs[i]);
            ashlar_count_add(purge_bytes, ranges[i].len_bytes);
        }
        if (done < count || count == 0)
            return;
    }
}

void ashlar_chunk_put_back(struct ashlar_chunk *chunk, const struct ashlar_slicemap *dirty,
                           const struct ashlar_slicemap *clean)
{
    visit_runs(chunk, clean, put_clean);
    visit_runs(chunk, dirty, put_dirty);
}

static void leave(_Atomic uint64_t *left, const struct ashlar_slicemap *set)
{
    for (unsigned i = 0; i < ASHLAR_SLICEMAP_WORDS; i++) {
        if (set->words[i] != 0)
            atomic_fetch_or_explicit(&left[i], set->words[i], memory_order_release);
    }
}

void ashlar_chunk_leave(struct ashlar_chunk *chunk, const struct ashlar_slicemap *dirty,
                        const struct ashlar_slicemap *clean)
{
    leave(chunk->left_clean, clean);
    leave(chunk->left_dirty, dirty);
}

static void collect(_Atomic uint64_t *left, struct ashlar_slicemap *set)
{
    for (unsigned i = 0; i < ASHLAR_SLICEMAP_WORDS; i++) {
        set->words[i] = 0;
        if (atomic_load_explicit(&left[i], memory_order_relaxed) != 0)
            set->words[i] = atomic_exchange_explicit(&left[i], 0, memory_order_acquire);
    }
}

void ashlar_chunk_collect(struct ashlar_chunk *chunk)
{
    struct ashlar_slicemap dirty;
    struct ashlar_slicemap clean;
    collect(chunk->left_dirty, &dirty);
    collect(chunk->left_clean, &clean);
    ashlar_chunk_put_back(chunk, &dirty, &clean);
}

bool ashlar_chunk_is_idle(const struct ashlar_chunk *chunk)
{
    return chunk->nfree == chunk->nslices && chunk->ndirty == 0;
}
