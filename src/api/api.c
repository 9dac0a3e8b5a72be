/*
 * api.c - the ashlar_* calls
 *
 * Purpose     Checks arguments, says errno, hands the rest to front/route. The names of the C
 *             library are in override.c and share the bodies by api.h.
 * Invariants  The only file that sets errno.
 * Locking     None.
 * Layer       api/. Uses front, conf, os, base.
 */
#include "api/api.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/boot.h"
#include "api/report.h"
#include "conf/options.h"
#include "os/os.h"

/* Parameters of mallopt(3): part of its binary interface, so they may be written down here. */
enum mallopt_param {
    MALLOPT_TRIM_THRESHOLD = -1,
    MALLOPT_MMAP_THRESHOLD = -3,
    MALLOPT_CHECK_ACTION = -5,
    MALLOPT_PERTURB = -6,
    MALLOPT_ARENA_MAX = -8,
};

/* The byte of M_PERTURB that asks for what option junk does: freed blocks are filled with it, new
   ones with its complement. */
#define JUNK_FREED_BYTE 0x5a

void *ashlar_api_no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static void *invalid_argument(void)
{
    errno = EINVAL;
    return NULL;
}

/* ---- aligned blocks ------------------------------------------------------------------------ */

static void *allocate_aligned(size_t align, size_t size)
{
    void *ptr = ashlar_route_malloc_aligned(align, size);
    return ASHLAR_LIKELY(ptr != NULL) ? ptr : ashlar_api_no_memory();
}

/* memalign of glibc takes any alignment and uses the next power of two; there is none above
   2^63. */
void *ashlar_api_memalign(size_t align, size_t size)
{
    const size_t highest = (size_t)1 << 63;

    if (align > highest)
        return invalid_argument();
    if (align < ASHLAR_MIN_ALIGN_BYTES)
        align = ASHLAR_MIN_ALIGN_BYTES;
    if (!ashlar_is_power_of_2(align))
        align = (size_t)1 << (64 - __builtin_clzll(align));
    return allocate_aligned(align, size);
}

/* glibc 2.36 treats this as memalign; C17 and glibc 2.38 refuse what is no power of two. The
   stricter one: a program that asks for 24 wants to hear that it does not get it. */
void *ashlar_api_aligned_alloc(size_t align, size_t size)
{
    if (!ashlar_is_power_of_2(align))
        return invalid_argument();
    return allocate_aligned(align, size);
}

int ashlar_api_posix_memalign(void **memptr, size_t align, size_t size)
{
    if (!ashlar_is_power_of_2(align) || align % sizeof(void *) != 0)
        return EINVAL;
    void *ptr = ashlar_route_malloc_aligned(align, size);
    if (ptr == NULL)
        return ENOMEM;
    *memptr = ptr;
    return 0;
}

void *ashlar_api_valloc(size_t size)
{
    ashlar_boot();
    return allocate_aligned(ashlar_os_facts.page_bytes, size);
}

void *ashlar_api_pvalloc(size_t size)
{
    size_t rounded;

    ashlar_boot();
    if (!ashlar_round_fits(size, ashlar_os_facts.page_bytes, &rounded))
        return ashlar_api_no_memory();
    return allocate_aligned(ashlar_os_facts.page_bytes, rounded);
}

/* ---- wishes -------------------------------------------------------------------------------- */

bool ashlar_api_trim(void)
{
    ashlar_boot();
    return ashlar_route_trim();
}

/* The amount of free memory that free keeps for itself: what cache_max says. -1 (and, as in
   glibc, whatever else is negative) stands for: give nothing back. */
static bool set_trim_threshold(int value)
{
    if (value < 0)
        return ashlar_option_set(ASHLAR_OPTION_decay_ms, -1);
    return ashlar_option_set(ASHLAR_OPTION_cache_max, value);
}

/* Bit 0: print. Bit 1: abort, which here never happens without the line. */
static bool set_check_action(int value)
{
    enum ashlar_misuse_mode mode = (value & 2) != 0   ? ASHLAR_MISUSE_ABORT
                                   : (value & 1) != 0 ? ASHLAR_MISUSE_REPORT
                                                      : ASHLAR_MISUSE_IGNORE;
    return ashlar_option_set(ASHLAR_OPTION_misuse, mode);
}

/* Blocks are filled from the start or never, so it is too late to switch; but it may be so
   already. */
static bool is_perturb_in_force(int value)
{
    int wanted = value & 0xff;
    bool has_junk = ashlar_option_get(ASHLAR_OPTION_junk) == ASHLAR_JUNK_ON;
    return has_junk ? wanted == JUNK_FREED_BYTE : wanted == 0;
}

/* Arenas are made when threads first need them, so a limit can be set while there are not more.
   It only ever lowers: option arenas says how many there shall be, this how many at most. */
static bool set_arena_limit(int limit)
{
    struct ashlar_usage usage;

    if (limit <= 0)
        return limit == 0;
    ashlar_route_usage(&usage);
    if (usage.arenas > (unsigned)limit)
        return false;
    int64_t wanted = ashlar_option_get(ASHLAR_OPTION_arenas);
    if (wanted == 0)
        wanted = ashlar_os_cpu_count();
    return limit >= wanted || ashlar_option_set(ASHLAR_OPTION_arenas, limit);
}

/* 1 is a promise to the caller, so whatever has no meaning here (M_TOP_PAD, M_MMAP_MAX, M_MXFAST,
   M_ARENA_TEST) is refused. */
bool ashlar_api_mallopt(int param, int value)
{
    ashlar_boot();
    switch (param) {
    case MALLOPT_TRIM_THRESHOLD:
        return set_trim_threshold(value);
    case MALLOPT_MMAP_THRESHOLD:
        return ashlar_option_set(ASHLAR_OPTION_large_threshold, value);
    case MALLOPT_CHECK_ACTION:
        return set_check_action(value);
    case MALLOPT_PERTURB:
        return is_perturb_in_force(value);
    case MALLOPT_ARENA_MAX:
        return set_arena_limit(value);
    default:
        return false;
    }
}

/* ---- statistics ---------------------------------------------------------------------------- */

/* Readers of mallinfo add uordblks and hblkhd to get what is in use, and take arena to be
   uordblks + fordblks; so large blocks stay out of the first and kept pages belong to the last. */
struct ashlar_mallinfo2 ashlar_api_mallinfo2(void)
{
    struct ashlar_mallinfo2 info = {0};
    struct ashlar_usage usage;

    ashlar_boot();
    ashlar_route_usage(&usage);
    info.hblks = usage.large_live_blocks;
    info.hblkhd = usage.large_live_bytes;
    info.uordblks = usage.small_live_bytes;
    info.keepcost = usage.small_idle_bytes + usage.large_kept_bytes;
    info.fordblks = info.keepcost;
    if (usage.small_slab_bytes > usage.small_live_bytes)
        info.fordblks += usage.small_slab_bytes - usage.small_live_bytes;
    info.arena = info.uordblks + info.fordblks;
    return info;
}

/* Gives 0 or the errno value of a failed write. */
static int print_report(enum ashlar_report_format format, int fd)
{
    struct ashlar_emit emit;

    ashlar_boot();
    ashlar_emit_begin(&emit, fd);
    ashlar_report_emit(&emit, format);
    return emit.error;
}

void ashlar_api_malloc_stats(void)
{
    print_report(ASHLAR_REPORT_TEXT, STDERR_FILENO);
}

struct stream_sink {
    FILE *stream;
    int error; /* errno value of the first failed fwrite, else 0 */
};

static void write_to_stream(void *context, const char *text, size_t len)
{
    struct stream_sink *sink = context;

    if (sink->error == 0 && fwrite(text, 1, len, sink->stream) != len)
        sink->error = errno != 0 ? errno : EIO;
}

/* fwrite may allocate the stream's buffer: the report holds no lock while it calls a sink. */
int ashlar_api_malloc_info(int options, FILE *stream)
{
    struct stream_sink sink = {stream, 0};
    struct ashlar_emit emit;

    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    ashlar_boot();
    ashlar_emit_begin_sink(&emit, write_to_stream, &sink);
    ashlar_report_emit(&emit, ASHLAR_REPORT_XML);
    if (sink.error != 0) {
        errno = sink.error;
        return -1;
    }
    return 0;
}

/* True when `format` is a name of ours; the format is in *found then. */
static bool find_format(const char *format, enum ashlar_report_format *found)
{
    static const char *const names[] = {
        [ASHLAR_REPORT_TEXT] = "text",
        [ASHLAR_REPORT_JSON] = "json",
        [ASHLAR_REPORT_XML] = "xml",
    };

    for (unsigned i = 0; i < ASHLAR_ARRAY_LEN(names); i++) {
        if (strcmp(format, names[i]) == 0) {
            *found = (enum ashlar_report_format)i;
            return true;
        }
    }
    return false;
}

/* ---- the exported names, in the order of ashlar.h ------------------------------------------ */

ASHLAR_EXPORT void *ashlar_malloc(size_t size)
{
    return ashlar_api_malloc(size);
}

ASHLAR_EXPORT void *ashlar_calloc(size_t count, size_t size)
{
    return ashlar_api_calloc(count, size);
}

ASHLAR_EXPORT void *ashlar_realloc(void *ptr, size_t size)
{
    return ashlar_api_realloc(ptr, size);
}

ASHLAR_EXPORT void *ashlar_reallocarray(void *ptr, size_t count, size_t size)
{
    size_t len_bytes;

    if (!ashlar_mul_fits(count, size, &len_bytes))
        return ashlar_api_no_memory();
    return ashlar_api_realloc(ptr, len_bytes);
}

ASHLAR_EXPORT void ashlar_free(void *ptr)
{
    ashlar_route_free(ptr);
}

ASHLAR_EXPORT void ashlar_free_sized(void *ptr, size_t size)
{
    ashlar_route_free_sized(ptr, size);
}

/* An aligned block may be of a larger class than its size alone says; so the size is not used. */
ASHLAR_EXPORT void ashlar_free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    ashlar_route_free(ptr);
}

ASHLAR_EXPORT void *ashlar_memalign(size_t alignment, size_t size)
{
    return ashlar_api_memalign(alignment, size);
}

ASHLAR_EXPORT void *ashlar_aligned_alloc(size_t alignment, size_t size)
{
    return ashlar_api_aligned_alloc(alignment, size);
}

ASHLAR_EXPORT int ashlar_posix_memalign(void **memptr, size_t alignment, size_t size)
{
    return ashlar_api_posix_memalign(memptr, alignment, size);
}

ASHLAR_EXPORT void *ashlar_valloc(size_t size)
{
    return ashlar_api_valloc(size);
}

ASHLAR_EXPORT void *ashlar_pvalloc(size_t size)
{
    return ashlar_api_pvalloc(size);
}

ASHLAR_EXPORT size_t ashlar_malloc_usable_size(const void *ptr)
{
    return ashlar_route_usable_size(ptr);
}

ASHLAR_EXPORT int ashlar_malloc_trim(size_t pad_bytes)
{
    (void)pad_bytes;
    return ashlar_api_trim();
}

ASHLAR_EXPORT int ashlar_purge(void)
{
    return ashlar_api_trim();
}

ASHLAR_EXPORT int ashlar_mallopt(int param, int value)
{
    return ashlar_api_mallopt(param, value);
}

ASHLAR_EXPORT struct ashlar_mallinfo2 ashlar_mallinfo2(void)
{
    return ashlar_api_mallinfo2();
}

ASHLAR_EXPORT void ashlar_malloc_stats(void)
{
    ashlar_api_malloc_stats();
}

ASHLAR_EXPORT int ashlar_malloc_info(int options, FILE *stream)
{
    return ashlar_api_malloc_info(options, stream);
}

ASHLAR_EXPORT int ashlar_stats_print(const char *format, int fd)
{
    enum ashlar_report_format found;

    if (!find_format(format != NULL ? format : "text", &found)) {
        errno = EINVAL;
        return -1;
    }
    int error = fd < 0 ? EBADF : print_report(found, fd);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return 0;
}

ASHLAR_EXPORT const char *ashlar_version(void)
{
    return ASHLAR_VERSION;
}
