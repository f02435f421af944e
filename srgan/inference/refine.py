"""Refinement of the result of one image: training on the image, self-ensemble and back-projection."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from srgan.images.alpha import WHITE
from srgan.images.read import as_rgb
from srgan.inference.reduction import MIN_SIDE, Reduction, estimate_blur
from srgan.inference.upscaler import Upscaler
from srgan.models.weights_file import SUFFIXES
from srgan.utils.errors import SrganError

ROUNDS = 3  # of the back-projection. More rounds amplify noise and the faults of the estimated blur

Run = Callable[[np.ndarray], np.ndarray]  # see `srgan.inference.backends.Engine`

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refinement:
    """Options for the argument `refine` of `Upscaler`.

    Attributes:
        ensemble: results of so many symmetries of the image that are averaged, 1 or 8.
        back_project: change the result so that its reduction is the image: the bicubic one, or after a training the one of the training.
        adapt_seconds: limit of the training on the image, 0 for none. It estimates the blur of the image.
    """

    ensemble: int = 1
    back_project: bool = False
    adapt_seconds: float = 0.0

    def __str__(self) -> str:
        """Return the options that are set, for the settings that a result names: ``ensemble 8 adapt 60``."""
        parts = [f"ensemble {self.ensemble}"] * (self.ensemble > 1) + ["back project"] * self.back_project
        return " ".join(parts + [f"adapt {self.adapt_seconds:g}"] * bool(self.adapt_seconds))

    def check(self, upscaler: Upscaler, clip: bool) -> None:
        """Check that the options fit the model and the input.

        Raises:
            SrganError: the input is a clip, the ensemble has another size, or the model keeps the size, adds colours or cannot be trained.
        """
        if self.ensemble not in (1, 8):
            raise SrganError(f"--ensemble {self.ensemble}: the image has 8 symmetries. Use 1 or 8")
        if clip and self != Refinement():
            raise SrganError("--adapt, --back-project and --ensemble: fit images. Leave them out for a clip")
        named = "--adapt" if self.adapt_seconds else "--back-project" if self.back_project else ""
        if named and (upscaler.scale == 1 or upscaler.adds_colour):
            raise SrganError(f"{named}: needs a model that enlarges, and {upscaler.path} does not. Leave out {named}")
        if self.adapt_seconds and upscaler.path.suffix not in SUFFIXES:
            raise SrganError(
                f"--adapt: {upscaler.path} cannot be trained. Name a starter or weights with --model, such as models/generator.safetensors"
            )

    def __call__(self, upscaler: Upscaler, image: np.ndarray) -> Upscaler:
        """Return an upscaler for one image, `(H, W)` or `(H, W, 3)` of the types that `Upscaler.upscale` takes."""
        if self == Refinement():
            return upscaler
        run: Run = upscaler.run
        reach, reduction = 0, Reduction(upscaler.scale)
        if self.adapt_seconds:
            from srgan.inference.adapt import adapt  # PyTorch is not needed for the rest

            pixels = as_rgb(image).astype(np.float32) / WHITE[image.dtype]
            blur = estimate_blur(pixels)
            log.info("blur of the image: %.1f and %.1f pixels", *(math.sqrt(max(value, 0)) for value in np.linalg.eigvalsh(blur)[::-1]))
            reduction = Reduction(upscaler.scale, blur)
            if blur.any():
                run = adapt(upscaler.path, pixels, reduction, self.adapt_seconds) or run
            else:  # the training would only smooth the detail of a GAN
                log.info("not adapted: the image is sharp, or a side is below %d pixels", MIN_SIDE)
        if self.ensemble > 1:
            run = _averaged(run)
        if self.back_project:
            run, reach = _back_projected(run, reduction), ROUNDS * (reduction.reach + 2)
        return upscaler.replaced(run, reach)


def _averaged(run: Run) -> Run:
    """Return the mean over the eight symmetries of the input (Timofte et al. 2016, https://arxiv.org/abs/1511.02228, section 3.5)."""

    def averaged(tensor: np.ndarray) -> np.ndarray:
        total: np.ndarray | float = 0.0
        for turns in range(4):
            for axes in ((), (3,)):
                turned = np.flip(np.rot90(tensor, turns, (2, 3)), axes)
                total = total + np.rot90(np.flip(run(np.ascontiguousarray(turned)), axes), -turns, (2, 3)) / 8
        return np.ascontiguousarray(total, np.float32)

    return averaged


def _back_projected(run: Run, reduction: Reduction) -> Run:
    """Return the output with the enlarged differences between the input and the reduced output added (Irani and Peleg 1991)."""

    def projected(tensor: np.ndarray) -> np.ndarray:
        output = run(tensor)
        for sr_image, lr_image in zip(output, tensor, strict=True):
            result, wanted = (np.ascontiguousarray(each.transpose(1, 2, 0)).clip(0, 1) for each in (sr_image, lr_image))
            for _ in range(ROUNDS):
                missing = cv2.resize(wanted - reduction(result), result.shape[1::-1], interpolation=cv2.INTER_CUBIC)
                result = (result + missing).clip(0, 1)
            sr_image[...] = result.transpose(2, 0, 1)
        return output

    return projected
