/*
 * pieces.c - the kernel mappings that moves make
 *
 * Purpose     See pieces.h.
 * Invariants  See pieces.h.
 * Locking     Atomics.
 * Layer       large/.
 */
#include "large/pieces.h"

#include "base/bits.h"
#include "conf/counters.h"
#include "large/guard.h"
#include "os/os.h"

/* A moved range lies between two halves of another mapping. */
#define MAPPINGS_PER_MOVE 2

static size_t bit_of(const struct ashlar_region *region, const char *place)
{
    return ashlar_region_bit(region, place, ashlar_os_facts.page_bytes);
}

bool ashlar_pieces_has_room(void)
{
    if (!ashlar_guard_spend_mappings(MAPPINGS_PER_MOVE))
        return false;
    ashlar_guard_return_mappings(MAPPINGS_PER_MOVE);
    return true;
}

void ashlar_pieces_return(size_t n)
{
    ashlar_count_sub(move_mappings, n);
    ashlar_guard_return_mappings(n);
}

static void set_cut(struct ashlar_region *region, size_t bit, bool is_cut)
{
    if (!is_cut) {
        ashlar_pieces_return(ashlar_bitmap_clear(region->cut, bit));
    } else if (ashlar_bitmap_set(region->cut, bit)) {
        ashlar_count(move_mappings);
        ashlar_count(guard_mappings);
    }
}

void ashlar_pieces_note_moved(struct ashlar_region *region, const char *start, const char *end)
{
    size_t first = bit_of(region, start);
    size_t last = bit_of(region, end);
    (void)ashlar_bitmap_set_run(region->moved, first, last);
    ashlar_pieces_return(ashlar_bitmap_clear_run(region->cut, first + 1, last));
    set_cut(region, first, true);
    set_cut(region, last, true);
}

/* A fresh mapping joins the one beside it, unless that is a moved one. */
static void note_renewed(struct ashlar_region *region, size_t first, size_t end)
{
    (void)ashlar_bitmap_clear_run(region->moved, first, end);
    ashlar_pieces_return(ashlar_bitmap_clear_run(region->cut, first + 1, end));
    set_cut(region, first, ashlar_bitmap_get(region->moved, first - 1));
    set_cut(region, end, ashlar_bitmap_get(region->moved, end));
}

bool ashlar_pieces_renew(struct ashlar_region *region, char *start, char *end)
{
    if (!ashlar_region_renew(region, start, (size_t)(end - start)))
        return false;
    ashlar_guard_forget(region, start, end);
    note_renewed(region, bit_of(region, start), bit_of(region, end));
    return true;
}

bool ashlar_pieces_is_any(const struct ashlar_region *region, const char *start, const char *end)
{
    size_t last = bit_of(region, end);
    return ashlar_bitmap_next(region->moved, bit_of(region, start), last) != last;
}

const char *ashlar_pieces_next(const struct ashlar_region *region, const char *place,
                               const char *end)
{
    size_t cut = ashlar_bitmap_next(region->cut, bit_of(region, place) + 1, bit_of(region, end));
    return region->base + cut * ashlar_os_facts.page_bytes;
}

size_t ashlar_pieces_count(const struct ashlar_region *region)
{
    size_t count = 0;
    for (size_t i = 0; i < ASHLAR_BITMAP_WORDS(region->npages); i++)
        count += ashlar_bit_count(atomic_load_explicit(&region->cut[i], memory_order_relaxed));
    return count;
}
