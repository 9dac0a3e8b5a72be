/*
 * bench_shim.h - benchmarks in C on Google Benchmark, which is C++
 *
 * Purpose     A benchmark registers itself by a constructor, loops `while (bench_next(run))`, and
 *             says what it counts. main is in bench_shim.cc and takes Google Benchmark's options.
 * Figures     Each result has wall time and the CPU time of all threads an iteration, and the
 *             counters `faults` (minor page faults an iteration) and what the benchmark adds.
 * Rules       The number of iterations is fixed at registration: the state that a heap is in is
 *             part of what is measured. Contents are checked; what was lost is bench_fail.
 */
#ifndef ASHLAR_BENCH_SHIM_H
#define ASHLAR_BENCH_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_run;
typedef void bench_body(struct bench_run *run);

/* `name` is copied. `param` is handed to the body. */
void bench_register(const char *name, bench_body *body, const void *param, int64_t iterations);

/* True while there is one more iteration to do; the clock runs from the first call to the last. */
bool bench_next(struct bench_run *run);
const void *bench_param(const struct bench_run *run);

/* Stops and starts the clocks. */
void bench_pause(struct bench_run *run);
void bench_resume(struct bench_run *run);

/* How many things of interest an iteration did: times are then also given for one of them. */
void bench_operations(struct bench_run *run, double per_iteration);
/* A figure of its own, not divided by anything. */
void bench_value(struct bench_run *run, const char *name, double value);
/* The benchmark did not work on this allocator. Return from the body afterwards. */
void bench_fail(struct bench_run *run, const char *why);

#ifdef __cplusplus
}
#endif

#endif
