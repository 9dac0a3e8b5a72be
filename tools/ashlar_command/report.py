"""report.py - tables, sentences, JSON and CSV of a comparison"""

import csv
import datetime
import json
import os
import platform
import shlex
from statistics import median

from . import stats
from .errors import Failure

COLUMNS = [
    ("wall", "wall_s"),
    ("user", "user_s"),
    ("system", "system_s"),
    ("peak RSS", "peak_rss_bytes"),
    ("minor faults", "minor_faults"),
]
# What a sentence speaks of, and how it names more and less of it.
JUDGED = {
    "wall_s": ("wall time", "slower", "faster"),
    "cpu_s": ("CPU time", "more CPU time", "less CPU time"),
    "peak_rss_bytes": ("peak memory", "more memory at its peak", "less memory at its peak"),
    "minor_faults": ("page faults", "more page faults", "fewer page faults"),
}


def seconds(value):
    if value < 0.0995:
        return f"{value * 1e3:.1f} ms"
    return f"{value * 1e3:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


def size(value):
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 999.5 or unit == "GiB":
            return f"{value:.1f} {unit}" if value < 99.5 else f"{value:.0f} {unit}"


def count(value):
    return f"{value:,.0f}"


def shown(figure, value):
    if figure.endswith("_s"):
        return seconds(value)
    return size(value) if figure.endswith("_bytes") else count(value)


def _is_inside_noise(base, row, figure):
    return stats.chance(base.values(figure), row.values(figure)) > stats.ALPHA


def differences(base, row):
    return stats.differences(
        {figure: base.values(figure) for figure in JUDGED}, {figure: row.values(figure) for figure in JUDGED}
    )


def can_tell(comparison):
    runs = len(comparison.base.runs)
    return stats.can_tell(runs, runs)


def _value_line(row):
    cells = [f"{row.name:<11}"]
    for _, figure in COLUMNS:
        values = row.values(figure)
        cells.append(f"{shown(figure, median(values)):>9}{_plus_minus(values):>5}")
    return " ".join(cells).rstrip()


def _plus_minus(values):
    share = stats.spread(values)
    return f" ±{share * 100:.0f}%" if share < 0.995 else " ±1x"


def _ratio_line(base, row):
    cells = [f"{row.name:<11}"]
    for _, figure in COLUMNS:
        low, high = median(base.values(figure)), median(row.values(figure))
        if not low:
            cells.append(f"{'-':>9}     ")
            continue
        text = f"{high / low:.2f}"
        if _is_inside_noise(base, row, figure):
            text = f"({text})"
        cells.append(f"{text:>10}    ")
    return " ".join(cells).rstrip()


def table(comparison):
    base = comparison.base
    lines = [" ".join([f"{'':<11}", *(f"{title:>9}     " for title, _ in COLUMNS)]).rstrip()]
    for row in comparison.rows:
        lines.append(_value_line(row) if row.failure is None else f"{row.name:<11} FAILED: {row.failure}")
    others = [row for row in comparison.good_rows() if row is not base]
    if others:
        lines += ["", f"against {base.name} (in brackets: inside the noise)"]
        lines += [_ratio_line(base, row) for row in others]
    return "\n".join(lines)


def _percent(ratio):
    if ratio >= 2:
        return f"{ratio:.1f} times"
    share = abs(ratio - 1) * 100
    return f"{share:.0f} %" if share >= 9.5 else f"{share:.1f} %"


def _difference_words(figure, ratio):
    _, more, less = JUDGED[figure]
    if ratio >= 2:
        return f"{_percent(ratio)} the {JUDGED[figure][0]}"
    return f"{_percent(ratio)} {more if ratio > 1 else less}"


def sentence(base, row):
    """What the figures of one allocator allow one to say."""
    found = differences(base, row)
    sure = [_difference_words(figure, ratio) for figure, ratio in found.items() if ratio is not None]
    same = [JUDGED[figure][0] for figure, ratio in found.items() if ratio is None]
    if not sure:
        return f"{row.name}: no difference from {base.name} (whatever there is is inside the noise)."
    tail = f"; no difference in {_list(same)}" if same else ""
    return f"{row.name}: {_list(sure)} than {base.name}{tail}." if not _only_times(found) else (
        f"{row.name}: {_list(sure)} of {base.name}{tail}.")


def _only_times(found):
    return all(ratio >= 2 for ratio in found.values() if ratio is not None)


def _list(words):
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _beginning_of_errors(row):
    return [f"    {line}" for line in row.error_text.splitlines()[:5]]


def sentences(comparison):
    base = comparison.base
    lines = []
    if len(comparison.rows) > 1 and not can_tell(comparison):
        lines.append(f"With so few runs nothing can be told from noise; 5 each are the fewest that can.")
    else:
        lines += [sentence(base, row) for row in comparison.good_rows() if row is not base]
    for row in comparison.rows:
        if row.failure is None:
            continue
        lines.append(f"{row.name}: FAILED, it {row.failure}.")
        lines += _beginning_of_errors(row)
    if base.failure is None and any(run.status for run in base.runs):
        # Its figures may be those of an error message, which nobody has seen: output is kept from the terminal.
        statuses = " or ".join(str(status) for status in sorted({run.status for run in base.runs}))
        lines.append(f"The command ended with status {statuses} under {base.name}.")
        lines += _beginning_of_errors(base)
    if comparison.output_varies:
        lines.append(f"The output changes from run to run under {base.name}, so outputs were not compared.")
    left = max((run.left_behind for row in comparison.rows for run in row.runs), default=0)
    if left:
        lines.append(f"The command left up to {left} processes behind, which were ended.")
    for name, package in comparison.missing:
        lines.append(f"{name} is not installed (Debian package {package}).")
    return lines


def heading(comparison):
    runs = len(comparison.base.runs)
    words = "1 run" if runs == 1 else f"{runs} runs"
    return f"{shlex.join(comparison.command)}\n{words} on each allocator, in turns; medians ± half the interquartile range\n"


# ---- files ---------------------------------------------------------------------------------------


def machine():
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "libc": "-".join(platform.libc_ver()),
    }


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def _run_json(run):
    return {
        "status": run.status,
        "wall_s": run.wall_s,
        "user_s": run.user_s,
        "system_s": run.system_s,
        "peak_rss_bytes": run.peak_rss_bytes,
        "minor_faults": run.minor_faults,
        "major_faults": run.major_faults,
        "voluntary_switches": run.voluntary_switches,
        "involuntary_switches": run.involuntary_switches,
        "timed_out": run.timed_out,
        "left_behind": run.left_behind,
        "counters": run.counters,
        "samples": [{"s": s, "rss_bytes": rss, "processes": n} for s, rss, n in run.samples],
    }


def as_json(comparison):
    base = comparison.base
    rows = []
    for row in comparison.rows:
        judged = differences(base, row) if row is not base and can_tell(comparison) else {}
        rows.append({
            "name": row.name,
            "library": row.allocator.path,
            "failure": row.failure,
            "median": {figure: median(row.values(figure)) for _, figure in COLUMNS},
            "spread": {figure: stats.spread(row.values(figure)) for _, figure in COLUMNS},
            # figure -> ratio of the medians, null inside the noise
            "difference": judged,
            "runs": [_run_json(run) for run in row.runs],
        })
    return {
        "format": "ashlar-compare-1",
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        "command": comparison.command,
        "base": base.name,
        "output_varies": comparison.output_varies,
        "allocators": rows,
        "not_installed": [name for name, _ in comparison.missing],
    }


def write_file(path, write):
    """Opens and writes it, or fails with one line."""
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            write(file)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None


def check_writable(path):
    """Before an hour of runs, not after it. Leaves no file where there was none: the runs may be interrupted."""
    was_there = os.path.lexists(path)
    try:
        with open(path, "a", encoding="utf-8"):
            pass
        if not was_there:
            os.unlink(path)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None


def write_json(comparison, path):
    write_file(path, lambda file: (json.dump(as_json(comparison), file, indent=1), file.write("\n")))


def write_csv(comparison, path):
    figures = ["wall_s", "user_s", "system_s", "peak_rss_bytes", "minor_faults", "major_faults",
               "voluntary_switches", "involuntary_switches"]

    def write(file):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["allocator", "run", "status", *figures])
        for row in comparison.rows:
            for number, run in enumerate(row.runs, 1):
                rows.writerow([row.name, number, run.status, *(getattr(run, figure) for figure in figures)])

    write_file(path, write)
