/*
 * counters.h - numbers the library keeps about itself
 *
 * Purpose     One row in counters.def gives the field, the name, the unit and the sentence.
 *             Each layer adds to its own counters; the printing lives in api/report.
 * Invariants  Only slow paths count: nothing here is touched by a cached malloc or free.
 * Locking     Relaxed atomics: each number is exact, two numbers may be of different moments.
 * Layer       conf/.
 */
#ifndef ASHLAR_CONF_COUNTERS_H
#define ASHLAR_CONF_COUNTERS_H

#include <stdatomic.h>

#include "base/base.h"

struct ashlar_counters {
#define COUNTER(name, kind, unit, help) _Atomic uint64_t name;
#include "conf/counters.def"
#undef COUNTER
};

extern struct ashlar_counters ashlar_counters;

enum ashlar_counter_id {
#define COUNTER(name, kind, unit, help) ASHLAR_COUNTER_##name,
#include "conf/counters.def"
#undef COUNTER
    ASHLAR_COUNTER_COUNT
};

enum ashlar_counter_kind { ASHLAR_COUNTER_TOTAL, ASHLAR_COUNTER_LEVEL };

struct ashlar_counter_row {
    const char *name;
    enum ashlar_counter_kind kind;
    const char *unit;
    const char *help;
};

const struct ashlar_counter_row *ashlar_counter_row(enum ashlar_counter_id id);
uint64_t ashlar_counter_value(enum ashlar_counter_id id);

#define ashlar_count(name) ashlar_count_add(name, 1)
#define ashlar_count_add(name, n) \
    ((void)atomic_fetch_add_explicit(&ashlar_counters.name, (uint64_t)(n), memory_order_relaxed))
#define ashlar_count_sub(name, n) \
    ((void)atomic_fetch_sub_explicit(&ashlar_counters.name, (uint64_t)(n), memory_order_relaxed))
#define ashlar_count_read(name) atomic_load_explicit(&ashlar_counters.name, memory_order_relaxed)

#endif
