/*
 * fences.c - every large block is fenced on both sides, whatever it was made from
 *
 * Blocks are made, grown, shrunk and freed at random; each is touched just before its start and
 * just behind its page-rounded end, which must fault, and then in every page, which must not.
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0
 * run: ASHLAR_CONF=recycle:off
 * run: ASHLAR_CONF=guard:mprotect
 * run: ASHLAR_CONF=guard:mprotect,decay_ms:0
 * run: ASHLAR_CONF=large_threshold:4096
 * run: locked
 * run: ASHLAR_CONF=decay_ms:0 locked
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "expect.h"

enum { LIVE = 20, ROUNDS = 400, SEEDS = 4 };

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

static void expect_fences(char *block, size_t len, const char *maker, int round)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t fenced = (len + page - 1) / page * page;
    EXPECT(block != NULL, "%s of %zu bytes", maker, len);
    EXPECT(!is_touchable(block - 1), "%s of %zu bytes at %p, round %d: no fence before it", maker,
           len, (void *)block, round);
    EXPECT(!is_touchable(block + fenced), "%s of %zu bytes at %p, round %d: no fence behind it",
           maker, len, (void *)block, round);
    EXPECT(malloc_usable_size(block) <= fenced, "the fence stands inside the block");
    touch_pages(block, len);
    block[len - 1] = 1;
}

/* Locked pages are dear, so of those only short blocks. */
static bool is_locked;

static size_t choose_len(uint64_t *state)
{
    size_t most = is_locked                      ? 300 * KIB
                  : random_below(state, 20) == 0 ? 20 * MIB
                  : random_below(state, 2) == 0  ? 300 * KIB
                                                 : 2 * MIB;
    return 128 * KIB + random_below(state, most);
}

static void churn(uint64_t seed)
{
    char *live[LIVE] = {NULL};
    uint64_t state = seed;
    for (int round = 0; round < ROUNDS; round++) {
        size_t i = random_below(&state, LIVE);
        size_t len = choose_len(&state);
        unsigned maker = (unsigned)random_below(&state, 5);
        const char *name = "realloc";
        if (maker < 2) {
            live[i] = realloc(live[i], len);
        } else {
            free(live[i]);
            name = maker == 2 ? "malloc" : maker == 3 ? "calloc" : "memalign";
            live[i] = maker == 2   ? malloc(len)
                      : maker == 3 ? calloc(1, len)
                                   : memalign((size_t)4096 << random_below(&state, 10), len);
        }
        expect_fences(live[i], len, name, round);
    }
    for (size_t i = 0; i < LIVE; i++)
        free(live[i]);
    malloc_trim(0);
}

int main(int argc, char **argv)
{
    test_begin(60);
    if (!on_ashlar())
        SKIP("glibc has no fences");
    /* Locked memory cannot carry guard markers. */
    is_locked = argc > 1 && strcmp(argv[1], "locked") == 0;
    if (is_locked && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        SKIP("mlockall: %s", strerror(errno));
    struct sigaction action = {.sa_handler = on_segv};
    sigaction(SIGSEGV, &action, NULL);
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        churn(seed);
    return TEST_PASS;
}
