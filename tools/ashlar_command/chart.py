"""chart.py - SVG drawings that are readable in black and white

Lines differ in dashes and markers, not only in colour; bars carry their names and values. Nothing
but the standard library is used. Charts are drawn into a Drawing at a place of one's choice.
"""

import math
from html import escape

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
INK = "#222222"
GRID = "#dddddd"
# colour, dashes, marker: the first is for what the others are compared with
STYLES = [
    ("#000000", "", "none"),
    ("#c1272d", "", "circle"),
    ("#1f6fb4", "7 3", "square"),
    ("#2e8b57", "2 3", "triangle"),
    ("#8a5fb0", "9 3 2 3", "diamond"),
    ("#b8860b", "5 2 1 2 1 2", "cross"),
    ("#666666", "12 4", "plus"),
]
USUAL = {"glibc": 0, "ashlar": 1, "jemalloc": 2, "mimalloc": 3, "tcmalloc": 4, "tbbmalloc": 5}


def style_of(name, index):
    return STYLES[USUAL.get(name, 6 if name not in USUAL and index < 6 else index) % len(STYLES)]


def text_width(text, size):
    """About; there is no font to ask."""
    return sum(0.35 if c in "ilj.,:;|'()[]!Itfr " else 0.9 if c in "mwMW@%" else 0.62 for c in text) * size


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def nice_ticks(low, high, wanted=6):
    """Round numbers from low to high."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / wanted))
    for factor in (1, 2, 2.5, 5, 10):
        if span / (step * factor) <= wanted:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low, high, base=10):
    first, last = math.floor(math.log(low, base) + 1e-9), math.ceil(math.log(high, base) - 1e-9)
    every = max(1, round((last - first) / 8))
    return [base**i for i in range(first, last + 1, every) if low * 0.999 <= base**i <= high * 1.001]


class Drawing:
    def __init__(self, width, height):
        self.width, self.height = width, height
        self.parts = []

    def add(self, element):
        self.parts.append(element)

    def line(self, x1, y1, x2, y2, colour=INK, width=1.0, dashes=""):
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.add(f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
                 f' stroke="{colour}" stroke-width="{width}"{dash}/>')

    def text(self, x, y, words, size=12, anchor="start", weight="normal", colour=INK, turn=0):
        turned = f' transform="rotate({turn} {number(x)} {number(y)})"' if turn else ""
        self.add(f'<text x="{number(x)}" y="{number(y)}" font-size="{size}" text-anchor="{anchor}"'
                 f' font-weight="{weight}" fill="{colour}"{turned}>{escape(words)}</text>')

    def rect(self, x, y, width, height, fill, stroke="none"):
        self.add(f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
                 f' fill="{fill}" stroke="{stroke}"/>')

    def path(self, points, colour, width=1.6, dashes=""):
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        where = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self.add(f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="{width}"'
                 f' stroke-linejoin="round"{dash}/>')

    def marker(self, x, y, kind, colour, r=3.5):
        def shape(points):
            where = " ".join(f"{number(x + dx * r)},{number(y + dy * r)}" for dx, dy in points)
            self.add(f'<polygon points="{where}" fill="{colour}"/>')

        if kind == "circle":
            self.add(f'<circle cx="{number(x)}" cy="{number(y)}" r="{r}" fill="{colour}"/>')
        elif kind == "square":
            shape([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
        elif kind == "triangle":
            shape([(0, -1.2), (1.1, 0.9), (-1.1, 0.9)])
        elif kind == "diamond":
            shape([(0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)])
        elif kind == "cross":
            self.line(x - r, y - r, x + r, y + r, colour, 1.6)
            self.line(x - r, y + r, x + r, y - r, colour, 1.6)
        elif kind == "plus":
            self.line(x - r, y, x + r, y, colour, 1.6)
            self.line(x, y - r, x, y + r, colour, 1.6)

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}"'
                f' viewBox="0 0 {self.width} {self.height}" font-family="{FONT}">\n'
                f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


class Axis:
    """Maps values to places; linear from `low`, or logarithmic."""

    def __init__(self, low, high, start, end, is_log=False, base=10):
        self.is_log = is_log
        self.low, self.high, self.start, self.end = low, high, start, end
        self.ticks = log_ticks(low, high, base) if is_log else nice_ticks(low, high)

    def place(self, value):
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / (math.log(self.high / self.low) or 1)
        else:
            share = (value - self.low) / ((self.high - self.low) or 1)
        return self.start + share * (self.end - self.start)


def draw_axes(drawing, x_axis, y_axis, x_words, y_words, x_title, y_title):
    left, right, bottom, top = x_axis.start, x_axis.end, y_axis.start, y_axis.end
    for tick in y_axis.ticks:
        y = y_axis.place(tick)
        drawing.line(left, y, right, y, GRID)
        drawing.text(left - 6, y + 4, y_words(tick), 11, "end")
    for tick in x_axis.ticks:
        x = x_axis.place(tick)
        drawing.line(x, bottom, x, bottom + 4)
        drawing.text(x, bottom + 17, x_words(tick), 11, "middle")
    drawing.line(left, bottom, right, bottom)
    drawing.line(left, bottom, left, top)
    drawing.text((left + right) / 2, bottom + 34, x_title, 12, "middle")
    drawing.text(left, top - 10, y_title, 12)


def draw_legend(drawing, x, y, names):
    for index, name in enumerate(names):
        colour, dashes, kind = style_of(name, index)
        drawing.line(x, y, x + 34, y, colour, 2, dashes)
        drawing.marker(x + 17, y, kind, colour)
        drawing.text(x + 42, y + 4, name, 12)
        y += 20


def draw_lines(drawing, box, series, x_words, y_words, x_title, y_title, is_log=False, x_base=10, y_base=10,
               with_legend=True, markers_at_most=12):
    """series: {name: [(x, y)]}. box: left, top, right, bottom of the plot itself. Gives the axes."""
    left, top, right, bottom = box
    points = [point for line in series.values() for point in line]
    if not points:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if is_log:
        x_axis = Axis(min(xs), max(xs), left, right, True, x_base)
        low = y_base ** math.floor(math.log(min(ys), y_base))
        y_axis = Axis(low, max(max(ys) * 1.15, low * y_base), bottom, top, True, y_base)
    else:
        x_axis = Axis(0, max(xs) or 1, left, right)
        y_axis = Axis(0, (max(ys) or 1) * 1.08, bottom, top)
    draw_axes(drawing, x_axis, y_axis, x_words, y_words, x_title, y_title)
    for index, (name, line) in enumerate(series.items()):
        colour, dashes, kind = style_of(name, index)
        placed = [(x_axis.place(x), y_axis.place(y)) for x, y in line]
        drawing.path(placed, colour, 2 if index < 2 else 1.6, dashes)
        every = max(1, math.ceil(len(placed) / markers_at_most))
        # Staggered, so that the markers of lines on top of one another stay apart.
        first = min(len(placed) - 1, index * every // max(1, len(series)))
        for x, y in placed[first::every]:
            drawing.marker(x, y, kind, colour)
    if with_legend:
        draw_legend(drawing, right + 14, top + 8, series)
    return x_axis, y_axis


def draw_bars(drawing, box, title, rows, words):
    """rows: [(name, value, low, high)]; low and high are the quartiles. Values stand at the bars."""
    left, top, right, bottom = box
    drawing.text(left, top - 10, title, 12, weight="bold")
    if not rows:
        return
    name_width = max(text_width(name, 12) for name, *_ in rows) + 8
    value_width = max(text_width(words(value), 12) for _, value, *_ in rows) + 14
    start, end = left + name_width, right - value_width
    highest = max([high for *_, high in rows] + [value for _, value, *_ in rows]) or 1
    pitch = min(26, (bottom - top) / len(rows))
    for index, (name, value, low, high) in enumerate(rows):
        y = top + index * pitch
        at = lambda v: start + (end - start) * v / highest  # noqa: E731
        drawing.text(start - 8, y + pitch * 0.62, name, 12, "end")
        fill = {"glibc": "#555555", "ashlar": "#c1272d"}.get(name, "#bbbbbb")
        drawing.rect(start, y + pitch * 0.15, max(1, at(value) - start), pitch * 0.66, fill)
        middle = y + pitch * 0.48
        if high > low:
            drawing.line(at(low), middle, at(high), middle, INK, 1.4)
            for edge in (low, high):
                drawing.line(at(edge), middle - 4, at(edge), middle + 4, INK, 1.4)
        drawing.text(max(at(value), at(high)) + 6, y + pitch * 0.62, words(value), 12)
    drawing.line(start, top, start, top + pitch * len(rows), INK)
