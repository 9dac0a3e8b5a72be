/*
 * slicemap.c - a bit for each slice of a chunk
 *
 * Purpose     See slicemap.h.
 * Invariants  See slicemap.h.
 * Locking     The caller's.
 * Layer       small/.
 */
#include "small/slicemap.h"

#include "base/check.h"

/* Where runs of `len` ones start: each step ANDs the set with itself moved, which doubles the
   length that a one stands for. */
static unsigned __int128 starts_of(unsigned __int128 bits, unsigned len)
{
    unsigned have = 1;
    for (; have * 2 <= len; have *= 2)
        bits &= bits >> have;
    return bits & bits >> (len - have);
}

unsigned ashlar_slicemap_find(const struct ashlar_slicemap *map, unsigned len,
                              const uint8_t bounds[ASHLAR_SLICEMAP_WORDS])
{
    ashlar_assert(len >= 1 && len <= ASHLAR_RUN_MAX);
    for (unsigned i = 0; i < ASHLAR_SLICEMAP_WORDS; i++) {
        if (bounds[i] < len || map->words[i] == 0)
            continue;
        unsigned __int128 behind = i + 1 < ASHLAR_SLICEMAP_WORDS ? map->words[i + 1] : 0;
        uint64_t starts = (uint64_t)starts_of(behind << 64 | map->words[i], len);
        if (starts != 0)
            return i * 64 + ashlar_bit_lowest(starts);
    }
    return ASHLAR_SLICE_NONE;
}

/* The part of a run that lies in the word where it starts; cuts it off the run. */
static uint64_t cut_word(struct ashlar_run *run)
{
    unsigned from = run->first % 64;
    unsigned len = 64 - from < run->len ? 64 - from : run->len;
    run->first += len;
    run->len -= len;
    return ashlar_bit_run(from, len);
}

unsigned ashlar_slicemap_add(struct ashlar_slicemap *map, struct ashlar_run run)
{
    unsigned changed = 0;
    while (run.len != 0) {
        uint64_t *word = &map->words[run.first / 64];
        uint64_t part = cut_word(&run) & ~*word;
        changed += ashlar_bit_count(part);
        *word |= part;
    }
    return changed;
}

unsigned ashlar_slicemap_remove(struct ashlar_slicemap *map, struct ashlar_run run)
{
    unsigned changed = 0;
    while (run.len != 0) {
        uint64_t *word = &map->words[run.first / 64];
        uint64_t part = cut_word(&run) & *word;
        if (part == 0)
            continue;
        changed += ashlar_bit_count(part);
        *word ^= part;
    }
    return changed;
}

/* First slice from `from` on whose bit is `bit`; ASHLAR_CHUNK_SLICES: none. */
static unsigned next_of(const struct ashlar_slicemap *map, unsigned from, bool bit)
{
    while (from < ASHLAR_CHUNK_SLICES) {
        uint64_t word = (bit ? map->words[from / 64] : ~map->words[from / 64]) >> (from % 64);
        if (word != 0)
            return from + ashlar_bit_lowest(word);
        from = (from / 64 + 1) * 64;
    }
    return ASHLAR_CHUNK_SLICES;
}

struct ashlar_run ashlar_slicemap_next_run(const struct ashlar_slicemap *map, unsigned from)
{
    unsigned first = next_of(map, from, true);
    return (struct ashlar_run){first, next_of(map, first, false) - first};
}

/* Ones in front of `end`, up to ASHLAR_RUN_MAX of them. */
static unsigned len_before(const struct ashlar_slicemap *map, unsigned end)
{
    unsigned len = 0;
    while (len < ASHLAR_RUN_MAX && len < end) {
        unsigned last = end - len - 1;
        uint64_t zeros = ~(map->words[last / 64] << (63 - last % 64));
        unsigned ones = zeros != 0 ? 63 - ashlar_bit_highest(zeros) : 64;
        unsigned here = last % 64 + 1;
        if (ones < here)
            return len + ones;
        len += here;
    }
    return len;
}

struct ashlar_run ashlar_slicemap_around(const struct ashlar_slicemap *map, struct ashlar_run run)
{
    unsigned end = next_of(map, run.first + run.len, false);
    unsigned first = run.first - len_before(map, run.first);
    return (struct ashlar_run){first, end - first};
}

unsigned ashlar_slicemap_last_in(const struct ashlar_slicemap *map, struct ashlar_run run)
{
    unsigned start = run.first;
    unsigned last = 0;
    while (run.len != 0) {
        unsigned first = run.first / 64 * 64;
        uint64_t there = map->words[first / 64] & cut_word(&run);
        if (there != 0)
            last = first + ashlar_bit_highest(there) + 1 - start;
    }
    return last;
}

unsigned ashlar_slicemap_count(const struct ashlar_slicemap *map)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ASHLAR_SLICEMAP_WORDS; i++)
        count += ashlar_bit_count(map->words[i]);
    return count;
}
