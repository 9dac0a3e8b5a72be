/*
 * extent.h - one run of pages for one large block, live or freed
 *
 * Purpose     The descriptor that large, mapcache and guard share.
 *
 *               base              base + len_bytes    + page        end
 *                |  payload, whole pages  |  guard  |  room  |
 *
 *             room is address space behind the guard that belongs to the block without being
 *             usable: left over when a tail is too short for an extent of its own. If there is
 *             room, its last page is a guard as well. The last pages of the payload may be a
 *             surplus: see account.h.
 *
 * Invariants  The extents of a region, in address order, cover what was handed out of it without a
 *             gap (but for extents whose insertion waits for a fork to end). Each ends in a page
 *             where a guard stands or could not be set, so the guard behind one block is the guard
 *             in front of the next. No guard stands inside the payload of a live extent.
 *             A freed extent has no room. A CLEAN one reads as zero up to its end, under its guard,
 *             too. Neighbours both DIRTY or both CLEAN do not exist. Where the holes of a DIRTY
 *             one are is not known.
 * Locking     LARGE, but base, region and len_bytes of a LIVE extent: its owner may read them.
 * Layer       large/.
 */
#ifndef ASHLAR_LARGE_EXTENT_H
#define ASHLAR_LARGE_EXTENT_H

#include "base/list.h"
#include "map/region.h"
#include "map/span.h"
#include "os/os.h"

enum ashlar_extent_state {
    ASHLAR_EXTENT_LIVE,  /* a block of the program's */
    ASHLAR_EXTENT_DIRTY, /* freed; may hold pages with old contents, and have holes between */
    ASHLAR_EXTENT_CLEAN, /* freed; reads as zero, holds no pages */
    ASHLAR_EXTENT_BUSY,  /* freed; somebody purges it */
};

struct ashlar_extent {
    struct ashlar_span span;
    char *base;
    size_t len_bytes;
    size_t room_bytes;
    size_t hole_bytes;    /* DIRTY, BUSY: so much of the payload surely has no pages */
    size_t surplus_bytes; /* LIVE: so much of the payload, in whole pages, was not asked for */
    struct ashlar_region *region;
    struct ashlar_list neighbours;   /* region->extents */
    struct ashlar_list bin;          /* DIRTY, CLEAN: the bin of its length */
    struct ashlar_list age;          /* DIRTY: oldest first */
    uint64_t freed_ms;               /* DIRTY: when it was freed */
    struct ashlar_extent *late_next; /* on the stack of insertions that met a shut lock */
    enum ashlar_extent_state state;
    enum ashlar_extent_state late_state; /* what it becomes when it leaves that stack */
    bool is_linked;                      /* on region->extents */
    bool is_born_empty;                  /* LIVE: had no pages at first, and huge ones never */
    bool is_counted;                     /* its payload is in mapcache's account of live bytes */
};

static inline struct ashlar_extent *ashlar_extent_of(struct ashlar_span *span)
{
    return ASHLAR_CONTAINER_OF(span, struct ashlar_extent, span);
}

/* What was asked for, in whole pages. */
static inline size_t ashlar_extent_asked_bytes(const struct ashlar_extent *extent)
{
    return extent->len_bytes - extent->surplus_bytes;
}

/* The rear guard of the payload. */
static inline char *ashlar_extent_guard(const struct ashlar_extent *extent)
{
    return extent->base + extent->len_bytes;
}

static inline char *ashlar_extent_end(const struct ashlar_extent *extent)
{
    return ashlar_extent_guard(extent) + ashlar_os_facts.page_bytes + extent->room_bytes;
}

/* A descriptor, all zero but for its kind; NULL: out of memory, or a fork under way. */
struct ashlar_extent *ashlar_extent_new(void);
void ashlar_extent_delete(struct ashlar_extent *extent);

/* Links a fresh extent into its region. */
void ashlar_extent_link(struct ashlar_extent *extent);

/* The neighbour in address order, when it is adjacent; else NULL. */
struct ashlar_extent *ashlar_extent_before(const struct ashlar_extent *extent);
struct ashlar_extent *ashlar_extent_behind(const struct ashlar_extent *extent);

/* Cuts what lies in front of `place` (a page and a guard at least) off; the piece, of the same
   state and age, linked but in no bin. Either has the holes that can lie nowhere else. NULL: no
   descriptor, nothing done. */
struct ashlar_extent *ashlar_extent_cut_front(struct ashlar_extent *extent, char *place);

/*
 * Makes the payload `len_bytes` long. The rest becomes a piece as above, or room when it is just a
 * page (or when there is no descriptor): NULL then.
 */
struct ashlar_extent *ashlar_extent_cut_rear(struct ashlar_extent *extent, size_t len_bytes);

/* Payload that may hold pages. */
static inline size_t ashlar_extent_full_bytes(const struct ashlar_extent *extent)
{
    return extent->len_bytes - extent->hole_bytes;
}

/* Joins two adjacent freed extents, in no bin; the longer one stays, and its age. */
struct ashlar_extent *ashlar_extent_join(struct ashlar_extent *low, struct ashlar_extent *high);

/* Takes the extent off the list of ages, if it is there. */
void ashlar_extent_forget_age(struct ashlar_extent *extent);

#endif
