/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = aligned_alloc(64 * KIB, LARGE);
    ((volatile char *)launder(block))[-1] = 1;
    return aftermath();
}
