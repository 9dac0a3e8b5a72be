/* expect: SIGABRT "invalid pointer" */
#define _GNU_SOURCE
#include "crime.h"

int main(void)
{
    test_begin(20);
    warm_up();
    static char at_rest[SMALL] __attribute__((aligned(16)));
    EXPECT(malloc_usable_size(launder(at_rest)) == 0, "when it returns, it knows nothing");
    return aftermath();
}
