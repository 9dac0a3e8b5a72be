/*
 * edges.c - sizes, arguments and errors at the edge, as the malloc manual words them
 *
 * run:
 * run: ASHLAR_CONF=zero:on
 * run: ASHLAR_CONF=guard:mprotect,decay_ms:0
 */
#define _GNU_SOURCE
#include <errno.h>

#include "expect.h"

static const size_t impossible_sizes[] = {
    (size_t)PTRDIFF_MAX + 1, SIZE_MAX,         SIZE_MAX - 1,
    SIZE_MAX - 15,           SIZE_MAX - 4095,  SIZE_MAX - 4096,
    SIZE_MAX - 65536,        SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 4096};

/* Sizes that the C standard allows but no machine has: 64 TiB and up. */
static const size_t absurd_sizes[] = {(size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX - 4096,
                                      (size_t)1 << 62, (size_t)1 << 56, (size_t)1 << 50};

#define EXPECT_ENOMEM(call, size)                                                        \
    do {                                                                                 \
        errno = 0;                                                                       \
        EXPECT(launder(call) == NULL, #call " of %zu bytes", (size_t)(size));            \
        EXPECT(errno == ENOMEM, #call " of %zu bytes: errno %d", (size_t)(size), errno); \
    } while (0)

/* Every function fails in the same words, and a failing realloc leaves the old block alone. */
static void check_too_large(size_t size)
{
    void *untouched = &size;
    void *out = untouched;
    EXPECT_ENOMEM(malloc(size), size);
    EXPECT_ENOMEM(calloc(1, size), size);
    EXPECT_ENOMEM(calloc(size, 1), size);
    EXPECT_ENOMEM(realloc(NULL, size), size);
    EXPECT_ENOMEM(memalign(64, size), size);
    EXPECT_ENOMEM(memalign(8192, size), size);
    EXPECT_ENOMEM(aligned_alloc(16, size), size);
    EXPECT_ENOMEM(aligned_alloc(GIB, size), size);
    EXPECT_ENOMEM(valloc(size), size);
    EXPECT_ENOMEM(pvalloc(size), size);
    EXPECT(posix_memalign(&out, 16, size) == ENOMEM, "of %zu bytes", size);
    EXPECT(posix_memalign(&out, 65536, size) == ENOMEM, "of %zu bytes", size);
    EXPECT(out == untouched, "a failed posix_memalign stored %p", out);
#ifndef ASHLAR_PREFIXED
    EXPECT_ENOMEM(reallocarray(NULL, 1, size), size);
#endif

    static const size_t old_sizes[] = {1, 100, 5000, 100000, 200000, 3000000};
    for (size_t i = 0; i < COUNT_OF(old_sizes); i++) {
        char *old = malloc(old_sizes[i]);
        EXPECT(old != NULL);
        pattern_fill(old, old_sizes[i], i);
        EXPECT_ENOMEM(realloc(launder(old), size), size);
        EXPECT(pattern_holds(old, old_sizes[i], i), "after realloc to %zu failed", size);
        free(old);
    }
}

static void check_products(void)
{
    volatile size_t most = SIZE_MAX; /* volatile: or the compiler knows the answer */
    volatile size_t half = SIZE_MAX / 2;
    volatile size_t root = (size_t)1 << 32;
    EXPECT_ENOMEM(calloc(root, root), 0);
    EXPECT_ENOMEM(calloc(half, 3), 0);
    EXPECT_ENOMEM(calloc(3, half), 0);
    EXPECT_ENOMEM(calloc(most, most), 0);
    EXPECT_ENOMEM(calloc(half + 2, 2), 0); /* wraps around to 2 */
#ifndef ASHLAR_PREFIXED
    char *old = malloc(100);
    pattern_fill(old, 100, 1);
    EXPECT_ENOMEM(reallocarray(launder(old), root, root), 0);
    EXPECT_ENOMEM(reallocarray(launder(old), half + 2, 2), 0);
    EXPECT(pattern_holds(old, 100, 1));
    old = reallocarray(old, 50, 40);
    EXPECT(old != NULL && pattern_broken(old, 100, 100, 1) == 100);
    free(old);
#endif
    char *zero = calloc(0, most);
    EXPECT(zero != NULL);
    free(zero);
    zero = calloc(most, 0);
    EXPECT(zero != NULL);
    free(zero);
}

/* Zero bytes is a request like any other: a pointer of its own, freed like any other. */
static void check_zero_sizes(void)
{
    enum { COUNT = 1000 };
    static void *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = i % 2 == 0 ? malloc(0) : calloc(0, 8);
        EXPECT(blocks[i] != NULL);
        for (size_t j = i < 50 ? 0 : i - 50; j < i; j++)
            EXPECT(blocks[i] != blocks[j], "two live blocks of no bytes at %p", blocks[i]);
    }
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
    void *out = NULL;
    EXPECT(posix_memalign(&out, 64, 0) == 0);
    free(out);
    free(aligned_alloc(64, 0));
    free(memalign(64, 0));
    free(NULL);
    EXPECT(malloc_usable_size(NULL) == 0);
}

/* realloc(p, 0) frees and gives NULL, as glibc does it; realloc(NULL, n) is malloc(n). */
static void check_realloc_zero(void)
{
    static const size_t sizes[] = {0, 1, 1000, 50000, 200000, 5000000};
    for (size_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            void *ptr = malloc(sizes[i]);
            errno = 77;
            EXPECT(launder(realloc(ptr, 0)) == NULL, "of %zu bytes", sizes[i]);
            EXPECT(errno == 77, "realloc(p, 0) set errno to %d", errno);
        }
    }
    void *ptr = realloc(NULL, 0);
    EXPECT(ptr != NULL, "realloc(NULL, 0) is malloc(0)");
    ptr = realloc(ptr, 10);
    EXPECT(ptr != NULL);
    free(ptr);
}

static void check_alignment_arguments(void)
{
    static const size_t bad[] = {3, 5, 24, 48, 100, 4097, 65535, SIZE_MAX};
    static const size_t below_pointer[] = {0, 1, 2, 4};
    char untouched;
    void *out = &untouched;
    errno = 77;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        EXPECT(posix_memalign(&out, bad[i], 100) == EINVAL, "alignment %zu", bad[i]);
        EXPECT(posix_memalign(&out, bad[i], 200000) == EINVAL, "alignment %zu", bad[i]);
    }
    for (size_t i = 0; i < COUNT_OF(below_pointer); i++)
        EXPECT(posix_memalign(&out, below_pointer[i], 100) == EINVAL, "%zu", below_pointer[i]);
    EXPECT(out == &untouched && errno == 77, "posix_memalign touched more than its result");

    /* Older C libraries round such alignments up instead, so this much is asked of Ashlar only. */
    for (size_t i = 0; on_ashlar() && i < COUNT_OF(bad); i++) {
        errno = 0;
        EXPECT(launder(aligned_alloc(bad[i], 100)) == NULL && errno == EINVAL, "%zu", bad[i]);
    }

    /* Alignments that leave no room: an error, not a wrap-around. */
    static const size_t huge[] = {(size_t)1 << 63, (size_t)1 << 62, (size_t)1 << 60};
    for (size_t i = 0; i < COUNT_OF(huge); i++) {
        EXPECT(posix_memalign(&out, huge[i], 100) != 0, "alignment %zu", huge[i]);
        EXPECT(posix_memalign(&out, huge[i], (size_t)PTRDIFF_MAX - 4096) != 0);
        errno = 0;
        EXPECT(launder(memalign(huge[i], 100)) == NULL && errno != 0, "%zu", huge[i]);
        errno = 0;
        EXPECT(launder(aligned_alloc(huge[i], 100)) == NULL && errno != 0, "%zu", huge[i]);
    }
    EXPECT(out == &untouched);
}

static const size_t freed_sizes[] = {0,      8,      100,    3000,    20000,
                                     100000, 131072, 300000, 5000000, 300000000};

/* As many blocks of each size as fit into so much memory, some at least and not too many. */
#define FREED_BYTES (128 * MIB)
enum { FREED_LEAST = 4, FREED_MOST = 64 };

static size_t freed_count(size_t size)
{
    size_t count = FREED_BYTES / (size + 1);
    return count < FREED_LEAST ? FREED_LEAST : count > FREED_MOST ? FREED_MOST : count;
}

/* free keeps errno, whatever it has to do for the block: keep it, purge it, unmap it. */
static void check_errno_survives_free(void)
{
    static void *blocks[COUNT_OF(freed_sizes)][FREED_MOST];
    for (size_t i = 0; i < COUNT_OF(freed_sizes); i++) {
        for (size_t j = 0; j < freed_count(freed_sizes[i]); j++) {
            blocks[i][j] = malloc(freed_sizes[i]);
            EXPECT(blocks[i][j] != NULL);
            *(volatile char *)launder(blocks[i][j]) = 1;
        }
    }
    for (size_t i = 0; i < COUNT_OF(freed_sizes); i++) {
        for (size_t j = 0; j < freed_count(freed_sizes[i]); j++) {
            errno = 1000 + (int)j;
            free(blocks[i][j]);
            EXPECT(errno == 1000 + (int)j, "free of %zu bytes set errno to %d", freed_sizes[i],
                   errno);
        }
    }
    errno = 77;
    free(NULL);
    EXPECT(errno == 77);
    /* Success has no business with errno either. */
    for (size_t i = 0; i < COUNT_OF(freed_sizes); i++) {
        void *ptr = malloc(freed_sizes[i]);
        ptr = realloc(ptr, freed_sizes[i] + 100000);
        EXPECT(ptr != NULL && errno == 77, "%zu bytes: errno %d", freed_sizes[i], errno);
        free(ptr);
    }
    EXPECT(errno == 77);
}

typedef void sized_free(void *, size_t);
typedef void aligned_sized_free(void *, size_t, size_t);

/* C23's two, where the library has them. */
static void check_sized_frees(void)
{
#ifndef ASHLAR_PREFIXED
    sized_free *free_with_size = (sized_free *)dlsym(RTLD_DEFAULT, "free_sized");
    aligned_sized_free *free_aligned = (aligned_sized_free *)dlsym(RTLD_DEFAULT,
                                                                   "free_aligned_sized");
    EXPECT((free_with_size != NULL && free_aligned != NULL) || !on_ashlar());
    if (free_with_size == NULL || free_aligned == NULL)
        return;
    for (size_t size = 0; size < 3000000; size += size / 3 + 1) {
        errno = 77;
        free_with_size(malloc(size), size);
        free_with_size(calloc(1, size), size);
        free_with_size(realloc(malloc(size / 2 + 1), size + 1), size + 1);
        for (size_t align = 16; align <= 65536; align *= 8)
            free_aligned(aligned_alloc(align, size), align, size);
        EXPECT(errno == 77);
    }
    free_with_size(NULL, 10);
    free_aligned(NULL, 16, 10);
#endif
}

int main(void)
{
    test_begin(60);
    for (size_t i = 0; i < COUNT_OF(impossible_sizes); i++)
        check_too_large(impossible_sizes[i]);
    for (size_t i = 0; i < COUNT_OF(absurd_sizes); i++)
        check_too_large(absurd_sizes[i]);
    check_products();
    check_zero_sizes();
    check_realloc_zero();
    check_alignment_arguments();
    check_errno_survives_free();
    check_sized_frees();
    return TEST_PASS;
}
