/*
 * crime.h - what the misuse programs share
 *
 * Each program commits one crime. Its first line says what must come of it:
 *     expect: SIGABRT "words"     it dies so, after a line "ashlar: ... words ..." on stderr;
 *                                 "a|b" where either word names the crime
 *     expect: SIGSEGV             the fence: the kernel stops it, there is no line
 * run.sh checks that, and that with misuse:report and misuse:ignore an aborting program goes on.
 */
#ifndef ASHLAR_TESTS_CRIME_H
#define ASHLAR_TESTS_CRIME_H

#include "expect.h"

enum { SMALL = 100, LARGE = 1 << 20 };

/* The end of a crime that was only reported, or not at all: the heap must still be whole. */
UNUSED_OK static int aftermath(void)
{
    static char *blocks[500];
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            size_t len = i % 25 == 0 ? LARGE : (i % 2 == 0 ? SMALL : i * 20 + 1);
            blocks[i] = malloc(len);
            EXPECT(blocks[i] != NULL);
            memset(blocks[i], (int)i, len);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            size_t len = i % 25 == 0 ? LARGE : (i % 2 == 0 ? SMALL : i * 20 + 1);
            EXPECT(blocks[i][0] == (char)i && blocks[i][len - 1] == (char)i,
                   "two live blocks share memory");
            free(blocks[i]);
        }
    }
    return TEST_PASS;
}

/* Some other life in the heap, so that the crime is not the first thing it sees. */
UNUSED_OK static void warm_up(void)
{
    void *blocks[50];
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = launder(malloc(i % 10 == 0 ? LARGE : SMALL));
    for (size_t i = 0; i < COUNT_OF(blocks); i += 2)
        free(blocks[i]);
}

#endif
