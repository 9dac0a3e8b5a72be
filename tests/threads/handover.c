/*
 * handover.c - blocks made in one thread, checked, grown and freed in another
 *
 * Producers put filled blocks of all sizes into a ring; consumers check every byte of the
 * pattern, sometimes change the block's size or pass it on, and free it.
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0
 * run: ASHLAR_CONF=guard:mprotect,arenas:1
 * run: ASHLAR_CONF=large_threshold:4096
 * run: ASHLAR_CONF=junk:on
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "expect.h"

enum { PRODUCERS = 2, CONSUMERS = 2, RING = 256, BLOCKS_EACH = 30000 };

struct parcel {
    char *block;
    size_t len;
    uint64_t seed;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t has_room, has_parcel;
    struct parcel parcels[RING];
    size_t first, count;
    int producers;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .has_room = PTHREAD_COND_INITIALIZER,
          .has_parcel = PTHREAD_COND_INITIALIZER,
          .producers = PRODUCERS};

static void ring_put(struct parcel parcel)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.count == RING)
        pthread_cond_wait(&ring.has_room, &ring.lock);
    ring.parcels[(ring.first + ring.count++) % RING] = parcel;
    pthread_cond_signal(&ring.has_parcel);
    pthread_mutex_unlock(&ring.lock);
}

static bool ring_take(struct parcel *parcel)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.count == 0 && ring.producers > 0)
        pthread_cond_wait(&ring.has_parcel, &ring.lock);
    bool is_taken = ring.count > 0;
    if (is_taken) {
        *parcel = ring.parcels[ring.first];
        ring.first = (ring.first + 1) % RING;
        ring.count--;
        pthread_cond_signal(&ring.has_room);
    }
    pthread_mutex_unlock(&ring.lock);
    return is_taken;
}

static void *produce(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < BLOCKS_EACH; i++) {
        struct parcel parcel = {.seed = random_next(&state)};
        parcel.len = random_size(&state, i % 50 == 0 ? 2 * MIB : i % 5 == 0 ? 20000 : 600);
        switch (random_below(&state, 4)) {
        case 0:
            parcel.block = calloc(1, parcel.len);
            EXPECT(parcel.block != NULL && is_zero(parcel.block, parcel.len));
            break;
        case 1:
            parcel.block = memalign(256, parcel.len);
            break;
        default:
            parcel.block = malloc(parcel.len);
            break;
        }
        EXPECT(parcel.block != NULL, "%zu bytes", parcel.len);
        pattern_fill(parcel.block, parcel.len, parcel.seed);
        ring_put(parcel);
    }
    pthread_mutex_lock(&ring.lock);
    ring.producers--;
    pthread_cond_broadcast(&ring.has_parcel);
    pthread_mutex_unlock(&ring.lock);
    return NULL;
}

static void *consume(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    struct parcel parcel;
    while (ring_take(&parcel)) {
        EXPECT(pattern_holds(parcel.block, parcel.len, parcel.seed), "a block of %zu bytes at %p",
               parcel.len, (void *)parcel.block);
        if (random_below(&state, 3) == 0) {
            size_t len = random_size(&state, parcel.len * 2 + 100) + 1;
            size_t kept = len < parcel.len ? len : parcel.len;
            parcel.block = realloc(parcel.block, len);
            EXPECT(parcel.block != NULL);
            EXPECT(pattern_broken(parcel.block, kept, parcel.len, parcel.seed) == kept,
                   "realloc from %zu to %zu in another thread", parcel.len, len);
        }
        free(parcel.block);
    }
    return NULL;
}

int main(void)
{
    test_begin(100);
    pthread_t threads[PRODUCERS + CONSUMERS];
    for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
        EXPECT(pthread_create(&threads[i], NULL, i < PRODUCERS ? produce : consume,
                              (void *)(i + 1)) == 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    return TEST_PASS;
}
