/* expect: SIGABRT "double free" */
#define _GNU_SOURCE
#include <pthread.h>

#include "crime.h"

static void *free_it(void *block)
{
    free(launder(block));
    return NULL;
}

static void free_in_thread(void *block)
{
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, free_it, block) == 0);
    pthread_join(thread, NULL);
}

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(LARGE);
    free_in_thread(block);
    free_in_thread(block);
    return aftermath();
}
