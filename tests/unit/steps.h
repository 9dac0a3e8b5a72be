/*
 * steps.h - one instruction after the other
 *
 * Purpose     Interrupts a call after each of its instructions, so that a test can have another
 *             thread's doings come at every point of it, each time at the same ones.
 * Rules       Only with TEST_HAS_STEPS; elsewhere the test skips. What is called after each
 *             instruction takes no lock that may be held then.
 */
#ifndef ASHLAR_TESTS_UNIT_STEPS_H
#define ASHLAR_TESTS_UNIT_STEPS_H

#include "unit/testing.h"

#include <stdatomic.h>

/* A thread sanitizer, which has locks of its own, does not bear it. */
#ifdef __has_feature
#define TEST_HAS_FEATURE(name) __has_feature(name)
#else
#define TEST_HAS_FEATURE(name) 0
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !TEST_HAS_FEATURE(thread_sanitizer)
#define TEST_HAS_STEPS true
#else
#define TEST_HAS_STEPS false
#endif

static void (*test_after_each)(void);

static inline void test_on_step(int signal_number)
{
    (void)signal_number;
    test_after_each();
}

static inline void test_set_trap_flag(bool is_on)
{
    atomic_signal_fence(memory_order_seq_cst); /* the compiler takes flags for a value like any */
#ifdef __x86_64__
    const unsigned long long trap_flag = 0x100;
    unsigned long long flags = __builtin_ia32_readeflags_u64();
    __builtin_ia32_writeeflags_u64(is_on ? flags | trap_flag : flags & ~trap_flag);
#else
    (void)is_on;
#endif
    atomic_signal_fence(memory_order_seq_cst);
}

/* Calls `body`, and `after_each` after each of its instructions. */
static inline void test_step_through(void (*body)(void), void (*after_each)(void))
{
    struct sigaction old;
    struct sigaction action = {.sa_handler = test_on_step};
    test_after_each = after_each;
    if (sigaction(SIGTRAP, &action, &old) != 0)
        abort();
    test_set_trap_flag(true);
    body();
    test_set_trap_flag(false);
    (void)sigaction(SIGTRAP, &old, NULL);
}

#endif
