#!/bin/sh
# build-by-hand.sh - compiles the black-box programs without the build system
#
# usage: build-by-hand.sh FOLDER [NAME...]      into FOLDER/tests/<folder>/<name>
#
# They need nothing from the library: it is preloaded when they run. Useful to try one test on an
# installed library, on another allocator, or on the C library itself:
#     tests/build-by-hand.sh /tmp/b && BUILDDIR=/tmp/b ASHLAR_LIB=none tests/run-program.sh \
#         /tmp/b/tests/api/edges

set -e
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [NAME...]" >&2; exit 99; }
tests=$(cd "$(dirname "$0")" && pwd)
target=$1
shift
wanted=" $* "

for source in "$tests"/api/*.c* "$tests"/fork/*.c* "$tests"/threads/*.c* "$tests"/stress/*.c* \
    "$tests"/misuse/*.c*; do
    [ -e "$source" ] || continue
    name=$(basename "${source%.*}")
    folder=$(basename "$(dirname "$source")")
    case $wanted in
    "  " | *" $name "*) ;;
    *) continue ;;
    esac
    mkdir -p "$target/tests/$folder"
    case $source in
    *.cc) compiler="${CXX:-g++} -std=c++17" ;;
    *) compiler="${CC:-cc} -std=gnu11" ;;
    esac
    # shellcheck disable=SC2086 # the flags are meant to be split
    $compiler -Wall -Wextra ${CFLAGS:--O2 -g} -I"$tests/lib" "$source" \
        -o "$target/tests/$folder/$name" -pthread -ldl
done
