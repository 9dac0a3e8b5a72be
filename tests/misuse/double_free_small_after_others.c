/* expect: SIGABRT "double free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    void *others[10];
    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i] = launder(malloc(SMALL));
    char *block = malloc(SMALL);
    free(launder(block));
    for (size_t i = 0; i < COUNT_OF(others); i++)
        free(others[i]);
    free(launder(block));
    return aftermath();
}
