"""Memory and cores that this process may use.

A container, a SLURM or Kubernetes job and a systemd service may use less than the whole machine. Control groups (cgroups) of version 1
or 2 hold their limits. The groups form a tree. The strictest limit on the path to its root applies.
Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from srgan.utils.errors import SrganError

PROCESSES = "SRGAN_PROCESSES"  # environment variable: number of images that are processed at the same time
PROCESS = Path("/proc/self")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # parameters of mallopt(3)


@dataclass(frozen=True)
class Memory:
    """Memory that is available without swapping."""

    available: int  # bytes
    limit: str  # its origin, such as "whole machine"


def memory() -> Memory:
    """Return the free memory of this process and the limit that determines it.

    Pages of the file cache count as free, as in the kernel's estimate (`MemAvailable` of `/proc/meminfo`).
    """
    found = [Memory(psutil.virtual_memory().available, "whole machine")]
    for folder in _folders("memory"):
        for limit, usage, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.high", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            allowed, used = _number(folder / limit), _number(folder / usage)
            if allowed is not None and used is not None:
                cache = _statistics(folder / "memory.stat", f"{prefix}inactive_file", f"{prefix}active_file")
                found.append(Memory(max(0, allowed - max(0, used - cache)), f"limit of {allowed / 1e9:.1f} GB in {folder / limit}"))
    return min(found, key=lambda memory: memory.available)


def available_memory() -> int:
    """Return the free memory of this process in bytes, also in a container."""
    return memory().available


def cores() -> int:
    """Return the number of cores that this process may use, or a lower CPU quota, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, quota() or allowed)


def cpu_name() -> str:
    """Return the name of the processor, such as ``AMD EPYC 9B14``."""
    names = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def busy_seconds() -> float:
    """Return the time that all programs together have spent on the cores of this process, in seconds since the start of the machine."""
    of_each = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(of_each))
    idle = ("idle", "iowait", "guest", "guest_nice")  # the time of guests is in that of users too
    return sum(seconds for core in allowed if core < len(of_each) for kind, seconds in of_each[core]._asdict().items() if kind not in idle)


def quota() -> int | None:
    """Return the CPU quota of this process in cores, rounded up. None if there is no quota."""
    found = []
    for folder in _folders("cpu"):
        limit = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(limit) == 2 and all(word.isdecimal() and int(word) for word in limit):  # "max", -1: no quota
            found.append(-(-int(limit[0]) // int(limit[1])))
    return min(found, default=None)


def processes() -> int:
    """Return the number of images that are processed at the same time: the variable `SRGAN_PROCESSES`, or the number of cores."""
    text = os.environ.get(PROCESSES, "").strip()
    if not text:
        return cores()
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise SrganError(f"{PROCESSES}={text}: needs a whole number of at least 1. Correct or unset this environment variable")
    return int(text)


def limit_threads() -> None:
    """Limit the threads of torch to the CPU quota. Its default is one for each core.

    Call this before torch is imported, because its libraries read `OMP_NUM_THREADS` when they load. A value of the user is kept.
    """
    if quota():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed arrays instead of returning it to the kernel. Other allocators and platforms are left alone.

    A training step allocates and frees large arrays. Fetching them from the kernel each time costs a fifth of the step.
    Environment variables `MALLOC_*` of the user have priority.
    """
    _set_allocator({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1})  # never


def return_freed_memory() -> None:
    """Let glibc return freed arrays of a megabyte or more to the kernel at once. Other allocators and platforms are left alone.

    Threads that pass images on would otherwise keep parts of each other's memory, so that it grows with the number of images.
    Environment variables `MALLOC_*` of the user have priority.
    """
    _set_allocator({M_MMAP_THRESHOLD: 1 << 20})


def _set_allocator(values: dict[int, int]) -> None:
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):  # musl has neither
        for parameter, value in values.items():
            libc.mallopt(parameter, value)


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that limit `controller` for this process, from the innermost to the root."""
    mounts = [line.split() for line in _lines(PROCESS / "mountinfo")]
    for line in _lines(PROCESS / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for fields in mounts:  # see proc(5): root and mount point. After a dash follow type, source and options.
            root, place, (kind, _, options) = fields[3], Path(_unescaped(fields[4])), fields[fields.index("-") + 1 :][:3]
            if (kind == "cgroup" and controllers and controller in options.split(",")) or (kind == "cgroup2" and not controllers):
                inside = PurePosixPath(path)
                # In a container the group may be the root of the mount, under a path of the host.
                inside = inside.relative_to(root) if inside.is_relative_to(root) and ".." not in inside.parts else PurePosixPath()
                yield from (place / folder for folder in (inside, *inside.parents))


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux, or another version of control groups
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdecimal() else None


def _statistics(path: Path, *names: str) -> int:
    values = {name: int(value) for name, _, value in (line.partition(" ") for line in _lines(path)) if value.isdecimal()}
    return sum(values.get(name, 0) for name in names)
