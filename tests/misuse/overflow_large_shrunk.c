/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = realloc(malloc(2 * LARGE), LARGE);
    memset(launder(block), 1, LARGE);
    ((volatile char *)launder(block))[LARGE] = 1;
    return aftermath();
}
