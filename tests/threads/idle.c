/*
 * idle.c - an idle program gives back what it has freed when it has a purge thread
 *
 * The program frees everything and then makes no request at all. With purge_thread:auto it must
 * have had a second thread, and then gets one of ours; a program of one thread keeps it. The last
 * run leaves main by pthread_exit: the process must end all the same.
 *
 * run: ASHLAR_CONF=purge_thread:on,decay_ms:300 single returned
 * run: ASHLAR_CONF=purge_thread:on,decay_ms:300 forked returned
 * run: ASHLAR_CONF=purge_thread:auto,decay_ms:300 single kept
 * run: ASHLAR_CONF=purge_thread:auto,decay_ms:300 threaded returned
 * run: ASHLAR_CONF=purge_thread:off,decay_ms:300 threaded kept
 * run: ASHLAR_CONF=purge_thread:on,decay_ms:300 leaving returned
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>

#include "expect.h"

#define BLOCKS 60
#define BLOCK_BYTES (1 * MIB)
#define PIECES 60000
#define PIECE_BYTES 1000
#define SLACK_BYTES (16 * MIB)

/* Longest wait; the usual one is the decay time. */
#define LIMIT_SECONDS 20

static void *blocks[BLOCKS];
static void *pieces[PIECES];

static size_t task_count(void)
{
    DIR *tasks = opendir("/proc/self/task");
    size_t count = 0;
    while (readdir(tasks) != NULL)
        count++;
    closedir(tasks);
    return count - 2; /* . and .. */
}

static void fill(void)
{
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = malloc(PIECE_BYTES);
        memset(pieces[i], 1, PIECE_BYTES);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BLOCK_BYTES);
        touch_pages(blocks[i], BLOCK_BYTES);
    }
}

static void drop(void)
{
    for (size_t i = 0; i < PIECES; i++)
        free(pieces[i]);
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

static void *nothing(void *argument)
{
    return argument;
}

static void check(size_t before, bool is_returned)
{
    fill();
    EXPECT(rss_bytes() > before + BLOCKS * BLOCK_BYTES);
    drop();
    double start = now_seconds();
    while (rss_bytes() > before + SLACK_BYTES && now_seconds() - start < LIMIT_SECONDS &&
           (is_returned || now_seconds() - start < 2))
        sleep_ms(20);
    size_t after = rss_bytes();
    if (is_returned)
        EXPECT(after <= before + SLACK_BYTES, "%zu MiB before, still %zu MiB", before / MIB,
               after / MIB);
    else
        EXPECT(after > before + BLOCKS * BLOCK_BYTES, "given back without a purge thread");
}

int main(int argc, char **argv)
{
    test_begin(60);
    if (!on_ashlar())
        SKIP("glibc has no purge thread");
    size_t before = rss_bytes();
    const char *how = argc > 1 ? argv[1] : "";
    bool is_returned = argc > 2 && strcmp(argv[2], "returned") == 0;
    if (strcmp(how, "threaded") == 0) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, nothing, NULL) == 0);
        pthread_join(thread, NULL);
    }
    if (strcmp(how, "forked") == 0) {
        fill();
        drop();
        pid_t child = fork();
        if (child == 0) {
            EXPECT(task_count() == 1);
            check(before, is_returned);
            EXPECT(task_count() == 2);
            _exit(0);
        }
        int status;
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
        return TEST_PASS;
    }
    check(before, is_returned);
    EXPECT(task_count() == (is_returned ? 2 : 1));
    if (strcmp(how, "leaving") == 0)
        pthread_exit(NULL); /* the process ends with status 0 */
    return TEST_PASS;
}
