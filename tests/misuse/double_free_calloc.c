/* expect: SIGABRT "double free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = calloc(3, SMALL);
    free(launder(block));
    free(launder(block));
    return aftermath();
}
