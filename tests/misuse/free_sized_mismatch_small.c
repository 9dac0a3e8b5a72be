/* expect: SIGABRT "size mismatch" */
#define _GNU_SOURCE
#include "crime.h"

typedef void sized_free(void *, size_t);

int main(void)
{
    test_begin(20);
    warm_up();
    sized_free *free_with_size = (sized_free *)dlsym(RTLD_DEFAULT, "free_sized");
    if (free_with_size == NULL)
        SKIP("no free_sized here");
    char *block = malloc(SMALL);
    free_with_size(launder(block), LARGE);
    return aftermath();
}
