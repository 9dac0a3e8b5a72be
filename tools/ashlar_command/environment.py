"""environment.py - what kernel and machine offer, and what Ashlar will therefore do"""

import ctypes
import mmap
import os
import resource

MADV_GUARD_INSTALL = 102
PR_GET_THP_DISABLE = 42
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def _text(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def _has_guard_markers():
    """Asked of the kernel itself: versions lie where features are ported back."""
    length = 2 * mmap.PAGESIZE
    private_anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address = _libc.mmap(None, length, mmap.PROT_READ | mmap.PROT_WRITE, private_anonymous, -1, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        return False
    has = _libc.madvise(address, mmap.PAGESIZE, MADV_GUARD_INSTALL) == 0
    _libc.munmap(address, length)
    return has


def _limit(which):
    soft, _ = resource.getrlimit(which)
    return "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,} bytes"


def _cgroup_dir():
    for line in (_text("/proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            return "/sys/fs/cgroup" + path
        if "memory" in controllers.split(","):
            return "/sys/fs/cgroup/memory" + path
    return None


def _cgroup_limit():
    """The tightest limit from the own cgroup upwards."""
    directory, tightest = _cgroup_dir(), None
    while directory and directory.startswith("/sys/fs/cgroup"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(os.path.join(directory, name))
            if text and text.isdigit() and int(text) < 1 << 60:
                tightest = min(tightest or int(text), int(text))
        directory = os.path.dirname(directory)
    return tightest


def _cgroup_cpus():
    """CPUs worth of time that cgroup v2 grants, rounded up as Ashlar does; None without a limit."""
    granted = []
    for directory in ("/sys/fs/cgroup", _cgroup_dir() or "/sys/fs/cgroup"):
        quota, _, period = (_text(os.path.join(directory, "cpu.max")) or "").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            granted.append(max(1, -(-int(quota) // int(period))))
    return min(granted, default=None)


def _huge_pages():
    """(what the kernel offers this process, what Ashlar does about it by its option thp:auto)"""
    offered = _chosen(_text("/sys/kernel/mm/transparent_hugepage/enabled"))
    if offered is None:
        return "not offered", "not used"
    if offered == "never":
        return offered, "not used"
    if _libc.prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1:
        return f"{offered}, but switched off for this process", "not used"
    by_itself = "the kernel uses them by itself; " if offered == "always" else ""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return offered, by_itself + "not asked for under RLIMIT_AS"
    return offered, by_itself + "asked for where a program writes blocks of 32 MiB up from end to end (option thp)"


def _chosen(text):
    """The word in brackets of "always [madvise] never"."""
    return text[text.index("[") + 1 : text.index("]")] if text and "[" in text else text


OVERCOMMIT = {"0": "heuristic", "1": "always", "2": "strict"}


def rows():
    """(what, value, what Ashlar does about it)."""
    page = mmap.PAGESIZE
    max_maps = _text("/proc/sys/vm/max_map_count")
    overcommit = _text("/proc/sys/vm/overcommit_memory")
    cgroup = _cgroup_limit()
    cpus, all_cpus = len(os.sched_getaffinity(0)), os.cpu_count()
    granted = _cgroup_cpus()
    markers = _has_guard_markers()
    memory = os.sysconf("SC_PHYS_PAGES") * page
    locked = "unlimited" if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY else ""
    return [
        ("kernel", f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
         "works on Linux 5.4 and later" if _version() >= (5, 4) else "too old: Ashlar wants Linux 5.4"),
        ("page size", f"{page:,} bytes", "large blocks are rounded up to whole pages"),
        ("CPUs", (f"{cpus} of {all_cpus} allowed" if cpus != all_cpus else f"{cpus}")
         + (f", cgroup grants {granted}" if granted and granted < cpus else ""),
         "the number of arenas follows this (option arenas)"),
        ("memory", f"{memory:,} bytes", ""),
        ("huge pages", *_huge_pages()),
        ("guard markers", "yes" if markers else "no",
         "large blocks are fenced without a mapping each" if markers
         else "large blocks are fenced by mprotect, as long as mappings last"),
        ("vm.max_map_count", max_maps or "unknown",
         "hardly matters" if markers else "limits how many large blocks can be fenced"),
        ("overcommit", f"{overcommit} ({OVERCOMMIT.get(overcommit, 'unknown')})",
         "writable memory counts when mapped, so less is mapped ahead" if overcommit == "2"
         else "address space costs nothing until touched"),
        ("RLIMIT_AS", _limit(resource.RLIMIT_AS), _about_limit(resource.RLIMIT_AS, "reserved address space")),
        ("RLIMIT_DATA", _limit(resource.RLIMIT_DATA), _about_limit(resource.RLIMIT_DATA, "private memory")),
        ("RLIMIT_MEMLOCK", _limit(resource.RLIMIT_MEMLOCK) if not locked else locked,
         "after mlockall, fences are made by mprotect"),
        ("cgroup memory", f"{cgroup:,} bytes" if cgroup else "no limit",
         "the kernel ends the process beyond it: near it freed memory goes back at once" if cgroup else ""),
        ("ASHLAR_CONF", os.environ.get("ASHLAR_CONF") or "not set", ""),
    ]


def _about_limit(which, what):
    is_unlimited = resource.getrlimit(which)[0] == resource.RLIM_INFINITY
    return "" if is_unlimited else f"counts {what}; malloc gives NULL beyond it"


def _version():
    numbers = os.uname().release.split("-")[0].split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (IndexError, ValueError):
        return (0, 0)


def table():
    found = rows()
    name_width = max(len(name) for name, _, _ in found)
    value_width = max(len(value) for _, value, _ in found)
    return "\n".join(f"{name:<{name_width}}  {value:<{value_width}}  {does}".rstrip() for name, value, does in found)
