/* expect: SIGABRT "invalid free" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(20000);
    free(launder(block + 4096));
    return aftermath();
}
