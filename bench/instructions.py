#!/usr/bin/env python3
"""instructions.py - instructions that a pair of malloc and free takes, counted by callgrind

usage: instructions.py [--with LIST] --build DIR

Prints a Markdown table. Counts repeat exactly, so one run of each is enough; the difference
between two numbers of pairs is free of start-up and exit. Loop and call are included, some 10
instructions in `tight` and `batch`, 25 in the others.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tools"))
sys.dont_write_bytecode = True

from ashlar_command import allocators  # noqa: E402
from ashlar_command.errors import Failure  # noqa: E402

PATTERNS = {
    "tight": "64 bytes at once freed",
    "replace": "4,096 slots replaced at random, 16 to 1,024 bytes",
    "batch": "batches of 1,000 x 64 bytes",
    "skewed": "sizes skewed up to 32 KiB",
}
# The first number lets caches fill.
FEW, MANY = 40_000, 140_000


def count(program, pattern, pairs, allocator):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + os.path.join(folder, "out"), program, pattern,
             str(pairs)], env={**os.environ, **allocator.environment()}, capture_output=True, text=True,
        )
    match = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not match:
        return None
    return int(match[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="wanted", metavar="LIST")
    parser.add_argument("--build", required=True)
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        raise Failure("callgrind is missing (Debian package valgrind)")
    os.environ.setdefault("ASHLAR_BUILD", os.path.abspath(arguments.build))
    program = os.path.join(arguments.build, "bench", "instructions")
    chosen, _ = allocators.choose(arguments.wanted)
    print("| instructions a pair | " + " | ".join(PATTERNS.values()) + " |")
    print("| --- |" + " ---: |" * len(PATTERNS))
    for allocator in chosen:
        cells = []
        for pattern in PATTERNS:
            few, many = (count(program, pattern, pairs, allocator) for pairs in (FEW, MANY))
            cells.append("failed" if None in (few, many) else f"{(many - few) / (MANY - FEW):.1f}")
        print(f"| {allocator.name} | " + " | ".join(cells) + " |", flush=True)
    return 0


try:
    sys.exit(main())
except Failure as failure:
    print(f"instructions: {failure}", file=sys.stderr)
    sys.exit(failure.status)
