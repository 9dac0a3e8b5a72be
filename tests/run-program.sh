#!/bin/sh
# run-program.sh - runs test programs on Ashlar, each in every way its first comment asks for
#
# usage: run-program.sh PROGRAM...      (BUILDDIR/tests/<folder>/<name>)
#
# A source asks by lines in its opening comment:
#     run: [NAME=VALUE]... [ARGUMENT]...      one run with that environment and those arguments
# Without such a line there is one run with neither. A run passes when its status is 0 and it
# printed no line starting "ashlar: ". ASHLAR_REPEAT=N repeats the programs of fork, threads and
# stress N times, with ASHLAR_SEED set to the number of the repetition.

. "$(dirname "$0")/lib/common.sh"

TIME_LIMIT_SECONDS=${ASHLAR_TIME_LIMIT:-300}

source_of() {
    folder=$(basename "$(dirname "$1")")
    name=$(basename "$1")
    for extension in c cc; do
        [ -e "$SRCDIR/tests/$folder/$name.$extension" ] || continue
        printf '%s\n' "$SRCDIR/tests/$folder/$name.$extension"
        return
    done
    hard_error "no source for $1"
}

# The run lines of the first comment, each ended by " ." so that an empty one is still a line.
runs_of() {
    sed -n -e '/\*\//q' -e 's/^ \* *run: *\(.*\)$/\1 ./p' "$1" | grep . || echo .
}

repeats_of() {
    case $(basename "$(dirname "$1")") in
    fork | threads | stress) echo "${ASHLAR_REPEAT:-1}" ;;
    *) echo 1 ;;
    esac
}

# run_once PROGRAM LINE - one run; its output goes through, its status is the result
run_once() {
    program=$1
    assignments= arguments=
    for word in $2; do
        case $word in
        .) ;;
        [A-Z]*=*) assignments="$assignments $word" ;;
        *) arguments="$arguments $word" ;;
        esac
    done
    # shellcheck disable=SC2046,SC2086 # the words are meant to be split
    timeout -k 5 "$TIME_LIMIT_SECONDS" env $(ashlar_env) $assignments "$program" $arguments \
        >"$SCRATCH/output" 2>&1
    status=$?
    if [ $status -eq 0 ] && grep -q '^ashlar: ' "$SCRATCH/output"; then
        status=1
    fi
    [ $status -eq 0 ] || tail -n 40 "$SCRATCH/output" >&2
    return $status
}

verdict=77
need_library
make_scratch
[ $# -gt 0 ] || hard_error "usage: run-program.sh PROGRAM..."
for program in "$@"; do
    [ -x "$program" ] || hard_error "$program is not built"
    program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
    source=$(source_of "$program") || exit 99
    repeats=$(repeats_of "$program")
    runs_of "$source" >"$SCRATCH/runs"
    while read -r line; do
        ASHLAR_SEED=1
        while [ "$ASHLAR_SEED" -le "$repeats" ]; do
            export ASHLAR_SEED
            run_once "$program" "$line"
            status=$?
            label="$(basename "$program") ${line%.}(repetition $ASHLAR_SEED)"
            case $status in
            0) [ $verdict -ne 77 ] || verdict=0 ;;
            77) say "skipped: $label" ;;
            99) hard_error "$label" ;;
            *) say "FAILED with status $status: $label"; verdict=1 ;;
            esac
            ASHLAR_SEED=$((ASHLAR_SEED + 1))
        done
    done <"$SCRATCH/runs"
done
exit $verdict
