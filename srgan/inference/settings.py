"""The options of `srgan upscale` for the use of a model, shared by this process, by addresses and by the actors of Ray."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from srgan.images.write import Options
from srgan.inference.names import Named, named
from srgan.inference.refine import Refinement
from srgan.inference.upscaler import Upscaler
from srgan.starters import catalogue
from srgan.tasks import task_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Options for all images of a command.

    Attributes:
        provider: what runs the model, see `Upscaler`.
        strict: fail if the provider does not work.
        tile: side of the tiles in pixels. None is as free memory allows.
        options: how the results are written.
        refine: what is added to the model for each image.
        name: template of the names of results. None keeps the names of the images.
    """

    provider: str = "auto"
    strict: bool = False
    tile: int | None = None
    options: Options = field(default_factory=Options)
    refine: Refinement = field(default_factory=Refinement)
    name: str | None = None

    def upscaler(self, model: str | Path, threads: int = 0) -> Upscaler:
        """Load a model: a file or the name of a starter. `threads` is the number of cores that it uses, 0 for all."""
        return Upscaler(model, self.provider, self.strict, self.tile, threads, self.refine)

    def checked(self, model: str | Path, clip: bool = False) -> Upscaler:
        """Load a model, check that the options fit it, and log its name.

        Raises:
            SrganError: the model does not load, or an option does not fit it or a clip.
        """
        upscaler = self.upscaler(model)
        self.refine.check(upscaler, clip)
        task = task_of(upscaler.scale, upscaler.adds_colour)
        log.info("%s by %s on %s", task.short(upscaler.scale), catalogue.described(upscaler.path), upscaler.provider)
        return upscaler

    def names(self, upscaler: Upscaler) -> Named:
        """Return the names of the results of a model."""
        size = self.options.size
        return named(upscaler, self.name, self.options.outscale, size.mark if size else None)
