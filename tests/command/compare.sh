#!/bin/sh
# compare.sh - ashlar compare: table, files, verdicts, exit status, and one clear line for each mistake

. "$(dirname "$0")/common.sh"

# Table, JSON, CSV and picture.
cd "$SCRATCH" || exit 99
gives 0 ashlar compare --runs 2 --warmup 0 --with glibc,ashlar --json o.json --csv o.csv --plot o.svg -- \
    python3 -c 'x = [bytearray(1 << 20) for _ in range(20)]; print(len(x))'
says out "glibc"
says out "ashlar"
says out "peak RSS"
says out "nothing can be told from noise"
python3 - <<'END' || fail "the JSON, CSV or SVG is not what it should be"
import csv, json, xml.dom.minidom
found = json.load(open("o.json"))
assert [a["name"] for a in found["allocators"]] == ["glibc", "ashlar"]
for allocator in found["allocators"]:
    assert allocator["failure"] is None and len(allocator["runs"]) == 2
    for run in allocator["runs"]:
        assert run["status"] == 0 and run["wall_s"] > 0 and run["samples"]
        assert run["peak_rss_bytes"] > 20 << 20, run["peak_rss_bytes"]
rows = list(csv.DictReader(open("o.csv")))
assert len(rows) == 4 and {row["allocator"] for row in rows} == {"glibc", "ashlar"}
xml.dom.minidom.parse("o.svg")
END

# The status is the command's when it is the same everywhere.
gives 3 ashlar compare --runs 1 --warmup 0 --with glibc,ashlar -- sh -c 'echo usage >&2; exit 3'
# Nobody sees the command's own message, and its figures look like any others.
says out "The command ended with status 3 under glibc."
says out "usage"
gives 0 ashlar compare --runs 1 --warmup 0 --with glibc,ashlar -- true
! grep -q "ended with" "$SCRATCH/out" || fail "a command that succeeds is said to end with a status"

# Another output or another status is a failure, not a fast run.
gives 1 ashlar compare --runs 1 --warmup 0 --with glibc,ashlar -- \
    sh -c 'case $LD_PRELOAD in *ashlar*) echo b ;; *) echo a ;; esac'
says out "ashlar: FAILED, it printed something else than under glibc"
gives 1 ashlar compare --runs 1 --warmup 0 --with glibc,ashlar -- \
    sh -c 'case $LD_PRELOAD in *ashlar*) echo why >&2; exit 5 ;; esac'
says out "ashlar: FAILED, it ended with status 5, not 0 as under glibc"
says out "why"
gives 0 ashlar compare --runs 2 --warmup 0 --with glibc,ashlar -- sh -c 'date +%s%N'
says out "outputs were not compared"

# A run that does not end.
gives 137 ashlar compare --runs 1 --warmup 0 --timeout 0.3 --with glibc -- sleep 100
says out "did not end in time"

# One line for each mistake.
mistake() {
    wanted=$1 text=$2
    shift 2
    gives "$wanted" ashlar compare --runs 1 --warmup 0 "$@"
    one_line_on_stderr
    says err "$text"
}
mistake 127 "No such file" --with glibc -- "$SCRATCH/absent"
mistake 125 "no-such-allocator" --with no-such-allocator -- true
mistake 125 "no such file" --with x=/absent/lib.so -- true
: >plain
mistake 125 "cannot be loaded" --with x="$SCRATCH/plain" -- true
mistake 125 "twice" --with glibc,glibc -- true
mistake 125 "No such file" --json /absent/o.json -- true
mistake 125 "FILE.svg or FILE.png" --plot o.gif -- true
mistake 125 "no command"
gives 125 ashlar compare --runs 0 -- true
says err "at least 1"
gives 125 ashlar compare --runs many -- true
says err "want a number, not 'many'"

# What fails before there are figures leaves no file, and a file that was there as it was.
echo before >kept.csv
mistake 127 "No such file" --with glibc --json new.json --csv kept.csv --plot new.svg -- "$SCRATCH/absent"
mistake 125 "not one of" --json new.json --with no-such-allocator -- true
mistake 125 "FILE.svg or FILE.png" --json new.json --plot new.gif -- true
[ "$(cat kept.csv)" = before ] || fail "a comparison that failed changed a file"
for file in new.*; do
    [ ! -e "$file" ] || fail "a comparison that failed left $file"
done

# A library without malloc would let glibc be compared with itself.
library=$(ldconfig -p 2>/dev/null | sed -n 's/.*libm\.so\.6 .*=> //p' | head -n 1)
[ -z "$library" ] || mistake 125 "has no malloc" --with "x=$library" -- true

# Standard input from a file is read by each run.
echo text >input
gives 0 ashlar compare --runs 1 --warmup 0 --with glibc,ashlar -- cat <input

pass
