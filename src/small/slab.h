/*
 * slab.h - a run of objects of one size
 *
 * Purpose     The unit small requests are served from. Descriptor out of line; inside the objects
 *             only the links of free ones.
 *
 *               base                                carved               end
 *                | object | object | ... | object |   never touched yet   |
 *
 *             Free objects form a list through their first word: the address of the next one,
 *             XORed with the slab's key; `end` ends it. Three things come for one compare each: a
 *             list that ran empty and a link that was overwritten are both "not below end"; an
 *             object whose first word has the upper half that all links of the slab have is most
 *             likely free already. Addresses rather than offsets, since a free knows its own before
 *             it has found the slab: a malloc that follows waits for less (7 percent of a tight
 *             loop), and either is an instruction shorter.
 *
 * Invariants  Law: used + asleep == objects handed out (freed by other threads but not collected
 *                          yet counts as handed out) + (1 while the slab is its owner's active one
 *                          and its objects are not medium: see ashlar_slab_hold).
 *                  objects carved == handed out + on the free list.
 *             offsets are multiples of the object size; 0 <= carved <= capacity.
 *             The page map knows the slab in the granules where objects start, once all that start
 *             there exist, and what it would take for one more, behind the last, looks free: so
 *             a free need not ask what was carved.
 * Locking     Fields up to is_active, and those marked as its, belong to the owner: the thread
 *             whose slab_owner the span's owner word names, or the arena under its lock when
 *             abandoned. remote and owner are atomic.
 * Layer       small/. Used by arena, front/tcache.
 */
#ifndef ASHLAR_SMALL_SLAB_H
#define ASHLAR_SMALL_SLAB_H

#include "base/list.h"
#include "map/span.h"
#include "small/sizeclass.h"

struct ashlar_chunk;
struct ashlar_slab;

/* What other threads see of a thread cache: where to leave its slabs that are asleep. */
struct ashlar_slab_owner {
    _Atomic(struct ashlar_slab *) pending; /* stack through pending_next; owner takes all */
};

struct ashlar_slab {
    _Alignas(ASHLAR_CACHE_LINE_BYTES) struct ashlar_span span; /* span.used is the law's `used` */
    uintptr_t free;           /* the first free object; end: none; above: corrupted */
    uintptr_t end;            /* constant: behind the last object */
    char *base;               /* constant */
    uint64_t reciprocal;      /* constant: 2^64 / object size, rounded up */
    uint64_t key;             /* constant: blinds the links */
    uint32_t mark;            /* constant: upper half of the links; see slab.c */
    uint8_t class_id;         /* constant */
    uint8_t nslices;          /* constant */
    bool is_asleep;           /* full, and out of the way until some objects came back */
    _Atomic bool is_active;   /* the one its owner allocates from; see ashlar_slab_activate */

    /* Second cache line: written by other threads. */
    _Atomic uint64_t remote;  /* see slab.c: list of objects freed by other threads, flags */
    struct ashlar_slab *pending_next;
    uint32_t carved;               /* owner: bytes whose objects exist */
    bool is_in_flight : 1;         /* owner: somebody is putting it on the pending stack, or has */
    bool is_idle : 1;              /* owner: noted as empty, see front/tcache */
    bool is_exhausted : 1;         /* owner: asleep, and on its list of such, see front/tcache */
    uint8_t ntouched;              /* constant: first slices that had pages when it was cut */
    struct ashlar_chunk *chunk;    /* constant: where the memory came from */
    struct ashlar_list link;       /* owner's list of available slabs, or of exhausted ones */
    struct ashlar_list all;        /* owner's list of all its slabs, or arena's abandoned ones */
};

static inline struct ashlar_slab *ashlar_slab_of(struct ashlar_span *span)
{
    return (struct ashlar_slab *)span;
}

static inline uint64_t *ashlar_slab_link(char *object)
{
    return (uint64_t *)(void *)object;
}

static inline size_t ashlar_slab_object_bytes(const struct ashlar_slab *slab)
{
    return ashlar_class_size(slab->class_id);
}

/* What being the active slab adds to `used`: 1, so that a free which empties it goes unnoticed;
   0 for medium objects, whose memory is wanted elsewhere. */
static inline uint32_t ashlar_slab_hold(const struct ashlar_slab *slab)
{
    return slab->class_id < ASHLAR_CLASS_MEDIUM ? 1 : 0;
}

/* Bytes of all its objects, a multiple of their size. */
static inline uint64_t ashlar_slab_capacity(const struct ashlar_slab *slab)
{
    return slab->end - (uintptr_t)slab->base;
}

/* Whether there is something to be had from it without looking at what others have freed. */
static inline bool ashlar_slab_can_serve(const struct ashlar_slab *slab)
{
    return slab->free != slab->end || slab->carved != ashlar_slab_capacity(slab);
}

/* `n` objects more, modulo 2^32, are in use, after all that was done to them: whoever learns that
   they are fewer may take the memory away, see ashlar_slab_take_away. */
ASHLAR_INLINE uint32_t ashlar_slab_add_used(struct ashlar_slab *slab, uint32_t n)
{
#if ASHLAR_PLAIN_STORES_RELEASE
    atomic_signal_fence(memory_order_release);
    return slab->span.used += n;
#else
    uint32_t used = slab->span.used + n;
    __atomic_store_n(&slab->span.used, used, __ATOMIC_RELEASE);
    return used;
#endif
}

/* A free object taken off the list, or NULL: list empty or corrupted. Owner only. */
ASHLAR_INLINE void *ashlar_slab_pop(struct ashlar_slab *slab)
{
    uintptr_t address = slab->free;
    if (ASHLAR_UNLIKELY(address >= slab->end))
        return NULL;
    char *object = (char *)address;
    /* An overwritten link decodes to an address far above any there is: see slab.c. */
    slab->free = *ashlar_slab_link(object) ^ slab->key;
    /* The next pop reads the link there: 5 to 10 percent where objects do not all lie in the first
       cache. An overwritten link does no harm. */
    __builtin_prefetch((const void *)slab->free);
    *ashlar_slab_link(object) = 0; /* a live object must not look like a free one */
    (void)ashlar_slab_add_used(slab, 1);
    return object;
}

/*
 * True when `offset` is the start of an object: divisible by the object size, by a multiplication
 * (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019).
 */
ASHLAR_INLINE bool ashlar_slab_is_start(const struct ashlar_slab *slab, uint64_t offset)
{
    return offset * slab->reciprocal < slab->reciprocal;
}

/* True when the object's first word reads as a link: it is free already, but for one chance in
   2^32. One load from the object and one compare. */
ASHLAR_INLINE bool ashlar_slab_looks_free(const struct ashlar_slab *slab, char *object)
{
    return (uint32_t)(*ashlar_slab_link(object) >> 32) == slab->mark;
}

/* The same for a thread that may not walk the list to make sure: all of the word is a link, but for
   one chance in 2^50. */
bool ashlar_slab_has_link(const struct ashlar_slab *slab, char *object);

/* Puts an object back; gives what is used now. Owner only. */
ASHLAR_INLINE uint32_t ashlar_slab_push(struct ashlar_slab *slab, char *object)
{
    *ashlar_slab_link(object) = slab->free ^ slab->key;
    slab->free = (uintptr_t)object;
    return ashlar_slab_add_used(slab, UINT32_MAX);
}

/* Lays a full slab to sleep: `used` is lowered so that the free which brings back the last of a few
   objects makes it 0, as one that empties the slab does; a malloc from it later then serves all of
   these without a look around. And wakes it up. Owner only. */
void ashlar_slab_sleep(struct ashlar_slab *slab);
void ashlar_slab_wake(struct ashlar_slab *slab);

/* Slices that a slab of this class takes: whole pages. */
unsigned ashlar_slab_slices(unsigned class_id);

/* Bytes at the front of the slab that may hold pages. */
size_t ashlar_slab_touched_bytes(const struct ashlar_slab *slab);

/* Makes a slab of fresh memory, prepared in the page map and not in it; nothing is touched. */
void ashlar_slab_init(struct ashlar_slab *slab, unsigned class_id, char *base, uint64_t key);

/* Makes more objects exist, about a page of them, and enters them in the page map; false when all
   do. Owner only. */
bool ashlar_slab_carve(struct ashlar_slab *slab);

/* The first slab of a chunk from the slice *slice on, which is behind it then, for the next; NULL:
   none. Under the arena's lock. */
struct ashlar_slab *ashlar_slab_next_in(const struct ashlar_chunk *chunk, unsigned *slice);

/* Objects handed out, from any thread: a moment's truth. */
size_t ashlar_slab_live_objects(const struct ashlar_slab *slab);

/* Takes over what other threads have freed; number of objects. Owner only. */
uint32_t ashlar_slab_collect(struct ashlar_slab *slab);

/* False when there is nothing of that. */
static inline bool ashlar_slab_has_remote(const struct ashlar_slab *slab)
{
    return atomic_load_explicit(&slab->remote, memory_order_relaxed) != 0;
}

/* Law check; debug builds and tests. Owner only. */
void ashlar_slab_verify(struct ashlar_slab *slab);

/* True when the object is on the slab's free list. Walks it; owner only. */
bool ashlar_slab_has_free(const struct ashlar_slab *slab, const char *object);

enum ashlar_slab_remote {
    ASHLAR_REMOTE_DONE,
    ASHLAR_REMOTE_EMPTIED,   /* done; the slab may be taken away from its owner now */
    ASHLAR_REMOTE_ABANDONED, /* nothing done, nobody owns it; see ashlar_arena_free_abandoned */
};

/* Frees an object from a thread that does not own the slab. The slab may be gone afterwards. */
enum ashlar_slab_remote ashlar_slab_push_remote(struct ashlar_slab *slab, char *object);

/*
 * Flags of the remote word, owner's side.
 * park: asks the next freeing thread to put the slab on the owner's pending stack; false when
 *   objects have come back meanwhile: collect instead.
 * unpark: takes that request back; false when somebody is acting on it already: the slab is, or
 *   will be, on the pending stack.
 */
bool ashlar_slab_park(struct ashlar_slab *slab);
bool ashlar_slab_unpark(struct ashlar_slab *slab);

/*
 * Makes the slab the one its owner allocates from, and collects; false: its memory is about to be
 * taken away, or gone. deactivate ends that, when all else that this changes is done. Owner only.
 */
bool ashlar_slab_activate(struct ashlar_slab *slab);

static inline void ashlar_slab_deactivate(struct ashlar_slab *slab)
{
    atomic_store_explicit(&slab->is_active, false, memory_order_release);
}

/* True for a slab of which other threads have freed all that is handed out, and which its owner
   does not allocate from or can have no more of: it may be taken away. From any thread. */
bool ashlar_slab_is_emptied(const struct ashlar_slab *slab);

/*
 * Under the arena's lock: take_away claims such a slab, so that its owner can neither collect nor
 * allocate from it; false: it is not so. leave, when its memory has another user, leaves the
 * descriptor to the owner, for whom the slab is gone.
 */
bool ashlar_slab_take_away(struct ashlar_slab *slab);
void ashlar_slab_leave(struct ashlar_slab *slab);
bool ashlar_slab_is_gone(const struct ashlar_slab *slab);

/* Under the arena's lock: gives the slab up, takes it back. */
void ashlar_slab_abandon(struct ashlar_slab *slab);
void ashlar_slab_adopt(struct ashlar_slab *slab);
bool ashlar_slab_is_abandoned(const struct ashlar_slab *slab);

#endif
