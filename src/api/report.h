/*
 * report.h - statistics in words, XML and JSON
 *
 * Purpose     What ashlar_stats_print, malloc_stats, malloc_info and option stats_print show.
 * Invariants  Allocates nothing. Well-formed whatever the numbers are.
 * Locking     REPORT while the text goes to a file descriptor, so that two reports do not mix.
 *             None while it goes to a sink, which may allocate.
 * Layer       api/.
 */
#ifndef ASHLAR_API_REPORT_H
#define ASHLAR_API_REPORT_H

#include "base/emit.h"
#include "base/lock.h"

enum ashlar_report_format { ASHLAR_REPORT_TEXT, ASHLAR_REPORT_JSON, ASHLAR_REPORT_XML };

/* For fork to shut. */
extern struct ashlar_lock ashlar_report_lock;

/* Writes a whole report and flushes it. emit->error says whether a write failed. */
void ashlar_report_emit(struct ashlar_emit *emit, enum ashlar_report_format format);

#endif
