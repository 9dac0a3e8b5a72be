/*
 * defaults.h - options as they are without ASHLAR_CONF
 *
 * Purpose     Cases change options; each begins with the defaults of the rows.
 */
#ifndef ASHLAR_TESTS_UNIT_DEFAULTS_H
#define ASHLAR_TESTS_UNIT_DEFAULTS_H

#include "conf/options.h"

static inline void test_restore_defaults(void)
{
    for (unsigned id = 0; id < ASHLAR_OPTION_COUNT; id++)
        (void)ashlar_option_set((enum ashlar_option_id)id,
                                ashlar_option_row((enum ashlar_option_id)id)->default_value);
}

#endif
