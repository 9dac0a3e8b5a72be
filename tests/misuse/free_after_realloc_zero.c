/* expect: SIGABRT "double free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(SMALL);
    if (realloc(launder(block), 0) != NULL)
        return TEST_HARD_ERROR;
    free(launder(block));
    return aftermath();
}
