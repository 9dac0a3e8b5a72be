/*
 * instructions.c - does malloc/free pairs in one of four patterns, to be counted by callgrind
 *
 * Purpose     instructions tight|replace|batch|skewed PAIRS
 *             bench/instructions.py runs it with two numbers of pairs; the difference is free of
 *             start-up and exit.
 */
#include <stdio.h>
#include <string.h>

#include "patterns.h"

static struct pattern_sizes sizes;
static void *slots[REPLACE_SLOTS];

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: instructions tight|replace|batch|skewed PAIRS\n");
        return 2;
    }
    size_t pairs = strtoul(argv[2], NULL, 10);
    pattern_sizes_draw(&sizes);
    if (strcmp(argv[1], "tight") == 0)
        pattern_tight(pairs);
    else if (strcmp(argv[1], "replace") == 0)
        pattern_slots(pairs, slots, REPLACE_SLOTS, sizes.replace, sizes.slot);
    else if (strcmp(argv[1], "batch") == 0)
        pattern_batch(pairs);
    else if (strcmp(argv[1], "skewed") == 0)
        pattern_slots(pairs, slots, SKEWED_SLOTS, sizes.skewed, sizes.slot);
    else
        return 2;
    return 0;
}
