"""What this process may use of the machine: memory and cores.

A container, a job of SLURM or Kubernetes and a systemd service may use less than the machine has. The kernel keeps their limits in
control groups (cgroups), of version 1 or 2, which form a tree: the strictest limit on the way to its root counts.
Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from srgan.utils.errors import SrganError

PROCESSES = "SRGAN_PROCESSES"  # environment variable: how many images are worked on at once
PROCESS = Path("/proc/self")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of mallopt(3)


@dataclass(frozen=True)
class Memory:
    """Memory that can be had without swapping."""

    available: int  # bytes
    limit: str  # what sets it, such as "whole machine"


def memory() -> Memory:
    """The memory that is free for this process, and which limit that follows from.

    Pages of the file cache count as free, as they do in the kernel's own estimate (`MemAvailable` of `/proc/meminfo`).
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
    """Bytes of memory that are free for this process, in a container too."""
    return memory().available


def cores() -> int:
    """How many threads can run at once: the cores that this process may use, or a lower CPU quota, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, quota() or allowed)


def quota() -> int | None:
    """How many cores' worth of time the CPU quota of this process allows, rounded up; None if there is no quota."""
    found = []
    for folder in _folders("cpu"):
        limit = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(limit) == 2 and all(word.isdecimal() and int(word) for word in limit):  # "max", -1: no quota
            found.append(-(-int(limit[0]) // int(limit[1])))
    return min(found, default=None)


def processes() -> int:
    """How many images are worked on at once: `SRGAN_PROCESSES` of the environment, or one for each of the `cores`."""
    text = os.environ.get(PROCESSES, "").strip()
    if not text:
        return cores()
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise SrganError(f"{PROCESSES}={text}: needs a whole number of at least 1; correct or unset this environment variable")
    return int(text)


def limit_threads() -> None:
    """Let torch start no more threads than the CPU quota allows; by itself it starts one for each core.

    Call this before torch is imported: its libraries read `OMP_NUM_THREADS` when they are loaded. A value that the user set is kept.
    """
    if quota():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed arrays instead of returning it to the kernel. Other allocators and platforms are left alone.

    A training step allocates and frees large arrays. Fetching them from the kernel each time costs a fifth of the step.
    Environment variables `MALLOC_*` of the user have priority.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):  # musl has neither
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never


def _folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups that limit `controller`, from the innermost to the root of what can be seen."""
    mounts = [line.split() for line in _lines(PROCESS / "mountinfo")]
    for line in _lines(PROCESS / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for fields in mounts:  # see proc(5): root and place of the mount; after a dash its type, source and options
            root, place, (kind, _, options) = fields[3], Path(_unescaped(fields[4])), fields[fields.index("-") + 1 :][:3]
            if (kind == "cgroup" and controllers and controller in options.split(",")) or (kind == "cgroup2" and not controllers):
                inside = PurePosixPath(path)
                # A container may see its own group as the root of the mount, under a path of the host's.
                inside = inside.relative_to(root) if inside.is_relative_to(root) and ".." not in inside.parts else PurePosixPath()
                yield from (place / folder for folder in (inside, *inside.parents))


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no Linux, or not this version of control groups
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdecimal() else None


def _statistics(path: Path, *names: str) -> int:
    values = {name: int(value) for name, _, value in (line.partition(" ") for line in _lines(path)) if value.isdecimal()}
    return sum(values.get(name, 0) for name in names)
