/*
 * trace-recorder.c - records what a program asks of malloc; preloaded by `ashlar run --trace`
 *
 * Purpose     Stands before the allocator, passes every call on and writes it into the file named
 *             by ASHLAR_TRACE (trace.h). Programs that COMMAND starts record into the same file.
 * How         A block of the file is mapped shared and filled in place, so that nothing is lost
 *             when the program calls _exit or exec or is killed, and no descriptor stays open.
 *             Blocks alive are kept in a hash table by address.
 * Order       A free is recorded before it happens, everything else after, so that an address is
 *             never seen alive twice. realloc takes its block out of the table meanwhile.
 * Locking     One mutex around table and block. The allocator is never called with it held.
 * Limits      The order of events of several threads is that in which they took the mutex. Blocks
 *             that existed before the recorder are not known, and their frees not recorded.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "trace.h"

#define EXPORT __attribute__((visibility("default")))
#define PER_THREAD static __thread __attribute__((tls_model("initial-exec")))

enum {
    TABLE_LOG2_FIRST = 12,
    FIRST_CALLS_BYTES = 16384, /* what dlsym may ask for before there is an allocator */
};

/* ---- the allocator behind ------------------------------------------------------------------- */

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);
static void *(*next_memalign)(size_t, size_t);
static int (*next_posix_memalign)(void **, size_t, size_t);
static void *(*next_aligned_alloc)(size_t, size_t);
static void *(*next_valloc)(size_t);
static void *(*next_pvalloc)(size_t);
static void (*next_free_sized)(void *, size_t);
static void (*next_free_aligned_sized)(void *, size_t, size_t);

static _Alignas(16) unsigned char first_calls[FIRST_CALLS_BYTES];
static size_t first_calls_used;

/* Calls made by the allocator or the C++ runtime themselves are not the program's. */
PER_THREAD unsigned depth;

static void *first_call(size_t size)
{
    size_t at = first_calls_used;
    size = (size + 15) / 16 * 16;
    if (size > FIRST_CALLS_BYTES - at)
        abort();
    first_calls_used = at + size;
    return first_calls + at;
}

static bool is_first_call(const void *ptr)
{
    return (const unsigned char *)ptr >= first_calls &&
           (const unsigned char *)ptr < first_calls + FIRST_CALLS_BYTES;
}

static void *find_next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* Called before there is a second thread: the loader itself allocates. malloc comes last, since
   it says that all are there. */
static void find_all(void)
{
    *(void **)&next_calloc = find_next("calloc");
    *(void **)&next_realloc = find_next("realloc");
    *(void **)&next_free = find_next("free");
    *(void **)&next_memalign = find_next("memalign");
    *(void **)&next_posix_memalign = find_next("posix_memalign");
    *(void **)&next_aligned_alloc = find_next("aligned_alloc");
    *(void **)&next_valloc = find_next("valloc");
    *(void **)&next_pvalloc = find_next("pvalloc");
    *(void **)&next_free_sized = find_next("free_sized");
    *(void **)&next_free_aligned_sized = find_next("free_aligned_sized");
    *(void **)&next_malloc = find_next("malloc");
    if (next_malloc == NULL)
        abort();
}

static bool is_ready(void)
{
    static bool is_finding;
    if (next_malloc != NULL)
        return true;
    if (is_finding)
        return false;
    is_finding = true;
    find_all();
    is_finding = false;
    return true;
}

/* ---- state ---------------------------------------------------------------------------------- */

/* A block alive: address 0 is an empty place. Law: nentries * 2 <= 1 << table_log2. */
struct entry {
    uintptr_t address;
    uint64_t size;
    uint64_t slot;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool has_begun;            /* the environment has been read */
static const char *path;          /* of the trace; NULL: not recording */
static struct trace_block *block; /* mapped; NULL before the first event */
static struct entry *table;
static unsigned table_log2;
static size_t nentries;
static uint64_t *slots; /* stack of slots freed */
static size_t slots_room, nslots_free;
static uint64_t nslots;
static struct trace_block totals; /* what the next header starts with */
static uint32_t thread_seen;      /* number + 1 of the last THREAD event */
static bool is_child;             /* born with blocks that are not in the stream yet */

PER_THREAD uint32_t thread_number; /* plus 1 */
PER_THREAD uint64_t thread_stream; /* that the number belongs to */

static void *map_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void stop(const char *why)
{
    static const char before[] = "ashlar: trace: ", after[] = "; no more is recorded\n";
    path = NULL;
    if (write(2, before, sizeof before - 1) < 0 || write(2, why, strlen(why)) < 0 ||
        write(2, after, sizeof after - 1) < 0)
        return;
}

/* ---- the file ------------------------------------------------------------------------------- */

/* Adds a block to the file and maps it. */
static struct trace_block *new_block(void)
{
    struct trace_block *fresh = MAP_FAILED;
    struct stat status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return NULL;
    if (flock(fd, LOCK_EX) == 0 && fstat(fd, &status) == 0 &&
        posix_fallocate(fd, status.st_size, TRACE_BLOCK_BYTES) == 0)
        fresh = mmap(NULL, TRACE_BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, status.st_size);
    flock(fd, LOCK_UN); /* close would not: the mapping keeps the file open */
    close(fd);
    return fresh == MAP_FAILED ? NULL : fresh;
}

static void begin_stream(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    memset(&totals, 0, sizeof totals);
    memcpy(totals.magic, TRACE_MAGIC, sizeof totals.magic);
    totals.version = TRACE_VERSION;
    totals.header_bytes = sizeof totals;
    totals.pid = (uint32_t)getpid();
    totals.stream = (uint64_t)totals.pid << 32 ^ (uint64_t)now.tv_sec * 1000000000 ^ (uint64_t)now.tv_nsec;
    thread_seen = 1;
}

/* Room for one event, or NULL when recording has stopped. */
static unsigned char *make_room(void)
{
    if (block != NULL && sizeof *block + block->used_bytes + TRACE_EVENT_BYTES_MAX <= TRACE_BLOCK_BYTES)
        return (unsigned char *)block + sizeof *block + block->used_bytes;
    struct trace_block *fresh = new_block();
    if (fresh == NULL) {
        stop("cannot extend the file");
        return NULL;
    }
    if (block != NULL) {
        totals = *block;
        totals.sequence++;
        munmap(block, TRACE_BLOCK_BYTES);
    }
    totals.used_bytes = 0;
    *fresh = totals;
    block = fresh;
    return (unsigned char *)block + sizeof *block;
}

static void put_event(enum trace_event event, unsigned nnumbers, uint64_t a, uint64_t b)
{
    unsigned char *start = make_room(), *at = start;
    if (start == NULL)
        return;
    *at++ = (unsigned char)event;
    if (nnumbers > 0)
        at = trace_put(at, a);
    if (nnumbers > 1)
        at = trace_put(at, b);
    block->events++;
    block->used_bytes += (uint32_t)(at - start);
}

static void put_command(void)
{
    char text[TRACE_COMMAND_BYTES_MAX];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    unsigned char *start = make_room(), *at = start;
    if (start == NULL || len <= 0)
        return;
    for (ssize_t i = 0; i < len; i++)
        text[i] = text[i] == '\0' ? ' ' : text[i];
    *at++ = TRACE_COMMAND;
    at = trace_put(at, (uint64_t)len);
    memcpy(at, text, (size_t)len);
    block->used_bytes += (uint32_t)(at + len - start);
}

static void put_thread(void)
{
    if (thread_stream != totals.stream) {
        thread_stream = totals.stream;
        thread_number = ++block->nthreads;
    }
    if (thread_seen != thread_number) {
        thread_seen = thread_number;
        put_event(TRACE_THREAD, 1, thread_number - 1, 0);
    }
}

/* ---- blocks alive --------------------------------------------------------------------------- */

static size_t home_of(uintptr_t address)
{
    return (size_t)((address >> 4) * 0x9e3779b97f4a7c15u >> (64 - table_log2));
}

static size_t mask(void)
{
    return ((size_t)1 << table_log2) - 1;
}

/* The place of an address, or the empty one where it would go. */
static size_t place_of(uintptr_t address)
{
    size_t i = home_of(address);
    while (table[i].address != 0 && table[i].address != address)
        i = (i + 1) & mask();
    return i;
}

static bool grow_table(void)
{
    struct entry *old = table;
    size_t old_room = old == NULL ? 0 : (size_t)1 << table_log2;
    unsigned log2 = old == NULL ? TABLE_LOG2_FIRST : table_log2 + 1;
    struct entry *fresh = map_memory(sizeof *fresh << log2);
    if (fresh == NULL)
        return false;
    table = fresh;
    table_log2 = log2;
    for (size_t i = 0; i < old_room; i++) {
        if (old[i].address != 0)
            table[place_of(old[i].address)] = old[i];
    }
    if (old != NULL)
        munmap(old, old_room * sizeof *old);
    return true;
}

/* Takes a place out; those behind it that would no longer be found move up. */
static void remove_place(size_t hole)
{
    nentries--;
    for (size_t i = (hole + 1) & mask(); table[i].address != 0; i = (i + 1) & mask()) {
        size_t home = home_of(table[i].address);
        if (((i - home) & mask()) >= ((i - hole) & mask())) {
            table[hole] = table[i];
            hole = i;
        }
    }
    table[hole].address = 0;
}

static uint64_t take_slot(void)
{
    return nslots_free > 0 ? slots[--nslots_free] : nslots++;
}

static bool give_slot(uint64_t slot)
{
    if (nslots_free == slots_room) {
        size_t room = slots_room == 0 ? 4096 : slots_room * 2;
        uint64_t *fresh = map_memory(room * sizeof *fresh);
        if (fresh == NULL)
            return false;
        if (slots != NULL) {
            memcpy(fresh, slots, nslots_free * sizeof *slots);
            munmap(slots, slots_room * sizeof *slots);
        }
        slots = fresh;
        slots_room = room;
    }
    slots[nslots_free++] = slot;
    return true;
}

static void add_live(uint64_t size)
{
    block->live_bytes += size;
    if (block->live_bytes > block->peak_live_bytes)
        block->peak_live_bytes = block->live_bytes;
    if (nentries > block->peak_live_blocks)
        block->peak_live_blocks = nentries;
}

static bool insert(void *ptr, uint64_t size, uint64_t slot)
{
    if ((table == NULL || (nentries + 1) * 2 > (size_t)1 << table_log2) && !grow_table()) {
        stop("no memory");
        return false;
    }
    table[place_of((uintptr_t)ptr)] = (struct entry){(uintptr_t)ptr, size, slot};
    nentries++;
    return true;
}

/* Finds and removes; false when the block is not known. */
static bool take_out(void *ptr, struct entry *entry)
{
    if (table == NULL)
        return false;
    size_t place = place_of((uintptr_t)ptr);
    *entry = table[place];
    if (entry->address == 0)
        return false;
    remove_place(place);
    return true;
}

/* ---- recording ------------------------------------------------------------------------------ */

/* A child's stream begins with what it was born with, in slots of its own. */
static void put_inheritance(void)
{
    size_t room = table == NULL ? 0 : (size_t)1 << table_log2, seen = 0;
    is_child = false;
    nslots = 0;
    nslots_free = 0;
    for (size_t i = 0; i < room && path != NULL; i++) {
        if (table[i].address == 0)
            continue;
        table[i].slot = take_slot();
        put_event(TRACE_MALLOC, 1, table[i].size, 0);
        if (block == NULL)
            return;
        block->live_bytes += table[i].size;
        seen++;
    }
    if (block != NULL) {
        block->peak_live_bytes = block->live_bytes;
        block->peak_live_blocks = seen;
    }
}

static void begin(void);

/* Takes the mutex when there is something to record. */
static bool enter(void)
{
    if (!has_begun && environ != NULL)
        begin();
    if (depth > 0 || path == NULL)
        return false;
    pthread_mutex_lock(&mutex);
    if (block == NULL && path != NULL) {
        begin_stream();
        put_command();
        if (is_child)
            put_inheritance();
    }
    if (path == NULL) {
        pthread_mutex_unlock(&mutex);
        return false;
    }
    put_thread();
    return true;
}

static void leave(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The two numbers are the event's own; `size` is what the block holds. */
static void record_new(void *ptr, enum trace_event event, uint64_t size, uint64_t log2_alignment)
{
    if (ptr == NULL)
        return;
    int saved_errno = errno;
    if (enter()) {
        if (insert(ptr, size, take_slot())) {
            if (event == TRACE_ALIGNED)
                put_event(event, 2, log2_alignment, size);
            else
                put_event(event, 1, size, 0);
            add_live(size);
        }
        leave();
    }
    errno = saved_errno;
}

static void record_free(void *ptr)
{
    struct entry entry;
    int saved_errno = errno;
    if (ptr != NULL && enter()) {
        if (take_out(ptr, &entry)) {
            put_event(TRACE_FREE, 1, entry.slot, 0);
            if (block != NULL)
                block->live_bytes -= entry.size;
            if (!give_slot(entry.slot))
                stop("no memory");
        }
        leave();
    }
    errno = saved_errno;
}

static uint64_t log2_of(size_t alignment)
{
    uint64_t log2 = 0;
    while (log2 < 63 && (size_t)1 << log2 < alignment)
        log2++;
    return log2;
}

/* ---- fork ----------------------------------------------------------------------------------- */

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

static void after_fork_child(void)
{
    if (block != NULL)
        munmap(block, TRACE_BLOCK_BYTES);
    block = NULL;
    is_child = true;
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

/* Other libraries' constructors allocate before ours runs, so the first call may come here too. */
static void begin(void)
{
    has_begun = true;
    path = secure_getenv("ASHLAR_TRACE");
    if (path != NULL) {
        /* The program may change its environment. */
        char *copy = map_memory(strlen(path) + 1);
        path = copy == NULL ? NULL : strcpy(copy, path);
    }
}

__attribute__((constructor)) static void construct(void)
{
    is_ready();
    if (!has_begun)
        begin();
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ---- the malloc family ---------------------------------------------------------------------- */

EXPORT void *malloc(size_t size)
{
    if (!is_ready())
        return first_call(size);
    void *ptr = next_malloc(size);
    record_new(ptr, TRACE_MALLOC, size, 0);
    return ptr;
}

EXPORT void *calloc(size_t count, size_t size)
{
    if (!is_ready())
        return first_call(count * size); /* never used before, so zero */
    void *ptr = next_calloc(count, size);
    record_new(ptr, TRACE_CALLOC, count * size, 0);
    return ptr;
}

static void *realloc_recorded(void *ptr, size_t size)
{
    struct entry entry = {0, 0, 0};
    bool is_known = false;
    if (enter()) {
        is_known = take_out(ptr, &entry);
        leave();
    }
    void *moved = next_realloc(ptr, size);
    int saved_errno = errno;
    if (is_known && enter()) {
        if (moved != NULL) {
            if (insert(moved, size, entry.slot))
                put_event(TRACE_REALLOC, 2, entry.slot, size);
            block->live_bytes -= entry.size;
            add_live(size);
        } else {
            insert(ptr, entry.size, entry.slot); /* out of memory: nothing has changed */
        }
        leave();
    }
    errno = saved_errno;
    return moved;
}

EXPORT void *realloc(void *ptr, size_t size)
{
    if (ptr == NULL)
        return malloc(size);
    if (is_first_call(ptr)) {
        void *copy = malloc(size);
        size_t room = (size_t)(first_calls + FIRST_CALLS_BYTES - (unsigned char *)ptr);
        return copy == NULL ? NULL : memcpy(copy, ptr, size < room ? size : room);
    }
    if (size == 0) { /* glibc, and every allocator after it, frees */
        record_free(ptr);
        return next_realloc(ptr, 0);
    }
    return realloc_recorded(ptr, size);
}

EXPORT void free(void *ptr)
{
    if (ptr == NULL || is_first_call(ptr))
        return;
    record_free(ptr);
    next_free(ptr);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    void *ptr = is_ready() ? next_memalign(alignment, size) : NULL;
    record_new(ptr, TRACE_ALIGNED, size, log2_of(alignment));
    return ptr;
}

EXPORT int posix_memalign(void **memptr, size_t alignment, size_t size)
{
    if (!is_ready())
        return ENOMEM;
    int error = next_posix_memalign(memptr, alignment, size);
    if (error == 0)
        record_new(*memptr, TRACE_ALIGNED, size, log2_of(alignment));
    return error;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    void *ptr = is_ready() ? next_aligned_alloc(alignment, size) : NULL;
    record_new(ptr, TRACE_ALIGNED, size, log2_of(alignment));
    return ptr;
}

EXPORT void *valloc(size_t size)
{
    void *ptr = is_ready() ? next_valloc(size) : NULL;
    record_new(ptr, TRACE_ALIGNED, size, log2_of((size_t)getpagesize()));
    return ptr;
}

EXPORT void *pvalloc(size_t size)
{
    void *ptr = is_ready() ? next_pvalloc(size) : NULL;
    record_new(ptr, TRACE_ALIGNED, size, log2_of((size_t)getpagesize()));
    return ptr;
}

/* C libraries without these two leave them to free, which is what they are. */
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);

EXPORT void free_sized(void *ptr, size_t size)
{
    if (next_free_sized == NULL) {
        free(ptr);
        return;
    }
    record_free(ptr);
    next_free_sized(ptr, size);
}

EXPORT void free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    if (next_free_aligned_sized == NULL) {
        free(ptr);
        return;
    }
    record_free(ptr);
    next_free_aligned_sized(ptr, alignment, size);
}

/* ---- C++ ------------------------------------------------------------------------------------ */

/*
 * Allocators bring operators of their own that do not go through malloc, while those of the C++
 * runtime do: so the operators are recorded, and what they call is not. Names as the compiler
 * mangles them on 64-bit machines. new may throw, hence the cleanup.
 */
static void decrement(unsigned **counter)
{
    (**counter)--;
}

#define INNER_CALLS_UNSEEN \
    __attribute__((cleanup(decrement), unused)) unsigned *unseen = &depth; \
    depth++

/* The operator of this name behind us, looked up once: two threads find the same. */
#define NEXT(symbol) \
    static __typeof__(symbol) *next; \
    if (next == NULL) \
        *(void **)&next = find_next(#symbol); \
    if (next == NULL) \
        abort()

#define OPERATOR_NEW(symbol, parameters, arguments, event, log2_alignment) \
    EXPORT void *symbol parameters; \
    EXPORT void *symbol parameters \
    { \
        void *ptr; \
        NEXT(symbol); \
        { \
            INNER_CALLS_UNSEEN; \
            ptr = next arguments; \
        } \
        record_new(ptr, event, size, log2_alignment); \
        return ptr; \
    }

#define OPERATOR_DELETE(symbol, parameters, arguments) \
    EXPORT void symbol parameters; \
    EXPORT void symbol parameters \
    { \
        NEXT(symbol); \
        record_free(ptr); \
        INNER_CALLS_UNSEEN; \
        next arguments; \
    }

OPERATOR_NEW(_Znwm, (size_t size), (size), TRACE_MALLOC, 0)
OPERATOR_NEW(_Znam, (size_t size), (size), TRACE_MALLOC, 0)
OPERATOR_NEW(_ZnwmRKSt9nothrow_t, (size_t size, const void *tag), (size, tag), TRACE_MALLOC, 0)
OPERATOR_NEW(_ZnamRKSt9nothrow_t, (size_t size, const void *tag), (size, tag), TRACE_MALLOC, 0)
OPERATOR_NEW(_ZnwmSt11align_val_t, (size_t size, size_t to), (size, to), TRACE_ALIGNED, log2_of(to))
OPERATOR_NEW(_ZnamSt11align_val_t, (size_t size, size_t to), (size, to), TRACE_ALIGNED, log2_of(to))
OPERATOR_NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, size_t to, const void *tag), (size, to, tag),
             TRACE_ALIGNED, log2_of(to))
OPERATOR_NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, size_t to, const void *tag), (size, to, tag),
             TRACE_ALIGNED, log2_of(to))

OPERATOR_DELETE(_ZdlPv, (void *ptr), (ptr))
OPERATOR_DELETE(_ZdaPv, (void *ptr), (ptr))
OPERATOR_DELETE(_ZdlPvm, (void *ptr, size_t size), (ptr, size))
OPERATOR_DELETE(_ZdaPvm, (void *ptr, size_t size), (ptr, size))
OPERATOR_DELETE(_ZdlPvRKSt9nothrow_t, (void *ptr, const void *tag), (ptr, tag))
OPERATOR_DELETE(_ZdaPvRKSt9nothrow_t, (void *ptr, const void *tag), (ptr, tag))
OPERATOR_DELETE(_ZdlPvSt11align_val_t, (void *ptr, size_t to), (ptr, to))
OPERATOR_DELETE(_ZdaPvSt11align_val_t, (void *ptr, size_t to), (ptr, to))
OPERATOR_DELETE(_ZdlPvmSt11align_val_t, (void *ptr, size_t size, size_t to), (ptr, size, to))
OPERATOR_DELETE(_ZdaPvmSt11align_val_t, (void *ptr, size_t size, size_t to), (ptr, size, to))
OPERATOR_DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *ptr, size_t to, const void *tag), (ptr, to, tag))
OPERATOR_DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *ptr, size_t to, const void *tag), (ptr, to, tag))
