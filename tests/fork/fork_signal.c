/*
 * fork_signal.c - fork in a signal handler that interrupted malloc or free on the same thread
 *
 * The handler itself does not allocate, which no allocator allows; it forks. The child either
 * ends there, or returns from the handler into the malloc that was interrupted and goes on.
 *
 * run: alone
 * run: threaded
 * run: ASHLAR_CONF=decay_ms:0 alone
 * run: ASHLAR_CONF=decay_ms:0,guard:mprotect threaded
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "expect.h"

enum { LIVE = 300, CHILD_ROUNDS = 400, MOST_FORKS = 3000 };

/* From the end of one handler to the next signal, so that the work goes on in between. */
#define SHORTEST_GAP_NANOSECONDS 30000
#define GAP_STEP_NANOSECONDS 7919
#define GAP_STEPS 40

#define RUN_SECONDS 4.0
#define CHILD_SECONDS 20

static volatile sig_atomic_t forks, failures, is_child, is_over;
static atomic_bool helper_over;
static timer_t timer;

/* Another gap each time, so that the signal does not always hit the same place. */
static void arm_timer(void)
{
    long gap = SHORTEST_GAP_NANOSECONDS + forks % GAP_STEPS * GAP_STEP_NANOSECONDS;
    struct itimerspec once = {{0, 0}, {0, gap}};
    timer_settime(timer, 0, &once, NULL);
}

/* Every other child ends at once; the others must finish what they were in the middle of. */
static void on_timer(int signal)
{
    (void)signal;
    if (is_child || is_over || forks >= MOST_FORKS)
        return;
    int saved = errno;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        if (forks % 2 == 0)
            _exit(0);
        is_child = 1;
        watchdog(CHILD_SECONDS);
        errno = saved;
        return;
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        failures++;
    forks++;
    arm_timer();
    errno = saved;
}

static void work(uint64_t *state, char **live, size_t *len)
{
    size_t i = random_below(state, LIVE);
    EXPECT(pattern_holds(live[i], len[i], i), "block %zu of %zu bytes, %s", i, len[i],
           is_child ? "in a child" : "in the parent");
    if (random_below(state, 3) == 0) {
        len[i] = random_size(state, 4000) + 1;
        live[i] = realloc(live[i], len[i]);
    } else {
        free(live[i]);
        len[i] = random_size(state, random_below(state, 20) == 0 ? 400 * KIB : 1000);
        live[i] = malloc(len[i]);
    }
    EXPECT(live[i] != NULL);
    pattern_fill(live[i], len[i], i);
}

static void *helper(void *unused)
{
    (void)unused;
    uint64_t state = 8;
    while (!atomic_load(&helper_over))
        free(launder(malloc(random_size(&state, 200 * KIB))));
    return NULL;
}

/* One block of work in a loop, interrupted wherever it is. */
static void run(void)
{
    static char *live[LIVE];
    static size_t len[LIVE];
    uint64_t state = 4;
    int child_rounds = 0;
    double end = now_seconds() + RUN_SECONDS;
    while (is_child ? child_rounds < CHILD_ROUNDS : now_seconds() < end && forks < MOST_FORKS) {
        for (int i = 0; i < 20; i++)
            work(&state, live, len);
        child_rounds += is_child ? 20 : 0;
    }
    if (is_child)
        _exit(0);
}

int main(int argc, char **argv)
{
    test_begin(60);
    bool is_threaded = argc > 1 && strcmp(argv[1], "threaded") == 0;
    if (is_threaded && !on_ashlar())
        SKIP("glibc hangs here: fork waits for the lock that the interrupted malloc holds");
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_t thread;
    if (is_threaded) {
        pthread_sigmask(SIG_BLOCK, &mask, NULL); /* inherited: the helper is never interrupted */
        EXPECT(pthread_create(&thread, NULL, helper, NULL) == 0);
        pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    }
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    EXPECT(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    arm_timer();
    run();
    is_over = 1;
    timer_delete(timer);
    atomic_store(&helper_over, true);
    if (is_threaded)
        pthread_join(thread, NULL);
    EXPECT(failures == 0, "%d of %d children failed", (int)failures, (int)forks);
    EXPECT(forks > 0, "no fork at all");
    return TEST_PASS;
}
