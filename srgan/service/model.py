"""The model of a service, which is replaced while requests run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from srgan.inference.upscaler import Upscaler
from srgan.tasks import task_of


@dataclass(frozen=True)
class Identity:
    """The name of a model: that of its file, or its place in MLflow's registry."""

    name: str
    alias: str = ""
    version: str = ""

    def __str__(self) -> str:
        return self.name + (f"@{self.alias}" if self.alias else "") + (f" version {self.version}" if self.version else "")


@dataclass(frozen=True)
class Loaded:
    """A loaded model. A request keeps the one that it began with."""

    upscaler: Upscaler
    identity: Identity

    def described(self) -> dict[str, str | int]:
        """Return what a client may know."""
        upscaler = self.upscaler
        return {
            "name": self.identity.name,
            "alias": self.identity.alias,
            "version": self.identity.version,
            "file": upscaler.path.name,
            "sha256": upscaler.sha256,
            "scale": upscaler.scale,
            "task": task_of(upscaler.scale, upscaler.adds_colour).name,
            "provider": upscaler.provider,
        }


class ServedModel:
    """The current model.

    Args:
        upscaler: whose source is a file or a function that returns the current file.
        identify: returns the identity of a file of this source.
    """

    def __init__(self, upscaler: Upscaler, identify: Callable[[Path], Identity]) -> None:
        self._identify = identify
        self.current = Loaded(upscaler, identify(upscaler.path))

    def refresh(self) -> bool:
        """Load the file again if it changed or the alias moved. Return True if it did.

        If that fails, a warning gives the reason and the former model stays.
        """
        upscaler = self.current.upscaler.refresh()
        if upscaler is self.current.upscaler:
            return False
        self.current = Loaded(upscaler, self._identify(upscaler.path))
        return True
