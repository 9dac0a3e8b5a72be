/* expect: SIGABRT "size mismatch" */
#define _GNU_SOURCE
#include "crime.h"

enum { MEDIUM = 20000 };

typedef void sized_free(void *, size_t);

int main(void)
{
    test_begin(20);
    warm_up();
    sized_free *free_with_size = (sized_free *)dlsym(RTLD_DEFAULT, "free_sized");
    if (free_with_size == NULL)
        SKIP("no free_sized here");
    char *block = malloc(MEDIUM);
    free_with_size(launder(block), 2 * MEDIUM);
    return aftermath();
}
