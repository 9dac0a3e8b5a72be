/*
 * emergency.c - memory while the locks are shut
 *
 * Purpose     See emergency.h.
 * Invariants  `current` is the address of a run, a multiple of its length, and in the low bits the
 *             number of references taken from it so far: one addition gives both at once, so
 *             a run cannot go between being found and being used (split reference counts). A run's
 *             own count holds minus the references given back; when the run is replaced, those
 *             taken are added, and zero means that nobody has one. A block is a reference.
 *             Each block has a head of 16 bytes in front of it:
 *
 *               run: | struct run | head | block | head | block | ... (never touched yet) |
 *
 *             A run is as long as it is aligned, so a block's run is found by a mask; a request
 *             that does not fit a run gets pages of its own, found through its head.
 * Locking     Bump by fetch_add: who goes past the end opens a new run.
 * Layer       front/.
 */
#include "front/emergency.h"

#include "base/check.h"
#include "conf/counters.h"
#include "map/pagemap.h"
#include "map/region.h"
#include "os/os.h"

#define RUN_BYTES (1 * ASHLAR_MIB)

/* Bigger requests get pages of their own. */
#define RUN_REQUEST_MAX (RUN_BYTES / 8)

struct run {
    _Atomic size_t next;    /* bytes handed out */
    _Atomic intptr_t live;  /* references; see the invariants */
};

struct head {
    size_t size;   /* usable bytes; 0: freed */
    size_t offset; /* pages of its own: bytes from their start to the block; 0: in a run */
};

#define RUN_FIRST_BYTES ashlar_align_up(sizeof(struct run), ASHLAR_MIN_ALIGN_BYTES)

static struct ashlar_span store_span;
static _Atomic uintptr_t current;
static _Atomic(void *) deferred;

static struct head *head_of(const void *ptr)
{
    return (struct head *)(uintptr_t)ptr - 1;
}

/* Pages at a multiple of `align`, entered in the page map. */
static char *map_pages(size_t len_bytes, size_t align)
{
    char *pages = ashlar_region_map_chunk(len_bytes, align);
    if (pages == NULL)
        return NULL;
    if (!ashlar_pagemap_prepare(pages, len_bytes)) {
        (void)ashlar_region_unmap_chunk(pages, len_bytes);
        return NULL;
    }
    ashlar_pagemap_set(pages, len_bytes, &store_span);
    return pages;
}

static void unmap_pages(char *pages, size_t len_bytes)
{
    ashlar_pagemap_set(pages, len_bytes, NULL);
    (void)ashlar_region_unmap_chunk(pages, len_bytes);
}

static struct run *run_of(uintptr_t address)
{
    return (struct run *)ashlar_align_down(address, RUN_BYTES);
}

/* Adds references (negative: gives back); the last one unmaps the run. */
static void add_references(struct run *run, intptr_t n)
{
    if (atomic_fetch_add_explicit(&run->live, n, memory_order_acq_rel) + n == 0)
        unmap_pages((char *)run, RUN_BYTES);
}

/* A fresh run becomes current in place of `old`, unless somebody else was faster; false: no
   memory. */
static bool open_run(struct run *old)
{
    struct run *fresh = (struct run *)(void *)map_pages(RUN_BYTES, RUN_BYTES);
    if (fresh == NULL)
        return false;
    atomic_store_explicit(&fresh->next, RUN_FIRST_BYTES, memory_order_relaxed);
    uintptr_t seen = atomic_load_explicit(&current, memory_order_acquire);
    while (run_of(seen) == old) {
        if (!atomic_compare_exchange_weak_explicit(&current, &seen, (uintptr_t)fresh,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        if (old != NULL)
            add_references(old, (intptr_t)(seen % RUN_BYTES));
        return true;
    }
    unmap_pages((char *)fresh, RUN_BYTES);
    return true;
}

static void *set_head(char *block, size_t size, size_t offset)
{
    *head_of(block) = (struct head){.size = size, .offset = offset};
    return block;
}

static void *malloc_own_pages(size_t align, size_t size)
{
    size_t page = ashlar_os_facts.page_bytes;
    size_t front = ashlar_max_size(page, align);
    size_t len;
    if (!ashlar_add_fits(size, front, &len) || !ashlar_round_fits(len, page, &len))
        return NULL;
    char *pages = map_pages(len, front);
    return pages != NULL ? set_head(pages + front, len - front, front) : NULL;
}

/* A block of the current run, or NULL with the run that has no room. */
static void *bump(struct run *run, size_t align, size_t size)
{
    size_t need = size + sizeof(struct head) + (align - ASHLAR_MIN_ALIGN_BYTES);
    size_t at = atomic_fetch_add_explicit(&run->next, need, memory_order_relaxed);
    if (at + need > RUN_BYTES)
        return NULL;
    uintptr_t block = ashlar_align_up((uintptr_t)run + at + sizeof(struct head), align);
    return set_head((char *)run + (block - (uintptr_t)run), size, 0);
}

void *ashlar_emergency_malloc(size_t align, size_t size)
{
    align = ashlar_max_size(align, ASHLAR_MIN_ALIGN_BYTES);
    size = ashlar_max_size(size, 1); /* or a block of no bytes would lie behind its pages */
    ashlar_count(emergency_allocs);
    if (size > RUN_REQUEST_MAX || align > ashlar_os_facts.page_bytes)
        return malloc_own_pages(align, size);
    size = ashlar_align_up(size, ASHLAR_MIN_ALIGN_BYTES);
    for (;;) {
        uintptr_t word = atomic_fetch_add_explicit(&current, 1, memory_order_acquire);
        struct run *run = run_of(word);
        void *block = run != NULL ? bump(run, align, size) : NULL;
        if (block != NULL)
            return block;
        if (run != NULL)
            add_references(run, -1);
        if (!open_run(run))
            return NULL;
    }
}

bool ashlar_emergency_owns(const struct ashlar_span *span)
{
    return span == &store_span;
}

bool ashlar_emergency_free(void *ptr)
{
    struct head *head = head_of(ptr);
    size_t size = head->size;
    size_t offset = head->offset;
    if (size == 0)
        return false;
    head->size = 0;
    if (offset != 0)
        unmap_pages((char *)ptr - offset, size + offset);
    else
        add_references(run_of((uintptr_t)ptr), -1);
    return true;
}

size_t ashlar_emergency_usable_size(const void *ptr)
{
    return head_of(ptr)->size;
}

void ashlar_emergency_defer(void *ptr)
{
    void *top = atomic_load_explicit(&deferred, memory_order_relaxed);
    do
        *(void **)ptr = top;
    while (!atomic_compare_exchange_weak_explicit(&deferred, &top, ptr, memory_order_release,
                                                  memory_order_relaxed));
}

void *ashlar_emergency_take_deferred(void)
{
    return atomic_exchange_explicit(&deferred, NULL, memory_order_acquire);
}

bool ashlar_emergency_has_deferred(void)
{
    return atomic_load_explicit(&deferred, memory_order_relaxed) != NULL;
}
