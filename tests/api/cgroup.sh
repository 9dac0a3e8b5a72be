#!/bin/sh
# cgroup.sh - near the limit of its cgroup a program keeps nothing of what it has freed
#
# The cgroup file system is another one here, in which a file says that there are 100 MiB.

. "$(dirname "$0")/../lib/common.sh"

need_library
[ "$ASHLAR_LIB" != none ] || skip "glibc keeps no large blocks"
need_program unshare mount
make_scratch
unshare -m true 2>/dev/null || skip "no right to another view of the file systems"

cat >"$SCRATCH/run" <<'END'
mount -t tmpfs none /sys/fs/cgroup || exit 77
[ -z "$1" ] || printf '%s\n' "$1" >/sys/fs/cgroup/memory.max
shift
exec "$@"
END

# rss LIMIT - MiB resident after 160 MiB were taken and freed
rss() {
    unshare -m sh "$SCRATCH/run" "$1" env $(ashlar_env) ASHLAR_CONF=decay_ms:60000 \
        "$BUILDDIR/tests/api/returns" limited
}

with=$(rss 104857600)
[ $? != 77 ] || skip "no right to mount a file system"
without=$(rss max)
nowhere=$(rss "")
say "resident after 160 MiB were freed: $with MiB of 100, $without MiB without a limit, $nowhere without a cgroup"
[ "$without" -ge 150 ] && [ "$nowhere" -ge 150 ] || fail "what may be kept was not"
[ "$with" -le 92 ] || fail "more is kept than the cgroup bears"
pass
