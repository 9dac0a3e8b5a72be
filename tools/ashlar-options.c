/*
 * ashlar-options.c - prints the option table, for `ashlar options`
 *
 * Purpose     The rows of src/conf/options.def as a person reads them; --version prints the
 *             version of the library instead.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ashlar/ashlar.h"
#include "base/emit.h"
#include "conf/options.h"

enum { VALUES_COLUMN = 18 };

static void emit_range(struct ashlar_emit *out, enum ashlar_option_id id)
{
    const struct ashlar_option_row *row = ashlar_option_row(id);

    if (row->kind == ASHLAR_OPTION_ENUM) {
        for (int64_t i = 0; i <= row->max; i++)
            ashlar_emit_format(out, "%s%s", i == 0 ? "" : ", ", row->words[i]);
        return;
    }
    ashlar_option_emit_value(out, id, row->min);
    ashlar_emit_format(out, " to ");
    ashlar_option_emit_value(out, id, row->max);
    if (row->unit[0] != '\0')
        ashlar_emit_format(out, " %s", row->unit);
}

static void emit_row(struct ashlar_emit *out, enum ashlar_option_id id)
{
    const struct ashlar_option_row *row = ashlar_option_row(id);

    ashlar_emit_format(out, "%s", row->name);
    for (size_t column = strlen(row->name); column < VALUES_COLUMN; column++)
        ashlar_emit_format(out, " ");
    emit_range(out, id);
    ashlar_emit_format(out, "; default ");
    ashlar_option_emit_value(out, id, row->default_value);
    ashlar_emit_format(out, "\n    %s\n", row->help);
}

int main(int argc, char **argv)
{
    struct ashlar_emit out;

    ashlar_emit_begin(&out, STDOUT_FILENO);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        ashlar_emit_format(&out, "ashlar %s\n", ASHLAR_VERSION);
    } else if (argc == 1) {
        for (unsigned i = 0; i < ASHLAR_OPTION_COUNT; i++)
            emit_row(&out, (enum ashlar_option_id)i);
    } else {
        fputs("usage: ashlar-options [--version]\n", stderr);
        return 2;
    }
    return ashlar_emit_flush(&out) == 0 ? 0 : 1;
}
