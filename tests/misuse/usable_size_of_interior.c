/* expect: SIGABRT "invalid pointer" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    char *block = malloc(LARGE);
    EXPECT(malloc_usable_size(launder(block + 4096)) == 0, "when it returns, it knows nothing");
    return aftermath();
}
