/*
 * fork_threads.c - fork, thousands of times, while other threads malloc, free, come and go
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0
 * run: ASHLAR_CONF=guard:mprotect,arenas:1
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "expect.h"

enum { CHURNERS = 2, INHERITED = 120, SHARED = 64, LONG_CHILD_EVERY = 10 };

/* Enough for thousands of forks on an idle machine, bounded on a busy one. */
#define RUN_SECONDS 5.0
#define MOST_FORKS 4000
#define CHILD_SECONDS 20

static atomic_bool is_over;
static void *_Atomic shared[SHARED]; /* blocks on their way from one thread to another */

static void churn_once(uint64_t *state)
{
    size_t size = random_size(state, random_below(state, 30) == 0 ? 600 * KIB : 3000);
    char *block = malloc(size);
    EXPECT(block != NULL, "%zu bytes", size);
    if (size > 0)
        block[0] = block[size - 1] = 1;
    if (random_below(state, 4) == 0) {
        block = realloc(block, size * 2 + 1);
        EXPECT(block != NULL);
    }
    free(atomic_exchange(&shared[random_below(state, SHARED)], block));
}

static void *churn(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (!atomic_load(&is_over))
        churn_once(&state);
    return NULL;
}

static void *churn_briefly(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < 100; i++)
        churn_once(&state);
    return NULL;
}

/* Threads that begin and end all the time, so that forks meet half-made and half-gone ones. */
static void *spawn_threads(void *unused)
{
    (void)unused;
    for (uintptr_t seed = 100; !atomic_load(&is_over); seed++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, churn_briefly, (void *)seed) == 0)
            pthread_join(thread, NULL);
    }
    return NULL;
}

struct inherited {
    char *block[INHERITED];
    size_t len[INHERITED];
};

static void make_inherited(struct inherited *all)
{
    uint64_t state = 99;
    for (size_t i = 0; i < INHERITED; i++) {
        all->len[i] = random_size(&state, i % 10 == 0 ? 500 * KIB : 2000);
        all->block[i] = malloc(all->len[i]);
        pattern_fill(all->block[i], all->len[i], i);
    }
}

/* Most children: a little of everything, so that there can be thousands of them. */
static void short_child(struct inherited *all, uint64_t seed)
{
    watchdog(CHILD_SECONDS);
    for (size_t i = seed % 20; i < INHERITED; i += 20) {
        EXPECT(pattern_holds(all->block[i], all->len[i], i), "inherited block %zu", i);
        free(all->block[i]);
        free(atomic_exchange(&shared[i % SHARED], NULL));
        all->block[i] = launder(malloc(all->len[i]));
        EXPECT(all->block[i] != NULL);
    }
    free(launder(malloc(200 * KIB)));
}

/* The others: work with all they inherited, make their own, also in threads and children. */
static void long_child(struct inherited *all, int depth, uint64_t seed)
{
    watchdog(CHILD_SECONDS);
    for (size_t i = 0; i < INHERITED; i++) {
        EXPECT(pattern_holds(all->block[i], all->len[i], i), "inherited block %zu", i);
        free(all->block[i]);
    }
    for (size_t i = 0; i < SHARED; i++)
        free(atomic_exchange(&shared[i], NULL));
    make_inherited(all);
    churn_briefly((void *)(uintptr_t)(seed + 1));
    if (seed % 7 == 0) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, churn_briefly, (void *)(uintptr_t)(seed + 5)) == 0);
        pthread_join(thread, NULL);
    }
    if (depth < 2 && seed % 5 == 0) {
        pid_t grandchild = fork();
        EXPECT(grandchild >= 0);
        if (grandchild == 0) {
            long_child(all, depth + 1, seed + 1);
            _exit(0);
        }
        int status;
        EXPECT(waitpid(grandchild, &status, 0) == grandchild && status == 0, "%x",
               (unsigned)status);
    }
    for (size_t i = 0; i < INHERITED; i++)
        EXPECT(pattern_holds(all->block[i], all->len[i], i), "own block %zu", i);
}

int main(void)
{
    test_begin(120);
    static struct inherited all;
    pthread_t threads[CHURNERS + 1];
    make_inherited(&all);
    for (uintptr_t i = 0; i < CHURNERS; i++)
        EXPECT(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    EXPECT(pthread_create(&threads[CHURNERS], NULL, spawn_threads, NULL) == 0);

    int forks = 0;
    for (double end = now_seconds() + RUN_SECONDS; forks < MOST_FORKS && now_seconds() < end;
         forks++) {
        pid_t child = fork();
        EXPECT(child >= 0, "fork %d: errno %d", forks, errno);
        if (child == 0) {
            if (forks % LONG_CHILD_EVERY == 0)
                long_child(&all, 0, (uint64_t)forks / LONG_CHILD_EVERY);
            else
                short_child(&all, (uint64_t)forks);
            if (forks % 3 == 0)
                exit(0); /* through the exit handlers, too */
            _exit(0);
        }
        int status;
        EXPECT(waitpid(child, &status, 0) == child && status == 0, "child of fork %d: status %x",
               forks, (unsigned)status);
        size_t some = (size_t)forks % INHERITED;
        EXPECT(pattern_holds(all.block[some], all.len[some], some), "the child changed a block");
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    EXPECT(forks > 0, "no fork at all");
    return TEST_PASS;
}
