#!/bin/sh
# conf.sh - ASHLAR_CONF as a user meets it: good values, garbage, statistics, setuid programs

. "$(dirname "$0")/../lib/common.sh"
need_library
[ "$ASHLAR_LIB" != none ] || skip "glibc has no ASHLAR_CONF"
make_scratch

failures=0
wrong() {
    say "FAILED: $*"
    failures=$((failures + 1))
}

# run_with CONF COMMAND... - sets $status, leaves $SCRATCH/out and $SCRATCH/err
run_with() {
    conf=$1
    shift
    # shellcheck disable=SC2046 # the words are meant to be split
    env $(ashlar_env) ASHLAR_CONF="$conf" "$@" >"$SCRATCH/out" 2>"$SCRATCH/err"
    status=$?
}

# expect_lines COUNT WORDS CONF - so many warning lines, each with the words
expect_lines() {
    run_with "$3" sh -c 'exit 0'
    [ $status -eq 0 ] || wrong "status $status with '$3'"
    found=$(grep -c "^ashlar: .*$2" "$SCRATCH/err")
    [ "$found" -eq "$1" ] && [ "$(wc -l <"$SCRATCH/err")" -eq "$1" ] ||
        wrong "$1 lines naming '$2' wanted with '$3', seen: $(cat "$SCRATCH/err")"
}

# Every option, with its values as the names that are fixed list them.
for part in large_threshold:65536 large_threshold:64k decay_ms:0 decay_ms:-1 decay_ms:500 \
    cache_max:0 cache_max:1g cache_slack:0 cache_slack:50 guard:auto guard:mprotect guard:off \
    zero:on zero:off junk:on junk:off misuse:abort misuse:report misuse:ignore stats_print:off \
    arenas:0 arenas:1 arenas:8; do
    expect_lines 0 . "$part"
done
expect_lines 0 . ''
expect_lines 0 . 'decay_ms:10,guard:off,,arenas:2,'

# Garbage is named in one line and passed over; what is good beside it holds.
expect_lines 1 nonsense 'nonsense:1'
expect_lines 1 decay_ms 'decay_ms:soon'
expect_lines 1 guard 'guard:maybe'
expect_lines 1 large_threshold 'large_threshold:-5'
expect_lines 1 arenas 'arenas:99999999999999999999999'
expect_lines 1 decay_ms 'decay_ms:'
expect_lines 1 guard 'guard'
expect_lines 1 . ':'
expect_lines 3 . 'a:1,b:2,c:3'
expect_lines 1 junk 'junk:perhaps,decay_ms:0,arenas:1'
long=$(printf 'x%.0s' $(seq 1 20000))
run_with "$long:1,decay_ms:0" true
[ $status -eq 0 ] && [ "$(wc -l <"$SCRATCH/err")" -le 1 ] || wrong "a very long name"

# zero and junk do what they say.
cat >"$SCRATCH/fill.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    static const size_t sizes[] = {24, 1000, 30000, 300000};
    for (int i = 0; i < 4; i++) {
        unsigned char *volatile p = malloc(sizes[i]);
        memset(p, 'd', sizes[i]);
        free(p);
        p = malloc(sizes[i]);
        for (size_t j = 1; j < sizes[i]; j++)
            if (p[j] != p[0])
                return 1;
        printf("%02x ", p[0]);
    }
}
END
"${CC:-cc}" -O0 "$SCRATCH/fill.c" -o "$SCRATCH/fill" || hard_error "cannot compile"
run_with zero:on "$SCRATCH/fill"
[ "$(cat "$SCRATCH/out")" = '00 00 00 00 ' ] || wrong "zero:on gave $(cat "$SCRATCH/out")"
run_with junk:on "$SCRATCH/fill"
[ "$(cat "$SCRATCH/out")" = 'a5 a5 a5 a5 ' ] || wrong "junk:on gave $(cat "$SCRATCH/out")"

# Statistics at exit, on standard error, whole and parseable. (Not with programs of coreutils: they
# close standard error before.)
run_with zero:on,stats_print:text "$SCRATCH/fill"
[ "$(wc -w <"$SCRATCH/out")" -eq 4 ] || wrong "stats on stdout"
[ "$(wc -l <"$SCRATCH/err")" -gt 5 ] || wrong "stats_print:text prints nothing"
for row in $(sed -n 's/^OPTION(\([a-z_]*\),.*/\1/p' "$SRCDIR/src/conf/options.def"); do
    grep -q "\\b$row\\b" "$SCRATCH/err" || wrong "stats_print:text does not show option $row"
done
run_with zero:on,stats_print:json "$SCRATCH/fill"
if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import json, sys; json.load(sys.stdin)' <"$SCRATCH/err" ||
        wrong "stats_print:json is not JSON"
fi

# A program with more rights than its caller does not listen to its caller. The loader drops
# LD_PRELOAD there, so the program is linked to the library.
folder=$(dirname "$ASHLAR_LIB")
if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null 2>&1; then
    say "not checked: a setuid program (needs root and setpriv)"
else
    chmod 755 "$SCRATCH"
    cp "$ASHLAR_LIB" "$SCRATCH/"
    echo 'int main(void) { return 0; }' >"$SCRATCH/setuid.c"
    "${CC:-cc}" "$SCRATCH/setuid.c" -o "$SCRATCH/setuid" -Wl,--no-as-needed "-L$folder" -lashlar \
        "-Wl,-rpath,$SCRATCH" || hard_error "cannot link"
    soname=$(readelf -d "$ASHLAR_LIB" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
    cp "$ASHLAR_LIB" "$SCRATCH/$soname"
    said=$(ASHLAR_CONF=nonsense:1 setpriv --reuid 65534 --clear-groups "$SCRATCH/setuid" 2>&1)
    printf '%s' "$said" | grep -q '^ashlar: ' || wrong "no warning when not setuid: $said"
    chmod u+s "$SCRATCH/setuid"
    said=$(ASHLAR_CONF=nonsense:1 setpriv --reuid 65534 --clear-groups "$SCRATCH/setuid" 2>&1)
    status=$?
    if mount | grep -q "on $(stat -c %m "$SCRATCH") .*nosuid"; then
        say "not checked: a setuid program ($SCRATCH is mounted nosuid)"
    else
        [ $status -eq 0 ] && [ -z "$said" ] || wrong "a setuid program read ASHLAR_CONF: $said"
    fi
fi
[ $failures -eq 0 ] || fail "$failures uses of ASHLAR_CONF"
