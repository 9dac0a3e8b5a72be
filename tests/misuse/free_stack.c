/* expect: SIGABRT "invalid free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char on_the_stack[SMALL] __attribute__((aligned(16)));
    free(launder(on_the_stack));
    return aftermath();
}
