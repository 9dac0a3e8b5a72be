/*
 * usable.c - what malloc_usable_size says may be written, in full, and belongs to no other block
 *
 * Compiled with the strictest _FORTIFY_SOURCE, under which the C library checks every memset
 * against the size the compiler can see.
 *
 * run:
 * run: ASHLAR_CONF=guard:mprotect
 * run: ASHLAR_CONF=guard:off
 * run: ASHLAR_CONF=large_threshold:4096
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#ifdef __OPTIMIZE__
#define _FORTIFY_SOURCE 3
#endif
#include "expect.h"

/*
 * How programs that grow into the slack tell the compiler so (systemd's malloc.c does the same):
 * the attribute makes the usable size the size that fortified calls check against.
 */
__attribute__((alloc_size(2), noinline, returns_nonnull)) static void *expand_to(void *ptr,
                                                                                 size_t size)
{
    (void)size;
    return launder(ptr);
}

static void *make(unsigned maker, size_t size)
{
    switch (maker) {
    case 0:
        return malloc(size);
    case 1:
        return calloc(1, size);
    case 2:
        return realloc(malloc(size * 2 + 1), size + (size == 0));
    case 3:
        return realloc(malloc(size / 3 + 1), size + (size == 0));
    default:
        return aligned_alloc(64, size);
    }
}

/* Three neighbours, each filled to its usable end, each still whole afterwards. */
static void check_full_use(unsigned maker, size_t size)
{
    char *blocks[3];
    size_t usable[3];
    for (int i = 0; i < 3; i++) {
        blocks[i] = make(maker, size);
        EXPECT(blocks[i] != NULL, "%zu bytes", size);
        usable[i] = malloc_usable_size(blocks[i]);
        EXPECT(usable[i] >= size, "%zu of %zu bytes", usable[i], size);
        blocks[i] = expand_to(blocks[i], usable[i]);
        memset(blocks[i], 'a' + i, usable[i]);
    }
    for (int i = 0; i < 3; i++) {
        EXPECT(blocks[i][0] == 'a' + i && blocks[i][usable[i] - 1] == 'a' + i);
        EXPECT(usable[i] == 1 || memcmp(blocks[i], blocks[i] + 1, usable[i] - 1) == 0,
               "blocks of %zu bytes (usable %zu) overlap", size, usable[i]);
        EXPECT(malloc_usable_size(blocks[i]) == usable[i], "it changed by itself");
    }
    /* realloc to what is there already stays there and keeps everything. */
    char *same = expand_to(realloc(blocks[0], usable[0]), usable[0]);
    EXPECT(same[usable[0] - 1] == 'a');
    EXPECT(!on_ashlar() || same == blocks[0], "realloc of %zu to its own usable size moved", size);
    free(same);
    free(blocks[1]);
    free(blocks[2]);
}

/* Every fortified call that a program makes on a block, with the sizes it asked for. */
static void check_fortified_calls(size_t size)
{
    char *a = malloc(size + 1);
    char *b = calloc(size + 1, 1);
    memset(a, 'x', size);
    a[size] = '\0';
    memcpy(b, a, size + 1);
    EXPECT(strcmp(a, b) == 0);
    a = realloc(a, 2 * size + 20);
    strcpy(a + size, b);
    EXPECT(strlen(a) == 2 * size);
    EXPECT((size_t)snprintf(a, 2 * size + 20, "%s%s%d", b, b, 12345) == 2 * size + 5);
    memmove(a + 1, a, 2 * size);
    free(a);
    free(b);
}

int main(void)
{
    test_begin(60);
    for (unsigned maker = 0; maker < 5; maker++) {
        for (size_t size = 0; size <= 2100; size++)
            check_full_use(maker, size);
        for (size_t size = 2100; size <= 8 * MIB; size = size * 6 / 5 + 1)
            check_full_use(maker, size);
        for (size_t size = 4096; size <= 4 * MIB; size *= 2) {
            check_full_use(maker, size - 1);
            check_full_use(maker, size);
            check_full_use(maker, size + 1);
        }
    }
    for (size_t size = 1; size <= MIB; size = size * 2 + 1)
        check_fortified_calls(size);
    return TEST_PASS;
}
