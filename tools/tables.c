/*
 * tables.c - prints the rows of options.def or counters.def as man page source
 *
 * Purpose     Run by tools/options-table, which compiles it together with src/conf.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/emit.h"
#include "conf/counters.h"
#include "conf/options.h"

/* In a man page a bare '-' may become a hyphen, and a line may not begin with '.'. */
static void emit_text(struct ashlar_emit *out, const char *text)
{
    for (; *text != '\0'; text++)
        ashlar_emit_format(out, *text == '-' ? "\\%c" : "%c", *text);
}

static void emit_value(struct ashlar_emit *out, enum ashlar_option_id id, int64_t value)
{
    struct ashlar_emit text;

    ashlar_emit_begin(&text, -1);
    ashlar_option_emit_value(&text, id, value);
    ashlar_emit_bytes(&text, "", 1);
    emit_text(out, text.buf);
}

static void emit_words(struct ashlar_emit *out, const struct ashlar_option_row *row)
{
    for (int64_t i = 0; i <= row->max; i++) {
        const char *gap = i == 0 ? "" : i == row->max ? " or " : ", ";
        ashlar_emit_format(out, "%s\\fB%s\\fP", gap, row->words[i]);
    }
}

static void emit_option(struct ashlar_emit *out, enum ashlar_option_id id)
{
    const struct ashlar_option_row *row = ashlar_option_row(id);

    ashlar_emit_format(out, ".TP\n.B %s\n", row->name);
    emit_text(out, row->help);
    ashlar_emit_format(out, "\n.br\n");
    if (row->kind == ASHLAR_OPTION_ENUM) {
        emit_words(out, row);
    } else {
        emit_value(out, id, row->min);
        ashlar_emit_format(out, " to ");
        emit_value(out, id, row->max);
        ashlar_emit_format(out, "%s%s", row->unit[0] == '\0' ? "" : " ", row->unit);
    }
    ashlar_emit_format(out, "; default \\fB");
    emit_value(out, id, row->default_value);
    ashlar_emit_format(out, "\\fP.\n");
}

static void emit_counter(struct ashlar_emit *out, enum ashlar_counter_id id)
{
    const struct ashlar_counter_row *row = ashlar_counter_row(id);

    ashlar_emit_format(out, ".TP\n.B %s\n", row->name);
    emit_text(out, row->help);
    ashlar_emit_format(out, "%s%s%s\n", row->unit[0] == '\0' ? "" : ", in ", row->unit,
                       row->kind == ASHLAR_COUNTER_TOTAL ? " (total)" : " (now)");
}

int main(int argc, char **argv)
{
    struct ashlar_emit out;

    ashlar_emit_begin(&out, STDOUT_FILENO);
    if (argc == 2 && strcmp(argv[1], "options") == 0) {
        for (unsigned i = 0; i < ASHLAR_OPTION_COUNT; i++)
            emit_option(&out, (enum ashlar_option_id)i);
    } else if (argc == 2 && strcmp(argv[1], "counters") == 0) {
        for (unsigned i = 0; i < ASHLAR_COUNTER_COUNT; i++)
            emit_counter(&out, (enum ashlar_counter_id)i);
    } else {
        fputs("usage: tables options|counters\n", stderr);
        return 2;
    }
    return ashlar_emit_flush(&out) == 0 ? 0 : 1;
}
