#!/bin/sh
# real_tar_xz.sh - tar of many files, xz with two threads, and all the way back

. "$(dirname "$0")/common.sh"
need_program tar xz

prepare() {
    mkdir tree
    pseudo_random_lines 60000 3 >lines
    split -a 3 -l 200 lines tree/part.
    cp lines tree/whole
    ln -s whole tree/link
    find tree -exec touch -h -d 2020-01-01 {} +
    rm lines
}

workload() {
    tar --sort=name --owner=0 --group=0 --numeric-owner -cf tree.tar -C "$DATA" tree
    sha256sum tree.tar
    xz -T2 -2 --block-size=1MiB -k tree.tar
    sha256sum tree.tar.xz
    xz -T2 -dc tree.tar.xz | cmp - tree.tar
    tar -xf tree.tar.xz
    diff -r tree "$DATA/tree"
    xz -t tree.tar.xz
    find tree | wc -l
}

compare_runs xz --version
