/*
 * report.c - statistics in words, XML and JSON
 *
 * Purpose     Three spellings of the same three tables: what is in use, the counters, the options.
 * Invariants  Names come from identifiers and values are numbers or words of options.def, so
 *             nothing needs escaping in any of the three.
 * Locking     The numbers are taken before REPORT, which ranks last.
 * Layer       api/. Uses front, conf, base.
 */
#include "api/report.h"

#include "ashlar/ashlar.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "front/route.h"

struct ashlar_lock ashlar_report_lock = ASHLAR_LOCK_INIT(REPORT);

/* USAGE(member of struct ashlar_usage, what it is) */
#define USAGE_ROWS(USAGE)                                                     \
    USAGE(small_live_bytes, "live small blocks, rounded to their size class") \
    USAGE(small_slab_bytes, "slabs that hold them")                           \
    USAGE(small_idle_bytes, "freed slabs that still hold their pages")        \
    USAGE(large_live_bytes, "live large blocks")                              \
    USAGE(large_live_blocks, "number of live large blocks")                   \
    USAGE(large_kept_bytes, "freed large blocks that still hold their pages") \
    USAGE(meta_bytes, "the library's own structures")                         \
    USAGE(reserved_bytes, "address space reserved")                           \
    USAGE(committed_bytes, "of it, writable")                                 \
    USAGE(arenas, "number of arenas")                                         \
    USAGE(heaps, "number of thread heaps")

struct usage_row {
    const char *name;
    const char *help;
    size_t value;
};

#define USAGE_ROW(member, help) {#member, help, usage->member},

/* Counts how many rows there are, so that the tables of three formats loop alike. */
#define USAGE_ONE(member, help) +1
enum { USAGE_COUNT = 0 USAGE_ROWS(USAGE_ONE) };

struct usage_table {
    struct usage_row rows[USAGE_COUNT];
};

static struct usage_table table_of(const struct ashlar_usage *usage)
{
    return (struct usage_table){{USAGE_ROWS(USAGE_ROW)}};
}

static unsigned long long counter_value(unsigned id)
{
    return ashlar_counter_value((enum ashlar_counter_id)id);
}

static const struct ashlar_counter_row *counter_row(unsigned id)
{
    return ashlar_counter_row((enum ashlar_counter_id)id);
}

static const struct ashlar_option_row *option_row(unsigned id)
{
    return ashlar_option_row((enum ashlar_option_id)id);
}

static void emit_option_value(struct ashlar_emit *emit, unsigned id)
{
    enum ashlar_option_id option = (enum ashlar_option_id)id;

    ashlar_option_emit_value(emit, option, ashlar_option_get(option));
}

/* ---- text ---------------------------------------------------------------------------------- */

static void emit_text_classes(struct ashlar_emit *emit, const struct ashlar_usage *usage)
{
    ashlar_emit_format(emit, "\nsize classes in use\n%12s %12s %12s\n", "object bytes", "slabs",
                       "live objects");
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++) {
        const struct ashlar_class_usage *class = &usage->classes[i];
        if (class->slabs != 0)
            ashlar_emit_format(emit, "%12zu %12zu %12zu\n", class->object_bytes, class->slabs,
                               class->live_objects);
    }
}

static void emit_text(struct ashlar_emit *emit, const struct ashlar_usage *usage)
{
    struct usage_table table = table_of(usage);

    ashlar_emit_format(emit, "Ashlar %s\n\nin use\n", ASHLAR_VERSION);
    for (unsigned i = 0; i < USAGE_COUNT; i++)
        ashlar_emit_format(emit, "%16zu  %-22s  %s\n", table.rows[i].value, table.rows[i].name,
                           table.rows[i].help);
    emit_text_classes(emit, usage);
    ashlar_emit_format(emit, "\ncounters\n");
    for (unsigned i = 0; i < ASHLAR_COUNTER_COUNT; i++)
        ashlar_emit_format(emit, "%16llu  %-22s  %s\n", counter_value(i), counter_row(i)->name,
                           counter_row(i)->help);
    ashlar_emit_format(emit, "\noptions\n");
    for (unsigned i = 0; i < ASHLAR_OPTION_COUNT; i++) {
        ashlar_emit_format(emit, "  %s:", option_row(i)->name);
        emit_option_value(emit, i);
        ashlar_emit_format(emit, "\n");
    }
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static const char *comma_before(unsigned index)
{
    return index == 0 ? "" : ",";
}

static void emit_json_classes(struct ashlar_emit *emit, const struct ashlar_usage *usage)
{
    unsigned shown = 0;

    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++) {
        const struct ashlar_class_usage *class = &usage->classes[i];
        if (class->slabs == 0)
            continue;
        ashlar_emit_format(emit,
                           "%s\n    {\"object_bytes\": %zu, \"slabs\": %zu,"
                           " \"live_objects\": %zu}",
                           comma_before(shown++), class->object_bytes, class->slabs,
                           class->live_objects);
    }
}

/* Numbers as numbers, in bytes and milliseconds, not as a user would type them. */
static void emit_json_option(struct ashlar_emit *emit, unsigned id)
{
    if (option_row(id)->kind != ASHLAR_OPTION_ENUM) {
        ashlar_emit_format(emit, "%lld", (long long)ashlar_option_get((enum ashlar_option_id)id));
        return;
    }
    ashlar_emit_format(emit, "\"");
    emit_option_value(emit, id);
    ashlar_emit_format(emit, "\"");
}

static void emit_json(struct ashlar_emit *emit, const struct ashlar_usage *usage)
{
    struct usage_table table = table_of(usage);

    ashlar_emit_format(emit, "{\n  \"ashlar\": \"%s\",\n  \"in_use\": {", ASHLAR_VERSION);
    for (unsigned i = 0; i < USAGE_COUNT; i++)
        ashlar_emit_format(emit, "%s\n    \"%s\": %zu", comma_before(i), table.rows[i].name,
                           table.rows[i].value);
    ashlar_emit_format(emit, "\n  },\n  \"classes\": [");
    emit_json_classes(emit, usage);
    ashlar_emit_format(emit, "\n  ],\n  \"counters\": {");
    for (unsigned i = 0; i < ASHLAR_COUNTER_COUNT; i++)
        ashlar_emit_format(emit, "%s\n    \"%s\": %llu", comma_before(i), counter_row(i)->name,
                           counter_value(i));
    ashlar_emit_format(emit, "\n  },\n  \"options\": {");
    for (unsigned i = 0; i < ASHLAR_OPTION_COUNT; i++) {
        ashlar_emit_format(emit, "%s\n    \"%s\": ", comma_before(i), option_row(i)->name);
        emit_json_option(emit, i);
    }
    ashlar_emit_format(emit, "\n  }\n}\n");
}

/* ---- XML ----------------------------------------------------------------------------------- */

static size_t free_in_slabs(size_t slab_bytes, size_t live_bytes)
{
    return slab_bytes > live_bytes ? slab_bytes - live_bytes : 0;
}

/* The elements that readers of glibc's malloc_info look for, where there is something true to
   say: free bytes ("rest"), large blocks ("mmap"), held bytes, address space. */
static void emit_xml_totals(struct ashlar_emit *emit, const struct ashlar_usage *usage)
{
    size_t held = usage->small_slab_bytes + usage->small_idle_bytes + usage->large_kept_bytes;
    size_t rest = free_in_slabs(usage->small_slab_bytes, usage->small_live_bytes) +
                  usage->small_idle_bytes + usage->large_kept_bytes;

    ashlar_emit_format(emit, "<total type=\"rest\" size=\"%zu\"/>\n", rest);
    ashlar_emit_format(emit, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n",
                       usage->large_live_blocks, usage->large_live_bytes);
    ashlar_emit_format(emit, "<system type=\"current\" size=\"%zu\"/>\n", held);
    ashlar_emit_format(emit, "<aspace type=\"total\" size=\"%zu\"/>\n", usage->reserved_bytes);
    ashlar_emit_format(emit, "<aspace type=\"mprotect\" size=\"%zu\"/>\n", usage->committed_bytes);
}

static void emit_xml_classes(struct ashlar_emit *emit, const struct ashlar_usage *usage)
{
    ashlar_emit_format(emit, "<classes>\n");
    for (unsigned i = 0; i < ASHLAR_CLASS_COUNT; i++) {
        const struct ashlar_class_usage *class = &usage->classes[i];
        if (class->slabs != 0)
            ashlar_emit_format(emit, "<class size=\"%zu\" slabs=\"%zu\" live=\"%zu\"/>\n",
                               class->object_bytes, class->slabs, class->live_objects);
    }
    ashlar_emit_format(emit, "</classes>\n");
}

static void emit_xml(struct ashlar_emit *emit, const struct ashlar_usage *usage)
{
    struct usage_table table = table_of(usage);

    ashlar_emit_format(emit, "<malloc version=\"1\" allocator=\"ashlar\" release=\"%s\">\n",
                       ASHLAR_VERSION);
    emit_xml_totals(emit, usage);
    for (unsigned i = 0; i < USAGE_COUNT; i++)
        ashlar_emit_format(emit, "<usage name=\"%s\" value=\"%zu\"/>\n", table.rows[i].name,
                           table.rows[i].value);
    emit_xml_classes(emit, usage);
    for (unsigned i = 0; i < ASHLAR_COUNTER_COUNT; i++)
        ashlar_emit_format(emit, "<counter name=\"%s\" value=\"%llu\"/>\n", counter_row(i)->name,
                           counter_value(i));
    for (unsigned i = 0; i < ASHLAR_OPTION_COUNT; i++) {
        ashlar_emit_format(emit, "<option name=\"%s\" value=\"", option_row(i)->name);
        emit_option_value(emit, i);
        ashlar_emit_format(emit, "\"/>\n");
    }
    ashlar_emit_format(emit, "</malloc>\n");
}

static void emit_format(struct ashlar_emit *emit, enum ashlar_report_format format,
                        const struct ashlar_usage *usage)
{
    switch (format) {
    case ASHLAR_REPORT_JSON:
        emit_json(emit, usage);
        break;
    case ASHLAR_REPORT_XML:
        emit_xml(emit, usage);
        break;
    case ASHLAR_REPORT_TEXT:
    default:
        emit_text(emit, usage);
        break;
    }
    ashlar_emit_flush(emit);
}

/* A report from inside a report (a signal handler of the same thread) mixes, but does not hang. A
   debug build stops it: it takes locks below REPORT. */
void ashlar_report_emit(struct ashlar_emit *emit, enum ashlar_report_format format)
{
    struct ashlar_usage usage = {0};
    ashlar_route_usage(&usage);

    bool is_locked = emit->sink == NULL && ashlar_lock_take_patiently(&ashlar_report_lock);
    emit_format(emit, format, &usage);
    if (is_locked)
        ashlar_lock_release(&ashlar_report_lock);
}
