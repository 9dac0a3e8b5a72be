/*
 * tcache.c - a thread's own slabs
 *
 * Purpose     See tcache.h.
 * Invariants  A slab that another thread is putting, or has put, on the pending stack
 *             (is_in_flight) is neither given back nor abandoned until it was seen there. When its
 *             thread exits it stays with the cache, and whoever gets the cache next finds it: so
 *             a descriptor never goes while somebody holds it.
 * Locking     See tcache.h. HEAPS is held over everything the late cache does, kernel calls
 *             included: only threads past their end use it.
 * Layer       front/.
 */
#include "front/tcache.h"

#include <pthread.h>

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "front/purger.h"
#include "harden/misuse.h"
#include "map/meta.h"
#include "os/os.h"

/* Other destructors of thread-specific data may still allocate: ours lets them go first, as often
   as POSIX lets destructors run again (PTHREAD_DESTRUCTOR_ITERATIONS is 4). */
#define EXIT_ROUNDS 2

/* Slow calls between two looks at the clock. */
#define TICK_CALLS 64

#define EXITED ((struct ashlar_tcache *)1) /* real of a thread whose cache was taken down */
static struct ashlar_slab nobody; /* free == end == 0: always empty */

#define EMPTY_CACHE {.active = {[0 ... ASHLAR_CLASS_COUNT - 1] = &nobody}}

static struct ashlar_tcache empty_cache = EMPTY_CACHE;
static struct ashlar_tcache late_cache = EMPTY_CACHE;

ASHLAR_TLS struct ashlar_tcache *ashlar_tcache_self = &empty_cache;
ASHLAR_TLS struct ashlar_tcache *ashlar_tcache_real;

struct ashlar_lock ashlar_heaps_lock = ASHLAR_LOCK_INIT(HEAPS);

static struct ashlar_tcache *unused;       /* HEAPS: caches without a thread */
static unsigned cache_count;               /* HEAPS: caches with one */
static _Atomic unsigned arena_next;
static _Atomic unsigned arena_limit;       /* 0: not known yet */
static pthread_key_t exit_key;
static _Atomic bool has_exit_key;

/* ---- slabs of a cache ---------------------------------------------------------------------- */

static bool is_mine(const struct ashlar_tcache *cache, const struct ashlar_slab *slab)
{
    return (ashlar_span_owner(&slab->span) & ~ASHLAR_SLAB_PARKED_BIT) == (uintptr_t)cache;
}

static bool can_serve(const struct ashlar_slab *slab)
{
    return slab->free != slab->end || slab->carved != slab->end;
}

static void make_available(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    ashlar_list_push_front(&cache->available[slab->class_id], &slab->link);
}

static void deactivate(struct ashlar_tcache *cache, unsigned class_id);

/* Gives an empty slab back to its arena; when a fork is under way it stays available. */
static void give_back(struct ashlar_slab *slab)
{
    struct ashlar_list all = slab->all;
    struct ashlar_list link = slab->link;
    ashlar_list_remove(&slab->link);
    ashlar_list_remove(&slab->all);
    if (!ashlar_arena_put(slab)) {
        ashlar_list_insert_after(link.prev, &slab->link);
        ashlar_list_insert_after(all.prev, &slab->all);
        return;
    }
    ashlar_purger_wake();
}

/* True for a slab without an object in use that may be given back. */
static bool is_empty(const struct ashlar_slab *slab)
{
    return slab->span.used == (slab->is_active ? ashlar_slab_hold(slab) : 0) && !slab->is_in_flight;
}

/* Strikes out the oldest note, and gives its slab back if it is still empty. */
static void retire_oldest(struct ashlar_tcache *cache)
{
    struct ashlar_slab *slab = ashlar_idle_forget(&cache->idle);
    if (slab == NULL || !is_empty(slab))
        return;
    if (slab->is_active)
        deactivate(cache, slab->class_id);
    give_back(slab);
}

/* Notes a slab that may have no object in use, active or available, as empty; what this makes too
   many or too much is given back, the oldest first. */
static void settle_empty(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    if (slab->span.used != 0 || slab->is_idle || slab->is_in_flight)
        return;
    retire_oldest(cache);
    ashlar_idle_note(&cache->idle, slab);
    size_t most = ashlar_opt.decay_ms != 0 ? ashlar_idle_most_bytes(&cache->idle) : 0;
    for (unsigned i = 0; i < ASHLAR_IDLE_SLABS && cache->idle.bytes > most; i++)
        retire_oldest(cache);
}

/* Brings a parked slab back; its free list is not empty or about to be so. */
static void unpark(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    if (!slab->is_in_flight && !ashlar_slab_unpark(slab))
        slab->is_in_flight = true;
    slab->is_parked = false;
    ashlar_span_set_owner(&slab->span, (uintptr_t)cache);
    make_available(cache, slab);
}

/* Puts a slab that cannot serve out of the way until something is freed into it. */
static void park(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    slab->is_parked = true;
    ashlar_span_set_owner(&slab->span, (uintptr_t)cache | ASHLAR_SLAB_PARKED_BIT);
    if (slab->is_in_flight || ashlar_slab_park(slab))
        return;
    /* Something has come back this very moment. */
    slab->is_parked = false;
    ashlar_span_set_owner(&slab->span, (uintptr_t)cache);
    ashlar_slab_collect(slab);
    make_available(cache, slab);
}

/* Looks at the slabs that other threads put on the pending stack. */
static void take_pending(struct ashlar_tcache *cache)
{
    if (atomic_load_explicit(&cache->owner.pending, memory_order_relaxed) == NULL)
        return;
    struct ashlar_slab *slab =
        atomic_exchange_explicit(&cache->owner.pending, NULL, memory_order_acquire);
    while (slab != NULL) {
        struct ashlar_slab *next = slab->pending_next;
        slab->is_in_flight = false;
        ashlar_slab_collect(slab);
        if (slab->is_parked) {
            slab->is_parked = false;
            ashlar_span_set_owner(&slab->span, (uintptr_t)cache);
            if (can_serve(slab))
                make_available(cache, slab);
            else
                park(cache, slab);
        }
        settle_empty(cache, slab);
        slab = next;
    }
}

static void deactivate(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab = cache->active[class_id];
    cache->active[class_id] = &nobody;
    if (slab == &nobody)
        return;
    slab->is_active = false;
    slab->span.used -= ashlar_slab_hold(slab);
    if (can_serve(slab))
        ashlar_list_push_back(&cache->available[class_id], &slab->link);
    else
        park(cache, slab);
}

static void activate(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    slab->is_active = true;
    slab->span.used += ashlar_slab_hold(slab);
    cache->active[slab->class_id] = slab;
}

static struct ashlar_slab *first_available(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_list *link = ashlar_list_first(&cache->available[class_id]);
    return link != NULL ? ASHLAR_CONTAINER_OF(link, struct ashlar_slab, link) : NULL;
}

static bool fetch_slab(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab = ashlar_arena_get(cache->arena, class_id, &cache->owner);
    if (slab == NULL)
        return false;
    ashlar_slab_collect(slab);
    ashlar_list_push_front(&cache->slabs, &slab->all);
    deactivate(cache, class_id);
    activate(cache, slab);
    cache->idle.fetched++;
    ashlar_purger_look_if_grown();
    return true;
}

/*
 * Gets the active slab of a class to serve again, by what costs the least memory first: objects
 * that came back to it, other slabs with free objects, objects that do not exist yet, a fresh slab.
 */
static bool refill(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab = cache->active[class_id];
    if (slab != &nobody && ashlar_slab_collect(slab) != 0)
        return true;
    take_pending(cache);
    struct ashlar_slab *available = first_available(cache, class_id);
    if (available != NULL) {
        ashlar_list_remove(&available->link);
        deactivate(cache, class_id);
        activate(cache, available);
        return available->free != available->end || ashlar_slab_collect(available) != 0 ||
               ashlar_slab_carve(available) || refill(cache, class_id);
    }
    if (slab != &nobody && ashlar_slab_carve(slab))
        return true;
    if (!fetch_slab(cache, class_id))
        return false;
    slab = cache->active[class_id];
    return slab->free != slab->end || ashlar_slab_carve(slab) || refill(cache, class_id);
}

static void *alloc_from(struct ashlar_tcache *cache, unsigned class_id)
{
    for (;;) {
        struct ashlar_slab *slab = cache->active[class_id];
        void *object = ashlar_slab_pop(slab);
        if (object != NULL)
            return object;
        if (slab->free != slab->end) {
            slab->free = slab->end; /* the rest of the list is lost */
            ashlar_misuse(ASHLAR_CRIME_CORRUPTED, slab->base,
                          "a freed block of %zu bytes in this slab was written to",
                          ashlar_slab_object_bytes(slab));
        }
        if (!refill(cache, class_id))
            return NULL;
    }
}

/* ---- caches of threads --------------------------------------------------------------------- */

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

static void init_cache(struct ashlar_tcache *cache)
{
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++) {
        cache->active[i] = &nobody;
        ashlar_list_init(&cache->available[i]);
    }
    ashlar_list_init(&cache->slabs);
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
            init_cache(cache);
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
    struct ashlar_tcache *cache = ashlar_tcache_real;
    if (ASHLAR_LIKELY(cache != NULL))
        return cache != EXITED ? cache : NULL;
    ashlar_boot();
    cache = get_cache();
    if (cache == NULL)
        return NULL;
    ashlar_tcache_real = cache;
    if (!ashlar_options_fill_blocks()) /* else the fast path stays empty */
        ashlar_tcache_self = cache;
    watch_exit(cache);
    return cache;
}

/* Gives up all slabs of an exiting thread's cache but those in flight. */
static void abandon_slabs(struct ashlar_tcache *cache)
{
    take_pending(cache);
    ashlar_idle_forget_all(&cache->idle);
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++)
        deactivate(cache, i);
    struct ashlar_list *link = ashlar_list_first(&cache->slabs);
    while (link != NULL) {
        struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, all);
        link = ashlar_list_next(&cache->slabs, link);
        if (slab->is_in_flight)
            continue;
        if (slab->is_parked) {
            if (!ashlar_slab_unpark(slab)) {
                slab->is_in_flight = true;
                continue;
            }
            slab->is_parked = false;
        } else {
            ashlar_list_remove(&slab->link);
        }
        ashlar_list_remove(&slab->all);
        ashlar_arena_abandon(slab);
    }
}

static void exit_thread(void *value)
{
    struct ashlar_tcache *cache = value;
    if (cache->exit_rounds++ < EXIT_ROUNDS && pthread_setspecific(exit_key, cache) == 0)
        return;
    ashlar_tcache_self = &empty_cache;
    ashlar_tcache_real = EXITED;
    abandon_slabs(cache);
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

void ashlar_tcache_boot(void)
{
    if (pthread_key_create(&exit_key, exit_thread) != 0)
        return; /* caches of exited threads are lost; nothing else */
    atomic_store_explicit(&has_exit_key, true, memory_order_release);
    if (ashlar_tcache_real != NULL && ashlar_tcache_real != EXITED)
        watch_exit(ashlar_tcache_real);
    /* Options may have become known only now. */
    if (ashlar_options_fill_blocks())
        ashlar_tcache_self = &empty_cache;
}

static void *alloc_late(unsigned class_id)
{
    if (!ashlar_lock_take(&ashlar_heaps_lock))
        return NULL;
    if (late_cache.arena == NULL) {
        late_cache.arena = ashlar_arena_at(0);
        init_cache(&late_cache);
    }
    void *object = alloc_from(&late_cache, class_id);
    ashlar_lock_release(&ashlar_heaps_lock);
    return object;
}

static void tick_sometimes(void)
{
    static _Atomic unsigned calls;
    unsigned call = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    if (call % TICK_CALLS == 0)
        ashlar_tcache_tick_if_due();
}

void *ashlar_tcache_alloc_slow(unsigned class_id)
{
    struct ashlar_tcache *cache = own_cache();
    if (cache == NULL)
        return ashlar_tcache_real == EXITED ? alloc_late(class_id) : NULL;
    void *object = alloc_from(cache, class_id);
    tick_sometimes();
    return object;
}

void ashlar_tcache_emptied(struct ashlar_slab *slab)
{
    settle_empty(ashlar_tcache_real, slab);
}

static enum ashlar_tcache_result free_own(struct ashlar_tcache *cache, struct ashlar_slab *slab,
                                          char *object)
{
    if ((uint64_t)(object - slab->base) >= slab->carved)
        return ASHLAR_TCACHE_INTERIOR;
    if (ashlar_slab_looks_free(slab, object)) {
        ashlar_slab_collect(slab);
        if (ashlar_slab_has_free(slab, object))
            return ASHLAR_TCACHE_DOUBLE_FREE;
    }
    if (slab->is_parked)
        unpark(cache, slab);
    if (ashlar_slab_push(slab, object) == 0)
        settle_empty(cache, slab);
    return ASHLAR_TCACHE_DONE;
}

enum ashlar_tcache_result ashlar_tcache_free_slow(struct ashlar_slab *slab, char *object)
{
    uint64_t offset = (uint64_t)(object - slab->base);
    struct ashlar_tcache *cache = ashlar_tcache_real;
    if (!ashlar_slab_is_start(slab, offset) || offset >= slab->end)
        return ASHLAR_TCACHE_INTERIOR;
    if (cache != NULL && cache != EXITED && is_mine(cache, slab))
        return free_own(cache, slab, object);
    if (ashlar_slab_looks_free(slab, object))
        return ASHLAR_TCACHE_DOUBLE_FREE;
    while (ashlar_slab_push_remote(slab, object) == ASHLAR_REMOTE_ABANDONED) {
        switch (ashlar_arena_free_abandoned(slab, object)) {
        case ASHLAR_FREE_DONE:
            return ASHLAR_TCACHE_DONE;
        case ASHLAR_FREE_REFUSED:
            return ASHLAR_TCACHE_REFUSED;
        case ASHLAR_FREE_RETRY:
            break;
        }
    }
    return ASHLAR_TCACHE_DONE;
}

/* Takes the active slab of a class out of service if it has no object in use, having collected what
   others freed. */
static void deactivate_if_empty(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab = cache->active[class_id];
    if (slab == &nobody)
        return;
    ashlar_slab_collect(slab);
    if (is_empty(slab))
        deactivate(cache, class_id);
}

/* Gives back every empty slab. */
static void give_back_empties(struct ashlar_tcache *cache)
{
    take_pending(cache);
    ashlar_idle_forget_all(&cache->idle);
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++) {
        deactivate_if_empty(cache, i);
        struct ashlar_list *head = &cache->available[i];
        struct ashlar_list *link = ashlar_list_first(head);
        while (link != NULL) {
            struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, link);
            link = ashlar_list_next(head, link);
            ashlar_slab_collect(slab);
            if (is_empty(slab))
                give_back(slab);
        }
    }
}

void ashlar_tcache_tick(uint64_t now_ms)
{
    struct ashlar_tcache *cache = ashlar_tcache_real;
    if (cache == NULL || cache == EXITED || ashlar_opt.decay_ms < 0)
        return;
    cache->next_tick_ms = now_ms + (uint64_t)ashlar_opt.decay_ms / 2;
    give_back_empties(cache);
    ashlar_purger_look(now_ms);
}

void ashlar_tcache_tick_if_due(void)
{
    struct ashlar_tcache *cache = ashlar_tcache_real;
    if (cache == NULL || cache == EXITED)
        return;
    if (atomic_load_explicit(&has_exit_key, memory_order_relaxed))
        ashlar_purger_start();
    uint64_t now_ms = ashlar_os_now_ms();
    if (now_ms >= cache->next_tick_ms)
        ashlar_tcache_tick(now_ms);
}

void ashlar_tcache_trim(void)
{
    struct ashlar_tcache *cache = ashlar_tcache_real;
    if (cache == NULL || cache == EXITED)
        return;
    give_back_empties(cache);
}

unsigned ashlar_tcache_count(void)
{
    return (unsigned)ashlar_count_read(heaps);
}

void ashlar_tcache_fork_child(void)
{
    struct ashlar_tcache *cache = ashlar_tcache_real;
    cache_count = cache != NULL && cache != EXITED ? 1 : 0;
    atomic_store_explicit(&ashlar_counters.heaps, cache_count, memory_order_relaxed);
}
