/*
 * options.h - what the user may choose, parsed before main
 *
 * Purpose     One row in options.def gives the field, the default, the range check, the parser,
 *             the help text, the table in ashlar.conf(5) and the line in the report.
 * Invariants  Every field of ashlar_opt is inside its row's range, always (also before boot: it
 *             is initialised with the defaults). Constant after boot, but for mallopt, which
 *             writes through ashlar_option_set.
 * Locking     Written at start-up by one thread; later writes are single aligned words.
 * Layer       conf/. Uses base, os. Used by everything above.
 */
#ifndef ASHLAR_CONF_OPTIONS_H
#define ASHLAR_CONF_OPTIONS_H

#include "base/base.h"
#include "base/emit.h"

/* The words of each ENUM option, in the order of their indices. */
#define ASHLAR_ENUM_guard(WORD) WORD(GUARD, AUTO, "auto") WORD(GUARD, MADVISE, "madvise") \
    WORD(GUARD, MPROTECT, "mprotect") WORD(GUARD, OFF, "off")
#define ASHLAR_ENUM_recycle(WORD) WORD(RECYCLE, OFF, "off") WORD(RECYCLE, ON, "on")
#define ASHLAR_ENUM_purge_thread(WORD) WORD(PURGE_THREAD, OFF, "off") \
    WORD(PURGE_THREAD, ON, "on") WORD(PURGE_THREAD, AUTO, "auto")
#define ASHLAR_ENUM_thp(WORD) WORD(THP, NEVER, "never") WORD(THP, AUTO, "auto") \
    WORD(THP, ALWAYS, "always")
#define ASHLAR_ENUM_zero(WORD) WORD(ZERO, OFF, "off") WORD(ZERO, ON, "on")
#define ASHLAR_ENUM_junk(WORD) WORD(JUNK, OFF, "off") WORD(JUNK, ON, "on")
#define ASHLAR_ENUM_misuse(WORD) WORD(MISUSE, ABORT, "abort") WORD(MISUSE, REPORT, "report") \
    WORD(MISUSE, IGNORE, "ignore")
#define ASHLAR_ENUM_stats_print(WORD) WORD(STATS, OFF, "off") WORD(STATS, TEXT, "text") \
    WORD(STATS, JSON, "json")

#define ASHLAR_ENUM_CONSTANT(option, word, text) ASHLAR_##option##_##word,
enum ashlar_guard_mode { ASHLAR_ENUM_guard(ASHLAR_ENUM_CONSTANT) };
enum ashlar_recycle_mode { ASHLAR_ENUM_recycle(ASHLAR_ENUM_CONSTANT) };
enum ashlar_purge_thread_mode { ASHLAR_ENUM_purge_thread(ASHLAR_ENUM_CONSTANT) };
enum ashlar_thp_mode { ASHLAR_ENUM_thp(ASHLAR_ENUM_CONSTANT) };
enum ashlar_zero_mode { ASHLAR_ENUM_zero(ASHLAR_ENUM_CONSTANT) };
enum ashlar_junk_mode { ASHLAR_ENUM_junk(ASHLAR_ENUM_CONSTANT) };
enum ashlar_misuse_mode { ASHLAR_ENUM_misuse(ASHLAR_ENUM_CONSTANT) };
enum ashlar_stats_mode { ASHLAR_ENUM_stats_print(ASHLAR_ENUM_CONSTANT) };

/* The values in force: ashlar_opt.decay_ms and so on. Every kind is held as an int64_t. */
struct ashlar_options {
#define OPTION(name, kind, default_, min, max, unit, help) int64_t name;
#include "conf/options.def"
#undef OPTION
};

extern struct ashlar_options ashlar_opt;

enum ashlar_option_id {
#define OPTION(name, kind, default_, min, max, unit, help) ASHLAR_OPTION_##name,
#include "conf/options.def"
#undef OPTION
    ASHLAR_OPTION_COUNT
};

enum ashlar_option_kind { ASHLAR_OPTION_SIZE, ASHLAR_OPTION_INT, ASHLAR_OPTION_ENUM };

/* One row as data, for help texts and reports. */
struct ashlar_option_row {
    const char *name;
    enum ashlar_option_kind kind;
    int64_t default_value;
    int64_t min;
    int64_t max;
    const char *unit;
    const char *help;
    const char *const *words; /* ENUM: max + 1 words; else NULL */
};

const struct ashlar_option_row *ashlar_option_row(enum ashlar_option_id id);

/*
 * Takes over a list "name:value,name:value" (NULL: nothing to do). A part that is not understood
 * is named in one warning line and skipped; the rest holds. Needs no malloc, no getenv, no lock.
 */
void ashlar_options_parse(const char *list);

/* The value of ASHLAR_CONF in a NULL-terminated environment, or NULL; environ may be NULL. */
const char *ashlar_options_find_env(char *const *environment);

/* Sets one option when `value` is inside its range; false when it is not. */
bool ashlar_option_set(enum ashlar_option_id id, int64_t value);
int64_t ashlar_option_get(enum ashlar_option_id id);

/* True when zero or junk fill blocks, so that every request has to be seen. */
static inline bool ashlar_options_fill_blocks(void)
{
    return ashlar_opt.zero == ASHLAR_ZERO_ON || ashlar_opt.junk == ASHLAR_JUNK_ON;
}

/* Looks at the decay clock in one decay time. */
#define ASHLAR_DECAY_STEPS 16u

/* The time between two of them. */
static inline uint64_t ashlar_options_decay_step_ms(void)
{
    return ashlar_opt.decay_ms < (int64_t)ASHLAR_DECAY_STEPS
               ? 1
               : (uint64_t)ashlar_opt.decay_ms / ASHLAR_DECAY_STEPS;
}

/* Writes the value of an option as a user would type it. */
void ashlar_option_emit_value(struct ashlar_emit *emit, enum ashlar_option_id id, int64_t value);

#endif
