/* expect: SIGABRT "invalid pointer" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char on_the_stack[SMALL] __attribute__((aligned(16)));
    free(realloc(launder(on_the_stack), 2 * SMALL));
    return aftermath();
}
