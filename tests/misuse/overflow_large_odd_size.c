/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(LARGE - 5000); /* its last page ends 904 bytes after it */
    ((volatile char *)launder(block))[LARGE - 4096] = 1;
    return aftermath();
}
