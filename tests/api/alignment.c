/*
 * alignment.c - every block starts where its caller was promised
 *
 * run:
 * run: ASHLAR_CONF=guard:mprotect
 * run: ASHLAR_CONF=large_threshold:4096
 * run: ASHLAR_CONF=decay_ms:0
 */
#define _GNU_SOURCE
#include <stddef.h>

#include "expect.h"

#define MALLOC_ALIGN _Alignof(max_align_t)

static void check_block(void *ptr, size_t size, size_t align, const char *maker)
{
    EXPECT(ptr != NULL, "%s of %zu bytes", maker, size);
    EXPECT(is_aligned(ptr, align), "%s of %zu bytes gave %p, not a multiple of %zu", maker, size,
           ptr, align);
    EXPECT(malloc_usable_size(ptr) >= size, "%s of %zu bytes has room for %zu", maker, size,
           malloc_usable_size(ptr));
}

/* The three calls that promise the alignment of max_align_t whatever the size. */
static void check_plain_size(size_t size)
{
    void *made = malloc(size);
    check_block(made, size, MALLOC_ALIGN, "malloc");
    void *cleared = calloc(1, size);
    check_block(cleared, size, MALLOC_ALIGN, "calloc");
    void *grown = realloc(malloc(1), size + 1);
    check_block(grown, size + 1, MALLOC_ALIGN, "realloc");
    free(grown);
    free(cleared);
    free(made);
}

static void check_plain_sizes(void)
{
    for (size_t size = 0; size <= 4096; size++)
        check_plain_size(size);
    for (size_t size = 4096; size <= 64 * MIB; size = size * 9 / 8) {
        check_plain_size(size);
        check_plain_size(size + 1);
        check_plain_size(size / 4096 * 4096);
    }
}

/* Blocks of one size live side by side: an allocator that aligns only its first one shows. */
static void check_neighbours(void)
{
    void *blocks[64];
    for (size_t size = 1; size <= 1024; size += 7) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(size);
            check_block(blocks[i], size, MALLOC_ALIGN, "malloc");
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            free(blocks[i]);
    }
}

static void *make_aligned(unsigned maker, size_t align, size_t size)
{
    void *ptr = NULL;
    if (maker == 0)
        return memalign(align, size);
    if (maker == 1)
        return aligned_alloc(align, size);
    return posix_memalign(&ptr, align, size) == 0 ? ptr : NULL;
}

/* Contents, and realloc: it keeps the bytes but owes no more than malloc's alignment. */
static void check_aligned(unsigned maker, size_t align, size_t size)
{
    static const char *const names[] = {"memalign", "aligned_alloc", "posix_memalign"};
    if (maker == 2 && align < sizeof(void *))
        return;
    void *ptr = make_aligned(maker, align, size);
    check_block(ptr, size, align < MALLOC_ALIGN ? 1 : align, names[maker]);
    pattern_fill(ptr, size, align);
    EXPECT(pattern_holds(ptr, size, align));
    void *other = make_aligned(maker, align, size);
    check_block(other, size, align < MALLOC_ALIGN ? 1 : align, names[maker]);
    pattern_fill(other, size, align + 1);
    EXPECT(pattern_holds(ptr, size, align), "two blocks of %s overlap", names[maker]);
    free(ptr);
    ptr = realloc(other, size + size / 2 + 1);
    check_block(ptr, size + size / 2 + 1, MALLOC_ALIGN, "realloc of an aligned block");
    EXPECT(pattern_broken(ptr, size, size, align + 1) == size, "realloc of an aligned block");
    free(ptr);
}

static void check_alignments(void)
{
    static const size_t sizes[] = {
        0,    1,    15,    16,     17,     48,      100,           1000,
        4096, 5000, 65536, 131072, 200000, 1 << 20, (1 << 20) + 1, 5 << 20};
    for (unsigned maker = 0; maker < 3; maker++) {
        for (size_t align = 1; align <= GIB; align *= 2) {
            for (size_t i = 0; i < COUNT_OF(sizes); i++)
                check_aligned(maker, align, sizes[i]);
        }
    }
}

/* Several gigabyte-aligned blocks at once, and the space around them still usable. */
static void check_giant_alignments_together(void)
{
    enum { COUNT = 8 };
    void *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = memalign(GIB, 100 + i * 100000);
        check_block(blocks[i], 100 + i * 100000, GIB, "memalign");
        pattern_fill(blocks[i], 100 + i * 100000, i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        EXPECT(pattern_holds(blocks[i], 100 + i * 100000, i));
        free(blocks[i]);
    }
}

static void check_page_calls(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    static const size_t sizes[] = {0, 1, 100, 4095, 4096, 4097, 100000, 131072, 1000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *by_valloc = valloc(sizes[i]);
        check_block(by_valloc, sizes[i], page, "valloc");
        void *by_pvalloc = pvalloc(sizes[i]);
        check_block(by_pvalloc, (sizes[i] + page - 1) / page * page, page, "pvalloc");
        pattern_fill(by_valloc, sizes[i], 1);
        pattern_fill(by_pvalloc, (sizes[i] + page - 1) / page * page, 2);
        EXPECT(pattern_holds(by_valloc, sizes[i], 1));
        free(by_valloc);
        free(by_pvalloc);
    }
}

int main(void)
{
    test_begin(120);
    check_plain_sizes();
    check_neighbours();
    check_alignments();
    check_giant_alignments_together();
    check_page_calls();
    return TEST_PASS;
}
