"""The parts of a degradation: the images it changes, the random draws and its entry in the registry."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srgan.config.recipe import StepOptions

Drawn = dict[str, Any]  # the parameters of a step for one image: numbers and names, as JSON can hold them


class Draws:
    """Random numbers of one image, taken in order from a row of uniform numbers.

    Args:
        uniforms: numbers in 0..1. Equal rows give equal draws.
    """

    def __init__(self, uniforms: Sequence[float]) -> None:
        self._uniforms = iter(uniforms)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in a range."""
        return low + (high - low) * next(self._uniforms)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return next(self._uniforms) < probability

    def choose(self, weights: dict[str, float]) -> str:
        """Return a key with a probability proportional to its weight."""
        point, chosen = self.uniform(0, sum(weights.values())), ""
        for name, weight in weights.items():
            if weight > 0:
                chosen = name
                if point < weight:
                    break
            point -= weight
        return chosen

    def integer(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both included."""
        return min(low + int(next(self._uniforms) * (high - low + 1)), high)

    def seed(self) -> int:
        """Return the seed of a random field, see `seeded`."""
        return self.integer(0, 2**48 - 1)

    def order(self, count: int) -> list[int]:
        """Return a random order of `count` things."""
        keys = [next(self._uniforms) for _ in range(count)]
        return sorted(range(count), key=keys.__getitem__)


@dataclass
class Drawing:
    """The state of an image while its parameters are drawn.

    Attributes:
        draws: the random numbers.
        height: of the image after the steps so far, in pixels.
        width: likewise.
        target: height and width of the LR image.
        patch: the image is a patch of a larger one. The blocks of its JPEG then begin anywhere.
    """

    draws: Draws
    height: int
    width: int
    target: tuple[int, int]
    patch: bool = False


@dataclass(frozen=True)
class Batch:
    """Images of different sizes in one tensor.

    Attributes:
        pixels: `(N, 3, H, W)` float32 in 0..1. Each image takes its first rows and columns. The rest is undefined.
        heights: of the images.
        widths: of the images.
    """

    pixels: Tensor
    heights: tuple[int, ...]
    widths: tuple[int, ...]

    @classmethod
    def of_one(cls, image: np.ndarray) -> "Batch":
        """Return a batch of one image `(3, H, W)`. It shares the memory of the image."""
        return cls(torch.from_numpy(image)[None], image.shape[1:2], image.shape[2:])

    @classmethod
    def of(cls, images: "Sequence[tuple[Batch, int]]") -> "Batch":
        """Return a batch of images that are the n-th of other batches."""
        first = images[0][0]
        if all(batch is first for batch, _ in images):
            return first.select([number for _, number in images])
        heights = tuple(batch.heights[number] for batch, number in images)
        widths = tuple(batch.widths[number] for batch, number in images)
        pixels = first.pixels.new_zeros(len(images), first.pixels.shape[1], max(heights), max(widths))
        for place, (batch, number), height, width in zip(pixels, images, heights, widths, strict=True):
            place[:, :height, :width] = batch.pixels[number, :, :height, :width]
        return cls(pixels, heights, widths)

    def select(self, chosen: Sequence[int]) -> "Batch":
        """Return some of the images."""
        if list(chosen) == list(range(len(self.heights))):
            return self
        heights, widths = tuple(self.heights[i] for i in chosen), tuple(self.widths[i] for i in chosen)
        if len(chosen) == 1:
            return Batch(self.pixels[chosen[0]][None, :, : heights[0], : widths[0]], heights, widths)
        return Batch(self.pixels[list(chosen), :, : max(heights), : max(widths)], heights, widths)

    def replace(self, chosen: Sequence[int], part: "Batch") -> "Batch":
        """Return the images with some of them replaced by those of `part`."""
        if list(chosen) == list(range(len(self.heights))):
            return part
        heights, widths = list(self.heights), list(self.widths)
        for i, height, width in zip(chosen, part.heights, part.widths, strict=True):
            heights[i], widths[i] = height, width
        count, channels = self.pixels.shape[:2]
        pixels = self.pixels.new_zeros(count, channels, max(heights), max(widths))
        kept = [i for i in range(count) if i not in set(chosen)]
        for indices, source in ((kept, self.pixels[kept]), (list(chosen), part.pixels)):
            rows, columns = min(source.shape[2], pixels.shape[2]), min(source.shape[3], pixels.shape[3])
            pixels[indices, :, :rows, :columns] = source[:, :, :rows, :columns]
        return Batch(pixels, tuple(heights), tuple(widths))

    def with_pixels(self, pixels: Tensor) -> "Batch":
        """Return the batch with other pixels of the same sizes."""
        return Batch(pixels, self.heights, self.widths)

    def extended(self, before: int = 0, after: int = 0, mirror: bool = True) -> Tensor:
        """Return the pixels with a border: `before` pixels at the top and left, and `after` beyond the largest image.

        The pixels outside an image are filled from its edge: mirrored, or else its outermost pixels repeated.
        """
        rows = _border(self.heights, self.pixels.shape[2], before, after, mirror, self.pixels.device)
        columns = _border(self.widths, self.pixels.shape[3], before, after, mirror, self.pixels.device)
        if rows is None and columns is None:
            return self.pixels
        number = torch.arange(len(self.heights), device=self.pixels.device)[:, None, None]
        rows = torch.arange(self.pixels.shape[2], device=self.pixels.device)[None] if rows is None else rows
        columns = torch.arange(self.pixels.shape[3], device=self.pixels.device)[None] if columns is None else columns
        return self.pixels.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _border(sizes: Sequence[int], size: int, before: int, after: int, mirror: bool, device: torch.device) -> Tensor | None:
    """Return the source index of each row or column, `(N, before + size + after)`. None if nothing is outside the images."""
    if not before and not after and min(sizes) == size:
        return None
    index = torch.arange(-before, size + after)
    ends = torch.tensor(sizes)[:, None]
    if mirror:  # the edge pixel is repeated once, as everywhere in the project
        index = index % (2 * ends)
        index = torch.minimum(index, 2 * ends - 1 - index)
    else:
        index = torch.minimum(index.clamp(min=0), ends - 1)
    return index.to(device, non_blocking=True)


def column(values: Sequence[float], like: Tensor) -> Tensor:
    """Return a number per image as a `(N, 1, 1, 1)` tensor on the device of `like`."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)[:, None, None, None]


def random_field(batch: Batch, seeds: Sequence[int], channels: int = 3) -> Tensor:
    """Return a standard normal field per image, `(N, channels, H, W)` float32. It depends on its seed and the size of its image alone."""
    field = batch.pixels.new_zeros(len(seeds), channels, *batch.pixels.shape[2:])
    for one, seed, height, width in zip(field, seeds, batch.heights, batch.widths, strict=True):
        one[:, :height, :width] = normal(seed, (channels, height, width), field.device)
    return field


def normal(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def for_each(count: int, work: Callable[[int], object]) -> None:
    """Call `work` with the number of each image, in as many threads as torch uses."""
    threads = min(torch.get_num_threads(), count)
    others = [_pool(os.getpid()).submit(lambda first: [work(i) for i in range(first, count, threads)], n) for n in range(1, threads)]
    for i in range(0, count, threads):
        work(i)
    for other in others:
        other.result()


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:  # a forked process has no threads of its parent
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="degradations")


@dataclass(frozen=True)
class Degradation:
    """An entry of the registry.

    Attributes:
        name: in recipes.
        description: one sentence for the docs, with the source.
        config: its options.
        draw: return the parameters for one image, or None if this draw changes nothing. A step that resizes sets the new size.
        apply: change images, each by its own parameters.
        alone: do the same on a CPU with one image `(3, H, W)`, faster than `apply`. The image itself keeps its values.
        arrange: of a step that holds others: return the positions of those that follow, in order. It has no `draw` and no `apply`.
        version: raised when the results change, so that stages run again.
        ahead: needs libraries on the CPU and whole images. `prepare` then makes variants of each image before the training.
        package: that must be installed for it, and that the project does not always install.
        together: return parameters with what is computed faster for many images at once. `alone` gets them.
        not_after: names of steps that may not come before, with the reason.
    """

    name: str
    description: str
    config: type[StepOptions]
    draw: Callable[[Any, Drawing], Drawn | None] | None = None
    apply: Callable[[Batch, list[Drawn]], Batch] | None = None
    arrange: Callable[[Any, Drawing], list[int]] | None = None
    version: int = 1
    ahead: bool = False
    package: str = ""
    alone: Callable[[np.ndarray, Drawn], np.ndarray] | None = None
    together: Callable[[list[Drawn]], list[Drawn]] | None = None
    not_after: dict[str, str] = field(default_factory=dict)

    def problem(self, options: StepOptions, before: Sequence[str]) -> str:
        """Return why the step cannot follow the steps `before`, or nothing."""
        found = next((name for name in self.not_after if name in before), "")
        return f"cannot follow {found}: {self.not_after[found]}" if found else ""
