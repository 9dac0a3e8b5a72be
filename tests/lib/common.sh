# common.sh - verdicts, paths and the two allocators, for every shell runner
#
# Sourced. Environment, all with defaults that suit a build in the source tree:
#   SRCDIR      top of the sources
#   BUILDDIR    top of the build
#   ASHLAR_LIB  path of libashlar.so; "none" runs the same tests on the C library's own malloc,
#               which shows that a test is right before it judges Ashlar
# Exit status: 0 pass, 1 fail, 77 skip with a reason, 99 the test itself is broken.

say() { printf '%s\n' "$*" >&2; }
pass() { [ $# -eq 0 ] || say "pass: $*"; exit 0; }
fail() { say "fail: $*"; exit 1; }
skip() { say "skip: $*"; exit 77; }
hard_error() { say "error: $*"; exit 99; }

if [ -z "$SRCDIR" ]; then
    SRCDIR=$(dirname "$0")/..
    [ -d "$SRCDIR/tests/lib" ] || SRCDIR=$SRCDIR/..
fi
[ -n "$BUILDDIR" ] || BUILDDIR=$PWD
SRCDIR=$(cd "$SRCDIR" && pwd) || exit 99
BUILDDIR=$(cd "$BUILDDIR" && pwd) || exit 99

# find_library NAME - where libtool leaves it
find_library() {
    for folder in "$BUILDDIR/.libs" "$BUILDDIR/src/.libs" "$BUILDDIR"; do
        if [ -e "$folder/$1" ]; then
            printf '%s\n' "$folder/$1"
            return
        fi
    done
}

# Call where the test needs the library; sets ASHLAR_LIB to an absolute path, or leaves "none".
need_library() {
    [ -n "$ASHLAR_LIB" ] || ASHLAR_LIB=$(find_library libashlar.so)
    [ -n "$ASHLAR_LIB" ] || hard_error "no libashlar.so in $BUILDDIR; set ASHLAR_LIB"
    if [ "$ASHLAR_LIB" != none ]; then
        [ -e "$ASHLAR_LIB" ] || hard_error "$ASHLAR_LIB does not exist"
        ASHLAR_LIB=$(cd "$(dirname "$ASHLAR_LIB")" && pwd)/$(basename "$ASHLAR_LIB")
    fi
    # A sanitizer's run-time library must come first and brings a malloc of its own.
    if [ "$ASHLAR_LIB" != none ] && is_sanitized "$ASHLAR_LIB"; then
        skip "a library built with a sanitizer cannot be preloaded"
    fi
    export ASHLAR_LIB
}

is_sanitized() {
    LC_ALL=C grep -q -a -e __asan_init -e __tsan_init "$1"
}

# ashlar_env - the assignments that put a command on Ashlar: env $(ashlar_env) COMMAND
ashlar_env() {
    [ "$ASHLAR_LIB" = none ] || printf 'LD_PRELOAD=%s\n' "$ASHLAR_LIB"
}

# need_program NAME... - skips when one is missing
need_program() {
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || skip "$program is not installed"
    done
}

# make_scratch - a folder $SCRATCH that is gone afterwards
make_scratch() {
    SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/ashlar-test.XXXXXX") || exit 99
    trap 'rm -rf "$SCRATCH"' EXIT
    trap 'exit 99' HUP INT TERM
    export SCRATCH
}
