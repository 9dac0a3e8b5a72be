/*
 * report.h - statistics in words, XML and JSON
 *
 * Purpose     What ashlar_stats_print, malloc_stats, malloc_info and option stats_print show.
 * Invariants  Allocates nothing. Well-formed whatever the numbers are.
 * Locking     REPORT, so that two reports do not mix.
 * Layer       api/.
 */
#ifndef ASHLAR_API_REPORT_H
#define ASHLAR_API_REPORT_H

#include "base/emit.h"

enum ashlar_report_format { ASHLAR_REPORT_TEXT, ASHLAR_REPORT_JSON, ASHLAR_REPORT_XML };

void ashlar_report_emit(struct ashlar_emit *emit, enum ashlar_report_format format);

#endif
