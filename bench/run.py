#!/usr/bin/env python3
"""run.py - runs the benchmarks on every allocator found and writes what was seen

usage: run.py [--quick] [--minutes M] [--runs N] [--with LIST] [--only REGEX] --build DIR --out DIR

Each row runs in a process of its own on each allocator, in turns, in an order drawn anew each
time. All rows are run once before any is run twice, and rounds stop when the minutes are used up,
so that a slow machine gives fewer runs before it gives fewer rows. Run by `make bench`.
"""

import argparse
import datetime
import json
import os
import random
import re
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tools"))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import results  # noqa: E402
import rows  # noqa: E402
from ashlar_command import allocators, compare, report, watch  # noqa: E402
from ashlar_command.errors import Failure  # noqa: E402

RUN_TIMEOUT_S = 90


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rows, one run each")
    parser.add_argument("--minutes", type=float, help="the most that it may take (26, quick: 1.5)")
    parser.add_argument("--runs", type=int, help="rounds at most (5, quick: 1)")
    parser.add_argument("--with", dest="wanted", metavar="LIST", help="allocators, as ashlar compare has it")
    parser.add_argument("--only", metavar="REGEX", help="rows whose 'suite: name' matches")
    parser.add_argument("--build", required=True, help="where the benchmark programs and the library were built")
    parser.add_argument("--out", required=True, help="where the results go")
    return parser.parse_args()


def read_micro(text):
    """Figures of one benchmark from Google Benchmark's JSON, per operation."""
    found = json.loads(text)["benchmarks"]
    if not found:
        raise Failure("a benchmark that was listed did not run")
    one = found[0]
    if one.get("error_occurred"):
        return {"failure": one["error_message"]}
    operations = one.get("operations", 1) or 1
    unit = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[one["time_unit"]]
    figures = {
        "cpu_ns": one["cpu_time"] * unit / operations,
        "wall_ns": one["real_time"] * unit / operations,
        "faults": one["faults"] / operations,
    }
    for name, value in one.items():
        if name.startswith("rss_"):
            figures[name] = value
    return figures


def measure(row, allocator, outputs, left_s):
    """One run; gives its figures, {"failure": words}, or None when it had no time to end."""
    outputs.empty()
    timeout_s = max(0.1, min(RUN_TIMEOUT_S, left_s))
    run = watch.run_once(row.command, allocator.environment(), outputs.out, outputs.err, timeout_s=timeout_s)
    if run.timed_out and timeout_s < RUN_TIMEOUT_S:
        return None
    if run.timed_out:
        return {"failure": f"took more than {RUN_TIMEOUT_S} s"}
    if run.status != 0:
        lines = outputs.error_text().strip().splitlines()
        return {"failure": f"status {run.status}: {lines[-1] if lines else 'no message'}"}
    if row.is_program:
        figures = {"cpu_ns": run.cpu_s * 1e9, "wall_ns": run.wall_s * 1e9, "faults": run.minor_faults,
                   "output": outputs.digest()}
    else:
        outputs.out.seek(0)
        figures = read_micro(outputs.out.read())
    figures["peak_rss_bytes"] = run.peak_rss_bytes
    return figures


def in_turns(wanted):
    """The rows with those of the suites mixed, so that none starves when time is up."""
    queues = [[row for row in wanted if row.suite == suite] for suite in rows.SUITES]
    places = [(i / len(queue), n, row) for n, queue in enumerate(queues) for i, row in enumerate(queue)]
    ordered = sorted(places, key=lambda place: place[:2])
    return [row for _, _, row in ordered]


def is_missing(row):
    """Whether a whole program is not on this machine."""
    command = row.command[0]
    if os.path.basename(command) == "cache.sh":
        command = "redis-server"
    found = any(os.access(os.path.join(d, command), os.X_OK) for d in os.environ["PATH"].split(":"))
    if row.package == "python3-numpy":
        return os.system("/usr/bin/python3 -c 'import numpy' >/dev/null 2>&1") != 0
    return not found


def check_outputs(collected, base):
    """A program that prints something else than on the base has failed there."""
    for row in collected.rows:
        expected = {f.get("output") for f in collected.figures(row.key, base)}
        for name in collected.names:
            for figures in collected.figures(row.key, name):
                if "failure" not in figures and figures.get("output") not in expected:
                    figures["failure"] = f"printed something else than on {base}"


def main():
    arguments = parse_arguments()
    started = time.monotonic()
    minutes = arguments.minutes or (1.5 if arguments.quick else 26)
    rounds = arguments.runs or (1 if arguments.quick else 5)
    # `make bench` measures the library it has just built.
    os.environ.setdefault("ASHLAR_BUILD", os.path.abspath(arguments.build))
    chosen, missing = allocators.choose(arguments.wanted)
    for allocator in chosen:
        allocators.check_loads(allocator)
    names = [allocator.name for allocator in chosen]
    for name in ("glibc", "jemalloc"):
        if arguments.wanted is None and name not in names:
            print(f"bench: {name} is missing: install {dict(missing).get(name)}", file=sys.stderr)
    for name, package in missing:
        print(f"bench: {name} is not installed (Debian package {package})", file=sys.stderr)

    progress = compare.Progress()
    turns = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="ashlar-bench-") as folder, compare.Outputs(folder) as outputs:
        rows.prepare_inputs(folder)
        wanted = [row for row in rows.all_rows(arguments.build, folder, arguments.quick)
                  if arguments.only is None or re.search(arguments.only, row.key)]
        absent = [row for row in wanted if row.is_program and is_missing(row)]
        for row in absent:
            print(f"bench: {row.name} is left out: install {row.package}", file=sys.stderr)
        collected = results.Results(names, [row for row in wanted if row not in absent])
        collected.missing = [*missing, *((row.name, row.package) for row in absent)]
        deadline = started + minutes * 60
        for number in range(rounds):
            round_started = time.monotonic()
            for row in in_turns(collected.rows):
                # Growth shows a shape; a second round says little more. So does waiting 11 s.
                if number > 0 and (row.suite == "growth" or row.name.startswith("kept/")):
                    continue
                # A row that not all of them can end in time does not count for any.
                found = {}
                for allocator in turns.sample(chosen, len(chosen)):
                    left_s = deadline - time.monotonic()
                    if left_s <= 0:
                        break
                    progress.show(f"round {number + 1} of {rounds}: {row.key}, {allocator.name}")
                    if not collected.has_failed(row.key, allocator.name):
                        found[allocator.name] = measure(row, allocator, outputs, left_s)
                else:
                    if None not in found.values():
                        collected.add_all(row.key, found)
            collected.rounds = number + 1
            round_s = time.monotonic() - round_started
            if time.monotonic() + round_s > deadline:
                break
        progress.clear()
    collected.leave_out_what_was_not_run()
    if "glibc" in names:
        check_outputs(collected, "glibc")
    collected.seconds = time.monotonic() - started
    collected.date = datetime.date.today().isoformat()
    collected.machine = report.machine()
    collected.libraries = {a.name: os.path.basename(os.path.realpath(a.path)) for a in chosen}
    results.write(collected, arguments.out)
    print(f"{len(collected.rows)} rows, {len(names)} allocators, {collected.rounds} rounds in {collected.seconds:.0f} s:"
          f" {os.path.join(arguments.out, 'README.md')}")
    return 0


try:
    sys.exit(main())
except Failure as failure:
    print(f"bench: {failure}", file=sys.stderr)
    sys.exit(failure.status)
except KeyboardInterrupt:
    sys.exit(130)
