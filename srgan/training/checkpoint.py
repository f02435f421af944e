"""Checkpoints: whole or absent, never mixed up between runs, one trainer per folder.

In the folder of a stage:

- ``step-N.pt``: of the run at work;
- ``final.pt``: the last state of the last run that ended well;
- ``set-aside/RUN/step-N.pt``: of other runs, each under the first digits of its signature. They are resumed when their run comes back;
- ``step-N.damaged``: what could not be read.
"""

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

KEPT = 2  # regular checkpoints of a run
RUNS = 3  # runs that are set aside
DAMAGED = 2  # damaged files
DIGITS = 12  # of a signature, in names
NONE = "none"  # no state to go on from
FINAL = "final.pt"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """A checkpoint of any run, as `states` finds it."""

    path: Path
    signature: str
    step: int
    about: dict[str, Any]  # see `Checkpoints`

    @property
    def name(self) -> str:
        """``RUN@STEP``."""
        return f"{self.signature[:DIGITS]}@{self.step}"


def states(folder: str | Path) -> list[State]:
    """Every readable state in the folder of a stage: of the run at work from old to new, the final one, those set aside."""
    folder = Path(folder)
    aside = folder / "set-aside"
    paths = [*sorted(folder.glob("step-*.pt")), folder / FINAL, *sorted(aside.glob("*/step-*.pt")), *sorted(aside.glob("step-*.pt"))]
    return [state for path in paths if path.is_file() and (state := _state(path))]


def _state(path: Path) -> State | None:
    """What a checkpoint is, without reading its weights; None if it is damaged."""
    with path.open("rb") as file:  # an OSError here is no damage: it goes to whoever started this
        try:
            with zipfile.ZipFile(file) as archive:  # torch.load itself compares no checksum
                for record in archive.namelist():
                    if record.endswith("/data.pkl"):  # all but the weights
                        archive.read(record)
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return State(path, saved["signature"], saved["step"], saved.get("about", {}))
        except MemoryError:
            raise
        except Exception:  # torch.load raises whatever the bytes provoke
            return None


def _load(path: Path) -> dict[str, Any] | None:
    """A checkpoint; None, and a warning, if it is damaged."""
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
        _pass_over(path, error)
        return None


def _pass_over(path: Path, error: Exception | None = None) -> None:
    """Rename a damaged checkpoint, and delete the oldest such files."""
    log.warning("%s: damaged (%s); renamed to .damaged", path, error or "not a checkpoint")
    path.replace(path.with_suffix(".damaged"))
    found = sorted(path.parent.glob("step-*.damaged"), key=lambda other: other.stat().st_mtime)
    for old in found[:-DAMAGED]:
        log.info("%s: deleted, the oldest damaged checkpoint", old)
        old.unlink()


class Checkpoints:
    """The checkpoints of one training stage. Use as a context manager: inside it, no other process may train here.

    Args:
        folder: where ``step-N.pt`` files lie.
        signature: identifies the run (parameters and data). Checkpoints of another run are set aside, not resumed.
        every: steps between two regular checkpoints. An interruption writes one in between, which a diverging run does not go back to:
            so that it ends as it would have done uninterrupted.
        about: what a run that goes on from here has to know: `options` (flat), `inputs`, `training` (its key) and `lineage`
            (`srgan.training.lineage`), which `resume` completes.
        origin: name of the state of another run that this one goes on from.
        check: compares that state with this run, see `srgan.training.continuation.check`.
        common: another folder where that state may be: an experiment goes on from states of the working copy.
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
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise SrganError(f"{self.folder}: another process is training here; wait for it or end it") from error
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in UNLOCKABLE:
                self._lock.close()
                raise
            log.warning("%s: no file locks on this system; start one training at a time", self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step`; the last one is kept, and the last two regular ones."""
        with atomic_file(self.folder / f"step-{step:08d}.pt") as temporary:
            # By way of memory: a full disk is then an OSError like any other, which torch.save would hide.
            content = io.BytesIO()
            torch.save({"signature": self.signature, "step": step, "state": state, "about": self.about}, content)
            temporary.write_bytes(content.getbuffer())
        paths = self._steps()
        kept = [*paths[-1:], *self._by_worth(paths)[-KEPT:]]
        for old in paths:
            if old not in kept:
                old.unlink()

    def _by_worth(self, paths: list[Path]) -> list[Path]:
        """Those that a diverging run goes back to come last: the latest regular one. Others serve where `every` was changed since."""
        return sorted(paths, key=lambda path: (_step(path) % self.every == 0 or _step(path) == self._first, path))

    def go_back(self, before: int, restore: Callable[[dict[str, Any]], None]) -> int:
        """Hand the last regular checkpoint of a step below `before` to `restore`, delete all later ones, and return its step.

        Without regular ones it is the last of the others; if all are later, the first there is.
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
        raise SrganError(f"{self.folder}: no checkpoint to go back to; start again")

    def resume(self, restore: Callable[[dict[str, Any]], None]) -> int:
        """Hand the newest usable state of this run to `restore`.

        A damaged file is passed over for the one before it. Files of other runs are moved to ``set-aside/``, those of this run back. A run
        that goes on from another one's state begins with that: the state then says ``continues``.

        Returns:
            The step it was written after; 0 if there is none.

        Raises:
            SrganError: the state to go on from is not here, is damaged, or does not fit.
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
            f"{stage}.continue_from: no state {self.origin} in {self.folder}. States stay on the machine that trained, those of the last "
            f"{RUNS} runs and of the finished one: copy the file to {place}, or fetch the result (dvc pull), or set {stage}.continue_from "
            "to none, which trains all steps"
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
        log.info(
            "%s: goes on from state %s, with %s", stage, state.name, ", ".join(f"{k} {old} -> {new}" for k, (old, new) in changes.items())
        )
        restore(saved["state"] | {"continues": True})
        return state.step

    def _sort(self) -> None:
        """Let the files of this run, and no others, lie in the folder."""
        moved: dict[Path, str] = {}
        for path in [*self._steps(), *self.aside.glob("step-*.pt")]:  # the second: as former versions set them aside
            state = _state(path)
            if state is None:
                _pass_over(path)
            elif state.signature != self.signature:
                moved[self._set_aside(state).parent] = state.name
            elif path.parent == self.aside:
                path.replace(self.folder / path.name)
        for place, name in moved.items():
            log.info(
                "checkpoints of a run with other parameters or data moved to %s; it resumes when its parameters come back. To go on from "
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
        """Delete all but the most recent runs that were set aside, and the one that this run goes on from."""
        runs = [place for place in self.aside.iterdir() if place.is_dir() and place.name != self.origin.partition("@")[0]]
        runs.sort(key=lambda place: max((path.stat().st_mtime for path in place.iterdir()), default=0))
        for old in runs[:-RUNS]:
            log.info("%s: deleted, checkpoints of the oldest of %d runs that were set aside", old, len(runs))
            shutil.rmtree(old)

    def finish(self) -> None:
        """After the last step: keep the newest as ``final.pt``, out of the way of the next run."""
        *older, newest = self._steps()
        final = self.folder / FINAL
        if self.origin != NONE and final.is_file() and (state := _state(final)) and state.name == self.origin:
            self._set_aside(state)  # what params.yaml names is kept
            self._prune()
        newest.replace(final)
        for path in older:
            path.unlink()


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


class SharedCheckpoints:
    """The checkpoints of a training, for all of its processes: rank 0 reads and writes them, the others are sent what it reads.

    Args:
        own: those of rank 0, None on the others.
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
