#!/bin/bash
#
# run.sh - runs one test of `make check`: tests/run.sh TEST
#
# The lists of tests/Makefile.inc say how: black-box programs are handed to run-program.sh, crimes
# to misuse/run.sh, everything else runs as it is. A test that hangs is ended, and failed, after
# ASHLAR_TEST_SECONDS.
set -u

test=$1
name=${test#./}
limit_s=${ASHLAR_TEST_SECONDS:-300}

is_listed()
{
    case " $2 " in *" $1 "*) return 0 ;; esac
    return 1
}

if [ "$ASHLAR_SANITIZER" = no ]; then
    # LD_PRELOAD is cut at spaces and colons, so a library below such a path is reached by a link.
    lib_dir=$BUILDDIR/.libs
    case $lib_dir in
    *[[:space:]:]*)
        link_dir=$(mktemp -d /tmp/ashlar-test.XXXXXX) || exit 99
        trap 'rm -rf "$link_dir"' EXIT
        ln -s "$lib_dir" "$link_dir/lib" || exit 99
        lib_dir=$link_dir/lib
        ;;
    esac
    export ASHLAR_LIB=$lib_dir/libashlar.so
else
    # A sanitizer brings a malloc of its own; programs call Ashlar by the prefixed names.
    export ASHLAR_LIB=none
    export ASAN_OPTIONS=${ASAN_OPTIONS-abort_on_error=1:allocator_may_return_null=1}
    export UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1}
    suppressions=$SRCDIR/tests/tsan.supp
    [ ! -e "$suppressions" ] || export TSAN_OPTIONS=${TSAN_OPTIONS-suppressions=$suppressions}
fi

command=("$test")
if is_listed "$name" "$ASHLAR_CRIMES"; then
    command=("$SRCDIR/tests/misuse/run.sh" "$(basename "$test")")
elif is_listed "$name" "$ASHLAR_BLACK_BOX"; then
    command=("$SRCDIR/tests/run-program.sh" "$test")
fi

timeout --kill-after=10 "$limit_s" "${command[@]}"
status=$?
if [ $status = 124 ] || [ $status = 137 ]; then
    echo "run.sh: $name did not end within $limit_s s"
    exit 1
fi
exit $status
