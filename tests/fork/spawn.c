/*
 * spawn.c - vfork and exec, posix_spawn, system and popen from a program with busy threads
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "expect.h"

enum { ROUNDS = 25 };

static atomic_bool is_over;
extern char **environ;

static void *churn(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    static _Thread_local char *live[50];
    static _Thread_local size_t len[50];
    while (!atomic_load(&is_over)) {
        size_t i = random_below(&state, COUNT_OF(live));
        EXPECT(pattern_holds(live[i], len[i], i));
        free(live[i]);
        len[i] = random_size(&state, 300 * KIB);
        live[i] = malloc(len[i]);
        pattern_fill(live[i], len[i], i);
    }
    for (size_t i = 0; i < COUNT_OF(live); i++)
        free(live[i]);
    return NULL;
}

static void expect_success(pid_t child, const char *how)
{
    int status;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0, "%s: status %x", how,
           (unsigned)status);
}

static pid_t start_by_vfork(char *const *arguments)
{
    pid_t child = vfork();
    if (child == 0) {
        execv(arguments[0], arguments);
        _exit(99);
    }
    return child;
}

static void check_popen(int round)
{
    char command[64], line[64] = "";
    snprintf(command, sizeof(command), "echo round %d", round);
    FILE *pipe = popen(command, "r");
    EXPECT(pipe != NULL && fgets(line, sizeof(line), pipe) != NULL && pclose(pipe) == 0);
    EXPECT(strncmp(line, command + 5, strlen(command + 5)) == 0, "%s", line);
}

int main(void)
{
    test_begin(60);
    char *const arguments[] = {(char *)"/bin/sh", (char *)"-c",
                               (char *)"x=$(echo 1); exit $((x - 1))", NULL};
    pthread_t threads[2];
    for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
        EXPECT(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        char *block = malloc(1000);
        pattern_fill(block, 1000, 1);
        expect_success(start_by_vfork(arguments), "vfork");
        pid_t child = -1;
        EXPECT(posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ) == 0);
        expect_success(child, "posix_spawn");
        EXPECT(system("exit 0") == 0);
        check_popen(round);
        EXPECT(pattern_holds(block, 1000, 1));
        free(block);
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    return TEST_PASS;
}
