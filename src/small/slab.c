/*
 * slab.c - a run of objects of one size
 *
 * Purpose     See slab.h.
 * Invariants  The remote word: bits 0..16 first object (offset / 16 + 1; 0: none), bits 17..33 last
 *             one, which came first, bits 34..49 their number, bit 60 GONE (the memory was taken
 *             away from the owner), bit 61 TAKEN (somebody is about to), bit 62 PARKED (the owner
 *             wants to be told), bit 63 ABANDONED (no owner). A list never stands beside GONE or
 *             PARKED: the push that finds PARKED clears it and from then on must put the slab on
 *             the pending stack. Beside TAKEN it is not the owner's to collect.
 * Locking     Lock-free pushes (Treiber, 1986); the owner takes the whole list at once, so there is
 *             no ABA. Push releases, collect acquires: the link in the object is seen.
 * Layer       small/.
 */
#include "small/slab.h"

#include <assert.h>

#include "base/check.h"
#include "map/pagemap.h"
#include "os/os.h"
#include "small/chunk.h"

#define PLACE_BITS 17
#define PLACE_MASK ((UINT64_C(1) << PLACE_BITS) - 1)
#define COUNT_ONE (UINT64_C(1) << (2 * PLACE_BITS))
#define COUNT_MASK (UINT64_C(0xffff) * COUNT_ONE)
#define GONE (UINT64_C(1) << 60)
#define TAKEN (UINT64_C(1) << 61)
#define PARKED (UINT64_C(1) << 62)
#define ABANDONED (UINT64_C(1) << 63)

/* A slab, and the objects that it holds at least. Where they do not fit, it is made to measure for
   those that fit in MOST_BYTES (doc/decisions/0014). */
#define SHARED_BYTES ((size_t)65536)
#define MANY_OBJECTS 8
#define MOST_BYTES (ASHLAR_RUN_MAX * ASHLAR_SLICE_BYTES)

/* Objects of so many bytes come back to a slab that is asleep before it is of use again. */
#define WAKE_BYTES 1024

static_assert(MOST_BYTES / ASHLAR_MIN_ALIGN_BYTES < PLACE_MASK, "a place fits its bits");
static_assert(SHARED_BYTES / ASHLAR_MIN_ALIGN_BYTES <= UINT16_MAX, "`asleep` counts objects");
static_assert(sizeof(struct ashlar_slab) == 2 * ASHLAR_CACHE_LINE_BYTES,
              "what the owner writes and what others write lie on different lines");
static_assert(offsetof(struct ashlar_slab, remote) == ASHLAR_CACHE_LINE_BYTES,
              "the second line begins at remote");

/* Slabs of one length for most classes, so that what one leaves behind serves any other. */
unsigned ashlar_slab_slices(unsigned class_id)
{
    size_t object = ashlar_class_size(class_id);
    size_t len = SHARED_BYTES;
    if (object * MANY_OBJECTS > SHARED_BYTES)
        len = MOST_BYTES / object * object;
    return (unsigned)(ashlar_align_up(len, ashlar_os_facts.page_bytes) / ASHLAR_SLICE_BYTES);
}

/* Whole pages, which may be several slices: half a page cannot be purged. */
size_t ashlar_slab_touched_bytes(const struct ashlar_slab *slab)
{
    size_t carved = ashlar_align_up(slab->carved, ashlar_os_facts.page_bytes);
    return ashlar_max_size(carved, slab->ntouched * ASHLAR_SLICE_BYTES);
}

void ashlar_slab_init(struct ashlar_slab *slab, unsigned class_id, char *base, uint64_t key)
{
    size_t object = ashlar_class_size(class_id);
    unsigned nslices = ashlar_slab_slices(class_id);
    size_t capacity = nslices * ASHLAR_SLICE_BYTES / object;
    slab->span.kind = ASHLAR_SPAN_SLAB;
    slab->span.used = 0;
    slab->base = base;
    slab->end = (uintptr_t)base + capacity * object;
    slab->free = slab->end;
    slab->reciprocal = UINT64_MAX / object + 1;
    /* The top bit pattern of a key is never that of a small number or a user-space pointer, so
       ordinary contents never look like a link. */
    slab->key = key | (UINT64_C(1) << 62);
    /* Objects and end have one upper half of addresses: chunks of full length neither lie across a
       multiple of 4 GiB nor end there. Where a shorter one does, as it may under a small RLIMIT_AS,
       some of the free objects do not look so. */
    slab->mark = (uint32_t)((slab->key ^ (uintptr_t)base) >> 32);
    slab->carved = 0;
    slab->class_id = (uint8_t)class_id;
    slab->nslices = (uint8_t)nslices;
    slab->is_asleep = false;
    slab->span.asleep = 0;
    atomic_store_explicit(&slab->is_active, false, memory_order_relaxed);
    slab->is_in_flight = false;
    slab->is_idle = false;
    slab->is_exhausted = false;
    slab->ntouched = 0;
    slab->pending_next = NULL;
    atomic_store_explicit(&slab->remote, 0, memory_order_relaxed);
}

static uint64_t free_offset(const struct ashlar_slab *slab)
{
    return slab->free - (uintptr_t)slab->base;
}

/* Offset of the free object behind the one at `offset`; capacity: none; above: overwritten. */
static uint64_t next_offset(const struct ashlar_slab *slab, uint64_t offset)
{
    return (*ashlar_slab_link(slab->base + offset) ^ slab->key) - (uintptr_t)slab->base;
}

/* Both at once, for who looks at them from another thread. */
static void set_used(struct ashlar_slab *slab, uint32_t used, uint32_t asleep)
{
    struct ashlar_span next = {.used = used, .asleep = (uint16_t)asleep, .kind = slab->span.kind};
    __atomic_store_n(&slab->span.state, next.state, __ATOMIC_RELEASE);
}

void ashlar_slab_sleep(struct ashlar_slab *slab)
{
    uint32_t few = (uint32_t)(WAKE_BYTES / ashlar_slab_object_bytes(slab));
    few = few != 0 ? few : 1;
    /* One that has lost its list to an overwritten link may have less in use. */
    few = few < slab->span.used ? few : slab->span.used;
    slab->is_asleep = true;
    set_used(slab, few, slab->span.used - few);
}

void ashlar_slab_wake(struct ashlar_slab *slab)
{
    slab->is_asleep = false;
    set_used(slab, slab->span.used + slab->span.asleep, 0);
}

/* Bytes at the front, in whole granules, in which all starts are those of objects that exist. */
static size_t entered_bytes(const struct ashlar_slab *slab)
{
    if (slab->carved != ashlar_slab_capacity(slab))
        return ashlar_align_down(slab->carved, ASHLAR_GRANULE_BYTES);
    size_t last = (size_t)slab->carved - ashlar_slab_object_bytes(slab);
    return ashlar_align_down(last, ASHLAR_GRANULE_BYTES) + ASHLAR_GRANULE_BYTES;
}

/* Follows a carve in the page map, where `old_bytes` were entered. */
static void enter(struct ashlar_slab *slab, size_t old_bytes)
{
    size_t bytes = entered_bytes(slab);
    /* Where an object behind the last one would start. */
    if (slab->carved < bytes)
        *ashlar_slab_link(slab->base + slab->carved) = (uint64_t)slab->mark << 32;
    ashlar_pagemap_set(slab->base + old_bytes, bytes - old_bytes, &slab->span);
}

/* All that start in the next granule: a page fault for a page of objects, and a program of a few
   objects touches a page or two per class. */
bool ashlar_slab_carve(struct ashlar_slab *slab)
{
    size_t left = (size_t)ashlar_slab_capacity(slab) - slab->carved;
    if (left == 0)
        return false;
    size_t object = ashlar_slab_object_bytes(slab);
    size_t entered = entered_bytes(slab);
    size_t goal = ashlar_align_down(slab->carved + ASHLAR_GRANULE_BYTES, ASHLAR_GRANULE_BYTES);
    size_t count = ashlar_min_size(goal - slab->carved + object - 1, left) / object;
    uintptr_t next = (uintptr_t)slab->base + slab->carved;
    uintptr_t old = slab->free;
    slab->free = next;
    for (size_t i = count; i-- > 0;) {
        uint64_t *link = ashlar_slab_link((char *)next);
        next += object;
        *link = (i != 0 ? next : old) ^ slab->key;
    }
    slab->carved += (uint32_t)(count * object);
    enter(slab, entered);
    return true;
}

/* Where the object is that a remote word names; `end` for none. */
static uintptr_t place_address(const struct ashlar_slab *slab, uint64_t place)
{
    return place == 0 ? slab->end : (uintptr_t)slab->base + (place - 1) * ASHLAR_MIN_ALIGN_BYTES;
}

static uintptr_t head_address(const struct ashlar_slab *slab, uint64_t word)
{
    return place_address(slab, word & PLACE_MASK);
}

static uintptr_t tail_address(const struct ashlar_slab *slab, uint64_t word)
{
    return place_address(slab, word >> PLACE_BITS & PLACE_MASK);
}

static uint32_t take_list(struct ashlar_slab *slab, uint64_t word)
{
    uint32_t count = (uint32_t)((word & COUNT_MASK) / COUNT_ONE);
    if (count == 0)
        return 0;
    if (slab->free != slab->end)
        *ashlar_slab_link((char *)tail_address(slab, word)) = slab->free ^ slab->key;
    slab->free = head_address(slab, word);
    ashlar_assert(slab->span.used >= count);
    set_used(slab, slab->span.used - count, slab->span.asleep);
    return count;
}

uint32_t ashlar_slab_collect(struct ashlar_slab *slab)
{
    uint64_t word = atomic_load_explicit(&slab->remote, memory_order_relaxed);
    do {
        if ((word & COUNT_MASK) == 0 || (word & TAKEN) != 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&slab->remote, &word, word & ABANDONED,
                                                    memory_order_acquire, memory_order_relaxed));
    return take_list(slab, word);
}

static void push_pending(struct ashlar_slab *slab)
{
    struct ashlar_slab_owner *owner = (struct ashlar_slab_owner *)ashlar_span_owner(&slab->span);
    struct ashlar_slab *top = atomic_load_explicit(&owner->pending, memory_order_relaxed);
    do
        slab->pending_next = top;
    while (!atomic_compare_exchange_weak_explicit(&owner->pending, &top, slab, memory_order_release,
                                                  memory_order_relaxed));
}

/* Objects handed out and the hold, from any thread: a moment's truth. */
static size_t used_objects(const struct ashlar_slab *slab)
{
    struct ashlar_span span = {.state = __atomic_load_n(&slab->span.state, __ATOMIC_ACQUIRE)};
    return (size_t)span.used + span.asleep;
}

static uint64_t list_count(uint64_t word)
{
    return (word & COUNT_MASK) / COUNT_ONE;
}

/*
 * True when the remote list of this word has every object that is handed out: all that fit into the
 * slab, so that its owner has none to give, or all that its owner, who does not allocate from it,
 * has not got back.
 */
static bool has_all(const struct ashlar_slab *slab, uint64_t word)
{
    uint64_t count = list_count(word);
    bool is_active = atomic_load_explicit(&slab->is_active, memory_order_acquire);
    size_t hold = is_active ? ashlar_slab_hold(slab) : 0;
    if (count == 0 || used_objects(slab) != count + hold)
        return false;
    return !is_active || count * ashlar_slab_object_bytes(slab) == ashlar_slab_capacity(slab);
}

enum ashlar_slab_remote ashlar_slab_push_remote(struct ashlar_slab *slab, char *object)
{
    uint64_t offset = (uint64_t)(object - slab->base);
    uint64_t place = offset / ASHLAR_MIN_ALIGN_BYTES + 1;
    uint64_t old = atomic_load_explicit(&slab->remote, memory_order_relaxed);
    uint64_t next;
    bool is_last;
    do {
        if ((old & ABANDONED) != 0)
            return ASHLAR_REMOTE_ABANDONED;
        *ashlar_slab_link(object) = head_address(slab, old) ^ slab->key;
        uint64_t tail = (old & COUNT_MASK) != 0 ? old & PLACE_MASK << PLACE_BITS
                                                : place << PLACE_BITS;
        next = (old & TAKEN) | ((old & COUNT_MASK) + COUNT_ONE) | tail | place;
        is_last = has_all(slab, next);
    } while (!atomic_compare_exchange_weak_explicit(&slab->remote, &old, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    /* Acquired: the owner word as it was when PARKED was set. A slab somebody is about to put on
       its owner's pending stack keeps that owner, even if the thread exits, until it was seen
       there: see tcache.c. */
    if ((old & PARKED) != 0)
        push_pending(slab);
    return is_last ? ASHLAR_REMOTE_EMPTIED : ASHLAR_REMOTE_DONE;
}

static bool can_be_taken(const struct ashlar_slab *slab, uint64_t word)
{
    return (word & (ABANDONED | TAKEN | GONE)) == 0 && has_all(slab, word);
}

bool ashlar_slab_is_emptied(const struct ashlar_slab *slab)
{
    return can_be_taken(slab, atomic_load_explicit(&slab->remote, memory_order_relaxed));
}

bool ashlar_slab_take_away(struct ashlar_slab *slab)
{
    uint64_t word = atomic_load_explicit(&slab->remote, memory_order_acquire);
    if (!can_be_taken(slab, word) ||
        !atomic_compare_exchange_strong(&slab->remote, &word, word | TAKEN))
        return false;
    /* From here on its owner can neither allocate from it nor collect, so what is handed out only
       becomes less. */
    if (has_all(slab, word))
        return true;
    atomic_fetch_and_explicit(&slab->remote, ~TAKEN, memory_order_release);
    return false;
}

bool ashlar_slab_activate(struct ashlar_slab *slab)
{
    atomic_store_explicit(&slab->is_active, true, memory_order_relaxed);
    uint64_t word = atomic_load_explicit(&slab->remote, memory_order_relaxed);
    do {
        if ((word & (TAKEN | GONE)) != 0) {
            atomic_store_explicit(&slab->is_active, false, memory_order_release);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&slab->remote, &word, 0, memory_order_acq_rel,
                                                    memory_order_relaxed));
    (void)take_list(slab, word);
    (void)ashlar_slab_add_used(slab, ashlar_slab_hold(slab));
    return true;
}

void ashlar_slab_leave(struct ashlar_slab *slab)
{
    atomic_store_explicit(&slab->remote, GONE, memory_order_release);
}

bool ashlar_slab_is_gone(const struct ashlar_slab *slab)
{
    return (atomic_load_explicit(&slab->remote, memory_order_acquire) & GONE) != 0;
}

bool ashlar_slab_park(struct ashlar_slab *slab)
{
    uint64_t none = 0;
    return atomic_compare_exchange_strong_explicit(&slab->remote, &none, PARKED,
                                                   memory_order_release, memory_order_relaxed);
}

bool ashlar_slab_unpark(struct ashlar_slab *slab)
{
    uint64_t parked = PARKED;
    return atomic_compare_exchange_strong_explicit(&slab->remote, &parked, 0, memory_order_acquire,
                                                   memory_order_relaxed);
}

void ashlar_slab_abandon(struct ashlar_slab *slab)
{
    ashlar_span_set_owner(&slab->span, 0);
    atomic_fetch_or_explicit(&slab->remote, ABANDONED, memory_order_release);
}

void ashlar_slab_adopt(struct ashlar_slab *slab)
{
    atomic_fetch_and_explicit(&slab->remote, ~ABANDONED, memory_order_acquire);
}

bool ashlar_slab_is_abandoned(const struct ashlar_slab *slab)
{
    return (atomic_load_explicit(&slab->remote, memory_order_acquire) & ABANDONED) != 0;
}

struct ashlar_slab *ashlar_slab_next_in(const struct ashlar_chunk *chunk, unsigned *slice)
{
    while (*slice < chunk->nslices) {
        struct ashlar_span *span = ashlar_pagemap_find(chunk->base + *slice * ASHLAR_SLICE_BYTES);
        *slice += span != NULL ? ashlar_slab_of(span)->nslices : 1;
        if (span != NULL)
            return ashlar_slab_of(span);
    }
    return NULL;
}

/* Reads what the owner writes without asking it: statistics want a number, not a promise. */
__attribute__((no_sanitize_thread)) size_t ashlar_slab_live_objects(const struct ashlar_slab *slab)
{
    uint64_t remote = atomic_load_explicit(&slab->remote, memory_order_relaxed);
    size_t hold = slab->is_active ? ashlar_slab_hold(slab) : 0;
    size_t away = (size_t)list_count(remote) + hold;
    size_t most = slab->carved / ashlar_slab_object_bytes(slab) + hold;
    size_t used = ashlar_min_size(used_objects(slab), most);
    return used > away ? used - away : 0;
}

bool ashlar_slab_has_free(const struct ashlar_slab *slab, const char *object)
{
    uint64_t wanted = (uint64_t)(object - slab->base);
    size_t most = slab->carved / ashlar_slab_object_bytes(slab);
    uint64_t offset = free_offset(slab);
    for (size_t i = 0; i <= most && offset < ashlar_slab_capacity(slab); i++) {
        if (offset == wanted)
            return true;
        offset = next_offset(slab, offset);
    }
    return false;
}

bool ashlar_slab_has_link(const struct ashlar_slab *slab, char *object)
{
    if (!ashlar_slab_looks_free(slab, object))
        return false;
    uint64_t next = next_offset(slab, (uint64_t)(object - slab->base));
    return next <= ashlar_slab_capacity(slab) && ashlar_slab_is_start(slab, next);
}

void ashlar_slab_verify(struct ashlar_slab *slab)
{
    size_t object = ashlar_slab_object_bytes(slab);
    size_t nfree = 0;
    for (uint64_t offset = free_offset(slab); offset != ashlar_slab_capacity(slab);) {
        ashlar_check(offset < slab->carved);
        ashlar_check(ashlar_slab_is_start(slab, offset));
        ashlar_check(++nfree <= slab->carved / object);
        offset = next_offset(slab, offset);
    }
    ashlar_check(slab->carved <= ashlar_slab_capacity(slab));
    ashlar_check(nfree <= slab->carved / object);
}
