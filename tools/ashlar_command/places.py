"""places.py - where the library and the helper programs are

Installed, they are where `make install` put them. In a source tree they are in its build: the
directory named by ASHLAR_BUILD, else the newest of the source tree itself and build/*. The library
can also be named outright by ASHLAR_LIBRARY.
"""

import glob
import os

from .errors import Failure

_installed = None


class Installation:
    def __init__(self, bindir, libdir, libexecdir):
        self.bindir, self.libdir, self.libexecdir = bindir, libdir, libexecdir


def installed(bindir, libdir, libexecdir):
    """Told by the installed command."""
    global _installed
    _installed = Installation(bindir, libdir, libexecdir)


def _source_top():
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def _build_dir():
    named = os.environ.get("ASHLAR_BUILD")
    if named:
        return os.path.abspath(named)
    top = _source_top()
    builds = [top, *glob.glob(os.path.join(top, "build", "*")), *glob.glob(os.path.join(top, "build", "*", "*"))]
    built = [b for b in builds if os.path.exists(os.path.join(b, "tools", "ashlar-watch"))]
    if not built:
        return top
    return max(built, key=lambda b: os.path.getmtime(os.path.join(b, "tools", "ashlar-watch")))


def _must_exist(path, what):
    if not os.path.exists(path):
        raise Failure(f"{what} is not at {path}: is Ashlar built (make) or installed (make install)?")
    return path


def library(name="libashlar.so"):
    named = os.environ.get("ASHLAR_LIBRARY")
    if named and name == "libashlar.so":
        return _must_exist(os.path.abspath(named), "the library named by ASHLAR_LIBRARY")
    directory = _installed.libdir if _installed else os.path.join(_build_dir(), ".libs")
    return _must_exist(os.path.join(directory, name), name)


def trace_library():
    directory = _installed.libexecdir if _installed else os.path.join(_build_dir(), ".libs")
    return _must_exist(os.path.join(directory, "libashlar-trace.so"), "the trace recorder")


def helper(name):
    """A program that the command uses itself: ashlar-watch, ashlar-options."""
    directory = _installed.libexecdir if _installed else os.path.join(_build_dir(), "tools")
    return _must_exist(os.path.join(directory, name), f"the program {name}")


def replayer():
    directory = _installed.bindir if _installed else os.path.join(_build_dir(), "tools")
    return _must_exist(os.path.join(directory, "ashlar-replay"), "the program ashlar-replay")
