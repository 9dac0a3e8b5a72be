/*
 * tcache.c - a thread's own slabs
 *
 * Purpose     See tcache.h.
 * Invariants  A slab that another thread is putting, or has put, on the pending stack
 *             (is_in_flight) is neither given back nor abandoned until it was seen there. When its
 *             thread exits it stays with the cache, and whoever gets the cache next finds it: so
 *             a descriptor never goes while somebody holds it.
 * Locking     See tcache.h.
 * Layer       front/.
 */
#include "front/tcache.h"

#include "base/check.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "front/purger.h"
#include "harden/misuse.h"
#include "os/os.h"

/* Slabs that frees have emptied for other threads, between two looks at what is old: a thread that
   only frees has no other occasion. */
#define LOOK_EVERY 16

struct ashlar_slab ashlar_tcache_nobody; /* free == end == 0: always empty */

void ashlar_tcache_init(struct ashlar_tcache *cache)
{
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++) {
        cache->active[i] = &ashlar_tcache_nobody;
        ashlar_list_init(&cache->available[i]);
    }
    ashlar_list_init(&cache->slabs);
    ashlar_list_init(&cache->exhausted);
}

static bool is_mine(const struct ashlar_tcache *cache, const struct ashlar_slab *slab)
{
    return ashlar_span_owner(&slab->span) == (uintptr_t)cache;
}

static void make_available(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    ashlar_list_push_front(&cache->available[slab->class_id], &slab->link);
}

/* Stops waiting for the free that would have woken a slab. */
static void disturb(struct ashlar_slab *slab)
{
    if (slab->is_exhausted)
        ashlar_list_remove(&slab->link);
    else if (!slab->is_in_flight && !ashlar_slab_unpark(slab))
        slab->is_in_flight = true;
    slab->is_exhausted = false;
    ashlar_slab_wake(slab);
}

/* Wakes a slab that has free objects. */
static void wake(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    disturb(slab);
    make_available(cache, slab);
}

/* Puts a slab that cannot serve out of the way until its owner has freed a few objects of it.
   Mostly that is soon, so other threads are not asked yet to tell of theirs. */
static void exhaust(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    ashlar_slab_sleep(slab);
    slab->is_exhausted = true;
    ashlar_list_push_front(&cache->exhausted, &slab->link);
}

/* Takes over what others have freed into a slab. One that was asleep is available then, or asleep
   again. */
static void collect(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    bool was_asleep = slab->is_asleep;
    if (was_asleep)
        disturb(slab);
    if (ashlar_slab_has_remote(slab))
        ashlar_slab_collect(slab);
    if (!was_asleep)
        return;
    if (ashlar_slab_can_serve(slab))
        make_available(cache, slab);
    else
        exhaust(cache, slab);
}

/* Lets go of the descriptor of an exhausted or available slab, if the slab is gone. */
static bool bury_if_gone(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    if (!ashlar_slab_is_gone(slab) || slab->is_in_flight)
        return false;
    if (slab->is_idle)
        ashlar_idle_strike(&cache->idle, slab);
    ashlar_list_remove(&slab->link);
    ashlar_list_remove(&slab->all);
    ashlar_arena_bury(slab);
    return true;
}

/* Asks other threads to tell when they free something into the exhausted slabs. Those into which
   they have are available again. */
static void park_exhausted(struct ashlar_tcache *cache)
{
    struct ashlar_list *link = ashlar_list_first(&cache->exhausted);
    while (link != NULL) {
        struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, link);
        link = ashlar_list_next(&cache->exhausted, link);
        if (slab->is_in_flight || ashlar_slab_park(slab)) {
            ashlar_list_remove(&slab->link);
            slab->is_exhausted = false;
            continue;
        }
        if (bury_if_gone(cache, slab))
            continue;
        collect(cache, slab);
        ashlar_tcache_settle(cache, slab);
    }
}

/* Wakes the slabs of a class that have fewer free objects than they sleep for; false: there are
   none. */
static bool rouse(struct ashlar_tcache *cache, unsigned class_id)
{
    bool has_roused = false;
    for (struct ashlar_list *link = ashlar_list_first(&cache->slabs); link != NULL;
         link = ashlar_list_next(&cache->slabs, link)) {
        struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, all);
        if (slab->class_id != class_id || !slab->is_asleep || slab->free == slab->end)
            continue;
        wake(cache, slab);
        has_roused = true;
    }
    return has_roused;
}

static void deactivate(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab = cache->active[class_id];
    cache->active[class_id] = &ashlar_tcache_nobody;
    if (slab == &ashlar_tcache_nobody)
        return;
    (void)ashlar_slab_add_used(slab, -ashlar_slab_hold(slab));
    if (ashlar_slab_can_serve(slab))
        ashlar_list_push_back(&cache->available[class_id], &slab->link);
    else
        exhaust(cache, slab);
    ashlar_slab_deactivate(slab);
    /* While it was active nobody could tell. */
    if (ashlar_slab_has_remote(slab) && ashlar_slab_is_emptied(slab)) {
        (void)ashlar_arena_note_emptied();
        ashlar_purger_wake();
    }
}

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

void ashlar_tcache_settle(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    if (slab->span.used != 0 || slab->is_idle || slab->is_in_flight)
        return;
    retire_oldest(cache);
    ashlar_idle_note(&cache->idle, slab);
    size_t most = ashlar_opt.decay_ms != 0 ? ashlar_idle_most_bytes(&cache->idle) : 0;
    for (unsigned i = 0; i < ASHLAR_IDLE_SLABS && cache->idle.bytes > most; i++)
        retire_oldest(cache);
}

/* Looks at the slabs that other threads put on the pending stack. */
static void take_pending(struct ashlar_tcache *cache)
{
    if (atomic_load_explicit(&cache->owner.pending, memory_order_relaxed) == NULL)
        return;
    struct ashlar_slab *slab = atomic_exchange_explicit(&cache->owner.pending, NULL,
                                                        memory_order_acquire);
    while (slab != NULL) {
        struct ashlar_slab *next = slab->pending_next;
        collect(cache, slab); /* in flight still, so there is no request to take back */
        slab->is_in_flight = false;
        ashlar_tcache_settle(cache, slab);
        slab = next;
    }
}

void ashlar_tcache_emptied(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    /* With what others have freed: else the last free, if it is the owner's, would tell nobody. */
    if (slab->is_asleep)
        collect(cache, slab);
    if (slab->is_in_flight)
        take_pending(cache);
    else
        ashlar_tcache_settle(cache, slab);
}

/* Makes a slab of the cache the active one of its class; false: its memory is taken away. */
static bool activate(struct ashlar_tcache *cache, struct ashlar_slab *slab)
{
    if (!ashlar_slab_activate(slab))
        return false;
    deactivate(cache, slab->class_id);
    cache->active[slab->class_id] = slab;
    return true;
}

/* Makes the first available slab of a class the active one; false: there is none. */
static bool activate_available(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_list *head = &cache->available[class_id];
    struct ashlar_list *link = ashlar_list_first(head);
    while (link != NULL) {
        struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, link);
        if (activate(cache, slab)) {
            ashlar_list_remove(link);
            return true;
        }
        link = ashlar_list_next(head, link);
        (void)bury_if_gone(cache, slab);
    }
    return false;
}

/* The same with one of the arena's; false: out of memory, or a fork under way. */
static bool activate_fetched(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab;
    while ((slab = ashlar_arena_get(cache->arena, class_id, &cache->owner)) != NULL) {
        ashlar_list_push_front(&cache->slabs, &slab->all);
        cache->idle.fetched++;
        if (activate(cache, slab)) {
            ashlar_purger_look_if_grown();
            return true;
        }
        make_available(cache, slab); /* for it to be buried */
    }
    return false;
}

/*
 * Gets the active slab of a class to serve again, by what costs the least memory first: objects
 * that came back to it, other slabs with free objects, objects that do not exist yet, a fresh slab.
 */
static bool refill(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab = cache->active[class_id];
    if (ashlar_slab_has_remote(slab) && ashlar_slab_collect(slab) != 0)
        return true;
    take_pending(cache);
    bool is_other = activate_available(cache, class_id);
    if (!is_other && !ashlar_list_is_empty(&cache->exhausted)) {
        park_exhausted(cache);
        is_other = activate_available(cache, class_id);
    }
    if (!is_other && slab != &ashlar_tcache_nobody && ashlar_slab_carve(slab))
        return true;
    if (!is_other && !activate_fetched(cache, class_id))
        return rouse(cache, class_id) && refill(cache, class_id);
    slab = cache->active[class_id];
    return slab->free != slab->end || ashlar_slab_carve(slab) || refill(cache, class_id);
}

void *ashlar_tcache_alloc(struct ashlar_tcache *cache, unsigned class_id)
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

static enum ashlar_tcache_result free_own(struct ashlar_tcache *cache, struct ashlar_slab *slab,
                                          char *object)
{
    if ((uint64_t)(object - slab->base) >= slab->carved)
        return ASHLAR_TCACHE_INTERIOR;
    if (ashlar_slab_looks_free(slab, object)) {
        collect(cache, slab);
        if (ashlar_slab_has_free(slab, object))
            return ASHLAR_TCACHE_DOUBLE_FREE;
    }
    if (ashlar_slab_push(slab, object) == 0)
        ashlar_tcache_emptied(cache, slab);
    return ASHLAR_TCACHE_DONE;
}

/* Other threads have freed all of a slab, and its owner may not look for long. */
static void note_emptied(void)
{
    size_t count = ashlar_arena_note_emptied();
    ashlar_purger_wake();
    if (ashlar_opt.decay_ms == 0 && ashlar_arena_is_take_back_due())
        ashlar_arena_trim_all();
    else if (count % LOOK_EVERY == 0 && ashlar_opt.decay_ms >= 0)
        ashlar_purger_look(ashlar_os_now_ms());
}

enum ashlar_tcache_result ashlar_tcache_free(struct ashlar_tcache *cache, struct ashlar_slab *slab,
                                             char *object)
{
    uint64_t offset = (uint64_t)(object - slab->base);
    if (!ashlar_slab_is_start(slab, offset) || offset >= ashlar_slab_capacity(slab))
        return ASHLAR_TCACHE_INTERIOR;
    if (cache != NULL && is_mine(cache, slab))
        return free_own(cache, slab, object);
    if (ASHLAR_UNLIKELY(ashlar_slab_looks_free(slab, object)) && ashlar_slab_has_link(slab, object))
        return ASHLAR_TCACHE_DOUBLE_FREE;
    enum ashlar_slab_remote pushed;
    while ((pushed = ashlar_slab_push_remote(slab, object)) == ASHLAR_REMOTE_ABANDONED) {
        switch (ashlar_arena_free_abandoned(slab, object)) {
        case ASHLAR_FREE_DONE:
            return ASHLAR_TCACHE_DONE;
        case ASHLAR_FREE_REFUSED:
            return ASHLAR_TCACHE_REFUSED;
        case ASHLAR_FREE_RETRY:
            break;
        }
    }
    if (pushed == ASHLAR_REMOTE_EMPTIED)
        note_emptied();
    return ASHLAR_TCACHE_DONE;
}

/* Takes the active slab of a class out of service if it has no object in use, having collected what
   others freed. */
static void deactivate_if_empty(struct ashlar_tcache *cache, unsigned class_id)
{
    struct ashlar_slab *slab = cache->active[class_id];
    if (slab == &ashlar_tcache_nobody)
        return;
    ashlar_slab_collect(slab);
    if (is_empty(slab))
        deactivate(cache, class_id);
}

void ashlar_tcache_give_back(struct ashlar_tcache *cache)
{
    take_pending(cache);
    park_exhausted(cache);
    ashlar_idle_forget_all(&cache->idle);
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++) {
        deactivate_if_empty(cache, i);
        struct ashlar_list *head = &cache->available[i];
        struct ashlar_list *link = ashlar_list_first(head);
        while (link != NULL) {
            struct ashlar_slab *slab = ASHLAR_CONTAINER_OF(link, struct ashlar_slab, link);
            link = ashlar_list_next(head, link);
            if (bury_if_gone(cache, slab))
                continue;
            ashlar_slab_collect(slab);
            if (is_empty(slab))
                give_back(slab);
        }
    }
}

void ashlar_tcache_abandon(struct ashlar_tcache *cache)
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
        if (slab->is_asleep && !slab->is_exhausted) {
            if (!ashlar_slab_unpark(slab)) {
                slab->is_in_flight = true;
                continue;
            }
        } else {
            ashlar_list_remove(&slab->link);
        }
        slab->is_exhausted = false;
        ashlar_slab_wake(slab);
        ashlar_list_remove(&slab->all);
        ashlar_arena_abandon(slab);
    }
}
