/*
 * calloc_reads_zero_where_a_guard_stood.c - a page that became a guard while it held data
 *
 * A freed block is cut in two; the page between the two halves, still full of data, becomes a guard
 * (or would, with guard:off). The halves are purged at different times and joined again: the page
 * between them must read as zero, too.
 *
 * run:
 * run: ASHLAR_CONF=guard:mprotect
 * run: ASHLAR_CONF=guard:off
 */
#define _GNU_SOURCE
#include <malloc.h>

#include "expect.h"

int main(void)
{
    /* Neighbours that stay, so that the address space between them is used again. */
    void *before = launder(malloc(256 * KIB));
    void *hole = launder(malloc(16 * 256 * KIB));
    void *behind = launder(malloc(256 * KIB));
    EXPECT(before != NULL && hole != NULL && behind != NULL);
    free(hole);
    for (size_t cut = 1; cut < 16; cut++) {
        size_t whole = 16 * 256 * KIB;
        unsigned char *block = launder(malloc(whole));
        EXPECT(block != NULL);
        memset(block, 0xff, whole);
        free(launder(block)); /* or the compiler drops the memset */
        void *front = launder(malloc(cut * 256 * KIB));
        EXPECT(front != NULL);
        malloc_trim(0); /* the rear half is purged */
        free(front);
        malloc_trim(0); /* and the front half */
        unsigned char *zero = launder(calloc(1, whole));
        EXPECT(zero != NULL);
        for (size_t i = 0; i < whole; i++)
            EXPECT(zero[i] == 0, "cut %zu: byte %zu is %02x", cut, i, zero[i]);
        free(zero);
    }
    free(before);
    free(behind);
    return 0;
}
