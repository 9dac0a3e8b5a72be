/*
 * plugin.c - a shared library that allocates when it comes and frees when it goes
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 100, LARGE = 300000 };

static char *small, *large;
static __thread char thread_local_space[64];
static pthread_key_t key;

__attribute__((constructor)) static void arrive(void)
{
    small = malloc(SMALL);
    large = calloc(1, LARGE);
    if (small == NULL || large == NULL || large[LARGE - 1] != 0)
        abort();
    memset(small, 's', SMALL);
    memset(large, 'l', LARGE);
    pthread_key_create(&key, free);
}

__attribute__((destructor)) static void leave(void)
{
    if (small[SMALL - 1] != 's' || large[LARGE - 1] != 'l')
        abort();
    free(small);
    free(large);
    free(malloc(SMALL));
    pthread_key_delete(key);
}

/* A block that outlives the library. */
char *plugin_make(size_t len)
{
    thread_local_space[0]++;
    char *block = malloc(len);
    memset(block, 'p', len);
    return block;
}

void plugin_take(void *block)
{
    free(block);
}
