/*
 * random_operations.c - every call at random, on several threads, against a plain model
 *
 * The model is a table of what should be live: where, how long, filled with which pattern. Each
 * operation checks the block it meets in full, and that its place overlaps no neighbour's.
 * A shared table hands blocks from thread to thread.
 *
 * usage: random_operations [SECONDS [THREADS [SEED [LARGEST]]]]
 * The seed is printed when something breaks; ASHLAR_SEED counts repetitions.
 *
 * run: 3 1
 * run: 3 4
 * run: ASHLAR_CONF=decay_ms:0 2 4
 * run: ASHLAR_CONF=guard:mprotect,arenas:1 2 4
 * run: ASHLAR_CONF=large_threshold:4096,decay_ms:20 2 3
 * run: ASHLAR_CONF=junk:on,guard:off 2 3
 * run: 3 3 1 67108864
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "expect.h"

enum { MOST_THREADS = 64, SLOTS = 400, SHARED = 256 };

/* Live bytes of all threads stay below this, whatever the sizes. */
#define LIVE_LIMIT_BYTES (400 * MIB)

/* One live block and what it should hold. */
struct entry {
    char *block;
    size_t len;
    size_t align;
    uint64_t seed;
};

struct worker {
    pthread_t thread;
    uint64_t state;
    size_t live_bytes;
    size_t live_limit_bytes;
    size_t operations;
    struct entry entries[SLOTS];
};

static struct {
    pthread_mutex_t lock;
    struct entry entries[SHARED];
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool is_over;
static size_t largest = 3 * MIB;
static uint64_t first_seed;

#define CHECK(condition, ...)                                   \
    do {                                                        \
        if (!(condition))                                       \
            note("seed %llu:", (unsigned long long)first_seed); \
        EXPECT(condition, __VA_ARGS__);                         \
    } while (0)

static size_t choose_size(struct worker *worker)
{
    switch (random_below(&worker->state, 20)) {
    case 0:
        return random_size(&worker->state, largest);
    case 1:
        return random_size(&worker->state, 256 * KIB);
    case 2: /* page and threshold edges */
        return (random_below(&worker->state, 64) + 1) * 4096 - random_below(&worker->state, 3);
    case 3:
    case 4:
        return random_size(&worker->state, 32 * KIB);
    default:
        return random_size(&worker->state, 1024);
    }
}

static void check_entry(const struct entry *entry)
{
    if (entry->block == NULL)
        return;
    CHECK(is_aligned(entry->block, entry->align), "%p", (void *)entry->block);
    CHECK(malloc_usable_size(entry->block) >= entry->len, "%p has %zu of %zu", (void *)entry->block,
          malloc_usable_size(entry->block), entry->len);
    CHECK(pattern_holds(entry->block, entry->len, entry->seed),
          "block %p of %zu bytes broke at %zu", (void *)entry->block, entry->len,
          pattern_broken(entry->block, entry->len, entry->len, entry->seed));
}

static void drop_entry(struct worker *worker, struct entry *entry)
{
    check_entry(entry);
    errno = 1234;
    free(entry->block);
    CHECK(errno == 1234, "free set errno to %d", errno);
    worker->live_bytes -= entry->len;
    *entry = (struct entry){0};
}

static void fill_entry(struct worker *worker, struct entry *entry)
{
    CHECK(entry->block != NULL, "%zu bytes at %zu", entry->len, entry->align);
    worker->live_bytes += entry->len;
    entry->seed = random_next(&worker->state);
    pattern_fill(entry->block, entry->len, entry->seed);
}

static void make_entry(struct worker *worker, struct entry *entry)
{
    entry->len = choose_size(worker);
    entry->align = 16;
    void *out = NULL;
    switch (random_below(&worker->state, 8)) {
    case 0:
        entry->block = calloc(1, entry->len);
        CHECK(entry->block != NULL && is_zero(entry->block, entry->len), "calloc of %zu bytes",
              entry->len);
        break;
    case 1:
        entry->align = (size_t)1 << random_below(&worker->state, 18);
        entry->block = memalign(entry->align, entry->len);
        break;
    case 2:
        entry->align = (size_t)8 << random_below(&worker->state, 20);
        CHECK(posix_memalign(&out, entry->align, entry->len) == 0);
        entry->block = out;
        break;
    case 3:
        entry->block = realloc(NULL, entry->len);
        break;
    default:
        entry->block = malloc(entry->len);
        break;
    }
    fill_entry(worker, entry);
}

static void resize_entry(struct worker *worker, struct entry *entry)
{
    check_entry(entry);
    size_t len = choose_size(worker) + 1;
    if (random_below(&worker->state, 2) == 0) /* a step, as growing strings and vectors do */
        len = random_below(&worker->state, 2) == 0 ? entry->len + entry->len / 2 + 1
                                                   : entry->len - entry->len / 3 + 1;
    size_t kept = len < entry->len ? len : entry->len;
    char *block = realloc(entry->block, len);
    CHECK(block != NULL, "realloc to %zu bytes", len);
    CHECK(pattern_broken(block, kept, entry->len, entry->seed) == kept,
          "realloc from %zu to %zu bytes broke byte %zu", entry->len, len,
          pattern_broken(block, kept, entry->len, entry->seed));
    worker->live_bytes -= entry->len;
    *entry = (struct entry){.block = block, .len = len, .align = 16};
    fill_entry(worker, entry);
}

/* Swaps a block with whatever another thread left there. */
static void hand_over(struct worker *worker, struct entry *entry)
{
    struct entry *place = &shared.entries[random_below(&worker->state, SHARED)];
    pthread_mutex_lock(&shared.lock);
    struct entry other = *place;
    *place = *entry;
    pthread_mutex_unlock(&shared.lock);
    worker->live_bytes += other.len - entry->len;
    *entry = other;
    check_entry(entry);
}

static void operate(struct worker *worker)
{
    struct entry *entry = &worker->entries[random_below(&worker->state, SLOTS)];
    unsigned choice = (unsigned)random_below(&worker->state, 100);
    if (entry->block == NULL)
        make_entry(worker, entry);
    else if (choice < 25)
        resize_entry(worker, entry);
    else if (choice < 40)
        hand_over(worker, entry);
    else
        drop_entry(worker, entry);
    while (worker->live_bytes > worker->live_limit_bytes)
        drop_entry(worker, &worker->entries[random_below(&worker->state, SLOTS)]);
    if (++worker->operations % 20000 == 0 && random_below(&worker->state, 4) == 0)
        malloc_trim(0);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load(&is_over))
        operate(worker);
    for (size_t i = 0; i < SLOTS; i++)
        drop_entry(worker, &worker->entries[i]);
    return NULL;
}

static unsigned long argument_or(char **argv, int argc, int index, unsigned long otherwise)
{
    return index < argc ? strtoul(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static struct worker workers[MOST_THREADS];
    unsigned long seconds = argument_or(argv, argc, 1, 5);
    unsigned long threads = argument_or(argv, argc, 2, 4);
    const char *repetition = getenv("ASHLAR_SEED");
    first_seed = argument_or(argv, argc, 3, 1) * 1000 +
                 (repetition ? strtoul(repetition, NULL, 10) : 1);
    largest = argument_or(argv, argc, 4, largest);
    test_begin((unsigned)seconds + 100);
    EXPECT(threads >= 1 && threads <= MOST_THREADS, "%lu threads", threads);

    for (unsigned long i = 0; i < threads; i++) {
        workers[i].state = (first_seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + i + 1;
        workers[i].live_limit_bytes = LIVE_LIMIT_BYTES / threads;
        EXPECT(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    sleep_ms((unsigned)seconds * 1000);
    atomic_store(&is_over, true);
    size_t operations = 0;
    for (unsigned long i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        operations += workers[i].operations;
    }
    for (size_t i = 0; i < SHARED; i++)
        drop_entry(&workers[0], &shared.entries[i]);
    CHECK(operations > 0, "no operation at all");
    return TEST_PASS;
}
