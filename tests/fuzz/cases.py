"""What a case is, and how one is run: in a folder of its own, with everything recorded that it must not do."""

import contextlib
import io
import logging
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srgan.utils.errors import SrganError

MEMORY = 1 << 30  # bytes that one case may add to the process
FAILURES = ("internal", "crash", "hang", "escape", "leftover", "silent", "memory")
OUTCOMES = ("accepted", "refused", *FAILURES)

Seeds = dict[str, bytes]


class SilentlyAccepted(AssertionError):
    """Altered bytes were used, although a digest of the right ones is known."""


@dataclass(frozen=True)
class Case:
    """One input: `content` is the file, `name` the name of the seed that it was made from.

    A name that begins with ``edited-`` says that checksums inside the file were computed again after the edit.
    """

    name: str
    content: bytes


@dataclass(frozen=True)
class Verdict:
    """How a case ended: one of `OUTCOMES`, and the message or the traceback."""

    outcome: str
    detail: str = ""


class Target:
    """A kind of input. Subclasses are found by `tests.fuzz.__main__`.

    Attributes:
        name: on the command line and in the table.
        count: cases of a full run.
        seconds: processor time that one case may take.
        fresh: each case gets a process of its own.
    """

    name = ""
    count = 1000
    seconds = 20.0
    fresh = False

    def build(self, folder: Path) -> None:
        """Write the seeds, valid files, into `folder`; other things that the cases share may go into its folders."""
        raise NotImplementedError

    def fixed(self) -> dict[str, Any]:
        """Inputs made by hand: name -> function that returns the content. They come first in each run."""
        return {}

    def mutate(self, rng: np.random.Generator, seeds: Seeds) -> Case:
        """One mutated input; depends on `rng` and `seeds` alone."""
        raise NotImplementedError

    def setup(self, shared: Path) -> None:
        """Called once in each worker; `shared` is the folder that `build` has filled."""

    def check(self, case: Case, folder: Path) -> None:
        """Use the input as a user would. The current folder is `folder`, which is empty.

        Raises:
            SrganError: the input is refused, which is fine.
            SilentlyAccepted: see there.
        """
        raise NotImplementedError


def run(target: Target, case: Case, folder: Path) -> Verdict:
    """Run one case in an empty `folder`, which is removed afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    os.chdir(folder)
    tempfile.tempdir = str(temporary)
    os.environ |= {"TMPDIR": str(temporary), "SRGAN_CACHE": str(folder / "cache"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")}
    before = _reset_peak()
    with watched(folder) as escapes:
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True):
                target.check(case, folder)
            verdict = Verdict("accepted")
        except SilentlyAccepted as error:
            verdict = Verdict("silent", str(error))
        except SrganError as error:
            verdict = Verdict("refused", str(error))
        except BaseException:
            verdict = Verdict("internal", traceback.format_exc())
    grown, left = _peak() - before, leftovers(folder)
    if escapes:
        verdict = Verdict("escape", ", ".join(escapes))
    elif left and verdict.outcome in ("accepted", "refused"):
        verdict = Verdict("leftover", ", ".join(left))
    elif grown > MEMORY and verdict.outcome in ("accepted", "refused"):
        verdict = Verdict("memory", f"{grown / 1e6:.0f} MB, then {verdict.outcome}: {verdict.detail}")
    os.chdir(folder.parent)
    shutil.rmtree(folder, ignore_errors=True)
    return verdict


def leftovers(folder: Path) -> list[str]:
    """Temporary files that were not removed."""
    found = []
    for place, folders, files in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        inside = Path(place).relative_to(folder)
        for name in (*folders, *files):
            temporary = name.startswith(".") or name.endswith((".tmp", ".former", ".part")) or inside.parts[:1] == ("tmp",)
            if temporary and name not in (".gitignore", ".dvc", ".dvcignore"):
                found.append(str(inside / name))
    return found


# -- writes outside of the folder ------------------------------------------------------------------------------------------

_allowed = ""  # while a case runs: its folder
_escapes: list[str] = []
_WRITING = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.truncate": (0,),
    "os.chmod": (0,),
}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _allowed:
        return
    if event == "open":
        path, _, flags = arguments
        paths = [path] if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) else []
    else:
        paths = [arguments[place] for place in _WRITING.get(event, ())]
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links are not followed
            if not whole.startswith((_allowed, "/dev/", "/proc/self/")):
                _escapes.append(f"{event} {whole}")


@contextlib.contextmanager
def watched(folder: Path) -> Any:
    """Yield a list that fills with what is written, renamed or removed outside of `folder`."""
    global _allowed
    _allowed = str(folder)
    _escapes.clear()
    try:
        yield _escapes
    finally:
        _allowed = ""


# -- a worker --------------------------------------------------------------------------------------------------------------


def prepare_process() -> None:
    """Settings of a worker: quiet, one thread, no files of Python's own."""
    sys.addaudithook(_audit)
    sys.dont_write_bytecode = True
    logging.disable(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger().handlers = [logging.NullHandler()]


def _reset_peak() -> int:
    """Begin to measure the peak of the memory; the bytes in use now. Linux only: elsewhere 0."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _peak()


def _peak() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
