/*
 * ashlar.h - the calls of the Ashlar memory allocator
 *
 * Purpose     malloc and its family under names of their own, and what the family lacks:
 *             statistics in three formats, giving memory back, the version.
 * Use         Link with -lashlar (which also replaces malloc itself) or with -lashlar-api (which
 *             leaves malloc alone); see ashlar(3). C and C++.
 * Threads     Every call may be made from any thread at any time: before main, in thread-exit
 *             destructors, in exit handlers.
 * Fork        Every call works in the child of a fork at once, also when other threads were
 *             inside the allocator, and in other threads while one forks. Memory that existed
 *             before the fork is the child's own copy.
 * Signals     As malloc: not async-signal-safe.
 *
 * A block from any of these calls may be resized and freed by any of them, and under libashlar by
 * malloc's family and C++ delete too; never by another allocator. Sizes are in bytes. Every block
 * is aligned to 16 bytes at least. No request above PTRDIFF_MAX bytes succeeds.
 *
 * On purpose no declaration has the attribute alloc_size. With it, a program compiled with
 * _FORTIFY_SOURCE=3 would be stopped when it writes past the size it asked for, while the
 * contract here is that all ashlar_malloc_usable_size() bytes may be written.
 */
#ifndef ASHLAR_ASHLAR_H
#define ASHLAR_ASHLAR_H

#include <stddef.h>
#include <stdio.h>

#define ASHLAR_VERSION_MAJOR 0
#define ASHLAR_VERSION_MINOR 1
#define ASHLAR_VERSION_PATCH 0
#define ASHLAR_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* ASHLAR_CALL_: throws nothing. ASHLAR_MAKER_: gives a block that nothing else points to.
   ASHLAR_RESULT_: whoever drops the result loses the block. */
#if defined(__GNUC__)
#define ASHLAR_CALL_ __attribute__((nothrow))
#define ASHLAR_RESULT_ __attribute__((nothrow, warn_unused_result))
#define ASHLAR_MAKER_ __attribute__((nothrow, warn_unused_result, malloc))
#else
#define ASHLAR_CALL_
#define ASHLAR_RESULT_
#define ASHLAR_MAKER_
#endif

/* ---- blocks -------------------------------------------------------------------------------- */

/*
 * A block of `size` bytes, not cleared. size 0 gives a pointer of its own that can be freed.
 * On failure NULL, errno ENOMEM.
 */
ASHLAR_MAKER_ void *ashlar_malloc(size_t size);

/*
 * A block of count * size zero bytes. On failure, also when the product overflows, NULL, errno
 * ENOMEM.
 */
ASHLAR_MAKER_ void *ashlar_calloc(size_t count, size_t size);

/*
 * Makes the block `ptr` `size` bytes long, keeping the bytes that both lengths share; the block
 * may move. ptr NULL: as ashlar_malloc(size). size 0 (ptr not NULL): frees ptr and gives NULL with
 * errno untouched, as glibc does. On failure NULL, errno ENOMEM, and ptr is still valid.
 */
ASHLAR_RESULT_ void *ashlar_realloc(void *ptr, size_t size);

/* ashlar_realloc(ptr, count * size); an overflow is a failure: NULL, errno ENOMEM, ptr valid. */
ASHLAR_RESULT_ void *ashlar_reallocarray(void *ptr, size_t count, size_t size);

/*
 * Frees a block; nothing for NULL. errno is left as it was. A pointer that is not the start of a
 * live block is a misuse: one line on standard error, then SIGABRT (option misuse).
 */
ASHLAR_CALL_ void ashlar_free(void *ptr);

/*
 * Frees a block that was asked for with exactly `size` bytes by malloc, calloc or realloc. A size
 * that the block cannot have had is a misuse. (free_sized of C23.)
 */
ASHLAR_CALL_ void ashlar_free_sized(void *ptr, size_t size);

/* The same for a block from ashlar_aligned_alloc(alignment, size). (free_aligned_sized of C23.) */
ASHLAR_CALL_ void ashlar_free_aligned_sized(void *ptr, size_t alignment, size_t size);

/* ---- aligned blocks ------------------------------------------------------------------------ */

/*
 * A block of `size` bytes at a multiple of `alignment`, which is rounded up to a power of two.
 * On failure NULL, errno EINVAL for an alignment above 2^63, else ENOMEM.
 */
ASHLAR_MAKER_ void *ashlar_memalign(size_t alignment, size_t size);

/*
 * A block of `size` bytes at a multiple of `alignment`, which must be a power of two; size need
 * not be a multiple of it. On failure NULL, errno EINVAL (alignment) or ENOMEM.
 */
ASHLAR_MAKER_ void *ashlar_aligned_alloc(size_t alignment, size_t size);

/*
 * Puts into *memptr a block of `size` bytes at a multiple of `alignment`, which must be a power of
 * two and a multiple of sizeof(void *). Gives 0, or EINVAL or ENOMEM, in which case *memptr
 * is unchanged. errno is never touched.
 */
ASHLAR_RESULT_ int ashlar_posix_memalign(void **memptr, size_t alignment, size_t size);

/* A block of `size` bytes at the start of a page. On failure NULL, errno ENOMEM. */
ASHLAR_MAKER_ void *ashlar_valloc(size_t size);

/* The same with `size` rounded up to whole pages. On failure NULL, errno ENOMEM. */
ASHLAR_MAKER_ void *ashlar_pvalloc(size_t size);

/* ---- questions and wishes ------------------------------------------------------------------ */

/* Bytes of the block that may be read and written, at least as many as were asked for. 0 for
   NULL. A pointer that is not a live block is a misuse. */
ASHLAR_CALL_ size_t ashlar_malloc_usable_size(const void *ptr);

/*
 * Gives every idle page back to the kernel now. `pad_bytes` is ignored: there is no top of the heap
 * to leave room at. 1 when memory was given back, 0 when there was none.
 */
ASHLAR_CALL_ int ashlar_malloc_trim(size_t pad_bytes);

/* ashlar_malloc_trim(0), by the name of what it does. */
ASHLAR_CALL_ int ashlar_purge(void);

/* Sets a parameter of mallopt(3); ashlar(3) says which have a meaning. 1 when what was asked for
   holds from now on, else 0. Meant for one thread at start-up. */
ASHLAR_CALL_ int ashlar_mallopt(int param, int value);

/* ---- statistics ---------------------------------------------------------------------------- */

/*
 * Same members, in the same order, as struct mallinfo2 of glibc. In bytes unless it says otherwise.
 * Taken without stopping other threads: the numbers may be of slightly different moments.
 */
struct ashlar_mallinfo2 {
    size_t arena;    /* held for small blocks and for reuse: uordblks + fordblks */
    size_t ordblks;  /* 0: free blocks are not counted */
    size_t smblks;   /* 0 */
    size_t hblks;    /* number of live large blocks */
    size_t hblkhd;   /* in live large blocks */
    size_t usmblks;  /* 0 */
    size_t fsmblks;  /* 0 */
    size_t uordblks; /* in live small blocks, rounded to their size class */
    size_t fordblks; /* held, but free */
    size_t keepcost; /* of fordblks: what ashlar_purge would give back */
};

ASHLAR_CALL_ struct ashlar_mallinfo2 ashlar_mallinfo2(void);

/* Writes the statistics as text to standard error. */
ASHLAR_CALL_ void ashlar_malloc_stats(void);

/*
 * Writes the statistics as an XML document to `stream`. 0, or -1 with errno EINVAL (options is not
 * 0) or what the stream reported. The stream may allocate its buffer by malloc.
 */
int ashlar_malloc_info(int options, FILE *stream);

/*
 * Writes the statistics to file descriptor `fd` without allocating or using stdio. `format` is
 * "text", "json" or "xml" (NULL: "text"). 0, or -1 with errno EINVAL (format) or what write(2)
 * reported. While the process forks in another thread the call waits.
 */
ASHLAR_CALL_ int ashlar_stats_print(const char *format, int fd);

/* The version of the library that runs, to compare with ASHLAR_VERSION of the header. */
ASHLAR_CALL_ const char *ashlar_version(void);

#undef ASHLAR_CALL_
#undef ASHLAR_RESULT_
#undef ASHLAR_MAKER_

#ifdef __cplusplus
}
#endif

#endif
