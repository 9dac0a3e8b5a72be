/* expect: SIGABRT "invalid pointer" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(SMALL);
    free(realloc(launder(block + 16), 2 * SMALL));
    return aftermath();
}
