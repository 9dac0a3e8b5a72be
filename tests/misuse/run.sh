#!/bin/sh
# run.sh - each misuse program must end as its first line says
#
# usage: run.sh [NAME...]      without names: all of them
#
# Every program runs under each list of options below. An aborting one runs twice more:
# misuse:report must let it go on after one line that names the crime, misuse:ignore without one.

. "$(dirname "$0")/../lib/common.sh"

ABORT_CONFS=${ASHLAR_MISUSE_CONFS:-default decay_ms:0 guard:off large_threshold:65536 junk:on}
FENCE_CONFS=${ASHLAR_MISUSE_CONFS:-default guard:madvise guard:mprotect decay_ms:0}

# commit NAME CONF - runs the program; sets $status and leaves $SCRATCH/stderr
commit() {
    conf=$2
    [ "$conf" != default ] || conf=
    # shellcheck disable=SC2046 # the words are meant to be split
    timeout -k 5 60 env $(ashlar_env) ASHLAR_CONF="$conf" "$BUILDDIR/tests/misuse/$1" \
        >/dev/null 2>"$SCRATCH/stderr"
    status=$?
}

# The lines that name a crime with one of the expected words, and all lines of ours.
naming_lines() { grep -E -c "^ashlar: .*($words)" "$SCRATCH/stderr"; }
our_lines() { grep -c '^ashlar: ' "$SCRATCH/stderr"; }

failures=0
wrong() {
    say "FAILED: $name under $conf_name: $*"
    sed 's/^/    /' "$SCRATCH/stderr" | head -n 5 >&2
    failures=$((failures + 1))
}

check_abort() {
    for conf_name in $ABORT_CONFS; do
        commit "$name" "$conf_name"
        [ $status -ne 77 ] || { say "skipped: $name: $(cat "$SCRATCH/stderr")"; return; }
        if [ $status -ne 134 ]; then
            wrong "status $status instead of SIGABRT"
        elif [ "$(naming_lines)" -ne 1 ] || [ "$(our_lines)" -ne 1 ]; then
            wrong "no single line naming: $words"
        fi
    done
    conf_name=misuse:report
    commit "$name" $conf_name
    [ $status -eq 0 ] || wrong "status $status, it should have gone on"
    [ "$(naming_lines)" -eq 1 ] && [ "$(our_lines)" -eq 1 ] || wrong "no single line naming: $words"
    conf_name=misuse:ignore
    commit "$name" $conf_name
    [ $status -eq 0 ] || wrong "status $status, it should have gone on"
    [ "$(our_lines)" -eq 0 ] || wrong "a line although it was to be ignored"
}

check_fence() {
    for conf_name in $FENCE_CONFS; do
        commit "$name" "$conf_name"
        # A kernel without guard markers says so when they are demanded.
        if [ "$conf_name" = guard:madvise ] && grep -q '^ashlar: .*guard' "$SCRATCH/stderr"; then
            continue
        fi
        [ $status -eq 139 ] || wrong "status $status instead of SIGSEGV"
    done
}

ulimit -c 0
need_library
make_scratch
cd "$SRCDIR/tests/misuse" || exit 99
[ $# -gt 0 ] || set -- *.c
count=0
for name in "$@"; do
    name=$(basename "${name%.c}")
    [ -x "$BUILDDIR/tests/misuse/$name" ] || hard_error "misuse/$name is not built"
    expectation=$(sed -n '1s|^/\* expect: \(.*\) \*/$|\1|p' "$name.c")
    words=$(printf '%s\n' "$expectation" | sed -n 's/^SIGABRT "\(.*\)"$/\1/p')
    count=$((count + 1))
    case $expectation in
    'SIGABRT "'*) check_abort ;;
    SIGSEGV) check_fence ;;
    *) hard_error "$name.c does not say what to expect" ;;
    esac
done
[ $failures -eq 0 ] || fail "$failures runs of $count misuse programs"
pass "$count misuse programs"
