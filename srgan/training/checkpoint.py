"""Checkpoints: whole or absent, never mixed up between runs, one trainer per folder."""

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from srgan.errors import SrganError
from srgan.files import atomic_file

KEPT = 2

log = logging.getLogger(__name__)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _load(path: Path) -> dict[str, Any] | None:
    """A checkpoint, or None, and a warning, if it is damaged."""
    try:
        content = io.BytesIO(path.read_bytes())  # an OSError is no damage: it goes to whoever started this
        saved = torch.load(content, map_location="cpu", weights_only=True)
        return {key: saved[key] for key in ("signature", "step", "state")}
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch.load raises whatever the bytes provoke
        log.warning("%s: damaged (%s), passed over", path, type(error).__name__)
        path.replace(path.with_suffix(".damaged"))
        return None


class Checkpoints:
    """The checkpoints of one training stage. Use as a context manager: inside it, no other process may train here.

    Args:
        folder: where ``step-N.pt`` files lie.
        signature: identifies the run (parameters and data). Checkpoints of another run are set aside, not resumed.
        every: steps between two regular checkpoints. An interruption writes one in between, which a diverging run does not go back to:
            so that it ends as it would have done uninterrupted.
    """

    def __init__(self, folder: str | Path, signature: str, every: int) -> None:
        self.folder, self.signature, self.every = Path(folder), signature, every

    def __enter__(self) -> "Checkpoints":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            log.warning("no file locks on this system: start one training at a time")
        except BlockingIOError as error:
            self._lock.close()
            raise SrganError(f"{self.folder}: another process is training here; wait for it or end it") from error
        for left in self.folder.glob(".step-*.tmp"):  # of a process that was killed while it wrote
            left.unlink()
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
            torch.save({"signature": self.signature, "step": step, "state": state}, content)
            temporary.write_bytes(content.getbuffer())
        paths = self._steps()
        kept = [*paths[-1:], *[path for path in paths if self._is_regular(path)][-KEPT:]]
        for old in paths:
            if old not in kept:
                old.unlink()

    def _is_regular(self, path: Path) -> bool:
        return _step(path) % self.every == 0

    def go_back(self, before: int, restore: Callable[[dict[str, Any]], None]) -> int:
        """Hand the last regular checkpoint of a step below `before` to `restore`, delete all later ones, and return its step.

        If there is none, it is the first regular one there is.
        """
        regular = [path for path in self._steps() if self._is_regular(path)]
        for chosen in reversed([path for path in regular if _step(path) < before] or regular[:1]):
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
        """Hand the newest usable state to `restore`.

        A damaged file is passed over for the one before it; files of another run are moved to ``set-aside/``.

        Returns:
            The step it was written after; 0 if there is none.
        """
        for path in reversed(self._steps()):
            saved = _load(path)
            if saved is None:
                continue
            signature, step, state = saved["signature"], saved["step"], saved["state"]
            if signature != self.signature:
                aside = self.folder / "set-aside"
                aside.mkdir(exist_ok=True)
                for other in self._steps():
                    other.replace(aside / other.name)
                log.info("checkpoints of a run with other parameters or data moved to %s", aside)
                return 0
            restore(state)
            return step
        return 0

    def finish(self) -> None:
        """After the last step: keep the newest as ``final.pt``, out of the way of the next run."""
        *older, newest = self._steps()
        newest.replace(self.folder / "final.pt")
        for path in older:
            path.unlink()
