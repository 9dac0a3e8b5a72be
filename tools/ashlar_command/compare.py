"""compare.py - runs a command many times on many allocators, in turns

Every round runs each allocator once, in an order drawn anew, so that whatever else the machine
does falls on all alike. Outputs are compared: an allocator under which the command prints
something else, or ends otherwise, has failed, however fast it was.
"""

import hashlib
import os
import random
import sys
import tempfile

from . import allocators, watch
from .errors import Failure

# figure -> how to take it from a run; the order of the tables
FIGURES = {
    "wall_s": lambda run: run.wall_s,
    "user_s": lambda run: run.user_s,
    "system_s": lambda run: run.system_s,
    "cpu_s": lambda run: run.cpu_s,
    "peak_rss_bytes": lambda run: run.peak_rss_bytes,
    "minor_faults": lambda run: run.minor_faults,
    "major_faults": lambda run: run.major_faults,
    "voluntary_switches": lambda run: run.voluntary_switches,
    "involuntary_switches": lambda run: run.involuntary_switches,
}


class Row:
    """One allocator's runs."""

    def __init__(self, allocator):
        self.allocator = allocator
        self.name = allocator.name
        self.runs = []
        self.digests = []
        self.error_text = ""
        self.failure = None  # a sentence, once it has failed

    def values(self, figure):
        return [FIGURES[figure](run) for run in self.runs]


class Comparison:
    def __init__(self, command, rows, missing):
        self.command = command
        self.rows = rows
        self.missing = missing
        self.output_varies = False

    @property
    def base(self):
        """What the others are compared with: glibc, or else the first."""
        for row in self.rows:
            if row.name == "glibc":
                return row
        return self.rows[0]

    def row(self, name):
        return next((row for row in self.rows if row.name == name), None)

    def good_rows(self):
        return [row for row in self.rows if row.failure is None]

    def status(self):
        """COMMAND's when it was the same in every run of every allocator, else 1."""
        statuses = {run.status for row in self.rows for run in row.runs}
        return statuses.pop() if len(statuses) == 1 else 1


class Progress:
    """One line on a terminal that the next one wipes out; nothing elsewhere."""

    def __init__(self):
        self.is_shown = sys.stderr.isatty()

    def show(self, text):
        if self.is_shown:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            print(f"\r\033[K{text[: width - 1]}", end="", file=sys.stderr, flush=True)

    def clear(self):
        self.show("")


class Outputs:
    """Files that take the output of a run."""

    def __init__(self, directory):
        self.out = open(os.path.join(directory, "out"), "w+b")
        self.err = open(os.path.join(directory, "err"), "w+b")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.out.close()
        self.err.close()

    def empty(self):
        for file in (self.out, self.err):
            file.seek(0)
            file.truncate()

    def digest(self):
        self.out.seek(0)
        digest = hashlib.sha256()
        while block := self.out.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()

    def error_text(self):
        self.err.seek(0)
        return self.err.read(20000).decode(errors="replace")


def _open_stdin():
    """A file is read anew by each run; anything else cannot be read twice."""
    try:
        is_file = os.path.isfile(f"/proc/self/fd/0")
        return open("/dev/stdin", "rb") if is_file else None
    except OSError:
        return None


def _run(row, command, outputs, conf, timeout_s, interval_ms, cwd):
    outputs.empty()
    stdin = _open_stdin()
    try:
        settings = row.allocator.environment(conf)
        return watch.run_once(command, settings, outputs.out, outputs.err, stdin, interval_ms, timeout_s, cwd)
    finally:
        if stdin:
            stdin.close()


def _judge_outputs(comparison):
    base = comparison.base
    comparison.output_varies = len(set(base.digests)) > 1
    base_statuses = {run.status for run in base.runs}
    for row in comparison.rows:
        odd = [run.status for run in row.runs if run.status not in base_statuses]
        if any(run.timed_out for run in row.runs):
            row.failure = "did not end in time"
        elif row is not base and odd:
            row.failure = f"ended with status {odd[0]}, not {min(base_statuses)} as under {base.name}"
        elif not comparison.output_varies and set(row.digests) != set(base.digests):
            row.failure = f"printed something else than under {base.name}"


def compare(command, chosen, missing=(), runs=5, warmup=1, conf=None, timeout_s=None, interval_ms=10, seed=1,
            progress=None, cwd=None, prepare=None):
    """Gives a Comparison. `prepare` is called before each run."""
    for allocator in chosen:
        allocators.check_loads(allocator)
    rows = [Row(allocator) for allocator in chosen]
    comparison = Comparison(command, rows, list(missing))
    progress = progress or Progress()
    turns = random.Random(seed)
    try:
        with tempfile.TemporaryDirectory(prefix="ashlar-compare-") as directory, Outputs(directory) as outputs:
            for number in range(-warmup, runs):
                for row in turns.sample(rows, len(rows)):
                    step = f"run {number + 1} of {runs}" if number >= 0 else "warm-up"
                    progress.show(f"{step}, {row.name}: {' '.join(command)}")
                    if prepare:
                        prepare()
                    run = _run(row, command, outputs, conf, timeout_s, interval_ms, cwd)
                    if number < 0:
                        continue
                    row.runs.append(run)
                    row.digests.append(outputs.digest())
                    row.error_text = outputs.error_text()
    except OSError as error:
        raise Failure(f"cannot keep the output of the runs: {error}") from None
    finally:
        progress.clear()
    _judge_outputs(comparison)
    return comparison
