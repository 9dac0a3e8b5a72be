/*
 * large_checks.h - the laws of the large path, checked by walking everything
 *
 * Purpose     What src/large/extent.h, guard.h and mapcache.h promise, said once more by other
 *             means: each region's extents are walked, sums are compared with the counters, guard
 *             bits with what the kernel says, the page map with both.
 * Use         Only with fake_os.c, which knows where the regions are, and while no other thread is
 *             inside the library.
 */
#ifndef ASHLAR_TESTS_UNIT_LARGE_CHECKS_H
#define ASHLAR_TESTS_UNIT_LARGE_CHECKS_H

#include "large/extent.h"

struct large_totals {
    size_t live_bytes;
    size_t live_blocks;
    size_t dirty_bytes; /* without their holes */
    size_t clean_bytes;
    size_t extents;
    size_t regions;
};

/* How far to go. Asking the kernel about every guard is slow. */
enum large_check_depth { LARGE_CHECK_WALK, LARGE_CHECK_KERNEL };

/* Fails the test when a law is broken; else the sums. */
struct large_totals large_check(enum large_check_depth depth);

/* Starts the law of memory afresh: the peak is what is live now. */
void large_check_begin_peak(void);

/* Tells of blocks that were live together in between, such as the two of a copying realloc. */
void large_check_note_peak(size_t live_bytes);

/* Fails the test when live + kept is more than the peak of live allows. The peak is that of the moments
   this was called, so call it after every operation. */
void large_check_law(void);

/* Fails the test when anything is held after the last block was freed and everything trimmed. */
void large_check_nothing_held(void);

#endif
