"""Checkpoints: complete or absent, separate for each run, with one trainer per folder.

The folder of a stage contains:

- ``step-N.pt``: checkpoints of the current run.
- ``final.pt``: the last state of the last run that finished.
- ``set-aside/RUN/step-N.pt``: checkpoints of other runs, each under the first digits of its signature. They resume when their run returns.
- ``step-N.damaged``: unreadable files.
"""

import errno
import io
import logging
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from srgan.distributed import process_group
from srgan.models.weights_file import damaged_record
from srgan.training.lineage import entry
from srgan.utils.errors import SrganError
from srgan.utils.files import UNLOCKABLE, atomic_file

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MAX_CHECKPOINTS = 2  # regular ones of a run
MAX_RUNS = 3  # that are set aside
MAX_DAMAGED = 2  # damaged files
DIGITS = 12  # of a signature, in names
NONE = "none"  # no state to continue from
FINAL = "final.pt"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """A checkpoint file of any run."""

    path: Path
    signature: str
    step: int
    about: dict[str, Any]  # see `Checkpoints`

    @property
    def name(self) -> str:
        """Name of the state for users: ``RUN@STEP``."""
        return f"{self.signature[:DIGITS]}@{self.step}"


def states(folder: str | Path) -> list[State]:
    """Return every readable state in the folder of a stage: of the current run from old to new, the final one, those set aside."""
    folder = Path(folder)
    aside = folder / "set-aside"
    paths = [*sorted(folder.glob("step-*.pt")), folder / FINAL, *sorted(aside.glob("*/step-*.pt")), *sorted(aside.glob("step-*.pt"))]
    return [state for path in paths if path.is_file() and (state := _state(path))]


def _state(path: Path) -> State | None:
    """Return the state of a checkpoint file without its weights. None if the file is damaged."""
    with path.open("rb") as file:  # an OSError is no damage, so the caller gets it
        try:
            with zipfile.ZipFile(file) as archive:  # torch.load does not compare checksums
                for record in archive.namelist():
                    if record.endswith("/data.pkl"):  # everything except the weights
                        archive.read(record)
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return State(path, saved["signature"], saved["step"], saved.get("about", {}))
        except MemoryError:
            raise
        except Exception:  # damaged bytes may raise any exception in torch.load
            return None


def _load(path: Path) -> dict[str, Any] | None:
    """Return the content of a checkpoint. None, with a warning, if the file is damaged."""
    content = io.BytesIO(path.read_bytes())
    try:
        if problem := damaged_record(content):
            raise zipfile.BadZipFile(problem)
        content.seek(0)
        saved = torch.load(content, map_location="cpu", weights_only=True)
        return {key: saved[key] for key in ("signature", "step", "state")} | {"about": saved.get("about", {})}
    except MemoryError:
        raise
    except Exception as error:
        _rename_damaged(path, error)
        return None


def _rename_damaged(path: Path, error: Exception | None = None) -> None:
    """Rename a damaged checkpoint and delete the oldest ones."""
    log.warning("%s: damaged (%s); renamed to .damaged", path, error or "not a checkpoint")
    path.replace(path.with_suffix(".damaged"))
    found = sorted(path.parent.glob("step-*.damaged"), key=lambda other: other.stat().st_mtime)
    for old in found[:-MAX_DAMAGED]:
        log.info("%s: deleted, the oldest damaged checkpoint", old)
        old.unlink()


class Checkpoints:
    """The checkpoints of one training stage. The context manager locks the folder against other trainers.

    Args:
        folder: of the ``step-N.pt`` files.
        signature: identity of the run (parameters and data). Checkpoints of another run are set aside, not resumed.
        every: steps between two regular checkpoints. An interruption writes an additional one. A diverging run does not return to it, so it
            ends in the same weights as without the interruption.
        about: description of the run for runs that continue from it: `options` (flat), `inputs`, `training` (its key) and `lineage`
            (`srgan.training.lineage`), which `resume` completes.
        origin: name of the state of another run that this one continues from.
        check: compares that state with this run, see `srgan.training.continuation.check`.
        common: another folder to search for that state. An experiment may continue from states of the working copy.
    """

    def __init__(
        self,
        folder: str | Path,
        signature: str,
        every: int,
        about: dict[str, Any] | None = None,
        origin: str = NONE,
        check: Callable[[State], dict[str, tuple[Any, Any]]] = lambda state: {},
        common: Path | None = None,
    ) -> None:
        self.folder, self.signature, self.every = Path(folder), signature, every
        self.about, self.origin, self._check = about or {}, origin, check
        self.aside = self.folder / "set-aside"
        self._searched = [self.folder, *([common] if common else [])]
        self._first = 0 if origin == NONE else int(origin.partition("@")[2])

    def __enter__(self) -> "Checkpoints":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            if fcntl is None:
                raise OSError(errno.ENOTSUP, "no file locks")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise SrganError(f"{self.folder}: another process is training here. Wait for it or end it") from error
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                self._lock.close()
                raise
            log.warning("%s: no file locks on this system. Start one training at a time", self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step`. Keep the last checkpoint and the last regular ones, and delete the others."""
        with atomic_file(self.folder / f"step-{step:08d}.pt") as temporary:
            # Through memory, because torch.save hides the OSError of a full disk.
            content = io.BytesIO()
            torch.save({"signature": self.signature, "step": step, "state": state, "about": self.about}, content)
            temporary.write_bytes(content.getbuffer())
        paths = self._steps()
        kept = [*paths[-1:], *self._by_worth(paths)[-MAX_CHECKPOINTS:]]
        for old in paths:
            if old not in kept:
                old.unlink()

    def _by_worth(self, paths: list[Path]) -> list[Path]:
        """Sort checkpoints so that the latest regular one comes last. A diverging run returns to it."""
        return sorted(paths, key=lambda path: (_step(path) % self.every == 0 or _step(path) == self._first, path))

    def go_back(self, before: int, restore: Callable[[dict[str, Any]], None]) -> int:
        """Restore the last regular checkpoint of a step below `before` and delete all later ones.

        Without a regular one it restores the last of the others. If all are later, it restores the first one.

        Args:
            before: a step.
            restore: loads the state of a checkpoint.

        Returns:
            The step of the checkpoint.

        Raises:
            SrganError: there is no readable checkpoint.
        """
        paths = self._steps()
        for chosen in reversed(self._by_worth([path for path in paths if _step(path) < before] or paths[:1])):
            saved = _load(chosen)
            if saved is None:
                continue
            restore(saved["state"])
            for path in self._steps():
                if _step(path) > saved["step"]:
                    path.unlink()
            return saved["step"]
        raise SrganError(f"{self.folder}: no readable checkpoint to return to. Train again from the first step")

    def resume(self, restore: Callable[[dict[str, Any]], None]) -> int:
        """Restore the newest readable checkpoint of this run.

        Checkpoints of other runs are moved to ``set-aside/``, those of this run back from there. A run that continues from a state of
        another run starts with that state. The state then has the key ``continues``.

        Args:
            restore: loads the state of a checkpoint.

        Returns:
            The step of the checkpoint. 0 if there is none.

        Raises:
            SrganError: the state to continue from is missing, is damaged, or is of another network or other data.
        """
        self._sort()
        for path in reversed(self._steps()):
            if saved := _load(path):
                self.about = saved["about"]
                restore(saved["state"])
                return saved["step"]
        return 0 if self.origin == NONE else self._continue(restore)

    def _continue(self, restore: Callable[[dict[str, Any]], None]) -> int:
        stage, (run, _, step) = self.folder.name, self.origin.partition("@")
        place = self.aside / run / f"step-{int(step):08d}.pt"
        missing = (
            f"{stage}.continue_from: no state {self.origin} in {self.folder}. The training machine keeps the states of the last "
            f"{MAX_RUNS} runs and of the finished one: copy the file to {place}, or fetch the result (dvc pull), or set "
            f"{stage}.continue_from to none, which trains all steps"
        )
        found = (state for folder in self._searched for state in states(folder))
        state = next((state for state in found if state.name == self.origin), None)
        if state is None:
            raise SrganError(missing)
        changes = self._check(state)
        saved = _load(state.path)
        if saved is None:
            raise SrganError(missing)
        lineage = [*state.about["lineage"], entry(stage, state.name, state.about["training"], changes)]
        self.about = self.about | {"lineage": lineage}
        changed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changes.items())
        log.info("%s: continues from state %s, with %s", stage, state.name, changed)
        restore(saved["state"] | {"continues": True})
        return state.step

    def _sort(self) -> None:
        """Move the files of other runs out of the folder, and those of this run into it."""
        moved: dict[Path, str] = {}
        for path in [*self._steps(), *self.aside.glob("step-*.pt")]:  # the second: the place in older versions
            state = _state(path)
            if state is None:
                _rename_damaged(path)
            elif state.signature != self.signature:
                moved[self._set_aside(state).parent] = state.name
            elif path.parent == self.aside:
                path.replace(self.folder / path.name)
        for place, name in moved.items():
            log.info(
                "checkpoints of a run with other parameters or data moved to %s. That run resumes when its parameters return. To continue "
                "it with the new ones: srgan %s --continue %s",
                place,
                self.folder.name,
                name,
            )
        own = self.aside / self.signature[:DIGITS]
        if own.is_dir():
            for path in own.glob("step-*.pt"):
                path.replace(self.folder / path.name)
            shutil.rmtree(own)
        if moved:
            self._prune()

    def _set_aside(self, state: State) -> Path:
        target = self.aside / state.signature[:DIGITS] / f"step-{state.step:08d}.pt"
        target.parent.mkdir(parents=True, exist_ok=True)
        return state.path.replace(target)

    def _prune(self) -> None:
        """Delete the oldest runs that were set aside, but never the run that this one continues from."""
        runs = [place for place in self.aside.iterdir() if place.is_dir() and place.name != self.origin.partition("@")[0]]
        runs.sort(key=lambda place: max((path.stat().st_mtime for path in place.iterdir()), default=0))
        for old in runs[:-MAX_RUNS]:
            log.info("%s: deleted, the oldest of %d runs that were set aside", old, len(runs))
            shutil.rmtree(old)

    def finish(self) -> None:
        """Rename the newest checkpoint to ``final.pt`` and delete the others. Call this after the last step."""
        *older, newest = self._steps()
        final = self.folder / FINAL
        if self.origin != NONE and final.is_file() and (state := _state(final)) and state.name == self.origin:
            self._set_aside(state)  # params.yaml names it
            self._prune()
        newest.replace(final)
        for path in older:
            path.unlink()


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


class SharedCheckpoints:
    """The checkpoints of a training with several processes: rank 0 reads and writes them and sends what it reads to the others.

    Args:
        own: the checkpoints in rank 0. None in the others.
    """

    def __init__(self, own: Checkpoints | None) -> None:
        self.own = own

    def save(self, step: int, state: dict[str, Any]) -> None:
        """See `Checkpoints.save`."""
        if self.own:
            self.own.save(step, state)

    def resume(self, restore: Callable[[dict[str, Any]], None]) -> int:
        """See `Checkpoints.resume`."""
        return self._sent(self.own.resume if self.own else None, restore)

    def go_back(self, before: int, restore: Callable[[dict[str, Any]], None]) -> int:
        """See `Checkpoints.go_back`."""
        own = self.own
        return self._sent((lambda take: own.go_back(before, take)) if own else None, restore)

    def _sent(self, read: Callable[[Callable[[dict[str, Any]], None]], int] | None, restore: Callable[[dict[str, Any]], None]) -> int:
        states: list[dict[str, Any]] = []
        step = read(states.append) if read else 0
        step, states = process_group.broadcast([step, states])
        for state in states:
            restore(state)
        return step
