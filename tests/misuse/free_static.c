/* expect: SIGABRT "invalid free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    static char at_rest[SMALL] __attribute__((aligned(16)));
    free(launder(at_rest));
    return aftermath();
}
