/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = aligned_alloc(2 * MIB, LARGE);
    ((volatile char *)launder(block))[LARGE] = 1;
    return aftermath();
}
