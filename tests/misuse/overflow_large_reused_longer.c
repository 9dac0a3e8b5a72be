/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    free(launder(malloc(2 * LARGE - 64 * KIB)));
    char *block = malloc(2 * LARGE);
    memset(launder(block), 1, 2 * LARGE);
    ((volatile char *)launder(block))[2 * LARGE] = 1;
    return aftermath();
}
