#!/bin/sh
# loading.sh - dlopen of libraries that allocate, and dlopen of Ashlar itself beside glibc's malloc

. "$(dirname "$0")/../lib/common.sh"

need_library
make_scratch
program=$BUILDDIR/tests/threads/loading
[ -x "$program" ] || hard_error "threads/loading is not built"
${CC:-cc} -O2 -fPIC -shared -pthread "$SRCDIR/tests/threads/plugin/plugin.c" \
    -o "$SCRATCH/plugin.so" || hard_error "cannot compile the plugin"

on_ashlar_plugin() {
    # shellcheck disable=SC2046 # the words are meant to be split
    env $(ashlar_env) ASHLAR_CONF="$1" "$program" plugin "$SCRATCH/plugin.so" ||
        fail "a plugin that allocates, under '$1'"
}

# The program is on glibc here; ASHLAR_LIB would make it insist on the preloaded library.
beside_glibc() {
    env -u ASHLAR_LIB ASHLAR_CONF="$2" "$program" beside "$1" || fail "$1 beside glibc, under '$2'"
}

for conf in '' decay_ms:0 guard:mprotect; do
    on_ashlar_plugin "$conf"
done
[ "$ASHLAR_LIB" != none ] || pass "the plugin alone, on glibc"
for conf in '' decay_ms:0 guard:mprotect; do
    beside_glibc "$ASHLAR_LIB" "$conf"
    api=$(dirname "$ASHLAR_LIB")/libashlar-api.so
    [ -e "$api" ] || hard_error "no libashlar-api.so beside $ASHLAR_LIB"
    beside_glibc "$api" "$conf"
done
