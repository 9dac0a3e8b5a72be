#!/bin/sh
# noise.sh - glibc compared with itself is no different from itself, in 9 tries of 10 at least

. "$(dirname "$0")/common.sh"

libc=$(ldconfig -p 2>/dev/null | sed -n 's/.*libc\.so\.6 .*=> //p' | head -n 1)
[ -n "$libc" ] || skip "ldconfig does not know libc.so.6"

tries=10 same=0 i=0
while [ $i -lt $tries ]; do
    i=$((i + 1))
    gives 0 ashlar compare --runs 5 --with "glibc,again=$libc" -- \
        awk 'BEGIN { for (i = 0; i < 60000; i++) a[i % 5000] = "text " i; print length(a[7]) }'
    if grep -q '^again: no difference from glibc' "$SCRATCH/out"; then
        same=$((same + 1))
    else
        grep '^again: ' "$SCRATCH/out" >&2
    fi
done
say "$same of $tries tries say no difference"
[ $same -ge 9 ] || fail "glibc differs from itself"

# And a difference that is there is seen.
cat >"$SCRATCH/differs" <<'END'
case $LD_PRELOAD in *ashlar*) n=60 ;; *) n=20 ;; esac
exec python3 -c "x = bytearray($n << 20)"
END
gives 0 ashlar compare --runs 5 --warmup 0 --with glibc,ashlar -- sh "$SCRATCH/differs"
says out "the peak memory"

pass
