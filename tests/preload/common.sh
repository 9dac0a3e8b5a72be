# common.sh - a real program on glibc's malloc and on Ashlar must give the same bytes
#
# Sourced by each real_*.sh, which defines
#     prepare     makes the input, once, in the folder it is called in ($DATA later on)
#     workload    prints its results; called in an empty folder; the same bytes each time
# and ends with
#     compare_runs COMMAND...     a short run of the program, to see that it really is on Ashlar
# The script runs itself once more for each workload, so that its own shell is on Ashlar too.

. "$(dirname "$0")/../lib/common.sh"

# The system's programs before whatever else is installed under the same name.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
[ ! -x "/usr/bin/${PROGRAM:-}" ] || PATH=/usr/bin:/bin:$PATH
LC_ALL=C
TZ=UTC
HOME=/nonexistent
export PATH LC_ALL TZ HOME

CONFS=${ASHLAR_PRELOAD_CONFS:-default guard:mprotect guard:off decay_ms:0 large_threshold:65536}
WORKLOAD_SECONDS=${ASHLAR_TIME_LIMIT:-120}
RUNNER_PATH=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")

# pseudo_random_lines COUNT [SEED] - lines of text that are the same everywhere
pseudo_random_lines() {
    perl -e '
        my ($count, $x) = @ARGV;
        for (1 .. $count) {
            my $line = "";
            for (1 .. 8) {
                $x = ($x * 1103515245 + 12345) & 0x7fffffff;
                $line .= sprintf("%07x", $x >> 3);
            }
            print "$line\n";
        }' "$1" "${2:-1}"
}

# run_workload LABEL ASSIGNMENT... - output to $SCRATCH/LABEL.out and .err, status returned
run_workload() {
    label=$1
    shift
    rm -rf "$SCRATCH/run"
    mkdir "$SCRATCH/run" || exit 99
    (cd "$SCRATCH/run" && timeout -k 5 "$WORKLOAD_SECONDS" \
        env "$@" ASHLAR_WORKLOAD="$SCRATCH/data" sh "$RUNNER_PATH") \
        >"$SCRATCH/$label.out" 2>"$SCRATCH/$label.err"
}

# check_binding COMMAND... - the program's malloc must be bound to the library
check_binding() {
    rm -f "$SCRATCH"/bindings.*
    # shellcheck disable=SC2046 # the words are meant to be split
    env $(ashlar_env) LD_DEBUG=bindings LD_DEBUG_OUTPUT="$SCRATCH/bindings" "$@" \
        >/dev/null 2>&1 </dev/null
    grep -q "to $ASHLAR_LIB \[0\]: normal symbol .malloc'" "$SCRATCH"/bindings.* ||
        hard_error "malloc of '$*' is not bound to $ASHLAR_LIB"
}

show_difference() {
    say "the end of its messages:"
    tail -n 5 "$SCRATCH/$1.err" >&2
    diff "$SCRATCH/glibc.out" "$SCRATCH/$1.out" | head -n 6 | cut -c 1-200 >&2
}

compare_runs() {
    need_library
    make_scratch
    mkdir "$SCRATCH/data" || exit 99
    (cd "$SCRATCH/data" && prepare) || hard_error "cannot prepare the input"
    [ "$ASHLAR_LIB" = none ] || check_binding "$@"
    run_workload glibc -u LD_PRELOAD -u ASHLAR_CONF || {
        tail -n 5 "$SCRATCH/glibc.err" >&2
        hard_error "the workload fails on glibc"
    }
    [ -s "$SCRATCH/glibc.out" ] || hard_error "the workload prints nothing"
    failures=0
    for conf in $CONFS; do
        options=$conf
        [ "$conf" != default ] || options=
        # shellcheck disable=SC2046 # the words are meant to be split
        run_workload ashlar $(ashlar_env) ASHLAR_CONF="$options"
        status=$?
        if [ $status -ne 0 ]; then
            say "FAILED: status $status under $conf"
        elif ! cmp -s "$SCRATCH/glibc.out" "$SCRATCH/ashlar.out"; then
            say "FAILED: other output under $conf"
        elif ! cmp -s "$SCRATCH/glibc.err" "$SCRATCH/ashlar.err"; then
            say "FAILED: other messages under $conf"
        else
            continue
        fi
        failures=$((failures + 1))
        show_difference ashlar
    done
    [ $failures -eq 0 ] || fail "$failures of the configurations: $CONFS"
    pass "$* ($CONFS)"
}

# The second time around: do the work and nothing else. Called by each script before compare_runs.
if [ -n "$ASHLAR_WORKLOAD" ]; then
    DATA=$ASHLAR_WORKLOAD
    compare_runs() {
        set -e
        workload
    }
    need_program() { :; }
fi
