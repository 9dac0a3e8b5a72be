/*
 * large_blocks.h - large blocks as their tests make, resize and free them
 *
 * Purpose     The calls of large/ with the page map asked first, as front/ does.
 * Use         Only with fake_os.c.
 */
#ifndef ASHLAR_TESTS_UNIT_LARGE_BLOCKS_H
#define ASHLAR_TESTS_UNIT_LARGE_BLOCKS_H

#include "unit/testing.h"

#include "conf/counters.h"
#include "large/large.h"
#include "large/resize.h"
#include "map/pagemap.h"
#include "os/os.h"

#define PAGE (ashlar_os_facts.page_bytes)

static inline char *alloc(size_t size)
{
    return ashlar_large_alloc(size, PAGE, ASHLAR_FILL_ANY);
}

static inline enum ashlar_large_result free_block(char *ptr)
{
    struct ashlar_span *span = ashlar_pagemap_find(ptr);
    return span != NULL ? ashlar_large_free(span, ptr) : ASHLAR_LARGE_NOT_A_BLOCK;
}

static inline char *resize(char *ptr, size_t size)
{
    return ashlar_resize(ashlar_pagemap_find(ptr), ptr, size);
}

static inline size_t usable(const char *ptr)
{
    return ashlar_large_usable_size(ashlar_pagemap_find(ptr), ptr);
}

static inline bool is_fenced(const char *ptr)
{
    return !test_is_readable(ptr - 1) && !test_is_readable(ptr + usable(ptr));
}

/* A block whose every page is written. */
static inline char *make(size_t npages, uint64_t tag)
{
    char *block = alloc(npages * PAGE);
    assert_non_null(block);
    memset(block, 0xee, npages * PAGE);
    test_mark(block, npages * PAGE, tag);
    return block;
}

#endif
