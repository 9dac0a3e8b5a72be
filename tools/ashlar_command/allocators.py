"""allocators.py - which allocators this machine has

Each is a library to preload, found by its soname as the dynamic loader would find it. glibc is one
too: preloading libc.so.6 puts its malloc before that of an allocator the program is linked with
(Debian's redis-server brings jemalloc), and does nothing else.
"""

import os
import re
import subprocess

from . import places
from .errors import Failure

# name, sonames in the order of preference, Debian package
KNOWN = [
    ("glibc", ["libc.so.6"], "libc6"),
    ("ashlar", [], None),
    ("jemalloc", ["libjemalloc.so.2", "libjemalloc.so.1"], "libjemalloc2"),
    ("mimalloc", ["libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so.2.0"], "libmimalloc2.0"),
    ("tcmalloc", ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"], "libtcmalloc-minimal4"),
    ("tbbmalloc", ["libtbbmalloc_proxy.so.2"], "libtbbmalloc2"),
]
NAMES = [name for name, _, _ in KNOWN]


class Allocator:
    def __init__(self, name, path):
        self.name = name
        self.path = path

    def environment(self, conf=None):
        """What to set for a program that is to run on it."""
        before = os.environ.get("LD_PRELOAD")
        settings = {"LD_PRELOAD": preload([self.path], before)}
        if conf is not None and self.name.startswith("ashlar"):
            settings["ASHLAR_CONF"] = join_conf(conf)
        return settings


def join_conf(conf):
    """The later of two options with one name holds, so the command line goes last."""
    return ",".join(part for part in (os.environ.get("ASHLAR_CONF"), conf) if part)


def preload(paths, before):
    for path in paths:
        if re.search(r"[\s:]", path):
            raise Failure(f"{path}: LD_PRELOAD cannot hold a path with spaces or colons; use a link to it")
    return ":".join([*paths, *([before] if before else [])])


def _loader_cache():
    """soname -> path, of libraries this machine's own programs can load."""
    for ldconfig in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            text = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=True).stdout
            break
        except (OSError, subprocess.CalledProcessError):
            continue
    else:
        return {}
    cache = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\S+) \(([^)]*)\) => (\S+)$", line)
        if match and ("x86-64" in match[2] or "AArch64" in match[2] or os.uname().machine not in ("x86_64", "aarch64")):
            cache.setdefault(match[1], match[3])
    return cache


def _library_path_dirs():
    return [d for d in re.split("[:;]", os.environ.get("LD_LIBRARY_PATH", "")) if d]


def find_soname(soname, cache):
    for directory in _library_path_dirs():
        path = os.path.join(directory, soname)
        if os.path.exists(path):
            return os.path.abspath(path)
    return cache.get(soname)


def known():
    """Those installed, and (name, package) of those that are not."""
    cache = _loader_cache()
    found, missing = [], []
    for name, sonames, package in KNOWN:
        if name == "ashlar":
            found.append(Allocator(name, places.library()))
            continue
        paths = [path for path in (find_soname(s, cache) for s in sonames) if path]
        if paths:
            found.append(Allocator(name, paths[0]))
        elif name == "glibc":
            found.append(Allocator(name, "libc.so.6"))
        else:
            missing.append((name, package))
    return found, missing


def choose(wanted):
    """The allocators of a --with list, NAME or NAME=PATH; all known and installed for None."""
    if wanted is None:
        return known()
    by_name = {name: (sonames, package) for name, sonames, package in KNOWN}
    cache = _loader_cache()
    chosen = []
    for item in wanted.split(","):
        name, _, path = item.strip().partition("=")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise Failure(f"--with {item!r}: want NAME or NAME=/path/to/library.so")
        if any(a.name == name for a in chosen):
            raise Failure(f"--with names {name} twice; give the second another name: {name}2=/path/to/library.so")
        if path:
            if not os.path.isfile(path):
                raise Failure(f"allocator {name} cannot be loaded: {path}: no such file")
            chosen.append(Allocator(name, os.path.abspath(path)))
        elif name == "ashlar":
            chosen.append(Allocator(name, places.library()))
        elif name not in by_name:
            raise Failure(f"--with {name}: not one of {', '.join(NAMES)}; give its library: {name}=/path/to/library.so")
        else:
            sonames, package = by_name[name]
            paths = [p for p in (find_soname(s, cache) for s in sonames) if p]
            if not paths and name != "glibc":
                raise Failure(f"allocator {name} is not installed (Debian package {package})")
            chosen.append(Allocator(name, paths[0] if paths else "libc.so.6"))
    return chosen, []


def check_loads(allocator):
    """Fails unless malloc of a preloaded program comes from the library."""
    env = {**os.environ, **allocator.environment()}
    try:
        probe = subprocess.run(
            [places.helper("ashlar-watch"), "-w"], env=env, capture_output=True, text=True, timeout=30
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"allocator {allocator.name} cannot be loaded: a program that does nothing hangs on it") from None
    if probe.returncode != 0 or "cannot be preloaded" in probe.stderr:
        reason = probe.stderr.strip().splitlines()
        why = reason[0] if reason else f"a program that does nothing ends with status {probe.returncode} on it"
        raise Failure(f"allocator {allocator.name} cannot be loaded: {why}")
    supplier = probe.stdout.strip()
    if os.path.basename(os.path.realpath(supplier)) != os.path.basename(os.path.realpath(_resolved(allocator))):
        raise Failure(f"allocator {allocator.name}: {allocator.path} has no malloc (it stays that of {supplier})")


def _resolved(allocator):
    return allocator.path if "/" in allocator.path else (_loader_cache().get(allocator.path) or allocator.path)
