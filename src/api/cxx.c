/*
 * cxx.c - C++ operators new and delete
 *
 * Purpose     The 8 operators new and 12 operators delete under their names in the Itanium C++ ABI
 *             (LP64: size_t is m). In C, so that neither the build nor the library needs a C++
 *             runtime; it is found in the process when an allocation has failed.
 * Invariants  A program may replace any operator. As the standard has it, the others that are
 *             defined in terms of it then go through the replacement: operator delete(p, n)
 *             calls a program's own operator delete(p), new[] its own new, and so on. Without
 *             this, a block of the program's pool would reach our free.
 *             The definitions are weak: in a static link the program's own win.
 * Locking     None.
 * Layer       api/. Compiled with -fexceptions: a bad_alloc passes through from below.
 *
 * The reasons are in doc/decisions/0003-operators-in-c.md.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>

#include "api/api.h"
#include "base/check.h"

_Static_assert(sizeof(size_t) == sizeof(unsigned long) && sizeof(size_t) == 8,
               "the mangled names below are those of LP64");

/* What a name means:  Zn new, Zd delete;  w l single, a array;  m a size, St11align_val_t an
   alignment, RKSt9nothrow_t a tag that says: NULL instead of an exception. */
#define NOTHROW_NEW "_ZnwmRKSt9nothrow_t"
#define NOTHROW_NEW_ARRAY "_ZnamRKSt9nothrow_t"
#define NOTHROW_NEW_ALIGNED "_ZnwmSt11align_val_tRKSt9nothrow_t"
#define NOTHROW_NEW_ARRAY_ALIGNED "_ZnamSt11align_val_tRKSt9nothrow_t"

#define OPERATOR ASHLAR_EXPORT __attribute__((weak))

OPERATOR void *_Znwm(size_t size);
OPERATOR void *_Znam(size_t size);
OPERATOR void *_ZnwmSt11align_val_t(size_t size, size_t align);
OPERATOR void *_ZnamSt11align_val_t(size_t size, size_t align);
OPERATOR void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag);
OPERATOR void *_ZnamRKSt9nothrow_t(size_t size, const void *tag);
OPERATOR void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *tag);
OPERATOR void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *tag);
OPERATOR void _ZdlPv(void *ptr);
OPERATOR void _ZdaPv(void *ptr);
OPERATOR void _ZdlPvm(void *ptr, size_t size);
OPERATOR void _ZdaPvm(void *ptr, size_t size);
OPERATOR void _ZdlPvRKSt9nothrow_t(void *ptr, const void *tag);
OPERATOR void _ZdaPvRKSt9nothrow_t(void *ptr, const void *tag);
OPERATOR void _ZdlPvSt11align_val_t(void *ptr, size_t align);
OPERATOR void _ZdaPvSt11align_val_t(void *ptr, size_t align);
OPERATOR void _ZdlPvmSt11align_val_t(void *ptr, size_t size, size_t align);
OPERATOR void _ZdaPvmSt11align_val_t(void *ptr, size_t size, size_t align);
OPERATOR void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align, const void *tag);
OPERATOR void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align, const void *tag);

/* Our own definition of an operator, whatever its name is bound to in this process. */
static void *own_new(size_t size) __attribute__((alias("_Znwm")));
static void *own_new_array(size_t size) __attribute__((alias("_Znam")));
static void *own_new_aligned(size_t size, size_t align)
    __attribute__((alias("_ZnwmSt11align_val_t")));
static void *own_new_array_aligned(size_t size, size_t align)
    __attribute__((alias("_ZnamSt11align_val_t")));
static void own_delete(void *ptr) __attribute__((alias("_ZdlPv")));
static void own_delete_array(void *ptr) __attribute__((alias("_ZdaPv")));
static void own_delete_aligned(void *ptr, size_t align)
    __attribute__((alias("_ZdlPvSt11align_val_t")));
static void own_delete_array_aligned(void *ptr, size_t align)
    __attribute__((alias("_ZdaPvSt11align_val_t")));

/* True when the program has an operator of its own under the name. */
#define IS_REPLACED(name, own) ASHLAR_UNLIKELY((name) != (own))

/* ---- the C++ runtime of the process -------------------------------------------------------- */

/* std::get_new_handler and std::__throw_bad_alloc; NULL in a program that was started without a
   C++ runtime. The other two are NULL in a static one. */
extern void (*_ZSt15get_new_handlerv(void))(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));
#pragma weak dlopen
#pragma weak dlsym

/*
 * A function of the C++ runtime that came into the process after us: an interpreter written in C
 * has loaded an extension written in C++. RTLD_NOLOAD loads nothing. The handle stays open: whoever
 * calls operator new needs that runtime as long as we do.
 */
static void *find_in_late_runtime(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    static _Atomic(void *) runtime;

    if (dlopen == NULL || dlsym == NULL)
        return NULL;
    void *handle = atomic_load_explicit(&runtime, memory_order_relaxed);
    for (size_t i = 0; handle == NULL && i < ASHLAR_ARRAY_LEN(libraries); i++)
        handle = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
    if (handle == NULL)
        return NULL;
    atomic_store_explicit(&runtime, handle, memory_order_relaxed);
    return dlsym(handle, name);
}

/* The program's new-handler, or NULL. */
static void (*current_handler(void))(void)
{
    void (*(*get_handler)(void))(void) = _ZSt15get_new_handlerv;

    if (get_handler == NULL)
        *(void **)&get_handler = find_in_late_runtime("_ZSt15get_new_handlerv");
    return get_handler != NULL ? get_handler() : NULL;
}

ASHLAR_NORETURN static void throw_bad_alloc(size_t size)
{
    void (*throw_it)(void) = _ZSt17__throw_bad_allocv;

    if (throw_it == NULL)
        *(void **)&throw_it = find_in_late_runtime("_ZSt17__throw_bad_allocv");
    if (throw_it != NULL)
        throw_it();
    ashlar_fatal("out of memory: operator new of %zu bytes, no C++ runtime to throw bad_alloc",
                 size);
}

/* ---- what happens when there is no memory -------------------------------------------------- */

/* Asks the handler to make room until there is, until it throws, or until there is none. */
ASHLAR_COLD static void *retry_new(size_t size, size_t align)
{
    for (;;) {
        ashlar_api_no_memory();
        void (*handler)(void) = current_handler();
        if (handler == NULL)
            throw_bad_alloc(size);
        handler();
        void *ptr = ashlar_route_malloc_aligned(align, size);
        if (ptr != NULL)
            return ptr;
    }
}

/*
 * A handler, or a program's own operator, may throw, and C cannot catch. The runtime's operator
 * of the same name can: it calls the throwing operator (ours, or the program's) inside a try
 * block. In a static program it is not to be found; `fallback` is then called, or, when that is
 * NULL, the answer is NULL and the handler has not been asked.
 */
ASHLAR_COLD static void *nothrow_by_runtime(const char *name, void *(*fallback)(size_t),
                                            size_t size, const void *tag)
{
    void *(*operator_new)(size_t, const void *) = NULL;

    *(void **)&operator_new = find_in_late_runtime(name);
    if (operator_new != NULL)
        return operator_new(size, tag);
    return fallback != NULL ? fallback(size) : ashlar_api_no_memory();
}

ASHLAR_COLD static void *nothrow_aligned_by_runtime(const char *name,
                                                    void *(*fallback)(size_t, size_t), size_t size,
                                                    size_t align, const void *tag)
{
    void *(*operator_new)(size_t, size_t, const void *) = NULL;

    *(void **)&operator_new = find_in_late_runtime(name);
    if (operator_new != NULL)
        return operator_new(size, align, tag);
    return fallback != NULL ? fallback(size, align) : ashlar_api_no_memory();
}

ASHLAR_COLD static void *retry_nothrow(const char *name, size_t size, const void *tag)
{
    if (current_handler() == NULL)
        return ashlar_api_no_memory();
    return nothrow_by_runtime(name, NULL, size, tag);
}

ASHLAR_COLD static void *retry_nothrow_aligned(const char *name, size_t size, size_t align,
                                               const void *tag)
{
    if (!ashlar_is_power_of_2(align) || current_handler() == NULL)
        return ashlar_api_no_memory();
    return nothrow_aligned_by_runtime(name, NULL, size, align, tag);
}

ASHLAR_INLINE void *allocate_or_throw(size_t size)
{
    void *ptr = ashlar_route_malloc(size);
    return ASHLAR_LIKELY(ptr != NULL) ? ptr : retry_new(size, ASHLAR_MIN_ALIGN_BYTES);
}

/* No handler can help against an alignment that is no power of two. */
ASHLAR_INLINE void *allocate_aligned_or_throw(size_t size, size_t align)
{
    if (ASHLAR_UNLIKELY(!ashlar_is_power_of_2(align)))
        throw_bad_alloc(size);
    void *ptr = ashlar_route_malloc_aligned(align, size);
    return ASHLAR_LIKELY(ptr != NULL) ? ptr : retry_new(size, align);
}

static void *allocate_aligned(size_t size, size_t align)
{
    return ashlar_is_power_of_2(align) ? ashlar_route_malloc_aligned(align, size) : NULL;
}

/* ---- operator new -------------------------------------------------------------------------- */

void *_Znwm(size_t size)
{
    return allocate_or_throw(size);
}

void *_Znam(size_t size)
{
    if (IS_REPLACED(_Znwm, own_new))
        return _Znwm(size);
    return allocate_or_throw(size);
}

void *_ZnwmSt11align_val_t(size_t size, size_t align)
{
    return allocate_aligned_or_throw(size, align);
}

void *_ZnamSt11align_val_t(size_t size, size_t align)
{
    if (IS_REPLACED(_ZnwmSt11align_val_t, own_new_aligned))
        return _ZnwmSt11align_val_t(size, align);
    return allocate_aligned_or_throw(size, align);
}

void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag)
{
    if (IS_REPLACED(_Znwm, own_new))
        return nothrow_by_runtime(NOTHROW_NEW, _Znwm, size, tag);
    void *ptr = ashlar_route_malloc(size);
    return ASHLAR_LIKELY(ptr != NULL) ? ptr : retry_nothrow(NOTHROW_NEW, size, tag);
}

void *_ZnamRKSt9nothrow_t(size_t size, const void *tag)
{
    if (IS_REPLACED(_Znam, own_new_array) || IS_REPLACED(_Znwm, own_new))
        return nothrow_by_runtime(NOTHROW_NEW_ARRAY, _Znam, size, tag);
    void *ptr = ashlar_route_malloc(size);
    return ASHLAR_LIKELY(ptr != NULL) ? ptr : retry_nothrow(NOTHROW_NEW_ARRAY, size, tag);
}

void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *tag)
{
    if (IS_REPLACED(_ZnwmSt11align_val_t, own_new_aligned))
        return nothrow_aligned_by_runtime(NOTHROW_NEW_ALIGNED, _ZnwmSt11align_val_t, size, align,
                                          tag);
    void *ptr = allocate_aligned(size, align);
    return ASHLAR_LIKELY(ptr != NULL)
               ? ptr
               : retry_nothrow_aligned(NOTHROW_NEW_ALIGNED, size, align, tag);
}

void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *tag)
{
    if (IS_REPLACED(_ZnamSt11align_val_t, own_new_array_aligned) ||
        IS_REPLACED(_ZnwmSt11align_val_t, own_new_aligned))
        return nothrow_aligned_by_runtime(NOTHROW_NEW_ARRAY_ALIGNED, _ZnamSt11align_val_t, size,
                                          align, tag);
    void *ptr = allocate_aligned(size, align);
    return ASHLAR_LIKELY(ptr != NULL)
               ? ptr
               : retry_nothrow_aligned(NOTHROW_NEW_ARRAY_ALIGNED, size, align, tag);
}

/* ---- operator delete ----------------------------------------------------------------------- */

void _ZdlPv(void *ptr)
{
    ashlar_route_free(ptr);
}

void _ZdaPv(void *ptr)
{
    if (IS_REPLACED(_ZdlPv, own_delete))
        _ZdlPv(ptr);
    else
        ashlar_route_free(ptr);
}

void _ZdlPvm(void *ptr, size_t size)
{
    if (IS_REPLACED(_ZdlPv, own_delete))
        _ZdlPv(ptr);
    else
        ashlar_route_free_sized(ptr, size);
}

/* The array forms reach a replaced operator delete(p) by way of operator delete[](p). */
void _ZdaPvm(void *ptr, size_t size)
{
    if (IS_REPLACED(_ZdaPv, own_delete_array) || IS_REPLACED(_ZdlPv, own_delete))
        _ZdaPv(ptr);
    else
        ashlar_route_free_sized(ptr, size);
}

void _ZdlPvRKSt9nothrow_t(void *ptr, const void *tag)
{
    (void)tag;
    _ZdlPv(ptr);
}

void _ZdaPvRKSt9nothrow_t(void *ptr, const void *tag)
{
    (void)tag;
    _ZdaPv(ptr);
}

void _ZdlPvSt11align_val_t(void *ptr, size_t align)
{
    (void)align;
    ashlar_route_free(ptr);
}

void _ZdaPvSt11align_val_t(void *ptr, size_t align)
{
    if (IS_REPLACED(_ZdlPvSt11align_val_t, own_delete_aligned))
        _ZdlPvSt11align_val_t(ptr, align);
    else
        ashlar_route_free(ptr);
}

/* An aligned block may be of a larger class than its size alone says; so the size is not used. */
void _ZdlPvmSt11align_val_t(void *ptr, size_t size, size_t align)
{
    (void)size;
    if (IS_REPLACED(_ZdlPvSt11align_val_t, own_delete_aligned))
        _ZdlPvSt11align_val_t(ptr, align);
    else
        ashlar_route_free(ptr);
}

void _ZdaPvmSt11align_val_t(void *ptr, size_t size, size_t align)
{
    (void)size;
    if (IS_REPLACED(_ZdaPvSt11align_val_t, own_delete_array_aligned) ||
        IS_REPLACED(_ZdlPvSt11align_val_t, own_delete_aligned))
        _ZdaPvSt11align_val_t(ptr, align);
    else
        ashlar_route_free(ptr);
}

void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align, const void *tag)
{
    (void)tag;
    _ZdlPvSt11align_val_t(ptr, align);
}

void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *ptr, size_t align, const void *tag)
{
    (void)tag;
    _ZdaPvSt11align_val_t(ptr, align);
}
