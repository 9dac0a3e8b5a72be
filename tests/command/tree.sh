#!/bin/sh
# tree.sh - the whole process tree is measured: children, orphans, and what they used

. "$(dirname "$0")/common.sh"

cd "$SCRATCH" || exit 99
cat >work.py <<'END'
import time
block = bytearray(64 << 20)
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
END

# A child's memory and time count, and an orphan's too.
orphan='(sh -c "python3 work.py; : >finished" &); while [ ! -e finished ]; do sleep 0.1; done; rm finished'
for command in 'python3 work.py; true' "$orphan"; do
    gives 0 ashlar compare --runs 1 --warmup 0 --with glibc --json o.json -- sh -c "$command"
    python3 - <<'END' || fail "not the whole tree was measured: $command"
import json
run = json.load(open("o.json"))["allocators"][0]["runs"][0]
assert run["user_s"] + run["system_s"] >= 0.3, run
assert run["peak_rss_bytes"] >= 64 << 20, run["peak_rss_bytes"]
assert run["minor_faults"] >= 64 << 8, run["minor_faults"]
END
done

# Two at a time, each of which waits until the other has its memory: the peak is that of the sum.
cat >pair.py <<'END'
import glob, os, time
block = bytearray(64 << 20)
open(f"here-{os.getpid()}", "w").close()
while len(glob.glob("here-*")) < 2:
    time.sleep(0.01)
time.sleep(0.5)
END
gives 0 ashlar compare --runs 1 --warmup 0 --with glibc --json o.json -- sh -c 'python3 pair.py & python3 pair.py; wait'
python3 - <<'END' || fail "the peak is not that of the sum"
import json
run = json.load(open("o.json"))["allocators"][0]["runs"][0]
assert run["peak_rss_bytes"] >= 128 << 20, run["peak_rss_bytes"]
END

# A small program seems small: what the measuring itself uses is not in the figure.
gives 0 ashlar compare --runs 1 --warmup 0 --with glibc --json o.json -- true
python3 - <<'END' || fail "the peak has the measuring process in it"
import json
run = json.load(open("o.json"))["allocators"][0]["runs"][0]
assert run["peak_rss_bytes"] < 4 << 20, run["peak_rss_bytes"]
END

# What outlives the command is ended, and said so.
gives 0 ashlar compare --runs 1 --warmup 0 --with glibc -- sh -c 'setsid sleep 4711 & exit 0'
says out "left up to 1 processes behind"
! pgrep -f 'sleep 471[1]' >/dev/null || fail "a process is still there"

pass
