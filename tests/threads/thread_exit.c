/*
 * thread_exit.c - malloc and free in destructors that run after the allocator's own, exit
 * handlers, cancelled threads, and thousands of short threads
 *
 * run: destructors
 * run: ASHLAR_CONF=decay_ms:0 destructors
 * run: short-threads
 * run: ASHLAR_CONF=arenas:1 short-threads
 * run: cancel
 * run: exit-while-running
 * run: exit-handlers
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "expect.h"

/* ---- destructors of thread-specific data ---- */

enum { KEYS = 40, DESTRUCTOR_THREADS = 200 };

static pthread_key_t keys[KEYS];
static atomic_int destructor_calls;

static void allocate_some(uint64_t seed)
{
    uint64_t state = seed * 2 + 1;
    for (int i = 0; i < 10; i++) {
        size_t len = random_size(&state, 200 * KIB);
        char *block = calloc(1, len);
        EXPECT(block != NULL && is_zero(block, len));
        pattern_fill(block, len, seed);
        block = realloc(block, len + 100);
        EXPECT(pattern_broken(block, len, len, seed) == len);
        free(block);
    }
}

/* Frees what the thread left, allocates, and asks to be called again as often as POSIX allows. */
static void on_thread_end(void *value)
{
    size_t *counter = value;
    size_t key = *counter >> 8, round = *counter & 0xff;
    free(value);
    allocate_some(key);
    atomic_fetch_add(&destructor_calls, 1);
    if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS) {
        counter = malloc(sizeof(*counter));
        *counter = key << 8 | (round + 1);
        pthread_setspecific(keys[key], counter);
    }
}

static void *set_keys(void *unused)
{
    (void)unused;
    for (size_t key = 0; key < KEYS; key++) {
        size_t *counter = malloc(sizeof(*counter));
        *counter = key << 8;
        EXPECT(pthread_setspecific(keys[key], counter) == 0);
    }
    return NULL;
}

static void check_destructors(void)
{
    for (size_t key = 0; key < KEYS; key++)
        EXPECT(pthread_key_create(&keys[key], on_thread_end) == 0);
    for (int i = 0; i < DESTRUCTOR_THREADS; i += 4) {
        pthread_t threads[4];
        for (int j = 0; j < 4; j++)
            EXPECT(pthread_create(&threads[j], NULL, set_keys, NULL) == 0);
        for (int j = 0; j < 4; j++)
            pthread_join(threads[j], NULL);
    }
    EXPECT(destructor_calls == DESTRUCTOR_THREADS * KEYS * PTHREAD_DESTRUCTOR_ITERATIONS,
           "%d calls", destructor_calls);
}

/* ---- thousands of short threads leave nothing behind ---- */

enum { SHORT_THREADS = 10000, LEFT_EACH_BYTES = 300 };
#define SHORT_THREADS_GROWTH_BYTES (16 * MIB)

static void *live_shortly(void *unused)
{
    (void)unused;
    for (size_t size = 8; size < 300 * KIB; size = size * 3 / 2)
        free(launder(malloc(size)));
    return malloc(LEFT_EACH_BYTES); /* outlives the thread */
}

static void run_short_threads(int count)
{
    for (int i = 0; i < count; i += 2) {
        pthread_t threads[2];
        void *left[2];
        for (int j = 0; j < 2; j++)
            EXPECT(pthread_create(&threads[j], NULL, live_shortly, NULL) == 0);
        for (int j = 0; j < 2; j++) {
            pthread_join(threads[j], &left[j]);
            EXPECT(left[j] != NULL);
            memset(left[j], 1, LEFT_EACH_BYTES);
            free(left[j]);
        }
    }
}

static void check_short_threads(void)
{
    run_short_threads(200);
    size_t before = rss_bytes();
    run_short_threads(SHORT_THREADS);
    size_t after = rss_bytes();
    EXPECT(after < before + SHORT_THREADS_GROWTH_BYTES, "%zu KiB before, %zu KiB after %d threads",
           before / KIB, after / KIB, SHORT_THREADS);
}

/* ---- a cancelled thread holds no lock of the allocator ---- */

enum { CANCELLED_THREADS = 300 };

static void *allocate_until_cancelled(void *unused)
{
    (void)unused;
    uint64_t state = 3;
    for (;;) {
        free(launder(malloc(random_size(&state, 400 * KIB))));
        pthread_testcancel();
    }
    return NULL;
}

/* malloc is no cancellation point; a thread that is cancelled in free must get out of it first. */
static void check_cancel(void)
{
    for (int i = 0; i < CANCELLED_THREADS; i++) {
        pthread_t thread;
        void *result;
        EXPECT(pthread_create(&thread, NULL, allocate_until_cancelled, NULL) == 0);
        allocate_some((uint64_t)i);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        EXPECT(result == PTHREAD_CANCELED);
        allocate_some((uint64_t)i);
    }
}

/* ---- exit ---- */

static void *allocate_forever(void *unused)
{
    (void)unused;
    uint64_t state = 3;
    for (;;)
        free(launder(malloc(random_size(&state, 400 * KIB))));
    return NULL;
}

static char *until_the_end;

static void in_exit_handler(void)
{
    allocate_some(1);
    EXPECT(until_the_end == NULL || pattern_holds(until_the_end, 300 * KIB, 9));
}

__attribute__((destructor)) static void after_exit_handlers(void)
{
    in_exit_handler();
    free(until_the_end);
    until_the_end = NULL;
}

/* The process ends under the feet of threads that are inside malloc. */
static void check_exit_while_running(void)
{
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, allocate_forever, NULL) == 0);
        pthread_detach(thread);
    }
    sleep_ms(100);
    atexit(in_exit_handler);
    exit(TEST_PASS);
}

static void check_exit_handlers(void)
{
    for (int i = 0; i < 100; i++)
        atexit(i == 50 ? after_exit_handlers : in_exit_handler);
    exit(TEST_PASS);
}

int main(int argc, char **argv)
{
    test_begin(90);
    const char *mode = argc > 1 ? argv[1] : "destructors";
    bool is_about_exit = strncmp(mode, "exit", 4) == 0;
    if (is_about_exit) {
        until_the_end = malloc(300 * KIB);
        pattern_fill(until_the_end, 300 * KIB, 9);
    }
    if (strcmp(mode, "destructors") == 0)
        check_destructors();
    else if (strcmp(mode, "short-threads") == 0)
        check_short_threads();
    else if (strcmp(mode, "cancel") == 0)
        check_cancel();
    else if (strcmp(mode, "exit-while-running") == 0)
        check_exit_while_running();
    else
        check_exit_handlers();
    return TEST_PASS;
}
