"""results.py - what the benchmarks found: kept, summed up, and written as JSON, Markdown and SVG

Ratios are medians against those of glibc; below 1 is better. A geometric mean takes the rows in
which every allocator worked, but not the `kept` ones: theirs are not costs but a policy. An allocator that failed in a row is shown as failed there.
"""

import json
import math
import os
from statistics import median

from ashlar_command import chart, report

TITLES = {"large": "Large blocks", "small": "Small blocks", "programs": "Whole programs"}
CURVES = {
    "live-large": "live blocks of 160 to 235 KiB",
    "live-small": "live blocks of 64 to 94 bytes",
    "block-size": "size of a block, bytes (first byte written)",
    "threads": "threads (the same work in all)",
}
LOSES_FROM = 1.05  # times the best other


class Results:
    def __init__(self, names, rows):
        self.names, self.rows = names, rows
        self.found = {}  # (row key, allocator) -> [figures]
        self.rounds = 0
        self.seconds = 0.0
        self.date = ""
        self.machine, self.libraries, self.missing, self.left_out = {}, {}, [], []

    def add_all(self, key, found):
        """One round of a row: allocator -> figures."""
        for name, figures in found.items():
            self.found.setdefault((key, name), []).append(figures)

    def figures(self, key, name):
        return self.found.get((key, name), [])

    def has_failed(self, key, name):
        return self.failure(key, name) is not None

    def failure(self, key, name):
        return next((f["failure"] for f in self.figures(key, name) if "failure" in f), None)

    def median(self, key, name, figure):
        """None where there is none or the allocator failed."""
        if self.has_failed(key, name):
            return None
        values = [f[figure] for f in self.figures(key, name) if figure in f]
        return median(values) if values else None

    def ratio(self, key, name, figure):
        base, value = self.median(key, "glibc", figure), self.median(key, name, figure)
        return value / base if base and value is not None else None

    def leave_out_what_was_not_run(self):
        run = {key for key, _ in self.found}
        self.left_out = [row.key for row in self.rows if row.key not in run]
        self.rows = [row for row in self.rows if row.key not in self.left_out]

    def suite(self, name):
        return [row for row in self.rows if row.suite == name]


def is_resting(row):
    """Rows that ask what is still resident, not how long something took."""
    return row.name.startswith("kept/")


def memory_figure(row):
    return "rss_later" if is_resting(row) else "rss_second_phase" if row.name == "phase-change" else "peak_rss_bytes"


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else None


def means(results, suite, name):
    """(CPU, memory) of an allocator against glibc."""
    cpu, memory = [], []
    for row in results.suite(suite):
        if is_resting(row) or any(results.has_failed(row.key, n) for n in results.names):
            continue
        memory.append(results.ratio(row.key, name, memory_figure(row)))
        cpu.append(results.ratio(row.key, name, "cpu_ns"))
    return geometric_mean([r for r in cpu if r]), geometric_mean([r for r in memory if r])


def duration(ns):
    for unit, limit in (("ns", 1e3), ("µs", 1e6), ("ms", 1e9)):
        if ns < limit * 0.9995:
            value = ns / (limit / 1e3)
            return f"{value:.1f} {unit}" if value < 99.5 else f"{value:.0f} {unit}"
    return f"{ns / 1e9:.2f} s"


# ---- Markdown ------------------------------------------------------------------------------------


def _line(cells):
    return "| " + " | ".join(cells) + " |"


def _table(header, lines):
    return "\n".join([_line(header), _line(["---"] + ["---:"] * (len(header) - 1)), *(_line(line) for line in lines)])


def _ratio_text(value, best):
    if value is None:
        return "-"
    text = f"{value:.2f}" if value < 9.95 else f"{value:.0f}"
    return f"**{text}**" if best is not None and value <= best * 1.005 else text


def _best(values):
    known = [v for v in values if v is not None]
    return min(known) if known else None


def _suite_table(results, suite):
    others = [name for name in results.names if name != "glibc"]
    lines = []
    for row in results.suite(suite):
        memory = memory_figure(row)
        cpu_ratios = {n: None if is_resting(row) else results.ratio(row.key, n, "cpu_ns") for n in others}
        memory_ratios = {n: results.ratio(row.key, n, memory) for n in others}
        best = _best(cpu_ratios.values()), _best(memory_ratios.values())
        cells = [row.name]
        if results.has_failed(row.key, "glibc"):
            cells.append("failed")
        else:
            time = "-" if is_resting(row) else duration(results.median(row.key, "glibc", "cpu_ns"))
            cells.append(f"{time} · {report.size(results.median(row.key, 'glibc', memory))}")
        for name in others:
            if results.has_failed(row.key, name):
                cells.append("failed")
            else:
                cells.append(f"{_ratio_text(cpu_ratios[name], best[0])} · {_ratio_text(memory_ratios[name], best[1])}")
        lines.append(cells)
    mean_cells = ["*geometric mean*", ""]
    for name in others:
        cpu, memory = means(results, suite, name)
        mean_cells.append(" · ".join("-" if m is None else f"{m:.2f}" for m in (cpu, memory)))
    return _table([TITLES[suite], "glibc", *others], [*lines, mean_cells])


def losing_rows(results):
    """(factor, words) for each row in which Ashlar is behind the best other, worst first."""
    found = []
    for row in results.rows:
        if row.suite == "growth":
            continue
        if results.has_failed(row.key, "ashlar"):
            found.append((math.inf, row.key, "failed", results.failure(row.key, "ashlar"), ""))
            continue
        for what, figure in (("CPU time", "cpu_ns"), ("memory", memory_figure(row))):
            if what == "CPU time" and is_resting(row):
                continue
            ours = results.median(row.key, "ashlar", figure)
            others = {n: results.median(row.key, n, figure) for n in results.names if n != "ashlar"}
            others = {n: v for n, v in others.items() if v}
            if not ours or not others:
                continue
            best = min(others, key=others.get)
            if ours > others[best] * LOSES_FROM:
                shown = duration if figure == "cpu_ns" else report.size
                found.append((ours / others[best], row.key, what, shown(ours), f"{best} {shown(others[best])}"))
    return sorted(found, key=lambda item: -item[0])


def _losing_table(results):
    lines = [[key, what, ours, best, "" if math.isinf(factor) else f"{factor:.2f}"]
             for factor, key, what, ours, best in losing_rows(results)]
    return _table(["row", "of", "ashlar", "best other", "times"], lines) if lines else "None by more than 5 %."


def _summary_table(results):
    suites = [s for s in TITLES if results.suite(s)]
    header = ["against glibc, CPU · memory", *(TITLES[s].lower() for s in suites)]
    lines = []
    for name in results.names:
        cells = [name]
        for suite in suites:
            cells.append(" · ".join("-" if m is None else f"{m:.2f}" for m in means(results, suite, name)))
        lines.append(cells)
    return _table(header, lines)


def _failures(results):
    lines = []
    for row in results.rows:
        for name in results.names:
            failure = results.failure(row.key, name)
            if failure:
                lines.append(f"* {row.key} on {name}: {failure}")
    return lines


def markdown(results):
    machine = results.machine
    parts = [
        "# Benchmark results",
        f"{results.date}, {machine['cpus']} CPUs ({machine['processor']}), "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']} {machine['machine']}, {machine['libc']}. "
        f"Medians of {results.rounds} interleaved round{'s' if results.rounds > 1 else ''} "
        f"({results.seconds / 60:.1f} minutes in all), each row in a process of its own. "
        "How a figure is made, and when not to believe it: doc/benchmarking.md.",
        "Libraries: " + ", ".join(f"{name} {library}" for name, library in results.libraries.items()) + ".",
    ]
    parts += [f"Missing: {name} (Debian package {package})." for name, package in results.missing]
    if results.left_out:
        parts.append("Not run, for want of time: " + ", ".join(results.left_out) + ".")
    parts += ["## In short", _summary_table(results), "![CPU time and memory](summary.svg)"]
    parts += ["## Where Ashlar is behind", _losing_table(results)]
    parts.append("## Row by row\n\nCPU time · memory: absolute for glibc, ratios to it for the others; bold is the best of a "
                 "row. Memory is the peak of resident memory, but what is resident after the wait in `kept`, and in the "
                 "second phase in `phase-change`. Times are for one operation; of whole programs, for all.")
    for suite in TITLES:
        if results.suite(suite):
            parts += [_suite_table(results, suite), f"![{TITLES[suite]}]({suite}.svg)"]
    if results.suite("growth"):
        parts += ["## Cost as work grows", _growth_table(results), "![Cost as work grows](growth.svg)"]
    failures = _failures(results)
    if failures:
        parts += ["## Failures", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


# ---- growth --------------------------------------------------------------------------------------


def curve(results, name, allocator):
    """[(x, ns an operation)] of a curve."""
    points = []
    for row in results.suite("growth"):
        kind, _, x = row.name.partition("/")
        value = results.median(row.key, allocator, "cpu_ns")
        if kind == name and value:
            points.append((int(x), value))
    return sorted(points)


class Fit:
    """cost ~ factor * x^exponent by least squares."""

    def __init__(self, points):
        logs = [(math.log(x), math.log(y)) for x, y in points]
        mean_x = sum(x for x, _ in logs) / len(logs)
        mean_y = sum(y for _, y in logs) / len(logs)
        self.exponent = (sum((x - mean_x) * (y - mean_y) for x, y in logs)
                         / sum((x - mean_x) ** 2 for x, _ in logs))
        self.factor = math.exp(mean_y - self.exponent * mean_x)
        # (exponent, from, to) between neighbours
        self.steepest = max(((y2 - y1) / (x2 - x1), points[i][0], points[i + 1][0])
                            for i, ((x1, y1), (x2, y2)) in enumerate(zip(logs, logs[1:])))

    @classmethod
    def of(cls, points):
        return cls(points) if len(points) >= 3 else None

    def cost(self, x):
        return self.factor * x**self.exponent


def _count(x):
    for unit in ("", "K", "M", "G"):
        if x < 1000 or unit == "G":
            return f"{x:.3g}{unit}"
        x /= 1000


def _growth_table(results):
    lines = []
    for name, words in CURVES.items():
        for allocator in results.names:
            points = curve(results, name, allocator)
            fit = Fit.of(points)
            if fit is None:
                continue
            steepest, low, high = fit.steepest
            lines.append([words, allocator, duration(points[0][1]), duration(points[-1][1]), f"{fit.exponent:+.2f}",
                          f"{steepest:+.2f} from {_count(low)} to {_count(high)}"])
    return ("Cost of an operation in CPU time against x, and the exponent e of the fit cost ~ x^e: 0 is flat. The "
            "steepest step shows a bend.\n\n"
            + _table(["x", "allocator", "at the smallest", "at the largest", "e", "steepest step"], lines))


# ---- pictures ------------------------------------------------------------------------------------


def summary_svg(results):
    suites = [s for s in TITLES if results.suite(s)]
    width, height = 330 * len(suites) + 40, 370
    drawing = chart.Drawing(width, height)
    drawing.text(20, 26, "CPU time and memory against glibc, geometric means (lower left is better)", 14, weight="bold")
    for index, name in enumerate(results.names):
        colour, _, kind = chart.style_of(name, index)
        drawing.marker(30 + 110 * index, 48, "circle" if kind == "none" else kind, colour, 5)
        drawing.text(42 + 110 * index, 52, name, 12)
    for index, suite in enumerate(suites):
        points = {n: means(results, suite, n) for n in results.names}
        points = {n: p for n, p in points.items() if None not in p}
        if points:
            _scatter(drawing, (70 + 330 * index, 96, 330 * (index + 1), 310), TITLES[suite], points)
    return drawing.svg()


def _scatter(drawing, box, title, points):
    left, top, right, bottom = box
    xs, ys = [x for x, _ in points.values()], [y for _, y in points.values()]
    x_axis = chart.Axis(min(xs) * 0.85, max(xs) * 1.1, left, right)
    y_axis = chart.Axis(min(ys) * 0.9, max(ys) * 1.08, bottom, top)
    chart.draw_axes(drawing, x_axis, y_axis, chart.number, chart.number, "CPU time", f"{title}: memory")
    for index, (name, (x, y)) in enumerate(points.items()):
        colour, _, kind = chart.style_of(name, index)
        drawing.marker(x_axis.place(x), y_axis.place(y), "circle" if kind == "none" else kind, colour,
                       7 if name == "ashlar" else 5)


def dots_svg(results, suite):
    """A line for each row, a mark for each allocator at its ratio to glibc: CPU left, memory right."""
    rows = results.suite(suite)
    others = [name for name in results.names if name != "glibc"]
    name_width, panel, pitch = 170, 330, 20
    height = 110 + pitch * len(rows)
    drawing = chart.Drawing(name_width + 2 * panel + 120, height)
    drawing.text(16, 24, f"{TITLES[suite]}: ratio to glibc (left is better)", 14, weight="bold")
    for index, name in enumerate(others):
        colour, _, kind = chart.style_of(name, index)
        drawing.marker(24 + 110 * index, 44, kind, colour, 4.5)
        drawing.text(34 + 110 * index, 48, name, 12)
    for side, (title, figure_of) in enumerate([("CPU time", lambda row: "cpu_ns"), ("memory", memory_figure)]):
        left = name_width + side * (panel + 60)
        ratios = {(row.key, n): results.ratio(row.key, n, figure_of(row)) for row in rows for n in others
                  if not (side == 0 and is_resting(row))}
        _dots(drawing, left, left + panel, 84, pitch, title, rows, others, ratios, side == 0)
    return drawing.svg()


def _dots(drawing, left, right, top, pitch, title, rows, others, ratios, with_names):
    known = [r for r in ratios.values() if r]
    low, high = min([*known, 0.5]) * 0.9, max([*known, 2]) * 1.1
    axis = chart.Axis(low, high, left, right, True)
    bottom = top + pitch * len(rows)
    between = (0.2, 0.5, 2, 5, 30) if high / low < 3000 else ()  # more would run into each other
    for tick in sorted([*axis.ticks, *(t for t in between if low <= t <= high)]):
        x = axis.place(tick)
        drawing.line(x, top - 6, x, bottom, "#888888" if tick == 1 else chart.GRID)
        drawing.text(x, bottom + 14, f"{tick:g}", 11, "middle")
    drawing.text(left, top - 12, title, 12, weight="bold")
    for index, row in enumerate(rows):
        y = top + pitch * (index + 0.5)
        drawing.line(left, y, right, y, "#eeeeee")
        if with_names:
            drawing.text(left - 8, y + 4, row.name, 11, "end")
        # Ashlar last, so that it lies on top.
        for name in sorted(others, key=lambda n: n == "ashlar"):
            ratio = ratios.get((row.key, name))
            if ratio:
                colour, _, kind = chart.style_of(name, others.index(name))
                drawing.marker(axis.place(ratio), y, kind, colour, 4.5)


def growth_svg(results):
    curves = {name: {n: curve(results, name, n) for n in results.names} for name in CURVES}
    curves = {name: series for name, series in curves.items() if any(series.values())}
    drawing = chart.Drawing(1060, 80 + 330 * math.ceil(len(curves) / 2))
    drawing.text(20, 28, "CPU time of an operation as work grows (both axes logarithmic)", 14, weight="bold")
    drawing.text(20, 46, "thin line: the power of x that fits Ashlar best; a curve that leaves it bends", 12)
    for index, (name, series) in enumerate(curves.items()):
        series = {n: line for n, line in series.items() if line}
        left, top = 90 + 450 * (index % 2), 90 + 330 * (index // 2)
        axes = chart.draw_lines(drawing, (left, top, left + 320, top + 220), series, _count, duration, CURVES[name],
                                "an operation", is_log=True, x_base=4 if name == "threads" else 10,
                                with_legend=False)
        _draw_fit(drawing, axes, series.get("ashlar", []))
        if index == min(1, len(curves) - 1):
            chart.draw_legend(drawing, left + 376, top + 8, series)
    return drawing.svg()


def _draw_fit(drawing, axes, points):
    fit = Fit.of(points)
    if fit is None:
        return
    (x_axis, y_axis), ends = axes, (points[0][0], points[-1][0])
    (x1, y1), (x2, y2) = ((x_axis.place(x), y_axis.place(fit.cost(x))) for x in ends)
    drawing.line(x1, y1, x2, y2, "#888888", 1)
    drawing.text(x2 + 4, y2 + 4, f"x^{fit.exponent:.2f}", 11, colour="#666666")


# ---- files ---------------------------------------------------------------------------------------


def as_json(results):
    return {
        "format": "ashlar-bench-1",
        "date": results.date,
        "machine": results.machine,
        "libraries": results.libraries,
        "rounds": results.rounds,
        "seconds": round(results.seconds),
        "rows": [
            {"suite": row.suite, "name": row.name, "allocators": {n: results.figures(row.key, n) for n in results.names}}
            for row in results.rows
        ],
    }


def write(results, folder):
    os.makedirs(folder, exist_ok=True)

    def put(name, text):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    put("results.json", json.dumps(as_json(results), indent=1) + "\n")
    put("README.md", markdown(results))
    put("summary.svg", summary_svg(results))
    for suite in TITLES:
        if results.suite(suite):
            put(f"{suite}.svg", dots_svg(results, suite))
    if results.suite("growth"):
        put("growth.svg", growth_svg(results))
