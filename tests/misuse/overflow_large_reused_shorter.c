/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    free(launder(malloc(2 * LARGE)));
    char *block = malloc(2 * LARGE - 64 * KIB);
    ((volatile char *)launder(block))[2 * LARGE - 64 * KIB] = 1;
    return aftermath();
}
