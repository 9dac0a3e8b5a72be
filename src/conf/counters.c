/*
 * counters.c - numbers the library keeps about itself
 *
 * Purpose     The numbers, and their rows as data for whoever prints them.
 * Invariants  struct ashlar_counters is an array of counters in the order of counters.def.
 * Locking     Relaxed atomics.
 * Layer       conf/. Uses base.
 */
#include "conf/counters.h"

struct ashlar_counters ashlar_counters;

#define COUNTER(name, kind, unit, help)                          \
    _Static_assert(offsetof(struct ashlar_counters, name) ==     \
                       ASHLAR_COUNTER_##name * sizeof(uint64_t), \
                   "counter " #name " is not where its number says");
#include "conf/counters.def"
#undef COUNTER

static const struct ashlar_counter_row rows[ASHLAR_COUNTER_COUNT] = {
#define COUNTER(name, kind, unit, help) {#name, ASHLAR_COUNTER_##kind, unit, help},
#include "conf/counters.def"
#undef COUNTER
};

const struct ashlar_counter_row *ashlar_counter_row(enum ashlar_counter_id id)
{
    return &rows[id];
}

uint64_t ashlar_counter_value(enum ashlar_counter_id id)
{
    _Atomic uint64_t *values = (_Atomic uint64_t *)(void *)&ashlar_counters;

    return atomic_load_explicit(&values[id], memory_order_relaxed);
}
