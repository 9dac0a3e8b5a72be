/*
 * prefixed.h - turns a test of malloc into a test of ashlar_malloc
 *
 * Purpose     A program under AddressSanitizer or ThreadSanitizer must keep the sanitizer's
 *             malloc, so there the same tests run on the ashlar_ names: compile them with
 *             -include tests/lib/prefixed.h and link libashlar-api.
 * Use         Before any other header. Only where every block is freed by the test itself: what
 *             libc allocates (strdup, getline) still belongs to libc's malloc.
 */
#ifndef ASHLAR_TESTS_PREFIXED_H
#define ASHLAR_TESTS_PREFIXED_H

#define ASHLAR_PREFIXED 1

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <malloc.h>
#include <stdlib.h>

#include <ashlar/ashlar.h>

#define malloc ashlar_malloc
#define calloc ashlar_calloc
#define realloc ashlar_realloc
#define free ashlar_free
#define memalign ashlar_memalign
#define aligned_alloc ashlar_aligned_alloc
#define posix_memalign ashlar_posix_memalign
#define valloc ashlar_valloc
#define pvalloc ashlar_pvalloc
#define malloc_usable_size ashlar_malloc_usable_size
#define malloc_trim ashlar_malloc_trim

#endif
