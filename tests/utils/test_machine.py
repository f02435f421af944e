"""Memory and cores in containers: control groups of both versions, as `/proc/self` and their files show them."""

import os
import platform
import subprocess
import sys

import pytest

from srgan.commands import main
from srgan.tuning import estimate
from srgan.utils import machine
from tests.helpers.commands import environment, run
from tests.helpers.project import make_project, write_params

GB = 10**9


class Container:
    """Files that look like a machine with control groups, and `machine` looking at them."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.mounts, self.groups = folder, [], []
        (folder / "proc").mkdir()
        monkeypatch.setattr(machine, "PROCESS", folder / "proc")

    def mount(self, place, kind, options, root="/", path="/"):
        """A hierarchy at `place`, of which `root` can be seen; this process is at `path`."""
        number = len(self.mounts) + 30
        self.mounts.append(f"{number} 1 0:{number} {root} {self.folder / place} rw,relatime shared:9 - {kind} none rw,{options}")
        self.groups.append(f"0::{path}" if kind == "cgroup2" else f"{number}:{options}:{path}")
        for name, lines in (("mountinfo", self.mounts), ("cgroup", self.groups)):
            (self.folder / "proc" / name).write_text("\n".join(lines) + "\n")

    def group(self, place, **files):
        (self.folder / place).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.folder / place / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def container(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: type("", (), {"available": 24 * GB}))
    return Container(tmp_path, monkeypatch)


def version_2(container):
    """A pod of 0.9 GB and 1.5 cores, in which a container has limits above that. The cache of files can be had."""
    container.mount("cg", "cgroup2", "nsdelegate", path="/pod/app")
    container.group("cg", cgroup__procs=1)
    container.group("cg/pod", memory__max=9 * GB // 10, memory__current=7 * GB // 10, cpu__max="150000 100000")
    container.group("cg/pod", memory__stat=f"anon {GB // 10}\ninactive_file {4 * GB // 10}\nactive_file {2 * GB // 10}")
    container.group("cg/pod/app", memory__max=2 * GB, memory__current=GB // 10, memory__stat="anon 1", cpu__max="max 100000")
    return 8 * GB // 10, 2


def version_1(container):
    """Docker shows a container its own group as the root of the mount, and its path on the host."""
    container.mount("cg/memory", "cgroup", "memory", root="/docker/4711", path="/docker/4711")
    container.mount("cg/cpu", "cgroup", "cpu,cpuacct", root="/docker/4711", path="/docker/4711")
    container.mount("cg/unified", "cgroup2", "nsdelegate")
    stat = f"inactive_file 1\ntotal_inactive_file {GB // 10}\ntotal_active_file 0"
    container.group("cg/memory", memory__limit_in_bytes=GB, memory__usage_in_bytes=3 * GB // 10, memory__stat=stat)
    container.group("cg/cpu", cpu__cfs_quota_us=300000, cpu__cfs_period_us=100000)
    return 8 * GB // 10, 3


@pytest.mark.parametrize("version", [version_1, version_2])
def test_limits_of_a_container_count_also_those_around_it(container, version):
    available, cores = version(container)
    assert machine.available_memory() == available
    assert machine.cores() == machine.processes() == cores


def test_without_limits_the_machine_counts(container):
    assert (machine.available_memory(), machine.cores(), machine.quota()) == (24 * GB, 8, None)
    container.mount("cg/memory", "cgroup", "memory")
    container.mount("cg/cpu", "cgroup", "cpu")
    container.group("cg/memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=GB, memory__stat="")
    container.group("cg/cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    container.mount("cg/2", "cgroup2", "x", path="/../outside")
    container.group("cg/2", memory__max="max", memory__current=GB, cpu__max="max 100000")
    assert (machine.available_memory(), machine.cores(), machine.quota()) == (24 * GB, 8, None)


@pytest.mark.parametrize("version", [version_1, version_2])
def test_a_plan_knows_the_limit_of_the_container(container, version, tmp_path, monkeypatch, capsys):
    version(container)
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "peak_of_tensors", lambda *_: 8e9)
    main.main(["plan"])
    said = capsys.readouterr().out
    place = {version_1: "limit of 1.0 GB in {}/cg/memory/memory.limit_in_bytes", version_2: "limit of 0.9 GB in {}/cg/pod/memory.max"}
    assert said.count(f"GB are free ({place[version].format(tmp_path)}): this is too much. Raise") == 2


def test_torch_starts_no_more_threads_than_the_quota_allows(container, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    machine.limit_threads()
    assert "OMP_NUM_THREADS" not in os.environ
    version_2(container)
    machine.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    machine.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_the_number_of_processes_reaches_prepare_through_dvc(tmp_path):
    failed = run("dvc", "repro", "prepare", cwd=make_project(tmp_path / "p"), check=False, SRGAN_PROCESSES="many")
    assert failed.returncode
    assert "srgan prepare: error: SRGAN_PROCESSES=many: needs a whole number of at least 1" in failed.stdout + failed.stderr


FAULTS = """
import resource, sys
from srgan.utils.machine import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for size in (32, 40, 40):  # the first lets glibc raise its own threshold, to 32 MB at most
    b"x" * (size << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * (40 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept_unless_the_user_set_the_allocator():
    def faults(how, **env):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], env=environment(**env), capture_output=True, text=True, check=True)
        return int(done.stdout)

    returned = faults("returned")
    assert faults("kept") < 0.1 * returned
    assert faults("kept", MALLOC_MMAP_THRESHOLD_="100000") > 0.5 * returned  # the user's choice has priority


RETURNED = """
import os
from srgan.utils.machine import return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

return_freed_memory()
kept = [b"x" * (30 << 20)]
kept.clear()  # by default this raises the threshold to 30 MB
before = resident()
for _ in range(4):
    kept += [b"x" * (8 << 20), b"y" * 1000]
del kept[:-1:2]  # the small ones stay between the large ones
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_large_freed_arrays_are_returned_between_small_ones():
    plain = RETURNED.replace("return_freed_memory()\nkept", "kept")
    commands = [[sys.executable, "-c", code] for code in (RETURNED, plain)]
    returned, held = (int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for command in commands)
    assert returned < 4 << 20 < 16 << 20 < held
