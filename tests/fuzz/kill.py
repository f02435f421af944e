"""The kill matrix: SIGKILL at random moments in each stage, then the same command again (`python -m tests.fuzz.kill`, or `make kill`).

After the second run, the results have the digests of an undisturbed run, and nothing is left over: no temporary or half-written file, no
process, no second version in the registry. Every second kill meets a project in which the stage has run before.
"""

import argparse
import contextlib
import functools
import http.server
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from srgan.utils.files import sha256
from tests.helpers.commands import run
from tests.helpers.project import make_project

STAGES = ("download", "prepare", "pretrain", "train", "export", "evaluate", "register")
COMMANDS = {name: ("srgan", name) for name in STAGES} | {"upscale": ("srgan", "upscale", "photographs", "-o", "large")}
OUTS = {
    "download": ("data/raw",),
    "prepare": ("data/prepared", "reports/data.html"),
    "pretrain": ("models/pretrained.safetensors",),
    "train": ("models/generator.safetensors",),
    "export": ("models", "reports/export.json"),
    "evaluate": ("reports/metrics.json", "reports/metrics.csv", "reports/gan.csv", "reports/pictures", "reports/comparison.png"),
    "register": ("reports/registration.json", "reports/MODEL_CARD.md"),
    "upscale": ("large",),
}
# Files that may be there or not: they depend on where a training was resumed, or name the machine's load and the time.
VARIES = ("checkpoints/", "mlflow/", ".git/", "reports/speed.json", "reports/report.html", "cache/")
PATIENCE = 10  # seconds for the processes of a killed command to end


class Failed(AssertionError):
    """What is wrong after the second run."""


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kill", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(COMMANDS)} (default: all)")
    parser.add_argument("--moments", type=int, default=20, help="kills of each stage (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args()
    for name in options.stages:
        if name not in COMMANDS:
            parser.error(f"unknown stage '{name}'; there are {', '.join(COMMANDS)}")
    with tempfile.TemporaryDirectory(prefix="kill-") as folder, _served(Path(folder) / "served") as address:
        return _run(options, Path(folder), address)


def _run(options: argparse.Namespace, folder: Path, address: str) -> int:
    project, rng = folder / "project", np.random.default_rng(options.seed)
    _make(project, address)
    failures: list[str] = []
    table: dict[str, Counter[str]] = {}
    for stage, command in COMMANDS.items():
        before, after = folder / "before", folder / "after"
        _copy(project, before)
        seconds = _finish(project, command)
        _copy(project, after)
        if options.stages and stage not in options.stages:
            continue
        counts = table[stage] = Counter()
        while counts["kills"] < options.moments:
            again = counts["kills"] % 2 == 1
            _copy(after if again else before, project)
            moment = rng.uniform(0, seconds)
            begun = time.monotonic()
            if not _kill(project, command, moment):
                seconds = min(seconds, time.monotonic() - begun)  # it had ended by then: the machine is quicker now
                continue
            counts["kills"] += 1
            place = f"{stage}, kill {counts['kills']} ({moment:.2f} of {seconds:.2f} s{', has run before' if again else ''})"
            try:
                _no_process(project)
                _finish(project, command)
                _compare(stage, project, after)
            except AssertionError as error:
                counts["failed"] += 1
                failures.append(f"{place}: {error}")
                print(failures[-1], flush=True)
        _copy(after, project)
        print(f"{stage}: {counts['kills']} kills within {seconds:.1f} s, then run to the end: {counts['failed']} failed", flush=True)
    print(f"\nseed {options.seed}\n{'stage':>10}{'kills':>10}{'failed':>10}")
    for stage, counts in table.items():
        print(f"{stage:>10}{counts['kills']:>10}{counts['failed']:>10}")
    return 1 if failures else 0


def _make(project: Path, address: str) -> None:
    changes = {
        "data.train": [f"{address}/train.zip"],
        "data.test": [f"{address}/test.zip"],
        "prepare.scale": 2,
        "prepare.validation": 0.2,
        "export.fp16": True,
        **{f"{stage}.steps": 30 for stage in ("pretrain", "train")},
        **{f"runtime.{stage}.checkpoint_every": 6 for stage in ("pretrain", "train")},
    }
    make_project(project, changes)
    rng = np.random.default_rng(1)
    (project / "photographs").mkdir()
    for number in range(6):
        image = Image.fromarray(rng.integers(0, 255, (60, 70, 3)).astype(np.uint8))
        image.save(project / "photographs" / f"{number}{('.png', '.jpg', '.webp', '.tif', '.png', '.avif')[number]}")


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def _start(project: Path, command: tuple[str, ...], log: Path) -> ForkProcess:
    """Start a command as a fork of this process, which has imported torch and MLflow: so most moments are moments of work."""
    process = ForkProcess(target=_be, args=(project, command, log))
    process.start()
    return process


def _be(project: Path, command: tuple[str, ...], log: Path) -> None:
    done = run(*command, cwd=project, check=False, SRGAN_CACHE=str(project / "cache"))
    log.write_text(done.stderr)
    sys.exit(done.returncode)


def _finish(project: Path, command: tuple[str, ...]) -> float:
    """Run a command to its end. Return the seconds."""
    begun, log = time.monotonic(), project.parent / "log"
    process = _start(project, command, log)
    process.join(600)
    if process.exitcode:
        raise Failed(f"exit {process.exitcode}: {log.read_text().strip()[-300:]}")
    return time.monotonic() - begun


def _kill(project: Path, command: tuple[str, ...], moment: float) -> bool:
    """Kill a command after so many seconds, as the kernel does when memory is short: the process alone, not its group."""
    process = _start(project, command, project.parent / "log")
    process.join(moment)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def _no_process(project: Path) -> None:
    """The helpers of a killed command end with it."""
    end = time.monotonic() + PATIENCE
    while left := [process for process in psutil.process_iter(["pid", "cwd", "cmdline"]) if process.info["cwd"] == str(project)]:
        if time.monotonic() > end:
            for process in left:
                process.kill()
            raise Failed(f"{len(left)} processes of the killed command are alive")
        time.sleep(0.1)


def _compare(stage: str, project: Path, undisturbed: Path) -> None:
    """Raises `Failed` where a result differs, or something is left over."""
    for out in OUTS[stage]:
        ours, theirs = _digests(project, out), _digests(undisturbed, out)
        if ours != theirs:
            other = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
            raise Failed(f"differs from the undisturbed run: {', '.join(other)}")
    extra = sorted(name for name in _names(project) - _names(undisturbed) if not name.startswith(VARIES))
    extra += [name for name in _names(project) if _is_temporary(name)]
    if extra:
        raise Failed(f"left over: {', '.join(dict.fromkeys(extra))}")
    ours, theirs = _registered(project), _registered(undisturbed)
    if ours != theirs:
        raise Failed(f"the registry holds {ours}, after an undisturbed run {theirs}")


def _digests(project: Path, out: str) -> dict[str, str]:
    path = project / out
    files = [path] if path.is_file() else [inside for inside in path.rglob("*") if inside.is_file()]
    return {str(file.relative_to(project)): sha256(file) for file in files}


def _names(project: Path) -> set[str]:
    return {str(path.relative_to(project)) for path in project.rglob("*") if ".git" not in path.parts}


def _is_temporary(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return last.endswith((".tmp", ".former", ".part", ".damaged")) or (last.startswith(".") and ".tmp" in last)


def _registered(project: Path) -> dict[str, list[tuple[object, ...]]]:
    """Versions and aliases of the registry, and the finished or running trainings."""
    store = project / "mlflow" / "mlflow.db"
    if not store.exists():
        return {}
    questions = {
        "versions": "SELECT name, version FROM model_versions WHERE current_stage != 'Deleted_Internal' ORDER BY name, version",
        "aliases": "SELECT name, alias, version FROM registered_model_aliases ORDER BY name, alias",
    }
    try:
        with contextlib.closing(sqlite3.connect(store)) as connection:
            return {key: connection.execute(question).fetchall() for key, question in questions.items()}
    except sqlite3.Error as error:
        raise Failed(f"{store.relative_to(project)}: {error}") from error


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Archives of photographs on an address; they arrive slowly, so that a kill meets the transfer."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    for name, count in (("train", 12), ("test", 2)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for number in range(count):
                with archive.open(f"{name}-{number}.png", "w") as file:
                    coarse = Image.fromarray(rng.integers(0, 255, (12, 14, 3)).astype(np.uint8))
                    coarse.resize((140, 120), Image.Resampling.BICUBIC).save(file, "PNG")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Slow, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


class _Slow(http.server.SimpleHTTPRequestHandler):
    """8 kB each 20 ms."""

    def copyfile(self, source, outputfile) -> None:
        with contextlib.suppress(ConnectionError):
            while block := source.read(8 << 10):
                outputfile.write(block)
                time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main())
