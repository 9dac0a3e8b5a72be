/*
 * huge.c - which large blocks are to lie on huge pages
 *
 * Purpose     See huge.h.
 * Invariants  density[b] is within +-SCORE_MAX; b is the doubling of a length.
 * Locking     Atomics; a lost update is a lost vote.
 * Layer       large/.
 */
#include "large/huge.h"

#include <stdatomic.h>

#include "base/bits.h"
#include "conf/options.h"
#include "large/sample.h"
#include "os/os.h"

/*
 * The shortest block that thp:auto considers. Below, blocks are cut to other lengths more often
 * than they take fresh pages, and a fence or a cut inside a huge page splits it
 * (doc/decisions/0011).
 */
#define AUTO_MIN_BYTES (32 * ASHLAR_MIB)

/* Dense blocks without a sparse one that are believed, and the most votes that are remembered: so
   many sparse ones turn a belief round. */
#define SCORE_BELIEVED 2
#define SCORE_MAX 4

/* A sparse block weighs as much as this many dense ones: memory is dearer than faults. */
#define SPARSE_WEIGHT 2

/* Lengths so many doublings away count as alike. */
#define DOUBLINGS_ALIKE 2u

#define DOUBLINGS 64u

static _Atomic int density[DOUBLINGS];

/* Whether the kernel has huge pages to give. */
enum offer { OFFER_UNKNOWN, OFFER_NONE, OFFER_YES };
static _Atomic int offer;

/* The block to be observed next; the two words may be of two blocks, which does no harm. */
static _Atomic(const char *) next_base;
static _Atomic size_t next_len;

static bool is_offered(void)
{
    int now = atomic_load_explicit(&offer, memory_order_relaxed);
    if (now == OFFER_UNKNOWN) {
        /* Their alignment takes address space that a limit may not leave. */
        bool has_pages = ashlar_os_huge_page_bytes() == ashlar_os_facts.table_bytes &&
                         ashlar_os_address_limit() == SIZE_MAX;
        now = has_pages ? OFFER_YES : OFFER_NONE;
        atomic_store_explicit(&offer, now, memory_order_relaxed);
    }
    return now == OFFER_YES;
}

static bool is_believed(size_t len_bytes)
{
    unsigned own = ashlar_bit_highest(len_bytes);
    if (len_bytes < AUTO_MIN_BYTES)
        return false;
    if (atomic_load_explicit(&density[own], memory_order_relaxed) < 0)
        return false;
    for (unsigned i = own - DOUBLINGS_ALIKE; i <= own + DOUBLINGS_ALIKE && i < DOUBLINGS; i++) {
        if (atomic_load_explicit(&density[i], memory_order_relaxed) >= SCORE_BELIEVED)
            return true;
    }
    return false;
}

bool ashlar_huge_is_wanted(size_t len_bytes)
{
    if (len_bytes < ashlar_os_facts.table_bytes || ashlar_opt.thp == ASHLAR_THP_NEVER)
        return false;
    bool is_wanted = ashlar_opt.thp == ASHLAR_THP_ALWAYS || is_believed(len_bytes);
    return is_wanted && is_offered();
}

static void vote(size_t len_bytes, int votes)
{
    _Atomic int *score = &density[ashlar_bit_highest(len_bytes)];
    int now = atomic_load_explicit(score, memory_order_relaxed) + votes;
    now = now > SCORE_MAX ? SCORE_MAX : now < -SCORE_MAX ? -SCORE_MAX : now;
    atomic_store_explicit(score, now, memory_order_relaxed);
}

static bool is_of_interest(size_t len_bytes)
{
    return ashlar_opt.thp == ASHLAR_THP_AUTO && len_bytes >= AUTO_MIN_BYTES >> DOUBLINGS_ALIKE;
}

void ashlar_huge_remember(const char *base, size_t len_bytes)
{
    if (!is_of_interest(len_bytes))
        return;
    const char *before = atomic_exchange_explicit(&next_base, base, memory_order_relaxed);
    size_t before_len = atomic_exchange_explicit(&next_len, len_bytes, memory_order_relaxed);
    if (before != NULL && ashlar_sample_is_dense(before, before_len))
        vote(before_len, 1);
}

void ashlar_huge_observe(const char *base, size_t len_bytes)
{
    if (is_of_interest(len_bytes))
        vote(len_bytes, ashlar_sample_is_dense(base, len_bytes) ? 1 : -SPARSE_WEIGHT);
}
