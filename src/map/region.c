/*
 * region.c - address space reserved in pieces, committed at a moving edge
 *
 * Purpose     See region.h.
 * Invariants  `regions` lists every region, those whose edge may still move first.
 * Locking     REGION. Reserving, committing and unmapping are done with it held: rare (once per
 *             tens of MiB), and an edge that two threads move at once would have to be put right.
 * Layer       map/.
 */
#include "map/region.h"

#include "base/bits.h"
#include "base/check.h"
#include "conf/counters.h"
#include "os/os.h"

/* A region is as long as all before it together, within these bounds: few mappings in a big
   program, little address space in a small one. */
#define MIN_REGION_BYTES (64 * ASHLAR_MIB)
#define MAX_REGION_BYTES (1 * ASHLAR_GIB)

/* Under RLIMIT_AS a region takes at most this part of the limit, so that thread stacks and
   libraries still find room. */
#define LIMIT_PART 16

/* Commit step: one mprotect per so many bytes of small large blocks, at most so much charged
   (overcommit 2) without being used. */
#define COMMIT_STEP_BYTES (4 * ASHLAR_MIB)

/* The edge is left at a multiple of the alignment up to here, so that the next one needs no
   padding. */
#define MAX_PAD_BYTES (256 * ASHLAR_KIB)

/* Regions whose edge is tried for a request, newest first. */
#define EDGES_TRIED 8

/* Bits a page: see struct ashlar_region. */
#define MAPS 4

/* Ranges given back, remembered for the wording of a late double free. */
#define PAST_COUNT 32

struct ashlar_lock ashlar_region_lock = ASHLAR_LOCK_INIT(REGION);

static struct ashlar_list regions;

static struct {
    uintptr_t start;
    uintptr_t end;
} past[PAST_COUNT];
static unsigned past_next;

static struct ashlar_region *region_of(struct ashlar_list *link)
{
    return ASHLAR_CONTAINER_OF(link, struct ashlar_region, link);
}

static void remember_past(const char *start, size_t len_bytes)
{
    past[past_next % PAST_COUNT].start = (uintptr_t)start;
    past[past_next % PAST_COUNT].end = (uintptr_t)start + len_bytes;
    past_next++;
}

/* Header bytes of a region of `len_bytes`, without the guard page behind them. */
static size_t header_bytes(size_t len_bytes)
{
    size_t words = ASHLAR_BITMAP_WORDS(len_bytes / ashlar_os_facts.page_bytes);
    return ashlar_align_up(sizeof(struct ashlar_region) + MAPS * words * sizeof(uint64_t),
                           ashlar_os_facts.page_bytes);
}

/* The need and a header that can map all of it: the maps grow with the region, themselves
   included. */
static size_t bytes_with_header(size_t need_bytes)
{
    return need_bytes + header_bytes(need_bytes + need_bytes / 1024 + 2 * ASHLAR_MIB);
}

/* Bytes to reserve for a request: the usual growth, or a region of its own for a huge one. */
static size_t region_bytes_for(size_t need_bytes)
{
    size_t limit = ashlar_os_address_limit();
    size_t reserved_bytes = ashlar_count_read(region_reserved_bytes);
    size_t usual = ashlar_max_size(reserved_bytes, MIN_REGION_BYTES);
    usual = ashlar_min_size(usual, MAX_REGION_BYTES);
    usual = ashlar_align_down(ashlar_min_size(usual, limit / LIMIT_PART), ASHLAR_MIB);
    size_t page = ashlar_os_facts.page_bytes;
    size_t least = bytes_with_header(need_bytes) + page;
    return ashlar_max_size(least, usual);
}

static struct ashlar_region *make_region(size_t need_bytes, enum ashlar_region_pages pages)
{
    size_t page = ashlar_os_facts.page_bytes;
    size_t least = bytes_with_header(need_bytes) + page;
    size_t len = region_bytes_for(need_bytes);
    void *base;
    while (ashlar_os_reserve(len, &base) != 0) {
        if (len == least)
            return NULL;
        len = ashlar_max_size(least, ashlar_align_down(len / 2, page));
    }
    ashlar_os_name(base, len, ASHLAR_OS_NAME_LARGE);
    size_t header = header_bytes(len);
    if (ashlar_os_commit(base, header) != 0) {
        (void)ashlar_os_unmap(base, len);
        return NULL;
    }
    struct ashlar_region *region = base;
    region->base = base;
    region->len_bytes = len;
    region->payload = region->base + header + page;
    region->edge = region->payload;
    region->committed = region->payload;
    region->npages = len / page;
    region->pages = pages;
    region->marked = region->maps;
    size_t words = ASHLAR_BITMAP_WORDS(region->npages);
    region->protect = region->marked + words;
    region->moved = region->protect + words;
    region->cut = region->moved + words;
    ashlar_list_init(&region->extents);
    ashlar_list_push_front(&regions, &region->link);
    ashlar_count(regions);
    ashlar_count_add(region_reserved_bytes, len);
    return region;
}

/* Makes [edge, edge + len_bytes) writable. */
static bool commit_edge(struct ashlar_region *region, size_t len_bytes)
{
    char *end = region->base + region->len_bytes;
    if ((size_t)(end - region->edge) < len_bytes)
        return false;
    char *need = region->edge + len_bytes;
    if (need <= region->committed)
        return true;
    size_t least = (size_t)(need - region->committed);
    size_t step = ashlar_min_size(ashlar_max_size(least, COMMIT_STEP_BYTES),
                                  (size_t)(end - region->committed));
    if (ashlar_os_commit(region->committed, step) != 0) {
        step = least;
        if (ashlar_os_commit(region->committed, step) != 0)
            return false;
    }
    if (region->pages == ASHLAR_PAGES_HUGE)
        ashlar_os_advise_huge(region->committed, step);
    region->committed += step;
    ashlar_count_add(region_committed_bytes, step);
    return true;
}

static char *advance_edge(struct ashlar_region *region, size_t len_bytes)
{
    char *got = region->edge;
    region->edge += len_bytes;
    return got;
}

/* Bytes from the edge to the end of `len_bytes` at a multiple of `align`. The front is empty or at
   least a page and its guard; the end is a multiple of `align` or of MAX_PAD_BYTES. */
static size_t bytes_at_edge(const struct ashlar_region *region, size_t len_bytes, size_t align)
{
    uintptr_t edge = (uintptr_t)region->edge;
    uintptr_t place = ashlar_align_up(edge, align);
    if (place != edge && place - edge < 2 * ashlar_os_facts.page_bytes)
        place += align;
    size_t whole = ashlar_align_up(len_bytes, ashlar_min_size(align, MAX_PAD_BYTES));
    return place - edge + whole;
}

char *ashlar_region_take(size_t len_bytes, size_t align, enum ashlar_region_pages pages,
                         struct ashlar_region **region, size_t *taken_bytes)
{
    if (len_bytes > SIZE_MAX / 4 || align > SIZE_MAX / 4 || !ashlar_lock_take(&ashlar_region_lock))
        return NULL;
    char *got = NULL;
    int tries = 0;
    struct ashlar_region *found = NULL;
    for (struct ashlar_list *link = ashlar_list_first(&regions);
         link != NULL && tries < EDGES_TRIED && found == NULL;
         link = ashlar_list_next(&regions, link)) {
        if (region_of(link)->pages != pages)
            continue;
        tries++;
        if (commit_edge(region_of(link), bytes_at_edge(region_of(link), len_bytes, align)))
            found = region_of(link);
    }
    if (found == NULL)
        found = make_region(len_bytes + 2 * align, pages);
    if (found != NULL) {
        *taken_bytes = bytes_at_edge(found, len_bytes, align);
        if (commit_edge(found, *taken_bytes)) {
            got = advance_edge(found, *taken_bytes);
            *region = found;
        } else if (found->edge == found->payload) {
            /* Reserved, but the commit was refused: do not keep the address space. */
            ashlar_list_remove(&found->link);
            ashlar_lock_release(&ashlar_region_lock);
            (void)ashlar_region_unmap(found);
            return NULL;
        }
    }
    ashlar_lock_release(&ashlar_region_lock);
    return got;
}

bool ashlar_region_extend(struct ashlar_region *region, const char *at, size_t more_bytes)
{
    if (!ashlar_lock_take(&ashlar_region_lock))
        return false;
    bool is_extended = region->edge == at && commit_edge(region, more_bytes);
    if (is_extended)
        advance_edge(region, more_bytes);
    ashlar_lock_release(&ashlar_region_lock);
    return is_extended;
}

bool ashlar_region_retire(struct ashlar_region *region, const char *start, const char *end)
{
    if (start != region->payload || !ashlar_lock_take(&ashlar_region_lock))
        return false;
    bool is_whole = region->edge == end;
    if (is_whole)
        ashlar_list_remove(&region->link);
    ashlar_lock_release(&ashlar_region_lock);
    return is_whole;
}

bool ashlar_region_unmap(struct ashlar_region *region)
{
    char *base = region->base;
    size_t len = region->len_bytes;
    size_t committed = (size_t)(region->committed - region->payload);
    bool is_gone = ashlar_os_unmap(base, len) == 0;
    if (is_gone) {
        ashlar_count_sub(regions, 1);
        ashlar_count_sub(region_reserved_bytes, len);
        ashlar_count_sub(region_committed_bytes, committed);
    }
    /* free must not wait for a fork: its wording of a late double free may suffer, and a region
       that the kernel would not unmap is not extended any more. */
    if (!ashlar_lock_take(&ashlar_region_lock))
        return is_gone;
    if (is_gone)
        remember_past(base, len);
    else
        ashlar_list_push_front(&regions, &region->link);
    ashlar_lock_release(&ashlar_region_lock);
    return is_gone;
}

bool ashlar_region_renew(struct ashlar_region *region, char *start, size_t len_bytes)
{
    if (ashlar_os_map_over(start, len_bytes) != 0)
        return false;
    ashlar_os_name(start, len_bytes, ASHLAR_OS_NAME_LARGE);
    if (region->pages == ASHLAR_PAGES_HUGE)
        ashlar_os_advise_huge(start, len_bytes);
    return true;
}

struct ashlar_region *ashlar_region_find(const void *address)
{
    struct ashlar_region *found = NULL;
    uintptr_t a = (uintptr_t)address;
    if (!ashlar_lock_take(&ashlar_region_lock))
        return NULL;
    for (struct ashlar_list *link = ashlar_list_first(&regions); link != NULL && found == NULL;
         link = ashlar_list_next(&regions, link)) {
        struct ashlar_region *region = region_of(link);
        if (a - (uintptr_t)region->base < region->len_bytes)
            found = region;
    }
    ashlar_lock_release(&ashlar_region_lock);
    return found;
}

bool ashlar_region_was_ours(const void *address)
{
    uintptr_t a = (uintptr_t)address;
    bool is_past = false;
    if (!ashlar_lock_take(&ashlar_region_lock))
        return false;
    for (unsigned i = 0; i < PAST_COUNT; i++)
        is_past |= a >= past[i].start && a < past[i].end;
    ashlar_lock_release(&ashlar_region_lock);
    return is_past;
}

char *ashlar_region_map_chunk(size_t len_bytes, size_t align)
{
    void *got;
    if (ashlar_os_map(len_bytes, &got) != 0)
        return NULL;
    if (!ashlar_is_aligned(got, align)) {
        /* Map more and cut both ends off; with the map count used up the cut fails: give up. */
        size_t page = ashlar_os_facts.page_bytes;
        size_t more = len_bytes + align - page;
        if (ashlar_os_unmap(got, len_bytes) != 0 || ashlar_os_map(more, &got) != 0)
            return NULL;
        char *chunk = (char *)ashlar_align_up((uintptr_t)got, align);
        size_t front = (size_t)(chunk - (char *)got);
        size_t rear = more - front - len_bytes;
        if (front != 0 && ashlar_os_unmap(got, front) != 0) {
            (void)ashlar_os_unmap(got, more);
            return NULL;
        }
        if (rear != 0 && ashlar_os_unmap(chunk + len_bytes, rear) != 0) {
            (void)ashlar_os_unmap(chunk, len_bytes + rear);
            return NULL;
        }
        got = chunk;
    }
    ashlar_os_name(got, len_bytes, ASHLAR_OS_NAME_SMALL);
    ashlar_count_add(region_reserved_bytes, len_bytes);
    ashlar_count_add(region_committed_bytes, len_bytes);
    return got;
}

bool ashlar_region_unmap_chunk(char *chunk, size_t len_bytes)
{
    if (ashlar_os_unmap(chunk, len_bytes) != 0)
        return false;
    ashlar_count_sub(region_reserved_bytes, len_bytes);
    ashlar_count_sub(region_committed_bytes, len_bytes);
    if (ashlar_lock_take(&ashlar_region_lock)) {
        remember_past(chunk, len_bytes);
        ashlar_lock_release(&ashlar_region_lock);
    }
    return true;
}
