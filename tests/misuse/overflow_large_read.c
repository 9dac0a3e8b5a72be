/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(LARGE);
    (void)((volatile char *)launder(block))[LARGE];
    return aftermath();
}
