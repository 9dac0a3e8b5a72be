/* expect: SIGABRT "invalid free" */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    void *foreign = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(launder(foreign));
    return aftermath();
}
