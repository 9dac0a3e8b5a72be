/*
 * base.h - attributes, alignment and overflow-checked arithmetic
 *
 * Purpose     The handful of words every other file speaks.
 * Invariants  Everything here is a macro, a constant or a pure inline function.
 * Locking     None.
 * Layer       base/. Includes nothing of ours. Used by everybody.
 */
#ifndef ASHLAR_BASE_BASE_H
#define ASHLAR_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASHLAR_LIKELY(x) __builtin_expect(!!(x), 1)
#define ASHLAR_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Visible outside the shared object. Everything else is hidden by -fvisibility=hidden. */
#define ASHLAR_EXPORT __attribute__((visibility("default")))
#define ASHLAR_NOINLINE __attribute__((noinline))
#define ASHLAR_INLINE static inline __attribute__((always_inline))
#define ASHLAR_COLD __attribute__((cold, noinline))
#define ASHLAR_NORETURN __attribute__((noreturn))
#define ASHLAR_PRINTF(fmt_index, args_index) \
    __attribute__((format(printf, fmt_index, args_index)))

/* x86-64 shows others a thread's stores in the order they were made, so plain ones release; a race
   detector must see them called so. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ASHLAR_RACES_ARE_WATCHED 1
#endif
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(ASHLAR_RACES_ARE_WATCHED)
#define ASHLAR_PLAIN_STORES_RELEASE 1
#else
#define ASHLAR_PLAIN_STORES_RELEASE 0
#endif

/* Initial-exec: one load, no call, no allocation by the loader. The library may use two words. */
#define ASHLAR_TLS _Thread_local __attribute__((tls_model("initial-exec")))

#define ASHLAR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define ASHLAR_CACHE_LINE_BYTES 64

/* Alignment of every result: what the x86-64 and aarch64 ABIs ask of malloc. */
#define ASHLAR_MIN_ALIGN_BYTES 16

#define ASHLAR_KIB ((size_t)1 << 10)
#define ASHLAR_MIB ((size_t)1 << 20)
#define ASHLAR_GIB ((size_t)1 << 30)

/* The struct whose member `name` is at `ptr`. */
#define ASHLAR_CONTAINER_OF(ptr, type, name) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, name)))

static inline bool ashlar_is_power_of_2(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* `align` is a power of two; the caller knows that n + align - 1 does not overflow. */
static inline size_t ashlar_align_up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static inline size_t ashlar_align_down(size_t n, size_t align)
{
    return n & ~(align - 1);
}

static inline bool ashlar_is_aligned(const void *p, size_t align)
{
    return ((uintptr_t)p & (align - 1)) == 0;
}

static inline size_t ashlar_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t ashlar_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* True when a * b fits; the product is in *product then. */
static inline bool ashlar_mul_fits(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* True when a + b fits; the sum is in *sum then. */
static inline bool ashlar_add_fits(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

/* True when n rounded up to `align` (a power of two) fits; it is in *rounded then. */
static inline bool ashlar_round_fits(size_t n, size_t align, size_t *rounded)
{
    if (n > SIZE_MAX - (align - 1))
        return false;
    *rounded = ashlar_align_up(n, align);
    return true;
}

#endif
