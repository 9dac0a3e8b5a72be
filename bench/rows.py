"""rows.py - what is measured: the rows of the tables, and how each is run

A row's command prints the JSON of Google Benchmark (large, small, growth) or is a whole program,
whose output is compared with that under glibc.
"""

import os
import re
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
SUITES = ["large", "small", "programs", "growth"]

# What `make bench-quick` takes.
QUICK = {
    "large": ["mix/100", "churn/1M/pages", "churn/16M/first-byte", "handover", "calloc-after-free/1M", "aligned/64K",
              "kept/1s"],
    "small": ["tight/64", "replace/16-1024", "skewed/32K", "medium/8K-128K", "server/4-threads",
              "pipeline/2x2-threads", "trees", "strings", "phase-change"],
    "programs": ["python3 JSON", "python3 NumPy", "lua", "sqlite3", "gcc"],
    "growth": [],
}


class Row:
    def __init__(self, suite, name, command, package=None, is_program=False):
        self.suite, self.name, self.command = suite, name, command
        self.package, self.is_program = package, is_program

    @property
    def key(self):
        return f"{self.suite}: {self.name}"


def _registered(program):
    """The names of a benchmark program's benchmarks, as registered."""
    listed = subprocess.run([program, "--benchmark_list_tests"], capture_output=True, text=True, check=True)
    return [re.sub(r"/iterations:\d+.*$", "", line) for line in listed.stdout.split()]


def _micro(suite, build):
    program = os.path.join(build, "bench", suite)
    for name in _registered(program):
        anchored = f"^{name}/iterations:"
        yield Row(suite, name, [program, f"--benchmark_filter={anchored}", "--benchmark_format=json"])


def prepare_inputs(folder):
    """Files that programs read, made by code one can read; the same every time."""
    state, words = 12345, []
    vocabulary = [f"{a}{b}{c}" for a in "bdfklmnprst" for b in ("a", "e", "io", "u") for c in ("", "n", "st", "rk")]
    for _ in range(1_200_000):
        state = (state * 1103515245 + 12345) % (1 << 31)
        words.append(vocabulary[state // 65536 % len(vocabulary)] + (str(state % 1000) if state % 11 == 0 else ""))
    with open(os.path.join(folder, "text"), "w") as file:
        file.write(" ".join(words))
    with open(os.path.join(folder, "functions.c"), "w") as file:
        file.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
        for i in range(300):
            file.write(
                f"struct s{i} {{ int a[{i % 13 + 1}]; char *name; struct s{i} *next; }};\n"
                f"int f{i}(struct s{i} *s, int n) {{ int t = {i}; for (int i = 0; i < n; i++) {{ struct s{i} *p = s + i;\n"
                f" if (p->name && strlen(p->name) > {i % 7}u) t += p->a[i % {i % 13 + 1}] * {i}; else t ^= i << {i % 5};\n"
                f" switch (t & 7) {{ case 0: t += n; break; case 3: t *= 3; break; case 5: printf(\"%d\", t); }} }}\n"
                f" return t{f' + f{i - 1}(0, n - 1)' if i else ''}; }}\n"
            )


def _programs(folder):
    here = os.path.join(HERE, "programs")
    rows = [
        ("python3 JSON", ["/usr/bin/python3", f"{here}/records.py"], "python3"),
        ("python3 NumPy", ["/usr/bin/python3", f"{here}/temporaries.py"], "python3-numpy"),
        ("lua", ["lua5.4", f"{here}/tables.lua"], "lua5.4"),
        ("ruby", ["ruby", f"{here}/objects.rb"], "ruby"),
        ("sqlite3", ["sqlite3", ":memory:", f".read {here}/queries.sql"], "sqlite3"),
        ("gcc", ["gcc", "-O2", "-S", "-o", "-", f"{folder}/functions.c"], "gcc"),
        ("g++", ["g++", "-O1", "-S", "-o", "-", f"{here}/templates.cc"], "g++"),
        ("xz -T2", ["xz", "-4", "-T2", "--block-size=2MiB", "-c", f"{folder}/text"], "xz-utils"),
        ("redis", [f"{here}/cache.sh"], "redis-server"),
    ]
    for name, command, package in rows:
        yield Row("programs", name, command, package, is_program=True)


def all_rows(build, folder, is_quick):
    rows = []
    for suite in SUITES:
        rows += list(_programs(folder)) if suite == "programs" else list(_micro(suite, build))
    if is_quick:
        rows = [row for row in rows if row.name in QUICK[row.suite]]
    return rows
