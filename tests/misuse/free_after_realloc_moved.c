/* expect: SIGABRT "double free|invalid free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(SMALL);
    char *elsewhere = realloc(launder(block), LARGE);
    free(launder(block));
    free(elsewhere);
    return aftermath();
}
