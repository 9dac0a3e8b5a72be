"""stats.py - medians, spread, and whether a difference is one

The test is that of Mann and Whitney: it asks how often, by chance alone, one sample would lie so
far above the other as it does. It assumes nothing about how the values are spread, and is exact
for the few runs people make. Several figures are tested at a time, so Holm's correction keeps the
chance of even one false alarm in a comparison below ALPHA.
"""

from math import comb, erfc, sqrt
from statistics import median

ALPHA = 0.05
# A difference below this share is of no use to anybody, however sure it is.
RELEVANT = 0.005
EXACT_MAX = 12  # runs each; above, the normal approximation is good


def quartiles(values):
    """Linear between the nearest two, as most tools do it."""
    ordered = sorted(values)

    def at(share):
        position = share * (len(ordered) - 1)
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)

    return at(0.25), at(0.75)


def spread(values):
    """Half the distance of the quartiles as a share of the median: the +- of the tables."""
    middle = median(values)
    if middle == 0:
        return 0.0
    low, high = quartiles(values)
    return (high - low) / 2 / abs(middle)


def _u_counts(m, n):
    """How many of the comb(m + n, m) orders give each value of U."""
    # counts[i][u]: ways to place i of the first sample among those seen so far
    counts = [[1]] + [[] for _ in range(m)]
    for rank in range(m + n):
        for i in range(min(m, rank + 1), 0, -1):
            before = counts[i - 1]
            shift = rank - (i - 1)  # members of the second sample below this one
            if shift > n or not before:
                continue
            merged = counts[i] + [0] * (len(before) + shift - len(counts[i]))
            for u, ways in enumerate(before):
                merged[u + shift] += ways
            counts[i] = merged
    return counts[m]


def chance(a, b):
    """Two-sided p of Mann and Whitney; 1.0 when the samples are alike."""
    m, n = len(a), len(b)
    u = sum((x > y) + 0.5 * (x == y) for x in a for y in b)
    u = min(u, m * n - u)
    has_ties = len(set(a) | set(b)) < len(set(a)) + len(set(b)) or len(set(a)) < m or len(set(b)) < n
    if max(m, n) <= EXACT_MAX and not (has_ties and u != int(u)):
        counts = _u_counts(m, n)
        return min(1.0, 2 * sum(counts[: int(u) + 1]) / comb(m + n, m))
    values = sorted([*a, *b])
    ties = sum(t**3 - t for t in (values.count(v) for v in set(values)))
    total = m + n
    variance = m * n / 12 * ((total + 1) - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = max(0.0, abs(u - m * n / 2) - 0.5) / sqrt(variance)
    return min(1.0, erfc(z / sqrt(2)))


def can_tell(m, n):
    """Whether so few runs could show any difference at all, after Holm over four figures."""
    return 2 / comb(m + n, m) <= ALPHA / 4


def holm(chances):
    """Which of several p are significant together: name -> bool."""
    result, still = {}, True
    for index, (name, p) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        still = still and p <= ALPHA / (len(chances) - index)
        result[name] = still
    return result


def differences(base, other):
    """{figure: values} twice -> {figure: ratio of the medians, or None inside the noise}."""
    significant = holm({name: chance(base[name], other[name]) for name in base})
    result = {}
    for name, sure in significant.items():
        low, high = median(base[name]), median(other[name])
        ratio = high / low if low else None
        if not sure or ratio is None or abs(ratio - 1) < RELEVANT:
            ratio = None
        result[name] = ratio
    return result
