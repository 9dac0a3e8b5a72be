/*
 * fork_handlers.c - fork handlers of others that allocate, registered before ours and after
 *
 * Prepare handlers run last registered first, the others first registered first. So handlers
 * registered before the allocator's own run while its locks are held: the hard case. Here
 * .preinit_array gets them in before any library's constructor.
 *
 * run:
 * run: ASHLAR_CONF=decay_ms:0,guard:mprotect
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "expect.h"

enum { FORKS = 150, KEPT = 40 };
#define CHILD_SECONDS 20

static int prepared, resumed;
static atomic_bool is_over;

/* Blocks made in one handler and freed in another, or by the program, with contents. */
static char *kept[KEPT];
static size_t kept_count;

static size_t kept_len(size_t i)
{
    return i % 4 == 3 ? 200 * KIB : i * 37 + 1;
}

static void keep_one(void)
{
    if (kept_count == KEPT)
        return;
    char *block = malloc(kept_len(kept_count));
    EXPECT(block != NULL && malloc_usable_size(block) >= kept_len(kept_count));
    pattern_fill(block, kept_len(kept_count), kept_count);
    kept[kept_count++] = block;
}

static void check_kept(void)
{
    for (size_t i = 0; i < kept_count; i++)
        EXPECT(pattern_holds(kept[i], kept_len(i), i), "kept block %zu", i);
}

static void free_half_of_kept(void)
{
    for (size_t half = kept_count / 2; kept_count > half;)
        free(kept[--kept_count]);
}

static void use_everything(void)
{
    for (size_t size = 0; size < 300 * KIB; size = size * 5 + 1) {
        char *block = calloc(1, size);
        EXPECT(block != NULL && is_zero(block, size));
        memset(block, 1, size);
        block = realloc(block, size + size / 2 + 1);
        EXPECT(block != NULL && (size == 0 || block[size - 1] == 1));
        free(block);
        void *aligned = aligned_alloc(4096, size);
        EXPECT(aligned != NULL && is_aligned(aligned, 4096));
        free(aligned);
    }
    FILE *stream = fopen("/proc/self/stat", "r");
    EXPECT(stream != NULL && fgetc(stream) != EOF);
    fclose(stream);
}

static void prepare(void)
{
    prepared++;
    check_kept();
    keep_one();
    use_everything();
    keep_one();
}

static void in_parent(void)
{
    resumed++;
    check_kept();
    use_everything();
    free_half_of_kept();
    keep_one();
}

static void in_child(void)
{
    watchdog(CHILD_SECONDS);
    in_parent();
}

static void register_handlers(void)
{
    if (pthread_atfork(prepare, in_parent, in_child) != 0)
        _exit(TEST_HARD_ERROR);
}

/* Before any constructor of any library: earlier than this nobody can be. */
__attribute__((section(".preinit_array"),
               used)) static void (*const register_early)(void) = register_handlers;

__attribute__((constructor)) static void register_late(void)
{
    register_handlers();
}

static void *churn(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (!atomic_load(&is_over)) {
        char *block = malloc(random_size(&state, 200 * KIB));
        EXPECT(block != NULL);
        free(block);
    }
    return NULL;
}

int main(void)
{
    test_begin(60);
    register_handlers();
    pthread_t threads[2];
    for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
        EXPECT(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        EXPECT(child >= 0);
        if (child == 0) {
            use_everything();
            check_kept();
            _exit(0);
        }
        int status;
        EXPECT(waitpid(child, &status, 0) == child && status == 0, "child %d: status %x", i,
               (unsigned)status);
        use_everything();
        check_kept();
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    EXPECT(prepared == 3 * FORKS && resumed == 3 * FORKS, "%d and %d calls", prepared, resumed);
    return TEST_PASS;
}
