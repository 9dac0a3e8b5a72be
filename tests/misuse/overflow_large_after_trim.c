/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(LARGE);
    free(launder(malloc(LARGE)));
    malloc_trim(0);
    ((volatile char *)launder(block))[LARGE] = 1;
    return aftermath();
}
