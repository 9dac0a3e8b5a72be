/*
 * fork_stdio.c - fork while other threads hold stdio's locks and allocate under them
 *
 * The C library runs fork handlers first and takes the lock of stdio's list of streams afterwards.
 * If by then fork holds the allocator's locks, three wait for each other in a ring:
 *     fork            holds the allocator,    waits for the list
 *     fflush(NULL)    holds the list,         waits for one stream
 *     getline         holds that stream,      waits for the allocator
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0,arenas:1
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "expect.h"

#define RUN_SECONDS 5.0
#define MOST_FORKS 4000
#define CHILD_SECONDS 20

enum { LONG_LINE_BYTES = 1 << 20 };

static atomic_bool is_over;
static _Atomic unsigned long turns[4];

/* Opening and closing links streams into the list that the lock guards; buffers come and go. */
static void *open_and_close(void *unused)
{
    (void)unused;
    while (!atomic_load(&is_over)) {
        FILE *stream = fopen("/proc/self/stat", "r");
        EXPECT(stream != NULL);
        EXPECT(fgetc(stream) != EOF);
        fclose(stream);
        atomic_fetch_add(&turns[0], 1);
    }
    return NULL;
}

/* A memory stream grows its buffer inside the flush that walks all streams under the lock. */
static void *flush_everything(void *unused)
{
    (void)unused;
    while (!atomic_load(&is_over)) {
        char *text = NULL;
        size_t len = 0;
        FILE *stream = open_memstream(&text, &len);
        EXPECT(stream != NULL);
        for (int i = 0; i < 20; i++) {
            fprintf(stream, "%0*d", 3000, i);
            fflush(NULL);
        }
        fclose(stream);
        EXPECT(len == 60000);
        free(text);
        atomic_fetch_add(&turns[1], 1);
    }
    return NULL;
}

/* getline allocates while it holds the lock of its stream; long lines leave every cache. */
static void *read_lines(void *unused)
{
    (void)unused;
    FILE *stream = tmpfile();
    EXPECT(stream != NULL);
    for (int i = 0; i < LONG_LINE_BYTES; i++)
        fputc('x', stream);
    while (!atomic_load(&is_over)) {
        char *line = NULL;
        size_t capacity = 0;
        rewind(stream);
        EXPECT(getline(&line, &capacity, stream) == LONG_LINE_BYTES);
        free(line);
        atomic_fetch_add(&turns[2], 1);
    }
    fclose(stream);
    return NULL;
}

static void *allocate(void *unused)
{
    (void)unused;
    uint64_t state = 5;
    while (!atomic_load(&is_over)) {
        free(launder(calloc(1, random_size(&state, 300 * KIB))));
        atomic_fetch_add(&turns[3], 1);
    }
    return NULL;
}

static void child_work(void)
{
    watchdog(CHILD_SECONDS);
    FILE *stream = fopen("/proc/self/status", "r");
    EXPECT(stream != NULL);
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stream) > 0)
        continue;
    free(line);
    fclose(stream);
    for (size_t size = 1; size < MIB; size *= 3)
        free(launder(malloc(size)));
}

int main(void)
{
    test_begin(60);
    void *(*const bodies[])(void *) = {open_and_close, flush_everything, read_lines, allocate};
    pthread_t threads[COUNT_OF(bodies)];
    for (size_t i = 0; i < COUNT_OF(bodies); i++)
        EXPECT(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0);

    int forks = 0;
    for (double end = now_seconds() + RUN_SECONDS; forks < MOST_FORKS && now_seconds() < end;
         forks++) {
        pid_t child = fork();
        EXPECT(child >= 0, "fork %d: errno %d", forks, errno);
        if (child == 0) {
            child_work();
            _exit(0);
        }
        int status;
        EXPECT(waitpid(child, &status, 0) == child && status == 0, "child of fork %d: status %x",
               forks, (unsigned)status);
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < COUNT_OF(turns); i++)
        EXPECT(turns[i] > 0, "thread %zu never ran", i);
    EXPECT(forks > 0, "no fork at all");
    return TEST_PASS;
}
