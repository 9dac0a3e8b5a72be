/*
 * api.h - one body for each call, shared by its two names
 *
 * Purpose     ashlar_malloc (api.c) and malloc (override.c) do the same. What is fast is inline
 *             in both; the rest is a hidden function of api.c.
 * Invariants  Nothing here goes through the PLT: with libashlar and libashlar-api in one process
 *             each stays with its own heap.
 *             errno is set here and nowhere below: ENOMEM on every failure to allocate, EINVAL
 *             for arguments. Success and free leave it alone.
 * Locking     None held on the way in or out.
 * Layer       api/. Uses front/route. Used by api.c, override.c, cxx.c.
 */
#ifndef ASHLAR_API_API_H
#define ASHLAR_API_API_H

#include <stdio.h>

#include "ashlar/ashlar.h"
#include "base/base.h"
#include "front/route.h"

/* The end of every failed allocation: sets errno to ENOMEM, gives NULL. */
ASHLAR_COLD void *ashlar_api_no_memory(void);

ASHLAR_INLINE void *ashlar_api_malloc(size_t size)
{
    void *ptr = ashlar_route_malloc(size);
    if (ASHLAR_LIKELY(ptr != NULL))
        return ptr;
    return ashlar_api_no_memory();
}

ASHLAR_INLINE void *ashlar_api_calloc(size_t count, size_t size)
{
    size_t len_bytes;
    if (ASHLAR_UNLIKELY(!ashlar_mul_fits(count, size, &len_bytes)))
        return ashlar_api_no_memory();
    void *ptr = ashlar_route_calloc(len_bytes);
    if (ASHLAR_LIKELY(ptr != NULL))
        return ptr;
    return ashlar_api_no_memory();
}

/* realloc(p, 0) frees and gives NULL, errno untouched: what glibc does and programs rely on. */
ASHLAR_INLINE void *ashlar_api_realloc(void *ptr, size_t size)
{
    if (ASHLAR_UNLIKELY(ptr == NULL))
        return ashlar_api_malloc(size);
    if (ASHLAR_UNLIKELY(size == 0)) {
        ashlar_route_free(ptr);
        return NULL;
    }
    void *moved = ashlar_route_realloc(ptr, size);
    if (ASHLAR_LIKELY(moved != NULL))
        return moved;
    return ashlar_api_no_memory();
}

/* The cold calls; each as the one of the same name in ashlar.h. */
void *ashlar_api_memalign(size_t align, size_t size);
void *ashlar_api_aligned_alloc(size_t align, size_t size);
int ashlar_api_posix_memalign(void **memptr, size_t align, size_t size);
void *ashlar_api_valloc(size_t size);
void *ashlar_api_pvalloc(size_t size);
bool ashlar_api_trim(void);
bool ashlar_api_mallopt(int param, int value);
struct ashlar_mallinfo2 ashlar_api_mallinfo2(void);
void ashlar_api_malloc_stats(void);
int ashlar_api_malloc_info(int options, FILE *stream);

#endif
