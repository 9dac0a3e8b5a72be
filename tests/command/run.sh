#!/bin/sh
# run.sh - ashlar run: the command runs on Ashlar and is otherwise as if it had been run by itself

. "$(dirname "$0")/common.sh"

# The library is there, and takes its options.
gives 0 ashlar run -- sh -c 'grep -q libashlar /proc/$$/maps'
gives 0 ashlar run --conf decay_ms:7,cache_slack:9 -- sh -c 'printf "%s\n" "$ASHLAR_CONF"'
says out decay_ms:7,cache_slack:9
ASHLAR_CONF=decay_ms:1 gives 0 ashlar run --conf cache_slack:9 -- sh -c 'printf "%s\n" "$ASHLAR_CONF"'
says out decay_ms:1,cache_slack:9
gives 0 ashlar run sh -c 'exit 0'

# Status, signals, 126 and 127.
gives 42 ashlar run -- sh -c 'exit 42'
gives 143 ashlar run -- sh -c 'kill -TERM $$'
gives 137 ashlar run -- sh -c 'kill -KILL $$'
gives 127 ashlar run -- "$SCRATCH/absent"
one_line_on_stderr
: >"$SCRATCH/plain"
gives 126 ashlar run -- "$SCRATCH/plain"
one_line_on_stderr
gives 125 ashlar run

# Streams, and the signals that Python ignores for itself.
printf 'in\n' | ashlar run -- sh -c 'cat; echo error >&2' >"$SCRATCH/out" 2>"$SCRATCH/err" || fail "streams"
[ "$(cat "$SCRATCH/out")" = in ] && [ "$(cat "$SCRATCH/err")" = error ] || fail "streams are not the command's"
gives 0 ashlar run -- sh -c 'grep SigIgn /proc/$$/status'
sh -c 'grep SigIgn /proc/$$/status' | cmp -s - "$SCRATCH/out" || fail "signals are ignored that were not"

pass
