"""picture.py - the picture of a comparison: memory over time, and bars of time and memory"""

import shlex
import shutil
import subprocess
from statistics import median

from . import chart, report, stats
from .errors import Failure

WIDTH, MARGIN = 960, 24


def _typical_run(row):
    """The run whose wall time is the median one, or next to it."""
    middle = median(row.values("wall_s"))
    return min(row.runs, key=lambda run: abs(run.wall_s - middle))


def _memory_line(row):
    run = _typical_run(row)
    return [(at, rss / 2**20) for at, rss, _ in run.samples if at <= run.wall_s] or [(0, run.peak_rss_bytes / 2**20)]


def _bars(rows, figure):
    return [(row.name, median(row.values(figure)), *stats.quartiles(row.values(figure))) for row in rows]


def _shorten(text, size, width):
    if chart.text_width(text, size) <= width:
        return text
    while chart.text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def draw(comparison):
    rows = comparison.good_rows()
    failed = [row for row in comparison.rows if row.failure is not None]
    bars_height = 26 * len(rows) + 40
    height = 448 + bars_height + (24 if failed else 0) - 16
    drawing = chart.Drawing(WIDTH, height)
    title = _shorten(shlex.join(comparison.command), 15, WIDTH - 2 * MARGIN)
    drawing.text(MARGIN, 30, title, 15, weight="bold")
    machine = report.machine()
    drawing.text(MARGIN, 50, f"{len(comparison.base.runs)} runs on each allocator, in turns · {machine['cpus']} CPUs,"
                 f" {machine['system']} · bars: medians, whiskers: quartiles", 11, colour="#555555")
    series = {row.name: _memory_line(row) for row in rows}
    chart.draw_lines(
        drawing, (80, 92, WIDTH - 140, 370), series, lambda v: chart.number(v), lambda v: f"{v:,.0f}" if v >= 10 or v == 0 else
        chart.number(v), "seconds", "resident memory of the process tree, MiB (the run of median duration)",
        markers_at_most=14,
    )
    top = 448
    third = (WIDTH - 2 * MARGIN) / 3
    for index, (name, figure) in enumerate(
        [("wall time", "wall_s"), ("CPU time", "cpu_s"), ("peak memory", "peak_rss_bytes")]
    ):
        left = MARGIN + index * third
        chart.draw_bars(drawing, (left, top, left + third - 20, top + bars_height - 40), name, _bars(rows, figure),
                        lambda v, figure=figure: report.shown(figure, v))
    if failed:
        words = "; ".join(f"{row.name}: {row.failure}" for row in failed)
        drawing.text(MARGIN, height - 20, _shorten(f"Failed: {words}", 12, WIDTH - 2 * MARGIN), 12, weight="bold")
    return drawing.svg()


def check_can_draw(path):
    if path.endswith(".svg"):
        return
    if not path.endswith(".png"):
        raise Failure(f"{path}: a picture is FILE.svg or FILE.png")
    if not shutil.which("rsvg-convert"):
        raise Failure(f"{path}: a PNG takes rsvg-convert (Debian package librsvg2-bin); FILE.svg takes nothing")


def write(svg, path):
    if path.endswith(".svg"):
        report.write_file(path, lambda file: file.write(svg))
        return
    done = subprocess.run(["rsvg-convert", "--zoom", "2", "-o", path], input=svg.encode(), stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Failure(f"{path}: {done.stderr.decode().strip()}")
