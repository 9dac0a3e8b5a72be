#!/bin/bash
# interrupt.sh - an interrupted comparison leaves no process and no file behind

. "$(dirname "$0")/common.sh"

cat >"$SCRATCH/stubborn" <<'END'
#!/bin/sh
trap '' INT TERM
setsid sh -c 'trap "" INT TERM; sleep 4712 & sleep 4712' &
: >"$1/started"
sleep 4712
sleep 4712
END
chmod +x "$SCRATCH/stubborn"
mkdir "$SCRATCH/tmp"

for signal in INT TERM HUP; do
    rm -f "$SCRATCH/started"
    # Job control gives the comparison a process group of its own, as a terminal would.
    set -m
    # Not the function: a shell between would end first.
    TMPDIR=$SCRATCH/tmp "$SRCDIR/tools/ashlar" compare --with glibc --json "$SCRATCH/tmp/o.json" -- \
        "$SCRATCH/stubborn" "$SCRATCH" >"$SCRATCH/out" 2>&1 &
    comparison=$!
    set +m
    for ((i = 0; i < 300; i++)); do
        [ ! -e "$SCRATCH/started" ] || break
        sleep 0.1
    done
    [ -e "$SCRATCH/started" ] || fail "the command did not start"
    kill -s $signal -- -$comparison
    wait $comparison
    status=$?
    case $signal in INT) wanted=130 ;; TERM) wanted=143 ;; HUP) wanted=129 ;; esac
    [ $status = $wanted ] || { cat "$SCRATCH/out" >&2; fail "status $status after SIG$signal, not $wanted"; }
    ! pgrep -f 'sleep 471[2]' >/dev/null || fail "SIG$signal leaves a process running"
    [ -z "$(ls "$SCRATCH/tmp")" ] || fail "SIG$signal leaves a file behind"
done

pass
