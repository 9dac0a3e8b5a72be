/*
 * override.c - the malloc family under the C library's own names
 *
 * Purpose     What makes libashlar the malloc of a whole process, preloaded or linked.
 * Invariants  Complete: a name left out would fall through to the C library's malloc, whose
 *             blocks would then reach our free. Left out on purpose are reallocarray, strdup and
 *             their like, which glibc builds on the names below ("Replacing malloc").
 *             Without symbol versions: a program asks for malloc@GLIBC_2.2.5, and the loader
 *             takes a definition without version for any.
 * Locking     None.
 * Layer       api/. Compiled with -fno-builtin, so that no compiler reads malloc into malloc.
 */
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>

#include "api/api.h"

/* Members agree one by one, so the one is the other; checked where glibc has it (2.33). */
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
_Static_assert(sizeof(struct mallinfo2) == sizeof(struct ashlar_mallinfo2) &&
                   offsetof(struct mallinfo2, hblkhd) ==
                       offsetof(struct ashlar_mallinfo2, hblkhd) &&
                   offsetof(struct mallinfo2, keepcost) ==
                       offsetof(struct ashlar_mallinfo2, keepcost),
               "struct mallinfo2 is not what it was");
#else
struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct mallinfo2 mallinfo2(void);
#endif

/* Names that the headers of this C library do not declare: C23, and one that glibc 2.26 keeps for
   old programs only. */
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);
void cfree(void *ptr);

ASHLAR_EXPORT void *malloc(size_t size)
{
    return ashlar_api_malloc(size);
}

ASHLAR_EXPORT void *calloc(size_t count, size_t size)
{
    return ashlar_api_calloc(count, size);
}

ASHLAR_EXPORT void *realloc(void *ptr, size_t size)
{
    return ashlar_api_realloc(ptr, size);
}

ASHLAR_EXPORT void free(void *ptr)
{
    ashlar_route_free(ptr);
}

ASHLAR_EXPORT void cfree(void *ptr)
{
    ashlar_route_free(ptr);
}

ASHLAR_EXPORT void free_sized(void *ptr, size_t size)
{
    ashlar_route_free_sized(ptr, size);
}

ASHLAR_EXPORT void free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    ashlar_route_free(ptr);
}

ASHLAR_EXPORT void *memalign(size_t alignment, size_t size)
{
    return ashlar_api_memalign(alignment, size);
}

ASHLAR_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return ashlar_api_aligned_alloc(alignment, size);
}

ASHLAR_EXPORT int posix_memalign(void **memptr, size_t alignment, size_t size)
{
    return ashlar_api_posix_memalign(memptr, alignment, size);
}

ASHLAR_EXPORT void *valloc(size_t size)
{
    return ashlar_api_valloc(size);
}

ASHLAR_EXPORT void *pvalloc(size_t size)
{
    return ashlar_api_pvalloc(size);
}

ASHLAR_EXPORT size_t malloc_usable_size(void *ptr)
{
    return ashlar_route_usable_size(ptr);
}

ASHLAR_EXPORT int malloc_trim(size_t pad_bytes)
{
    (void)pad_bytes;
    return ashlar_api_trim();
}

ASHLAR_EXPORT int mallopt(int param, int value)
{
    return ashlar_api_mallopt(param, value);
}

ASHLAR_EXPORT struct mallinfo2 mallinfo2(void)
{
    struct ashlar_mallinfo2 ours = ashlar_api_mallinfo2();

    return (struct mallinfo2){
        .arena = ours.arena,
        .hblks = ours.hblks,
        .hblkhd = ours.hblkhd,
        .uordblks = ours.uordblks,
        .fordblks = ours.fordblks,
        .keepcost = ours.keepcost,
    };
}

static int saturate(size_t n)
{
    return n < INT_MAX ? (int)n : INT_MAX;
}

/* The old one counts in ints: what does not fit is INT_MAX rather than a small or negative lie. */
ASHLAR_EXPORT struct mallinfo mallinfo(void)
{
    struct ashlar_mallinfo2 ours = ashlar_api_mallinfo2();

    return (struct mallinfo){
        .arena = saturate(ours.arena),
        .hblks = saturate(ours.hblks),
        .hblkhd = saturate(ours.hblkhd),
        .uordblks = saturate(ours.uordblks),
        .fordblks = saturate(ours.fordblks),
        .keepcost = saturate(ours.keepcost),
    };
}

ASHLAR_EXPORT void malloc_stats(void)
{
    ashlar_api_malloc_stats();
}

ASHLAR_EXPORT int malloc_info(int options, FILE *stream)
{
    return ashlar_api_malloc_info(options, stream);
}
