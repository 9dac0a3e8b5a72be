/*
 * measure.c - runs a command and writes down what it used
 *
 * Purpose     measure -o FILE [-e NAME=VALUE]... COMMAND [ARG]...
 *             runs COMMAND with the additions to its environment and appends one line to FILE:
 *             wall_us cpu_us peak_rss_kib minor_faults major_faults exit_status
 *             CPU time and faults include the command's own children that it waited for; the
 *             peak is that of the largest single process.
 * Exit        The command's own status, 128 + N after signal N, 126 or 127 when it cannot be run.
 * Why in C    time(1) and an interpreter may be absent, and a preloaded library must meet the
 *             command alone, not the one that measures it.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_USAGE = 125, STATUS_CANNOT_RUN = 126, STATUS_NOT_FOUND = 127 };

static long long now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static long long timeval_us(struct timeval t)
{
    return (long long)t.tv_sec * 1000000 + t.tv_usec;
}

static int exit_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void usage(void)
{
    fprintf(stderr, "usage: measure -o FILE [-e NAME=VALUE]... COMMAND [ARG]...\n");
    exit(STATUS_USAGE);
}

/* The child's side; the additions were checked to hold a '='. */
static void run(char **command, char **additions, int nadditions)
{
    for (int i = 0; i < nadditions; i++)
        putenv(additions[i]);
    execvp(command[0], command);
    int error = errno;
    fprintf(stderr, "measure: %s: %s\n", command[0], strerror(error));
    _exit(error == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN);
}

int main(int argc, char **argv)
{
    const char *path = NULL;
    char **additions = calloc((size_t)argc, sizeof *additions);
    int nadditions = 0;
    int option;
    if (additions == NULL)
        return STATUS_USAGE;

    while ((option = getopt(argc, argv, "+o:e:")) != -1) {
        if (option == 'o')
            path = optarg;
        else if (option == 'e' && strchr(optarg, '=') != NULL)
            additions[nadditions++] = optarg;
        else
            usage();
    }
    if (path == NULL || optind == argc)
        usage();

    /* ^C is for the command; the line about it is still wanted. */
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);

    long long start_us = now_us();
    pid_t child = fork();
    if (child < 0) {
        perror("measure: fork");
        return STATUS_USAGE;
    }
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        run(argv + optind, additions, nadditions);
    }

    int wait_status;
    struct rusage used;
    while (wait4(child, &wait_status, 0, &used) < 0) {
        if (errno != EINTR) {
            perror("measure: wait4");
            return STATUS_USAGE;
        }
    }
    long long wall_us = now_us() - start_us;
    long long cpu_us = timeval_us(used.ru_utime) + timeval_us(used.ru_stime);
    int status = exit_status(wait_status);

    FILE *out = fopen(path, "a");
    if (out == NULL ||
        fprintf(out, "%lld %lld %ld %ld %ld %d\n", wall_us, cpu_us, used.ru_maxrss, used.ru_minflt,
                used.ru_majflt, status) < 0 ||
        fclose(out) != 0) {
        perror(path);
        return STATUS_USAGE;
    }
    free(additions);
    return status;
}
