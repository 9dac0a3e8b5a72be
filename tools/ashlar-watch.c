/*
 * ashlar-watch.c - runs a command and writes down what its whole process tree used
 *
 * Purpose     ashlar-watch -o FD [-i MS] [-t S] [-e NAME=VALUE]... COMMAND [ARG]...
 *             runs COMMAND with the additions to its environment (not to the watcher's own) and
 *             writes records to FD, one a line, times in microseconds and sizes in KiB:
 *               failed ERRNO                         COMMAND could not be started
 *               sample TIME RSS PROCESSES            the tree now; RSS summed over its processes
 *               reaped PID STATUS USER SYSTEM MAXRSS MINFLT MAJFLT VOLUNTARY INVOLUNTARY
 *                                                    wait4(2) of a process, those it had waited
 *                                                    for included; STATUS as wait4 gives it
 *               exit WALL STATUS                     COMMAND itself has ended
 *               timeout                              it had not after -t S and was ended
 *               left N                               N processes outlived it and were ended
 *               perf NAME COUNT                      a hardware counter over the tree; NAME ends
 *                                                    in :u when it counts user mode alone
 *             ashlar-watch -w prints the file that malloc comes from, and ends.
 * Tree        The watcher is a subreaper: descendants that lose their parent become its children,
 *             so none escapes measuring or ending. SIGINT, SIGTERM, SIGHUP, and the death of its
 *             own parent, end the tree.
 * Exit        0 when the records are whole, 128 + N after signal N, 125 on a failure of its own.
 * Why in C    ru_maxrss counts what a process had before exec: started from an interpreter, every
 *             command would seem to use 10 MB. And sampling should cost little.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    STATUS_OWN_FAILURE = 125,
    PROCESSES_MAX = 4096,   /* descendants looked at in one sample */
    LINGER_US = 500000,     /* for what outlives COMMAND, before it is told to end */
    TERM_US = 500000,       /* between SIGTERM and SIGKILL */
    SAMPLE_SHARE = 50,      /* sampling takes at most one part in so many of the time */
};

static FILE *records;
static long long interval_us = 10000;
static long long timeout_us;
static long page_kib;
static long long started_us;

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

static void die(const char *what)
{
    fprintf(stderr, "ashlar-watch: %s: %s\n", what, strerror(errno));
    exit(STATUS_OWN_FAILURE);
}

/* ---- the tree ------------------------------------------------------------------------------ */

struct tree {
    pid_t pids[PROCESSES_MAX];
    int npids;
};

/* Reads a small file of /proc; gives its length, or -1 when the process has gone. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t len = read(fd, text, size - 1);
    close(fd);
    if (len >= 0)
        text[len] = '\0';
    return len;
}

static void add_children_of_thread(struct tree *tree, pid_t pid, const char *tid)
{
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", (int)pid, tid);
    if (read_file(path, text, sizeof text) <= 0)
        return;
    char *at = text, *end;
    for (;;) {
        long child = strtol(at, &end, 10);
        if (end == at || tree->npids == PROCESSES_MAX)
            return;
        tree->pids[tree->npids++] = (pid_t)child;
        at = end;
    }
}

static void add_children(struct tree *tree, pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return;
    struct dirent *task;
    while ((task = readdir(tasks)) != NULL) {
        if (task->d_name[0] != '.')
            add_children_of_thread(tree, pid, task->d_name);
    }
    closedir(tasks);
}

/* Everything below the watcher, parents before children. */
static void find_tree(struct tree *tree)
{
    tree->npids = 0;
    add_children(tree, getpid());
    for (int i = 0; i < tree->npids; i++)
        add_children(tree, tree->pids[i]);
}

static long rss_kib(pid_t pid)
{
    char path[64], text[256];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    if (read_file(path, text, sizeof text) <= 0 || sscanf(text, "%*d %ld", &pages) != 1)
        return 0;
    return pages * page_kib;
}

static void write_sample(void)
{
    static struct tree tree;
    long total_kib = 0;
    long long at_us = now_us() - started_us;
    find_tree(&tree);
    for (int i = 0; i < tree.npids; i++)
        total_kib += rss_kib(tree.pids[i]);
    fprintf(records, "sample %lld %ld %d\n", at_us, total_kib, tree.npids);
}

static void write_reaped(pid_t pid, int status, const struct rusage *used)
{
    fprintf(records, "reaped %d %d %lld %lld %ld %ld %ld %ld %ld\n", (int)pid, status,
            timeval_us(used->ru_utime), timeval_us(used->ru_stime), used->ru_maxrss,
            used->ru_minflt, used->ru_majflt, used->ru_nvcsw, used->ru_nivcsw);
}

/* ---- hardware counters, where the kernel has them ------------------------------------------ */

static struct counter {
    const char *name;
    uint32_t type;
    uint64_t config;
    int fd;
    bool is_user_only;
} counters[] = {
    {"instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, -1, false},
    {"cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, -1, false},
    {"cache_misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES, -1, false},
    {"branch_misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES, -1, false},
};

enum { NCOUNTERS = sizeof counters / sizeof counters[0] };

/*
 * As a rule people who are not root may count what their own code does (perf_event_paranoid 2),
 * but not what the kernel does for it. The names are then those of perf(1), since the figures are
 * others.
 */
static void open_counters(pid_t pid)
{
    for (int i = 0; i < NCOUNTERS; i++) {
        struct perf_event_attr attr = {
            .size = sizeof attr,
            .type = counters[i].type,
            .config = counters[i].config,
            .disabled = 1,
            .inherit = 1,
            .enable_on_exec = 1,
            .exclude_hv = 1,
        };
        counters[i].fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
        if (counters[i].fd < 0 && (errno == EACCES || errno == EPERM)) {
            attr.exclude_kernel = 1;
            counters[i].is_user_only = true;
            counters[i].fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
        }
    }
}

static void write_counters(void)
{
    for (int i = 0; i < NCOUNTERS; i++) {
        uint64_t count;
        if (counters[i].fd >= 0 && read(counters[i].fd, &count, sizeof count) == sizeof count)
            fprintf(records, "perf %s%s %llu\n", counters[i].name,
                    counters[i].is_user_only ? ":u" : "", (unsigned long long)count);
    }
}

/* ---- start and end ------------------------------------------------------------------------- */

struct command {
    char **argv;
    char **additions;
    int nadditions;
};

/* The child's side: waits for a byte on go_fd, writes errno to failed_fd when exec fails. */
static void become(const struct command *command, const sigset_t *mask, int go_fd, int failed_fd)
{
    char go;
    if (read(go_fd, &go, 1) != 1)
        _exit(STATUS_OWN_FAILURE);
    for (int i = 0; i < command->nadditions; i++)
        putenv(command->additions[i]);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(command->argv[0], command->argv);
    int error = errno;
    if (write(failed_fd, &error, sizeof error) != sizeof error)
        _exit(STATUS_OWN_FAILURE);
    _exit(STATUS_OWN_FAILURE);
}

/* Gives the process, or -1 when COMMAND could not be started, which has then been recorded. */
static pid_t start(const struct command *command, const sigset_t *mask)
{
    int go[2], failed[2], error;
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(failed, O_CLOEXEC) != 0)
        die("pipe");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        become(command, mask, go[0], failed[1]);
    close(go[0]);
    close(failed[1]);
    open_counters(pid);
    started_us = now_us();
    if (write(go[1], "g", 1) != 1)
        die("pipe");
    close(go[1]);
    /* Empty once exec has closed the other end. */
    ssize_t len = read(failed[0], &error, sizeof error);
    close(failed[0]);
    if (len != (ssize_t)sizeof error)
        return pid;
    waitpid(pid, NULL, 0);
    fprintf(records, "failed %d\n", error);
    return -1;
}

static void signal_tree(int number)
{
    static struct tree tree;
    find_tree(&tree);
    for (int i = 0; i < tree.npids; i++)
        kill(tree.pids[i], number);
}

/*
 * Ends every process below the watcher; gives how many there were. Killing a child makes its own
 * children ours, so the last loop ends with none left.
 */
static int end_tree(void)
{
    int ended = 0;
    signal_tree(SIGTERM);
    signal_tree(SIGCONT);
    for (long long until_us = now_us() + TERM_US; now_us() < until_us; usleep(5000)) {
        struct rusage used;
        int status;
        pid_t pid;
        while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
            write_reaped(pid, status, &used);
            ended++;
        }
        if (pid < 0)
            return ended;
    }
    for (;;) {
        struct rusage used;
        int status;
        signal_tree(SIGKILL);
        pid_t pid = wait4(-1, &status, 0, &used);
        if (pid < 0)
            return ended;
        write_reaped(pid, status, &used);
        ended++;
    }
}

/* Reaps all that have ended; gives whether COMMAND was among them. */
static bool reap(pid_t command, bool *has_children)
{
    bool is_over = false;
    struct rusage used;
    int status;
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
        if (pid == command) {
            fprintf(records, "exit %lld %d\n", now_us() - started_us, status);
            is_over = true;
        }
        write_reaped(pid, status, &used);
    }
    *has_children = pid == 0;
    return is_over;
}

/* Waits for a signal of `set`, at most until `until_us`; 0 when none came. */
static int wait_signal(const sigset_t *set, long long until_us)
{
    long long left_us = until_us - now_us();
    if (left_us < 0)
        left_us = 0;
    struct timespec left = {left_us / 1000000, left_us % 1000000 * 1000};
    int number = sigtimedwait(set, NULL, &left);
    return number > 0 ? number : 0;
}

/* Samples and reaps until COMMAND and what it left behind are gone. Gives 0 or a signal. */
static int watch(pid_t command, const sigset_t *set)
{
    bool is_over = false, has_children = true;
    long long next_us = started_us, deadline_us = timeout_us ? started_us + timeout_us : INT64_MAX;

    while (has_children) {
        long long before_us = now_us();
        if (before_us >= next_us) {
            write_sample();
            long long cost_us = now_us() - before_us;
            long long pause_us = cost_us * SAMPLE_SHARE;
            next_us = before_us + (pause_us > interval_us ? pause_us : interval_us);
        }
        int number = wait_signal(set, next_us < deadline_us ? next_us : deadline_us);
        if (number != 0 && number != SIGCHLD) {
            end_tree();
            return number;
        }
        if (reap(command, &has_children)) {
            is_over = true;
            deadline_us = now_us() + LINGER_US;
        }
        if (has_children && now_us() >= deadline_us) {
            if (!is_over)
                fprintf(records, "timeout\nexit %lld %d\n", now_us() - started_us, SIGKILL);
            int ended = end_tree();
            if (is_over)
                fprintf(records, "left %d\n", ended);
            return 0;
        }
    }
    return 0;
}

/* ---- main ---------------------------------------------------------------------------------- */

static int print_malloc_file(void)
{
    Dl_info info;
    /* Found at run time: the address in this program may be that of its own jump table. */
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    if (address == NULL || dladdr(address, &info) == 0)
        return 1;
    puts(info.dli_fname);
    return 0;
}

static void usage(void)
{
    fprintf(stderr, "usage: ashlar-watch -o FD [-i MS] [-t S] [-e NAME=VALUE]... COMMAND [ARG]...\n"
                    "       ashlar-watch -w\n");
    exit(STATUS_OWN_FAILURE);
}

static void parse(int argc, char **argv, struct command *command)
{
    int option, fd = -1;
    /* '+': the options end where COMMAND begins. */
    while ((option = getopt(argc, argv, "+o:i:t:e:w")) != -1) {
        switch (option) {
        case 'o': fd = atoi(optarg); break;
        case 'i': interval_us = atoll(optarg) * 1000; break;
        case 't': timeout_us = (long long)(atof(optarg) * 1e6); break;
        case 'e':
            if (strchr(optarg, '=') == NULL)
                usage();
            command->additions[command->nadditions++] = optarg;
            break;
        case 'w': exit(print_malloc_file());
        default: usage();
        }
    }
    if (fd < 0 || optind == argc || interval_us <= 0)
        usage();
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    records = fdopen(fd, "w");
    if (records == NULL)
        die("-o");
    command->argv = argv + optind;
}

int main(int argc, char **argv)
{
    struct command command = {.additions = calloc((size_t)argc, sizeof(char *))};
    sigset_t set, mask;

    page_kib = sysconf(_SC_PAGESIZE) / 1024;
    if (command.additions == NULL)
        die("start-up");
    parse(argc, argv, &command);

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &mask);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) != 0)
        die("prctl");

    pid_t pid = start(&command, &mask);
    if (pid < 0)
        return fclose(records) == 0 ? 0 : STATUS_OWN_FAILURE;
    int number = watch(pid, &set);
    if (number == 0)
        write_counters();
    if (fclose(records) != 0)
        die("writing");
    return number == 0 ? 0 : 128 + number;
}
