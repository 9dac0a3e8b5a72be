/*
 * heaps.c - which thread has which cache
 *
 * Purpose     See heaps.h.
 * Invariants  A cache is in the hands of one thread, on the list `unused`, or the late one.
 * Locking     See heaps.h. HEAPS is held over everything the late cache does, kernel calls
 *             included: only threads past their end use it.
 * Layer       front/.
 */
#include "front/heaps.h"

#include <pthread.h>

#include "conf/counters.h"
#include "conf/options.h"
#include "front/purger.h"
#include "map/meta.h"
#include "os/os.h"

/* Other destructors of thread-specific data may still allocate: ours lets them go first, as often
   as POSIX lets destructors run again (PTHREAD_DESTRUCTOR_ITERATIONS is 4). */
#define EXIT_ROUNDS 2

/* Slow calls between two looks at the clock. */
#define TICK_CALLS 64

#define EXITED ((struct ashlar_tcache *)1) /* real of a thread whose cache was taken down */

#define EMPTY_CACHE {.active = {[0 ... ASHLAR_CLASS_COUNT - 1] = &ashlar_tcache_nobody}}

static struct ashlar_tcache empty_cache = EMPTY_CACHE;
static struct ashlar_tcache late_cache = EMPTY_CACHE;

ASHLAR_TLS struct ashlar_tcache *ashlar_heaps_self = &empty_cache;
ASHLAR_TLS struct ashlar_tcache *ashlar_heaps_real;

struct ashlar_lock ashlar_heaps_lock = ASHLAR_LOCK_INIT(HEAPS);

static struct ashlar_tcache *unused; /* HEAPS: caches without a thread */
static unsigned cache_count;         /* HEAPS: caches with one */
static _Atomic unsigned arena_next;
static _Atomic unsigned arena_limit; /* 0: not known yet */
static pthread_key_t exit_key;
static _Atomic bool has_exit_key;

/* The calling thread's cache; NULL: it has none yet, or none any more. */
static struct ashlar_tcache *present_cache(void)
{
    return ashlar_heaps_real != EXITED ? ashlar_heaps_real : NULL;
}

static struct ashlar_arena *choose_arena(unsigned ncaches)
{
    unsigned limit = atomic_load_explicit(&arena_limit, memory_order_relaxed);
    if (limit == 0 && ncaches > 1) {
        limit = ashlar_opt.arenas != 0 ? (unsigned)ashlar_opt.arenas : ashlar_os_cpu_count();
        limit = limit < ASHLAR_ARENA_MAX ? limit : ASHLAR_ARENA_MAX;
        atomic_store_explicit(&arena_limit, limit, memory_order_relaxed);
    }
    unsigned turn = atomic_fetch_add_explicit(&arena_next, 1, memory_order_relaxed);
    return ashlar_arena_at(limit == 0 ? 0 : turn % limit);
}

/* A cache without a thread, or a fresh one; NULL: out of memory, or a fork under way. */
static struct ashlar_tcache *get_cache(void)
{
    if (!ashlar_lock_take(&ashlar_heaps_lock))
        return NULL;
    struct ashlar_tcache *cache = unused;
    if (cache != NULL) {
        unused = cache->next;
    } else {
        cache = ashlar_meta_alloc(sizeof *cache);
        if (cache != NULL)
            ashlar_tcache_init(cache);
    }
    unsigned count = cache != NULL ? ++cache_count : 0;
    ashlar_lock_release(&ashlar_heaps_lock);
    if (cache != NULL) {
        cache->arena = choose_arena(count);
        cache->exit_rounds = 0;
        ashlar_count(heaps);
    }
    return cache;
}

/* Asks to be told when the thread exits. May allocate, so the cache is in place already. */
static void watch_exit(struct ashlar_tcache *cache)
{
    if (atomic_load_explicit(&has_exit_key, memory_order_acquire))
        (void)pthread_setspecific(exit_key, cache);
}

/* The calling thread's cache, made on first use; NULL: past its end, or none to be had. */
static struct ashlar_tcache *own_cache(void)
{
    struct ashlar_tcache *cache = ashlar_heaps_real;
    if (ASHLAR_LIKELY(cache != NULL))
        return cache != EXITED ? cache : NULL;
    ashlar_boot();
    cache = get_cache();
    if (cache == NULL)
        return NULL;
    ashlar_heaps_real = cache;
    if (!ashlar_options_fill_blocks()) /* else the fast path stays empty */
        ashlar_heaps_self = cache;
    watch_exit(cache);
    return cache;
}

static void exit_thread(void *value)
{
    struct ashlar_tcache *cache = value;
    if (cache->exit_rounds++ < EXIT_ROUNDS && pthread_setspecific(exit_key, cache) == 0)
        return;
    ashlar_heaps_self = &empty_cache;
    ashlar_heaps_real = EXITED;
    ashlar_tcache_abandon(cache);
    if (!ashlar_lock_take_patiently(&ashlar_heaps_lock))
        return;
    cache->next = unused;
    unused = cache;
    cache_count--;
    bool is_last = cache_count == 0;
    ashlar_lock_release(&ashlar_heaps_lock);
    ashlar_count_sub(heaps, 1);
    if (is_last)
        ashlar_purger_quit();
}

void ashlar_heaps_boot(void)
{
    if (pthread_key_create(&exit_key, exit_thread) != 0)
        return; /* caches of exited threads are lost; nothing else */
    atomic_store_explicit(&has_exit_key, true, memory_order_release);
    if (present_cache() != NULL)
        watch_exit(present_cache());
    /* Options may have become known only now. */
    if (ashlar_options_fill_blocks())
        ashlar_heaps_self = &empty_cache;
}

static void *alloc_late(unsigned class_id)
{
    if (!ashlar_lock_take(&ashlar_heaps_lock))
        return NULL;
    if (late_cache.arena == NULL) {
        late_cache.arena = ashlar_arena_at(0);
        ashlar_tcache_init(&late_cache);
    }
    void *object = ashlar_tcache_alloc(&late_cache, class_id);
    ashlar_lock_release(&ashlar_heaps_lock);
    return object;
}

static void tick_sometimes(struct ashlar_tcache *cache)
{
    if (ASHLAR_UNLIKELY(cache->slow_calls++ % TICK_CALLS == 0))
        ashlar_heaps_tick_if_due();
}

void *ashlar_heaps_alloc(unsigned class_id)
{
    struct ashlar_tcache *cache = own_cache();
    if (cache == NULL)
        return ashlar_heaps_real == EXITED ? alloc_late(class_id) : NULL;
    void *object = ashlar_tcache_alloc(cache, class_id);
    tick_sometimes(cache);
    return object;
}

void ashlar_heaps_emptied(struct ashlar_slab *slab)
{
    /* A medium object that comes and goes, each time the only one. */
    if (slab->is_idle && !slab->is_asleep)
        return;
    ashlar_tcache_emptied(ashlar_heaps_real, slab);
}

enum ashlar_tcache_result ashlar_heaps_free(struct ashlar_slab *slab, char *object)
{
    return ashlar_tcache_free(present_cache(), slab, object);
}

static void look(struct ashlar_tcache *cache, uint64_t now_ms)
{
    cache->next_look_ms = now_ms + ashlar_options_decay_step_ms();
    ashlar_purger_look(now_ms);
}

void ashlar_heaps_tick(uint64_t now_ms)
{
    struct ashlar_tcache *cache = present_cache();
    if (cache == NULL || ashlar_opt.decay_ms < 0)
        return;
    cache->next_tick_ms = now_ms + (uint64_t)ashlar_opt.decay_ms / 2;
    ashlar_tcache_give_back(cache);
    look(cache, now_ms);
}

void ashlar_heaps_tick_if_due(void)
{
    struct ashlar_tcache *cache = own_cache();
    if (cache == NULL)
        return;
    if (atomic_load_explicit(&has_exit_key, memory_order_relaxed))
        ashlar_purger_start();
    uint64_t now_ms = ashlar_os_now_ms();
    if (now_ms >= cache->next_tick_ms)
        ashlar_heaps_tick(now_ms);
    else if (now_ms >= cache->next_look_ms)
        look(cache, now_ms);
}

void ashlar_heaps_trim(void)
{
    struct ashlar_tcache *cache = present_cache();
    if (cache == NULL)
        return;
    ashlar_tcache_give_back(cache);
}

unsigned ashlar_heaps_count(void)
{
    return (unsigned)ashlar_count_read(heaps);
}

void ashlar_heaps_fork_child(void)
{
    cache_count = present_cache() != NULL ? 1 : 0;
    atomic_store_explicit(&ashlar_counters.heaps, cache_count, memory_order_relaxed);
}
