/*
 * extent.c - one run of pages for one large block, live or freed
 *
 * Purpose     See extent.h.
 * Invariants  Every call leaves the extents of the region covering the same addresses.
 * Locking     LARGE, held by the caller, for everything that touches neighbours.
 * Layer       large/.
 */
#include "large/extent.h"

#include "base/check.h"
#include "map/meta.h"

static struct ashlar_meta_pool extent_pool = {.object_bytes = sizeof(struct ashlar_extent)};

struct ashlar_extent *ashlar_extent_new(void)
{
    struct ashlar_extent *extent = ashlar_meta_get(&extent_pool);
    if (extent != NULL)
        *extent = (struct ashlar_extent){.span = {.kind = ASHLAR_SPAN_LARGE}};
    return extent;
}

void ashlar_extent_delete(struct ashlar_extent *extent)
{
    ashlar_assert(extent->surplus_bytes == 0);
    extent->span.kind = ASHLAR_SPAN_NONE;
    ashlar_meta_put(&extent_pool, extent);
}

static struct ashlar_extent *extent_at(struct ashlar_list *neighbours)
{
    return ASHLAR_CONTAINER_OF(neighbours, struct ashlar_extent, neighbours);
}

/* The neighbours in address order, when they are adjacent; else NULL. */
struct ashlar_extent *ashlar_extent_before(const struct ashlar_extent *extent)
{
    struct ashlar_list *prev = extent->neighbours.prev;
    if (prev == &extent->region->extents || ashlar_extent_end(extent_at(prev)) != extent->base)
        return NULL;
    return extent_at(prev);
}

struct ashlar_extent *ashlar_extent_behind(const struct ashlar_extent *extent)
{
    struct ashlar_list *next = extent->neighbours.next;
    if (next == &extent->region->extents || extent_at(next)->base != ashlar_extent_end(extent))
        return NULL;
    return extent_at(next);
}

void ashlar_extent_link(struct ashlar_extent *extent)
{
    /* Fresh extents come from the edge, so the place is at the end or close to it. */
    struct ashlar_list *where = extent->region->extents.prev;
    while (where != &extent->region->extents && extent_at(where)->base > extent->base)
        where = where->prev;
    ashlar_list_insert_after(where, &extent->neighbours);
    extent->is_linked = true;
}

void ashlar_extent_forget_age(struct ashlar_extent *extent)
{
    if (ashlar_list_is_linked(&extent->age))
        ashlar_list_remove(&extent->age);
}

/* A freed extent [base, end), cut off `origin` and as old as it; NULL: no descriptor. */
static struct ashlar_extent *cut_extent(const struct ashlar_extent *origin, char *base, char *end)
{
    struct ashlar_extent *piece = ashlar_extent_new();
    if (piece == NULL)
        return NULL;
    piece->base = base;
    piece->len_bytes = (size_t)(end - base) - ashlar_os_facts.page_bytes;
    piece->region = origin->region;
    piece->state = origin->state;
    piece->freed_ms = origin->freed_ms;
    piece->is_linked = true;
    return piece;
}

/* The holes of a payload that lie outside so many of its bytes whatever they are. */
static size_t holes_without(size_t hole_bytes, size_t gone_bytes)
{
    return hole_bytes - ashlar_min_size(hole_bytes, gone_bytes);
}

/* Of the holes that both had together each is left those that have no place in the other or on the
   page between, so that what is kept is not taken for less than it is. */
static void share_holes(struct ashlar_extent *extent, struct ashlar_extent *piece)
{
    size_t page = ashlar_os_facts.page_bytes;
    size_t holes = extent->hole_bytes;
    extent->hole_bytes = holes_without(holes, piece->len_bytes + page);
    piece->hole_bytes = holes_without(holes, extent->len_bytes + page);
}

struct ashlar_extent *ashlar_extent_cut_front(struct ashlar_extent *extent, char *place)
{
    struct ashlar_extent *front = cut_extent(extent, extent->base, place);
    if (front == NULL)
        return NULL;
    extent->len_bytes -= (size_t)(place - extent->base);
    extent->base = place;
    share_holes(extent, front);
    ashlar_list_insert_after(extent->neighbours.prev, &front->neighbours);
    return front;
}

struct ashlar_extent *ashlar_extent_cut_rear(struct ashlar_extent *extent, size_t len_bytes)
{
    size_t page = ashlar_os_facts.page_bytes;
    char *end = ashlar_extent_end(extent);
    size_t rest = extent->len_bytes + extent->room_bytes - len_bytes;
    struct ashlar_extent *rear = rest > page
                                     ? cut_extent(extent, extent->base + len_bytes + page, end)
                                     : NULL;
    extent->len_bytes = len_bytes;
    extent->room_bytes = rear != NULL ? 0 : rest;
    if (rear == NULL)
        return NULL;
    share_holes(extent, rear);
    ashlar_list_insert_after(&extent->neighbours, &rear->neighbours);
    return rear;
}

struct ashlar_extent *ashlar_extent_join(struct ashlar_extent *low, struct ashlar_extent *high)
{
    struct ashlar_extent *stays = low->len_bytes >= high->len_bytes ? low : high;
    struct ashlar_extent *goes = stays == low ? high : low;
    char *end = ashlar_extent_end(high);
    stays->base = low->base;
    stays->len_bytes = (size_t)(end - low->base) - ashlar_os_facts.page_bytes;
    stays->hole_bytes += goes->hole_bytes;
    ashlar_list_remove(&goes->neighbours);
    ashlar_extent_forget_age(goes);
    ashlar_extent_delete(goes);
    return stays;
}
