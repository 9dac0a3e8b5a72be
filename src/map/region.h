/*
 * region.h - address space reserved in pieces, committed at a moving edge
 *
 * Purpose     Many large blocks in few kernel mappings. A region is one piece of reserved address
 *             space; address space is handed out from its edge upwards and made writable in steps.
 *             What has been handed out is large/'s to keep in order until the whole region goes
 *             back.
 *
 *               base        payload                      edge     committed          base + len
 *                |  header  |guard|  blocks and free spans  |  ready  |  PROT_NONE ... |
 *
 * Invariants  base < payload <= edge <= committed <= base + len, all multiples of the page size.
 *             The page before payload is never accessible; nor is anything from committed up.
 *             The header (this struct and the maps) lies in the region itself and goes with
 *             it.
 * Locking     REGION guards the list of regions, edge and committed; it is held over the kernel
 *             calls that reserve and commit, since two threads that move one edge must not
 *             pass each other. The maps are atomic, written by large/guard and large/pieces.
 *             `extents` belongs to large/ under LARGE.
 * Layer       map/. Uses os, conf, base. Used by large (blocks) and small (chunks).
 */
#ifndef ASHLAR_MAP_REGION_H
#define ASHLAR_MAP_REGION_H

#include <stdatomic.h>

#include "base/base.h"
#include "base/list.h"
#include "base/lock.h"

extern struct ashlar_lock ashlar_region_lock;

/* What a region asks the kernel for. A kind has regions of its own, so the advice of one never
   reaches the other's blocks. */
enum ashlar_region_pages { ASHLAR_PAGES_BASE, ASHLAR_PAGES_HUGE };
#define ASHLAR_PAGES_COUNT 2u

struct ashlar_region {
    struct ashlar_list link;        /* REGION: list of all regions */
    char *base;                     /* constant */
    size_t len_bytes;               /* constant */
    char *payload;                  /* constant: first byte that can be handed out */
    char *edge;                     /* REGION: first byte not yet handed out */
    char *committed;                /* REGION: first byte not writable */
    struct ashlar_list extents;     /* LARGE: extents of [payload, edge) in address order */
    size_t npages;                  /* constant: bits of each map */
    enum ashlar_region_pages pages; /* constant */
    _Atomic uint64_t *marked;       /* constant; bit per page: a guard marker stands there */
    _Atomic uint64_t *protect;      /* constant; bit per page: made inaccessible by mprotect */
    _Atomic uint64_t *moved; /* constant; bit per page: it lies in a mapping that a move made */
    _Atomic uint64_t *cut;   /* constant; bit per page: such a mapping begins or ends before it */
    _Atomic uint64_t maps[]; /* the four maps, one after the other */
};

/*
 * Hands out writable zero pages at the edge of a region of the kind (a new one if need be), in
 * which `len_bytes` at a multiple of `align` fit; *taken_bytes in all. What lies in front of the
 * multiple is nothing or at least two pages. NULL: out of address space or memory, or a fork under
 * way.
 */
char *ashlar_region_take(size_t len_bytes, size_t align, enum ashlar_region_pages pages,
                         struct ashlar_region **region, size_t *taken_bytes);

/* Hands out `more_bytes` right at `at`, if that is the region's edge and there is room. */
bool ashlar_region_extend(struct ashlar_region *region, const char *at, size_t more_bytes);

/*
 * Giving a region back takes two steps, so that the first can be made under LARGE. retire: when
 * [start, end) is all that was handed out, takes the region off the list, so that its edge moves no
 * more. unmap: gives a retired region back to the kernel; false when the kernel would not
 * (mapping count): the region is in use again, its extents the caller's to keep.
 */
bool ashlar_region_retire(struct ashlar_region *region, const char *start, const char *end);
bool ashlar_region_unmap(struct ashlar_region *region);

/* Lays fresh zero pages of the region's kind over a range handed out; false: the kernel would not,
   nothing has changed. */
bool ashlar_region_renew(struct ashlar_region *region, char *start, size_t len_bytes);

/* The region that holds `address`, or NULL. Slow; for diagnosis. */
struct ashlar_region *ashlar_region_find(const void *address);

/* True when `address` lay in a region or chunk given back not long ago. */
bool ashlar_region_was_ours(const void *address);

/* The bit of `address` in the maps. */
static inline size_t ashlar_region_bit(const struct ashlar_region *region, const char *address,
                                       size_t page_bytes)
{
    return (size_t)(address - region->base) / page_bytes;
}

/* Chunks for arenas: `len_bytes` of writable zero pages at a multiple of `align`; NULL as above. */
char *ashlar_region_map_chunk(size_t len_bytes, size_t align);
bool ashlar_region_unmap_chunk(char *chunk, size_t len_bytes);

#endif
