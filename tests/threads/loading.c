/*
 * loading.c - dlopen and dlclose of libraries that allocate, and of Ashlar itself
 *
 * Run by loading.sh, which compiles the plugin.
 *
 *     loading plugin PATH     loads and unloads a library that allocates as it comes and goes
 *     loading beside PATH     loads libashlar.so or libashlar-api.so late, into a program that
 *                             has threads and another malloc, and uses both side by side
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "expect.h"

static atomic_bool is_over;

static void *churn(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (!atomic_load(&is_over))
        free(launder(malloc(random_size(&state, 300 * KIB))));
    return NULL;
}

static void *load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    EXPECT(library != NULL, "%s", dlerror());
    return library;
}

static void *need(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    EXPECT(symbol != NULL, "%s", dlerror());
    return symbol;
}

static void check_plugin(const char *path)
{
    for (int i = 0; i < 300; i++) {
        void *library = load(path);
        char *(*make)(size_t) = (char *(*)(size_t))need(library, "plugin_make");
        void (*take)(void *) = (void (*)(void *))need(library, "plugin_take");
        char *outlives = make(i % 3 == 0 ? 400000 : 300);
        take(malloc(500));
        dlclose(library);
        EXPECT(outlives[0] == 'p' && outlives[299] == 'p');
        free(outlives);
    }
}

struct names {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    size_t (*usable_size)(void *);
};

static struct names names;

/* Blocks of both allocators live side by side, each freed by its own. */
static void *use_both(void *seed)
{
    enum { LIVE = 64 };
    char *theirs[LIVE] = {NULL}, *ours[LIVE] = {NULL};
    size_t len[LIVE] = {0};
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int round = 0; round < 5000; round++) {
        size_t i = random_below(&state, LIVE);
        EXPECT(pattern_holds(theirs[i], len[i], i) && pattern_holds(ours[i], len[i], i + 1));
        free(theirs[i]);
        names.free(ours[i]);
        len[i] = random_size(&state, round % 20 == 0 ? 500 * KIB : 2000);
        theirs[i] = malloc(len[i]);
        ours[i] = round % 2 == 0 ? names.malloc(len[i])
                                 : names.realloc(names.calloc(1, len[i] + 50), len[i] + 1);
        EXPECT(theirs[i] != NULL && ours[i] != NULL && names.usable_size(ours[i]) >= len[i]);
        pattern_fill(theirs[i], len[i], i);
        pattern_fill(ours[i], len[i], i + 1);
    }
    for (size_t i = 0; i < LIVE; i++) {
        EXPECT(pattern_holds(theirs[i], len[i], i) && pattern_holds(ours[i], len[i], i + 1));
        free(theirs[i]);
        names.free(ours[i]);
    }
    return NULL;
}

static void check_beside(const char *path)
{
    const char *malloc_before = malloc_file();
    void *library = load(path);
    names.malloc = (void *(*)(size_t))need(library, "ashlar_malloc");
    names.calloc = (void *(*)(size_t, size_t))need(library, "ashlar_calloc");
    names.realloc = (void *(*)(void *, size_t))need(library, "ashlar_realloc");
    names.free = (void (*)(void *))need(library, "ashlar_free");
    names.usable_size = (size_t(*)(void *))need(library, "ashlar_malloc_usable_size");
    EXPECT(strcmp(malloc_file(), malloc_before) == 0, "the program's own malloc changed");

    pthread_t threads[3];
    for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
        EXPECT(pthread_create(&threads[i], NULL, use_both, (void *)(i + 1)) == 0);
    use_both((void *)(uintptr_t)77);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);

    /* Threads that used it are gone; its destructors may still be pending in this one. */
    dlclose(library);
    library = load(path);
    use_both((void *)(uintptr_t)78);
}

int main(int argc, char **argv)
{
    test_begin(60);
    EXPECT(argc == 3, "usage: %s plugin|beside PATH", argv[0]);
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, churn, (void *)(uintptr_t)5) == 0);
    if (strcmp(argv[1], "plugin") == 0)
        check_plugin(argv[2]);
    else
        check_beside(argv[2]);
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    return TEST_PASS;
}
