/*
 * locked.c - mlockall(MCL_FUTURE): locked memory cannot carry guard markers, nor purge as usual
 *
 * run: privileged
 * run: ASHLAR_CONF=guard:mprotect privileged
 * run: ASHLAR_CONF=decay_ms:0 privileged
 * run: unprivileged
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "expect.h"

enum { NOBODY = 65534 };

/* What Linux allows everybody by default. */
#define LOCKED_BYTES (8 * MIB)

static sigjmp_buf escape;

static void on_segv(int signal)
{
    siglongjmp(escape, signal);
}

static bool is_touchable(volatile char *address)
{
    if (sigsetjmp(escape, 1) != 0)
        return false;
    *address = 1;
    return true;
}

static void check_work(size_t most)
{
    static char *live[40];
    static size_t len[40];
    uint64_t state = 3;
    for (int round = 0; round < 2000; round++) {
        size_t i = random_below(&state, COUNT_OF(live));
        EXPECT(pattern_holds(live[i], len[i], i));
        switch (random_below(&state, 3)) {
        case 0:
            free(live[i]);
            len[i] = random_size(&state, most);
            live[i] = calloc(1, len[i]);
            EXPECT(live[i] != NULL && is_zero(live[i], len[i]), "calloc of %zu bytes", len[i]);
            break;
        case 1:
            free(live[i]);
            len[i] = random_size(&state, most);
            live[i] = malloc(len[i]);
            break;
        default:
            len[i] = random_size(&state, most) + 1;
            live[i] = realloc(live[i], len[i]);
            break;
        }
        EXPECT(live[i] != NULL, "%zu bytes: errno %d", len[i], errno);
        pattern_fill(live[i], len[i], i);
    }
    for (size_t i = 0; i < COUNT_OF(live); i++) {
        EXPECT(pattern_holds(live[i], len[i], i));
        free(live[i]);
        live[i] = NULL;
        len[i] = 0;
    }
}

/* The fence stands all the same, by the means that works here. */
static void check_fence(void)
{
    char *block = malloc(MIB);
    EXPECT(block != NULL);
    if (on_ashlar()) {
        EXPECT(!is_touchable(block + MIB), "no fence behind a locked block");
        EXPECT(!is_touchable(block - 1), "no fence before a locked block");
    }
    memset(block, 1, MIB);
    free(block);
}

/* Resident bytes of writable anonymous mappings that are not locked. */
static size_t unlocked_bytes(void)
{
    static char text[4 * MIB];
    size_t sum = 0, resident = 0;
    bool is_ours = false;
    read_file("/proc/self/smaps", text, sizeof text);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char access[8];
        unsigned long inode;
        if (sscanf(line, "%*x-%*x %7s %*x %*x:%*x %lu", access, &inode) == 2)
            is_ours = strcmp(access, "rw-p") == 0 && inode == 0;
        else if (sscanf(line, "Rss: %zu kB", &resident) == 1)
            resident *= KIB;
        else if (strncmp(line, "VmFlags:", 8) == 0 && is_ours && strstr(line, " lo") == NULL)
            sum += resident;
    }
    return sum;
}

/* Moving pages unlocks the mapping that they lie in, if the allocator lets it happen. */
static void check_blocks_stay_locked(void)
{
    static char *live[30];
    uint64_t state = 5;
    for (int round = 0; round < 1000; round++) {
        size_t i = random_below(&state, COUNT_OF(live));
        size_t len = 128 * KIB + random_below(&state, 4 * MIB);
        free(live[i]);
        live[i] = malloc(len);
        EXPECT(live[i] != NULL);
        touch_pages(live[i], len);
        if (round % 10 == 0) {
            live[i] = realloc(live[i], 2 * len);
            EXPECT(live[i] != NULL);
        }
    }
    size_t unlocked = unlocked_bytes();
    EXPECT(!on_ashlar() || unlocked < MIB, "%zu bytes are not locked any more", unlocked);
    for (size_t i = 0; i < COUNT_OF(live); i++)
        free(live[i]);
}

static void check_privileged(void)
{
    void *before = malloc(3 * MIB);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        SKIP("mlockall: %s", strerror(errno));
    check_work(2 * MIB);
    check_fence();
    check_blocks_stay_locked();
    size_t locked = proc_field_bytes("/proc/self/status", "\nVmLck:");
    EXPECT(locked > 0);
    memset(launder(before), 1, 3 * MIB);
    free(before);
    EXPECT(munlockall() == 0);
    check_work(2 * MIB);
    check_fence();
}

/* Without the right to lock at will, everything mapped counts, also what is only reserved. */
static void check_unprivileged(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_max < LOCKED_BYTES)
        SKIP("RLIMIT_MEMLOCK is below %zu MiB", LOCKED_BYTES / MIB);
    limit.rlim_cur = limit.rlim_max = LOCKED_BYTES;
    EXPECT(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0)
        SKIP("setresuid: %s", strerror(errno));
    if (mlockall(MCL_FUTURE) != 0)
        SKIP("mlockall: %s", strerror(errno));
    /* Small sizes: a slab for each of the medium classes, all of its pages locked, is too much. */
    check_work(4 * KIB);
    errno = 0;
    EXPECT(malloc(100 * MIB) == NULL && errno == ENOMEM, "errno %d", errno);
    check_work(4 * KIB);
}

int main(int argc, char **argv)
{
    test_begin(60);
    struct sigaction action = {.sa_handler = on_segv};
    sigaction(SIGSEGV, &action, NULL);
    if (argc > 1 && strcmp(argv[1], "unprivileged") == 0)
        check_unprivileged();
    else
        check_privileged();
    return TEST_PASS;
}
