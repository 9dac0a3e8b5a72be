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

#include "base/bits.h"
#include "base/check.h"
#include "conf/counters.h"
#include "map/meta.h"
#include "map/pagemap.h"
#include "map/region.h"
#include "os/os.h"

static const unsigned fit_slices[ASHLAR_CHUNK_FITS] = {16, 4, 1, 0};

static struct ashlar_meta_pool chunk_pool = {.object_bytes = sizeof(struct ashlar_chunk)};

/* The longest chunk that address space allows, 64 slices if possible; NULL: not even the need. */
static char *map_slices(unsigned need_slices, unsigned *nslices)
{
    for (*nslices = ASHLAR_CHUNK_SLICES;;) {
        size_t len = *nslices * ASHLAR_SLICE_BYTES;
        size_t align = *nslices == ASHLAR_CHUNK_SLICES ? len : ASHLAR_SLICE_BYTES;
        char *base = ashlar_region_map_chunk(len, align);
        if (base != NULL && ashlar_pagemap_prepare(base, len))
            return base;
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
    memset(chunk, 0, sizeof *chunk);
    chunk->arena = arena;
    chunk->base = base;
    chunk->nslices = nslices;
    chunk->free = ashlar_bit_run(0, nslices);
    chunk->fit = ashlar_chunk_fit(chunk);
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

/* First slices of the runs of `len` ones in `bits`; len is a power of two. */
static uint64_t runs_of(uint64_t bits, unsigned len)
{
    for (unsigned have = 1; have < len; have *= 2)
        bits &= bits >> have;
    return bits;
}

unsigned ashlar_chunk_fit_slices(unsigned fit)
{
    return fit_slices[fit];
}

unsigned ashlar_chunk_fit(const struct ashlar_chunk *chunk)
{
    unsigned fit = 0;
    while (fit_slices[fit] != 0 && runs_of(chunk->free, fit_slices[fit]) == 0)
        fit++;
    return fit;
}

static void set_dirty(struct ashlar_chunk *chunk, uint64_t dirty)
{
    unsigned before = ashlar_bit_count(chunk->dirty);
    unsigned after = ashlar_bit_count(dirty);
    ashlar_assert((dirty & ~chunk->free) == 0);
    chunk->dirty = dirty;
    chunk->aged &= dirty;
    if (after > before)
        ashlar_count_add(arena_dirty_bytes, (after - before) * ASHLAR_SLICE_BYTES);
    else if (after < before)
        ashlar_count_sub(arena_dirty_bytes, (before - after) * ASHLAR_SLICE_BYTES);
}

unsigned ashlar_chunk_take(struct ashlar_chunk *chunk, unsigned len)
{
    uint64_t runs = runs_of(chunk->free, len);
    uint64_t warm = runs_of(chunk->dirty, len);
    unsigned first = ashlar_bit_lowest(warm != 0 ? warm : runs);
    uint64_t run = ashlar_bit_run(first, len);
    chunk->free &= ~run;
    set_dirty(chunk, chunk->dirty & ~run);
    return first;
}

void ashlar_chunk_put(struct ashlar_chunk *chunk, uint64_t run, uint64_t dirty)
{
    ashlar_assert((chunk->free & run) == 0);
    chunk->free |= run;
    set_dirty(chunk, chunk->dirty | dirty);
}

void ashlar_chunk_age(struct ashlar_chunk *chunk)
{
    chunk->aged = chunk->dirty;
}

uint64_t ashlar_chunk_detach(struct ashlar_chunk *chunk, enum ashlar_idle_choice choice)
{
    uint64_t victims = choice == ASHLAR_IDLE_ALL ? chunk->dirty : chunk->aged;
    set_dirty(chunk, chunk->dirty & ~victims);
    chunk->free &= ~victims;
    return victims;
}

/* Splits a set of slices into ranges of addresses; their number. */
static size_t ranges_of(const struct ashlar_chunk *chunk, uint64_t slices,
                        struct ashlar_os_range *ranges)
{
    size_t nranges = 0;
    while (slices != 0) {
        unsigned first = ashlar_bit_lowest(slices);
        uint64_t behind = ~(slices >> first); /* zeros shifted in end the run */
        unsigned len = behind != 0 ? ashlar_bit_lowest(behind) : 64;
        ranges[nranges++] = (struct ashlar_os_range){chunk->base + first * ASHLAR_SLICE_BYTES,
                                                     len * ASHLAR_SLICE_BYTES};
        slices &= ~ashlar_bit_run(first, len);
    }
    return nranges;
}

static uint64_t slices_of(const struct ashlar_chunk *chunk, const struct ashlar_os_range *range)
{
    size_t first = (size_t)((char *)range->addr - chunk->base) / ASHLAR_SLICE_BYTES;
    return ashlar_bit_run((unsigned)first, (unsigned)(range->len_bytes / ASHLAR_SLICE_BYTES));
}

uint64_t ashlar_chunk_purge(const struct ashlar_chunk *chunk, uint64_t slices)
{
    struct ashlar_os_range ranges[ASHLAR_CHUNK_SLICES / 2] = {{NULL, 0}};
    size_t nranges = ranges_of(chunk, slices, ranges);
    size_t done = 0;
    if (ashlar_os_purge_many(ranges, nranges, &done) == EINVAL) {
        /* mlocked, so one by one */
        while (done < nranges &&
               ashlar_os_purge(ranges[done].addr, ranges[done].len_bytes) == 0)
            done++;
    }
    uint64_t clean = 0;
    for (size_t i = 0; i < done; i++) {
        clean |= slices_of(chunk, &ranges[i]);
        ashlar_count_add(purge_bytes, ranges[i].len_bytes);
    }
    ashlar_count(purge_calls);
    return clean;
}

void ashlar_chunk_leave(struct ashlar_chunk *chunk, uint64_t clean, uint64_t dirty)
{
    atomic_fetch_or_explicit(&chunk->left_clean, clean, memory_order_release);
    atomic_fetch_or_explicit(&chunk->left_dirty, dirty, memory_order_release);
}

void ashlar_chunk_collect(struct ashlar_chunk *chunk)
{
    if (atomic_load_explicit(&chunk->left_clean, memory_order_relaxed) == 0 &&
        atomic_load_explicit(&chunk->left_dirty, memory_order_relaxed) == 0)
        return;
    uint64_t clean = atomic_exchange_explicit(&chunk->left_clean, 0, memory_order_acquire);
    uint64_t dirty = atomic_exchange_explicit(&chunk->left_dirty, 0, memory_order_acquire);
    ashlar_chunk_put(chunk, clean | dirty, dirty);
}

bool ashlar_chunk_is_idle(const struct ashlar_chunk *chunk)
{
    return chunk->free == ashlar_bit_run(0, chunk->nslices) && chunk->dirty == 0;
}
