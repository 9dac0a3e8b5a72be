#!/bin/sh
# real_numpy.sh - array temporaries of many megabytes, the textbook case of large-block churn

PROGRAM=python3
. "$(dirname "$0")/common.sh"
need_program python3
python3 -c 'import numpy' 2>/dev/null || skip "python3-numpy is not installed"

prepare() {
    cat >work.py <<'END'
import hashlib, threading
import numpy as np

def digest(a):
    return hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()[:16]

def churn(n, rounds):
    a = np.arange(n, dtype=np.float64)
    b = np.ones(n)
    for i in range(rounds):
        b = (a * 0.5 + b) * 0.25 - (b - a) * 0.125 + i
    return digest(b)

for n in (1000, 20000, 300000, 3000000):
    print(n, churn(n, 12))
rng = np.random.RandomState(1)
a = rng.randint(0, 1000, (1200, 1200))
print("sums", a.sum(), digest(a.T.cumsum(axis=1)))
print("sort", digest(np.sort(a, axis=None)), digest(np.argsort(a, axis=0, kind="stable")))
print("unique", digest(np.unique(a[:, :300], axis=0)[:50]))
c = np.zeros((0,), dtype=np.int64)
for i in range(60):
    c = np.concatenate([c, np.arange(i * 1000)])
print("grown", len(c), digest(c))
z = np.zeros((4000, 2000))
z[1000] = 1
print("zeros", z.sum(), np.count_nonzero(z))
del z
out = [None] * 4
threads = [threading.Thread(target=lambda i=i: out.__setitem__(i, churn(200000, 15))) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print("threads", out)
END
}

workload() {
    OPENBLAS_NUM_THREADS=2 PYTHONHASHSEED=0 python3 "$DATA/work.py"
}

compare_runs python3 -c 'import numpy; print(1)'
