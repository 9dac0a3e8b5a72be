"""watch.py - runs a command once and measures its process tree, by way of ashlar-watch

Times are in seconds, memory in bytes. CPU time, faults and switches are sums over all processes
of the tree. Peak RSS is the larger of the kernel's own exact peak of the largest process and the
largest sampled sum over the tree (pages that processes share count once for each).
"""

import errno
import os
import signal
import subprocess

from . import places
from .errors import Failure

STATUS_NOT_FOUND = 127
STATUS_CANNOT_RUN = 126


class Run:
    """What one run used."""

    def __init__(self):
        self.wall_s = self.user_s = self.system_s = 0.0
        self.peak_rss_bytes = 0
        self.minor_faults = self.major_faults = 0
        self.voluntary_switches = self.involuntary_switches = 0
        self.status = None  # as a shell has it: 128 + N after signal N
        self.timed_out = False
        self.left_behind = 0
        self.samples = []  # (seconds, bytes, processes)
        self.counters = {}

    @property
    def cpu_s(self):
        return self.user_s + self.system_s


def _shell_status(wait_status):
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def _parse(lines, command):
    run = Run()
    largest_kib = 0
    for line in lines:
        kind, *fields = line.split()
        if kind == "sample":
            at_us, rss_kib, processes = map(int, fields)
            run.samples.append((at_us / 1e6, rss_kib * 1024, processes))
        elif kind == "reaped":
            _, _, user, system, rss_kib, minor, major, voluntary, involuntary = map(int, fields)
            run.user_s += user / 1e6
            run.system_s += system / 1e6
            largest_kib = max(largest_kib, rss_kib)
            run.minor_faults += minor
            run.major_faults += major
            run.voluntary_switches += voluntary
            run.involuntary_switches += involuntary
        elif kind == "exit":
            run.wall_s = int(fields[0]) / 1e6
            run.status = _shell_status(int(fields[1]))
        elif kind == "failed":
            error = int(fields[0])
            not_found = error in (errno.ENOENT, errno.ENOTDIR)
            status = STATUS_NOT_FOUND if not_found else STATUS_CANNOT_RUN
            raise Failure(f"{command[0]}: {os.strerror(error)}", status)
        elif kind == "timeout":
            run.timed_out = True
        elif kind == "left":
            run.left_behind = int(fields[0])
        elif kind == "perf":
            run.counters[fields[0]] = int(fields[1])
    if run.status is None:
        raise Failure("ashlar-watch ended before the command did")
    run.peak_rss_bytes = max([largest_kib * 1024, *(rss for _, rss, _ in run.samples)])
    return run


def _restore_signals():
    # Python ignores these two; commands expect to start without that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def run_once(command, settings, stdout, stderr, stdin=None, interval_ms=10, timeout_s=None, cwd=None):
    """Runs it with `settings` added to its environment; gives a Run. An interrupt ends the tree."""
    read_fd, write_fd = os.pipe()
    arguments = [places.helper("ashlar-watch"), "-o", str(write_fd), "-i", str(interval_ms)]
    if timeout_s:
        arguments += ["-t", str(timeout_s)]
    for name, value in settings.items():
        arguments += ["-e", f"{name}={value}"]
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    watcher = subprocess.Popen(
        [*arguments, "--", *command], stdin=stdin if stdin is not None else subprocess.DEVNULL, stdout=stdout,
        stderr=stderr, env=environment, pass_fds=[write_fd], cwd=cwd, preexec_fn=_restore_signals,
    )
    os.close(write_fd)
    try:
        with os.fdopen(read_fd) as records:
            lines = records.readlines()
        watcher.wait()
    except BaseException:
        watcher.terminate()  # it ends the tree below it before it ends itself
        _wait_whatever_comes(watcher)
        raise
    if watcher.returncode != 0:
        raise Failure(f"ashlar-watch ended with status {watcher.returncode}")
    return _parse(lines, command)


def _wait_whatever_comes(watcher):
    while True:
        try:
            watcher.wait()
            return
        except KeyboardInterrupt:
            continue
