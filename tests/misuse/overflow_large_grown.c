/* expect: SIGSEGV */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = realloc(malloc(LARGE), 3 * LARGE);
    memset(launder(block), 1, 3 * LARGE); /* the old fence is gone */
    ((volatile char *)launder(block))[3 * LARGE] = 1;
    return aftermath();
}
