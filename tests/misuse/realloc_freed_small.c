/* expect: SIGABRT "invalid pointer|use after free|double free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(SMALL);
    free(launder(block));
    free(realloc(launder(block), 2 * SMALL));
    return aftermath();
}
