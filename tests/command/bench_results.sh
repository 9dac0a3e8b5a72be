#!/bin/sh
# bench_results.sh - what the benchmarks sum up from runs whose figures are known

. "$(dirname "$0")/common.sh"

PYTHONPATH="$SRCDIR/tools:$SRCDIR/bench" PYTHONDONTWRITEBYTECODE=1 python3 - "$SCRATCH/out.d" <<'END' || fail "see above"
import json
import math
import os
import sys
import xml.dom.minidom

import results
import rows

MIB = 1 << 20


def collect():
    """Ashlar takes half the time of glibc in one row and twice in the other, and 3/2 of the memory."""
    wanted = [rows.Row("large", "churn", []), rows.Row("large", "mix", []), rows.Row("large", "kept/1s", []),
              rows.Row("programs", "lua", [], "lua5.4", is_program=True)]
    wanted += [rows.Row("growth", f"live-large/{x}", []) for x in (10, 100, 1000, 10000)]
    found = results.Results(["glibc", "ashlar", "other"], wanted)
    found.date, found.rounds, found.seconds = "2026-01-02", 3, 61
    found.machine = {"cpus": 2, "processor": "some", "memory_bytes": 1 << 34, "system": "Linux 6.18",
                     "machine": "x86_64", "libc": "glibc-2.36"}
    found.libraries = {"glibc": "libc.so.6", "ashlar": "libashlar.so", "other": "libother.so"}

    def add(key, cpu, memory, **more):
        for noise in (1.3, 1, 0.9):  # the median is the middle one
            found.add_all(key, {name: {"cpu_ns": c * noise, "peak_rss_bytes": m * MIB, **more}
                                for name, c, m in zip(found.names, cpu, memory)})

    add("large: churn", (100, 50, 400), (10, 15, 10))
    add("large: mix", (100, 200, 400), (10, 15, 10))
    add("large: kept/1s", (1, 1, 1), (10, 10, 10), rss_later=5 * MIB)
    add("programs: lua", (1e9, 1e9, 1e9), (10, 15, 10))
    found.found[("programs: lua", "other")][1]["failure"] = "status 3: no"
    for x in (10, 100, 1000, 10000):
        add(f"growth: live-large/{x}", (x**0.5, 7, x), (10, 10, 10))
    return found


def expect(name, value, wanted):
    same = abs(value - wanted) < 1e-6 if isinstance(wanted, float) else value == wanted
    if not same:
        sys.exit(f"{name}: {value}, not {wanted}")


found = collect()
expect("median", found.median("large: churn", "ashlar", "cpu_ns"), 50)
expect("ratio", found.ratio("large: mix", "ashlar", "cpu_ns"), 2.0)
expect("means", [round(m, 9) for m in results.means(found, "large", "ashlar")], [1, 1.5])
expect("a failed run fails the row", found.median("programs: lua", "other", "cpu_ns"), None)
expect("a row that failed anywhere is in nobody's mean", results.means(found, "programs", "ashlar"), (None, None))
fit = results.Fit.of(results.curve(found, "live-large", "glibc"))
expect("exponent", fit.exponent, 0.5)
expect("factor", fit.factor, 1.0)
expect("flat", results.Fit.of(results.curve(found, "live-large", "ashlar")).exponent, 0.0)
bent = results.Fit.of([(1, 1), (10, 1), (100, 1), (1000, 50)])
expect("the step of the bend", bent.steepest[1:], (100, 1000))
expect("two points are no curve", results.Fit.of([(1, 1), (2, 2)]), None)
expect("duration", [results.duration(n) for n in (4.21, 99.96e3, 1.5e6, 2.25e9)],
       ["4.2 ns", "100 µs", "1.5 ms", "2.25 s"])

folder = sys.argv[1]
results.write(found, folder)
with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
    text = file.read()
for words in ("2026-01-02", "| ashlar | 1.00 · 1.50 |", "status 3: no", "| large: mix | CPU time |", "+0.50"):
    if words not in text:
        sys.exit(f"README.md does not say {words!r}:\n{text}")
if "| large: churn | CPU time |" in text:
    sys.exit("a row in which Ashlar is ahead is among those where it is behind")
with open(os.path.join(folder, "results.json"), encoding="utf-8") as file:
    expect("rows in the JSON", len(json.load(file)["rows"]), len(found.rows))
for name in ("summary.svg", "large.svg", "programs.svg", "growth.svg"):
    xml.dom.minidom.parse(os.path.join(folder, name))
if "x^0.00" not in open(os.path.join(folder, "growth.svg"), encoding="utf-8").read():
    sys.exit("the growth picture has no fit")
END

pass
