/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(128 * KIB);
    ((volatile char *)launder(block))[128 * KIB] = 1;
    return aftermath();
}
