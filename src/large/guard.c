/*
 * guard.c - inaccessible pages between large blocks
 *
 * Purpose     See guard.h.
 * Invariants  See guard.h; ashlar_counters.guard_mappings is the part of the budget that is spent.
 * Locking     Atomics.
 * Layer       large/.
 */
#include "large/guard.h"

#include "base/bits.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "os/os.h"

/* An inaccessible page in the middle of a mapping makes three of one. */
#define MAPPINGS_PER_PROTECT 2

/* Markers that are so many pages apart go by one call: 16 ns for each page that it passes, against
   580 for another call (Linux 6.18). */
#define MARKER_GAP 32

/* The kernel mappings we may spend; 0: not read yet. */
static _Atomic size_t mapping_budget;

static size_t find_budget(void)
{
    size_t budget = atomic_load_explicit(&mapping_budget, memory_order_relaxed);
    if (budget == 0) {
        budget = ashlar_os_max_map_count() / 2;
        atomic_store_explicit(&mapping_budget, budget, memory_order_relaxed);
    }
    return budget;
}

bool ashlar_guard_spend_mappings(size_t n)
{
    size_t budget = find_budget();
    uint64_t spent = atomic_fetch_add_explicit(&ashlar_counters.guard_mappings, n,
                                               memory_order_relaxed);
    if (spent + n <= budget)
        return true;
    ashlar_guard_return_mappings(n);
    return false;
}

void ashlar_guard_return_mappings(size_t n)
{
    ashlar_count_sub(guard_mappings, n);
}

static bool set_marker(struct ashlar_region *region, char *page, size_t bit)
{
    if (!ashlar_os_facts.has_guard_markers ||
        ashlar_os_guard_install(page, ashlar_os_facts.page_bytes) != 0)
        return false;
    ashlar_bitmap_set(region->marked, bit);
    ashlar_count(guard_markers);
    return true;
}

static bool set_protect(struct ashlar_region *region, char *page, size_t bit)
{
    if (!ashlar_guard_spend_mappings(MAPPINGS_PER_PROTECT))
        return false;
    if (ashlar_os_protect(page, ashlar_os_facts.page_bytes) != 0) {
        ashlar_guard_return_mappings(MAPPINGS_PER_PROTECT);
        return false;
    }
    /* The owners of the blocks on both sides may be at it at once: the guard is paid for once. */
    if (!ashlar_bitmap_set(region->protect, bit))
        ashlar_guard_return_mappings(MAPPINGS_PER_PROTECT);
    ashlar_count(guard_mprotects);
    return true;
}

void ashlar_guard_set(struct ashlar_region *region, char *page)
{
    int64_t mode = ashlar_opt.guard;
    size_t bit = ashlar_region_bit(region, page, ashlar_os_facts.page_bytes);
    if (mode == ASHLAR_GUARD_OFF || ashlar_bitmap_get(region->marked, bit) ||
        ashlar_bitmap_get(region->protect, bit))
        return;
    /* Per page, not per process: mlocked memory takes no markers. */
    if (mode != ASHLAR_GUARD_MPROTECT && set_marker(region, page, bit))
        return;
    if (mode != ASHLAR_GUARD_MADVISE && set_protect(region, page, bit))
        return;
    ashlar_count(guard_skipped);
}

/* Behind the last of the set bits of `map` from `bit` on, below `end`, of which none is more than
   `gap` clear ones away from the one before. */
static size_t run_end(const _Atomic uint64_t *map, size_t bit, size_t end, size_t gap)
{
    for (;;) {
        size_t limit = ashlar_min_size(end, bit + gap + 2);
        size_t next = ashlar_bitmap_next(map, bit + 1, limit);
        if (next >= limit)
            return bit + 1;
        bit = next;
    }
}

static bool clear_map(struct ashlar_region *region, _Atomic uint64_t *map, size_t first, size_t end,
                      int (*remove)(void *addr, size_t len_bytes), size_t gap, size_t mappings_each)
{
    size_t page_bytes = ashlar_os_facts.page_bytes;
    for (size_t bit = ashlar_bitmap_next(map, first, end); bit < end;
         bit = ashlar_bitmap_next(map, bit, end)) {
        size_t run = run_end(map, bit, end, gap) - bit;
        if (remove(region->base + bit * page_bytes, run * page_bytes) != 0)
            return false;
        size_t nset = ashlar_bitmap_clear_run(map, bit, bit + run);
        ashlar_guard_return_mappings(nset * mappings_each);
        bit += run;
    }
    return true;
}

bool ashlar_guard_clear(struct ashlar_region *region, char *start, const char *end)
{
    size_t first_bit = ashlar_region_bit(region, start, ashlar_os_facts.page_bytes);
    size_t end_bit = ashlar_region_bit(region, end, ashlar_os_facts.page_bytes);
    return clear_map(region, region->marked, first_bit, end_bit, ashlar_os_guard_remove, MARKER_GAP,
                     0) &&
           clear_map(region, region->protect, first_bit, end_bit, ashlar_os_commit, 0,
                     MAPPINGS_PER_PROTECT);
}

size_t ashlar_guard_count_mappings(const struct ashlar_region *region, const char *start,
                                   const char *end)
{
    size_t end_bit = ashlar_region_bit(region, end, ashlar_os_facts.page_bytes);
    size_t bit = ashlar_region_bit(region, start, ashlar_os_facts.page_bytes);
    size_t count = 0;
    while ((bit = ashlar_bitmap_next(region->protect, bit, end_bit)) < end_bit) {
        count += MAPPINGS_PER_PROTECT;
        bit++;
    }
    return count;
}

static int forget_only(void *addr, size_t len_bytes)
{
    (void)addr;
    (void)len_bytes;
    return 0;
}

void ashlar_guard_forget(struct ashlar_region *region, const char *start, const char *end)
{
    size_t first_bit = ashlar_region_bit(region, start, ashlar_os_facts.page_bytes);
    size_t end_bit = ashlar_region_bit(region, end, ashlar_os_facts.page_bytes);
    (void)clear_map(region, region->marked, first_bit, end_bit, forget_only, 0, 0);
    (void)clear_map(region, region->protect, first_bit, end_bit, forget_only, 0,
                    MAPPINGS_PER_PROTECT);
}

bool ashlar_guard_empty(struct ashlar_region *region, char *page)
{
    size_t page_bytes = ashlar_os_facts.page_bytes;
    size_t bit = ashlar_region_bit(region, page, page_bytes);
    if (ashlar_bitmap_get(region->marked, bit))
        return true;
    if (ashlar_bitmap_get(region->protect, bit)) {
        if (ashlar_os_reserve_over(page, page_bytes) != 0)
            return false;
        ashlar_os_name(page, page_bytes, ASHLAR_OS_NAME_LARGE);
        return true;
    }
    return ashlar_os_purge(page, page_bytes) == 0;
}
