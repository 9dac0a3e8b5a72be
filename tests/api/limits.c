/*
 * limits.c - a small RLIMIT_AS: the program works, is told ENOMEM at the end, and works again
 *
 * run: 256
 * run: 64
 * run: 32
 * run: ASHLAR_CONF=guard:mprotect 256
 * run: ASHLAR_CONF=decay_ms:-1 256
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

#include "expect.h"

static size_t limit_bytes;

/* A list threaded through the blocks themselves, so that keeping them costs nothing more. */
struct link {
    struct link *next;
    size_t bytes;
};

/* Allocates blocks of one size until there is no more; their sum. */
static size_t exhaust(struct link **list, size_t size)
{
    size_t sum = 0;
    struct link *link;
    errno = 0;
    while ((link = malloc(size)) != NULL) {
        EXPECT(is_aligned(link, 16));
        link->next = *list;
        link->bytes = size;
        *list = link;
        sum += size;
        EXPECT(sum <= limit_bytes, "more than the limit");
    }
    EXPECT(errno == ENOMEM, "errno %d after %zu bytes", errno, sum);
    return sum;
}

static void free_list(struct link **list, size_t size)
{
    while (*list != NULL) {
        struct link *next = (*list)->next;
        EXPECT((*list)->bytes == size);
        free(*list);
        *list = next;
    }
}

/* Takes all there is in blocks of one size; twice, since the second time shows what came back. */
static void check_exhaustion(size_t size, size_t at_least)
{
    struct link *list = NULL;
    size_t first = exhaust(&list, size);
    EXPECT(first >= at_least, "only %zu KiB in blocks of %zu, %zu KiB expected", first / KIB, size,
           at_least / KIB);
    free_list(&list, size);
    size_t second = exhaust(&list, size);
    EXPECT(second >= first - first / 8, "%zu KiB in blocks of %zu, then %zu KiB", first / KIB, size,
           second / KIB);
    free_list(&list, size);
}

/* Growth up to the limit: the last realloc fails and loses nothing. */
static void check_realloc_growth(void)
{
    size_t len = 1000;
    char *block = malloc(len);
    pattern_fill(block, len, 5);
    for (;;) {
        errno = 0;
        char *grown = realloc(launder(block), len + len / 2);
        if (grown == NULL)
            break;
        block = grown;
        EXPECT(pattern_broken(block, len, len, 5) == len);
        len += len / 2;
        pattern_fill(block, len, 5);
    }
    EXPECT(errno == ENOMEM && len >= limit_bytes / 6, "stopped at %zu KiB", len / KIB);
    EXPECT(pattern_holds(block, len, 5), "the failed realloc changed the block");
    free(block);
}

static void *thread_body(void *unused)
{
    (void)unused;
    char *small = malloc(100), *large = malloc(300 * KIB);
    EXPECT(small != NULL && large != NULL);
    pattern_fill(large, 300 * KIB, 3);
    EXPECT(pattern_holds(large, 300 * KIB, 3));
    free(small);
    free(large);
    return NULL;
}

/* There is room for the stacks of new threads, and for what they allocate. */
static void check_threads(void)
{
    pthread_t threads[4];
    size_t count = limit_bytes >= 256 * MIB ? 4 : 1;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, limit_bytes >= 256 * MIB ? 8 * MIB : MIB);
    void *live = malloc(limit_bytes / 10);
    EXPECT(live != NULL);
    for (size_t i = 0; i < count; i++) {
        int error = pthread_create(&threads[i], &attributes, thread_body, NULL);
        EXPECT(error == 0, "thread %zu: %s", i, strerror(error));
    }
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(live);
}

static void check_child(void)
{
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        thread_body(NULL);
        _exit(0);
    }
    int status;
    EXPECT(waitpid(child, &status, 0) == child && status == 0, "status %x", (unsigned)status);
}

static void inside(void)
{
    check_threads();
    check_child();
    EXPECT(system("test \"$(echo works)\" = works") == 0);
    for (int i = 0; i < 3; i++) {
        errno = 0;
        EXPECT(malloc(limit_bytes) == NULL && errno == ENOMEM, "errno %d", errno);
        errno = 0;
        EXPECT(memalign(limit_bytes, 100000) == NULL && errno == ENOMEM, "errno %d", errno);
    }
    /* glibc gives each thread 64 MiB of address space, so less is asked of it. */
    size_t most = on_ashlar() && limit_bytes >= 64 * MIB ? limit_bytes / 2 : limit_bytes / 4;
    check_exhaustion(MIB, most);
    check_exhaustion(150000, most);
    check_exhaustion(100, most / 2);
    check_exhaustion(5000, most / 2);
    check_exhaustion(5 * MIB, most / 2);
    check_realloc_growth();
    check_child();
    thread_body(NULL);
}

int main(int argc, char **argv)
{
    test_begin(60);
    if (argc == 3 && strcmp(argv[2], "inside") == 0) {
        limit_bytes = (size_t)atoi(argv[1]) * MIB;
        inside();
        return TEST_PASS;
    }
    /* The limit must hold from the very start, when the loader calls malloc. */
    EXPECT(argc == 2, "usage: %s MEBIBYTES", argv[0]);
    size_t bytes = (size_t)atoi(argv[1]) * MIB;
    struct rlimit limit = {bytes, bytes};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
    execl("/proc/self/exe", argv[0], argv[1], "inside", (char *)NULL);
    EXPECT(false, "exec failed");
}
