/* expect: SIGABRT "double free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(64 * MIB);
    free(launder(block));
    malloc_trim(0);
    free(launder(block));
    return aftermath();
}
