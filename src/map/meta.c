/*
 * meta.c - memory for the library's own structures
 *
 * Purpose     See meta.h.
 * Invariants  [next, end) is mapped, zero and handed out to nobody.
 * Locking     META guards everything here.
 * Layer       map/.
 */
#include "map/meta.h"

#include "conf/counters.h"
#include "os/os.h"

/* Store mapped at a time: small programs stay small, big ones make few mappings. */
#define FIRST_GROWTH_BYTES (64 * ASHLAR_KIB)
#define MAX_GROWTH_BYTES (1 * ASHLAR_MIB)

struct ashlar_lock ashlar_meta_lock = ASHLAR_LOCK_INIT(META);

static char *next;
static char *end;
static size_t growth_bytes = FIRST_GROWTH_BYTES;

/* Maps room for `size` bytes, settling for less than a whole step when memory is short. */
static bool grow(size_t size)
{
    size_t need = ashlar_align_up(size, ashlar_os_facts.page_bytes);
    void *fresh;
    size_t want = ashlar_max_size(need, growth_bytes);
    for (;; want = ashlar_max_size(need, want / 2)) {
        if (ashlar_os_map(want, &fresh) == 0) {
            ashlar_os_name(fresh, want, ASHLAR_OS_NAME_META);
            next = fresh;
            end = next + want;
            ashlar_count_add(meta_bytes, want);
            break;
        }
        if (want == need)
            return false;
        want = ashlar_align_up(want, 2 * ashlar_os_facts.page_bytes);
    }
    if (growth_bytes < MAX_GROWTH_BYTES)
        growth_bytes *= 2;
    return true;
}

static void *alloc_locked(size_t size)
{
    size = ashlar_align_up(size, ASHLAR_CACHE_LINE_BYTES);
    if ((size_t)(end - next) < size && !grow(size))
        return NULL;
    void *got = next;
    next += size;
    return got;
}

void *ashlar_meta_alloc(size_t size)
{
    if (!ashlar_lock_take(&ashlar_meta_lock))
        return NULL;
    void *got = alloc_locked(size);
    ashlar_lock_release(&ashlar_meta_lock);
    return got;
}

void *ashlar_meta_get(struct ashlar_meta_pool *pool)
{
    if (!ashlar_lock_take(&ashlar_meta_lock))
        return NULL;
    void *got = pool->free;
    if (got != NULL)
        pool->free = *(void **)got;
    else
        got = alloc_locked(pool->object_bytes);
    ashlar_lock_release(&ashlar_meta_lock);
    return got;
}

void ashlar_meta_put(struct ashlar_meta_pool *pool, void *object)
{
    if (!ashlar_lock_take(&ashlar_meta_lock))
        return; /* a fork is under way: free must not wait for it, so the descriptor is lost */
    *(void **)object = pool->free;
    pool->free = object;
    ashlar_lock_release(&ashlar_meta_lock);
}
