/*
 * bench_shim.cc - Google Benchmark behind the calls of bench_shim.h; the only C++ among the benchmarks
 */
#include "bench_shim.h"

#include <benchmark/benchmark.h>
#include <sys/resource.h>

struct bench_run {
    benchmark::State *state;
    const void *param;
    long faults_before;
};

static long faults_now()
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_minflt;
}

void bench_register(const char *name, bench_body *body, const void *param, int64_t iterations)
{
    benchmark::RegisterBenchmark(name, [body, param](benchmark::State &state) {
        bench_run run = {&state, param, faults_now()};
        body(&run);
        state.counters["faults"] = benchmark::Counter(static_cast<double>(faults_now() - run.faults_before),
                                                      benchmark::Counter::kAvgIterations);
    })
        ->Iterations(iterations)
        ->MeasureProcessCPUTime()
        ->UseRealTime();
}

bool bench_next(bench_run *run)
{
    return run->state->KeepRunning();
}

const void *bench_param(const bench_run *run)
{
    return run->param;
}

void bench_pause(bench_run *run)
{
    run->state->PauseTiming();
}

void bench_resume(bench_run *run)
{
    run->state->ResumeTiming();
}

void bench_operations(bench_run *run, double per_iteration)
{
    run->state->counters["operations"] = per_iteration;
}

void bench_value(bench_run *run, const char *name, double value)
{
    run->state->counters[name] = value;
}

void bench_fail(bench_run *run, const char *why)
{
    run->state->SkipWithError(why);
}

int main(int argc, char **argv)
{
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
