#!/bin/sh
# real_sort.sh - coreutils sort of 100 MB, in memory with threads and through temporary files

. "$(dirname "$0")/common.sh"
need_program sort sha256sum

prepare() {
    pseudo_random_lines 1760000 >lines # 57 bytes each
}

workload() {
    sort --parallel=2 "$DATA/lines" | sha256sum
    head -n 600000 "$DATA/lines" | sort --parallel=2 -S 12M -T . -k 1.20 -r | sha256sum
}

compare_runs sort --version
