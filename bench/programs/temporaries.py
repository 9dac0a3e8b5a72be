"""temporaries.py - NumPy expressions: every step makes an array of many MiB and drops another"""

import numpy

SIZE = 2_000_000


def main():
    x = numpy.linspace(0.0, 1.0, SIZE)
    y = numpy.linspace(1.0, 2.0, SIZE)
    total = 0.0
    for i in range(12):
        z = (x * y + i) / (y + 1.0) - x * x * 0.5
        w = numpy.where(z > 0.5, z * 2.0, z + y)
        x = w - numpy.floor(w)
        total += float(x[:: SIZE // 1000].sum())
    squares = [numpy.ones((n, n)) * n for n in range(100, 500, 7)]
    total += sum(float((square @ square.T)[0, 0]) for square in squares)
    print(f"{total:.6f}")


main()
