/*
 * front.c - the last few freed large blocks of each thread
 *
 * Purpose     See front.h.
 * Invariants  A slot's length, base and time are written before its extent is (release), and read
 *             after it (acquire); they may be those of a later extent, so a claimed extent's own
 *             decide.
 * Locking     Atomics.
 * Layer       large/.
 */
#include "large/front.h"

#include "base/bits.h"
#include "conf/options.h"

/* More threads than lines share some; a power of two, and no more than bits in used_lines. */
#define LINES 64u

/* Blocks a thread may swing between without going past its front. */
#define SLOTS 16u

/* With less than this allowed to be kept, what threads keep in front would be too large a part. */
#define CACHE_MAX_LEAST ((int64_t)(512 * ASHLAR_MIB))

/* One hit in so many goes the long way. */
#define LOOK_EVERY 256u

struct slot {
    _Atomic(struct ashlar_extent *) extent;
    _Atomic size_t len_bytes;
    _Atomic uintptr_t base;
    _Atomic uint64_t freed_ms;
};

struct line {
    _Alignas(ASHLAR_CACHE_LINE_BYTES) struct slot slots[SLOTS];
    _Atomic unsigned turn; /* slot to evict next */
    _Atomic size_t hits;   /* extents taken; a lost one does no harm */
};

static struct line lines[LINES];
static _Atomic uint64_t used_lines; /* a bit per line that ever held something */

static unsigned own_line(void)
{
    /* Fibonacci hashing (Knuth, TAOCP 3, 6.4) of the address of the thread's control block. */
    uint64_t id = (uint64_t)(uintptr_t)__builtin_thread_pointer();
    return (unsigned)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 58);
}

/* Takes whatever is in the slot; NULL: nothing. */
static struct ashlar_extent *claim(struct slot *slot)
{
    if (atomic_load_explicit(&slot->extent, memory_order_relaxed) == NULL)
        return NULL;
    return atomic_exchange_explicit(&slot->extent, NULL, memory_order_acquire);
}

/* What was in the slot before; NULL: it was empty. */
static struct ashlar_extent *fill(struct slot *slot, struct ashlar_extent *extent, uint64_t now_ms)
{
    atomic_store_explicit(&slot->len_bytes, extent->len_bytes, memory_order_relaxed);
    atomic_store_explicit(&slot->base, (uintptr_t)extent->base, memory_order_relaxed);
    atomic_store_explicit(&slot->freed_ms, now_ms, memory_order_relaxed);
    return atomic_exchange_explicit(&slot->extent, extent, memory_order_acq_rel);
}

/* The slot whose extent, at a multiple of `align`, is the least longer than `len_bytes`, by
   `surplus_bytes` at most; NULL: none. */
static struct slot *find_nearest(struct line *line, size_t len_bytes, size_t surplus_bytes,
                                 size_t align)
{
    struct slot *found = NULL;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &line->slots[i];
        size_t more = atomic_load_explicit(&slot->len_bytes, memory_order_relaxed) - len_bytes;
        if (more > surplus_bytes ||
            (atomic_load_explicit(&slot->base, memory_order_relaxed) & (align - 1)) != 0 ||
            atomic_load_explicit(&slot->extent, memory_order_relaxed) == NULL)
            continue;
        if (more == 0)
            return slot;
        found = slot;
        surplus_bytes = more - 1;
    }
    return found;
}

struct ashlar_extent *ashlar_front_take(size_t len_bytes, size_t surplus_bytes, size_t align,
                                        struct ashlar_extent **displaced)
{
    *displaced = NULL;
    struct line *line = &lines[own_line()];
    struct slot *slot = find_nearest(line, len_bytes, surplus_bytes, align);
    struct ashlar_extent *extent = slot != NULL ? claim(slot) : NULL;
    if (extent == NULL)
        return NULL;
    if (extent->len_bytes - len_bytes <= surplus_bytes && ashlar_is_aligned(extent->base, align)) {
        size_t hits = atomic_load_explicit(&line->hits, memory_order_relaxed);
        atomic_store_explicit(&line->hits, hits + 1, memory_order_relaxed);
        return extent;
    }
    /* Another one by now: put it back where it was, if that is still free. */
    uint64_t freed_ms = atomic_load_explicit(&slot->freed_ms, memory_order_relaxed);
    *displaced = fill(slot, extent, freed_ms);
    return NULL;
}

bool ashlar_front_is_look_due(void)
{
    const struct line *line = &lines[own_line()];
    return atomic_load_explicit(&line->hits, memory_order_relaxed) % LOOK_EVERY == LOOK_EVERY - 1;
}

/* A line full of such extents is within the limit of what may be kept. */
static bool has_room(size_t len_bytes)
{
    return ashlar_opt.decay_ms != 0 && ashlar_opt.cache_max >= CACHE_MAX_LEAST &&
           len_bytes <= (size_t)ashlar_opt.cache_max / SLOTS;
}

struct ashlar_extent *ashlar_front_put(struct ashlar_extent *extent, uint64_t now_ms)
{
    if (!has_room(extent->len_bytes))
        return extent;
    unsigned index = own_line();
    struct line *line = &lines[index];
    uint64_t bit = (uint64_t)1 << index;
    if ((atomic_load_explicit(&used_lines, memory_order_relaxed) & bit) == 0)
        atomic_fetch_or_explicit(&used_lines, bit, memory_order_relaxed);
    for (unsigned i = 0; i < SLOTS; i++) {
        if (atomic_load_explicit(&line->slots[i].extent, memory_order_relaxed) == NULL)
            return fill(&line->slots[i], extent, now_ms);
    }
    unsigned turn = atomic_load_explicit(&line->turn, memory_order_relaxed);
    atomic_store_explicit(&line->turn, turn + 1, memory_order_relaxed);
    return fill(&line->slots[turn % SLOTS], extent, now_ms);
}

struct ashlar_extent *ashlar_front_flush(uint64_t until_ms, uint64_t *freed_ms)
{
    uint64_t left = atomic_load_explicit(&used_lines, memory_order_relaxed);
    for (; left != 0; left &= left - 1) {
        struct line *line = &lines[ashlar_bit_lowest(left)];
        for (unsigned i = 0; i < SLOTS; i++) {
            *freed_ms = atomic_load_explicit(&line->slots[i].freed_ms, memory_order_relaxed);
            struct ashlar_extent *extent = *freed_ms <= until_ms ? claim(&line->slots[i]) : NULL;
            if (extent != NULL)
                return extent;
        }
    }
    return NULL;
}

struct sums {
    size_t hits;
    size_t bytes;
    size_t blocks;
    uint64_t oldest_ms;
};

static struct sums sum_slots(void)
{
    struct sums sums = {.oldest_ms = UINT64_MAX};
    uint64_t left = atomic_load_explicit(&used_lines, memory_order_relaxed);
    for (; left != 0; left &= left - 1) {
        struct line *line = &lines[ashlar_bit_lowest(left)];
        sums.hits += atomic_load_explicit(&line->hits, memory_order_relaxed);
        for (unsigned i = 0; i < SLOTS; i++) {
            struct slot *slot = &line->slots[i];
            if (atomic_load_explicit(&slot->extent, memory_order_acquire) == NULL)
                continue;
            uint64_t freed_ms = atomic_load_explicit(&slot->freed_ms, memory_order_relaxed);
            sums.bytes += atomic_load_explicit(&slot->len_bytes, memory_order_relaxed);
            sums.blocks++;
            sums.oldest_ms = freed_ms < sums.oldest_ms ? freed_ms : sums.oldest_ms;
        }
    }
    return sums;
}

size_t ashlar_front_bytes(void)
{
    return sum_slots().bytes;
}

size_t ashlar_front_hits(void)
{
    return sum_slots().hits;
}

size_t ashlar_front_blocks(void)
{
    return sum_slots().blocks;
}

uint64_t ashlar_front_oldest_ms(void)
{
    return sum_slots().oldest_ms;
}
