/* expect: SIGABRT "invalid pointer" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(LARGE);
    free(realloc(launder(block + 4096), 2 * LARGE));
    return aftermath();
}
