/* expect: SIGABRT "invalid free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    free(launder((void *)0x10));
    return aftermath();
}
