# common.sh - the ashlar command of this build, for the tests of tests/command; sourced

. "$(dirname "$0")/../lib/common.sh"

need_program python3
need_library
[ "$ASHLAR_LIB" != none ] || skip "the command is tested on the library itself"
make_scratch

# LD_PRELOAD takes no path with spaces, which a build may have.
ln -s "$BUILDDIR" "$SCRATCH/build" || exit 99
export ASHLAR_BUILD="$SCRATCH/build"
[ -x "$ASHLAR_BUILD/tools/ashlar-watch" ] || hard_error "tools/ashlar-watch is not built"
unset ASHLAR_CONF ASHLAR_LIBRARY LD_PRELOAD

ashlar() { "$SRCDIR/tools/ashlar" "$@"; }

# gives STATUS COMMAND... - fails unless it ends so; output in $SCRATCH/out and $SCRATCH/err
gives() {
    wanted=$1
    shift
    "$@" >"$SCRATCH/out" 2>"$SCRATCH/err"
    status=$?
    if [ $status != "$wanted" ]; then
        cat "$SCRATCH/out" "$SCRATCH/err" >&2
        fail "status $status, not $wanted: $*"
    fi
}

# says FILE TEXT - fails unless the file has it
says() {
    grep -q -F -e "$2" "$SCRATCH/$1" || { cat "$SCRATCH/$1" >&2; fail "std$1 does not say: $2"; }
}

one_line_on_stderr() {
    [ "$(wc -l <"$SCRATCH/err")" = 1 ] || { cat "$SCRATCH/err" >&2; fail "not one line on standard error"; }
}
