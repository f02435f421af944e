"""Scores and comparison images of whole images during a training."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from srgan.data.manifest import Pair
from srgan.distributed import process_group
from srgan.images import visualize
from srgan.images.read import as_rgb, to_uint8
from srgan.inference.torch_upscale import upscale
from srgan.metrics.metric import Sample, Scorer
from srgan.metrics.registry import METRICS, caption, open_metrics, score, select_metrics
from srgan.tasks import task_of

SHOWN_IMAGES = 3  # in the comparison image of each validation
LOSS_TILE = 256  # largest side in HR pixels of the tiles that the losses compare. It bounds the memory of VGG and of the discriminator

Scores = tuple[dict[str, float], list[np.ndarray]]  # means over the images, comparison rows (input, baseline, result, original)
LossFunction = Callable[[Tensor, Tensor, Tensor], tuple[float, float]]  # SR, HR, LR image -> loss of the generator, pixel loss


class _Scored(NamedTuple):
    number: int  # of the image
    row: dict[str, float]
    pixel: float  # loss
    strip: np.ndarray | None


class Validation:
    """Scores a generator on whole images. Each process scores a share of them.

    The network runs at once. While a GPU continues to train, threads compute the metrics without weights and the comparison images.
    A CPU has no idle time, so it computes them at once as well.

    Args:
        scale: HR size / LR size.
        device: of the generator.
        scorers: metrics, see `srgan.metrics.registry.open_metrics`. By default those without weights.
        adds_colour: the network colourizes.
    """

    def __init__(self, scale: int, device: torch.device, scorers: Mapping[str, Scorer] | None = None, adds_colour: bool = False) -> None:
        self.scale, self.device, self.task = scale, device, task_of(scale, adds_colour)
        self.scorers = open_metrics(select_metrics(validation=True)) if scorers is None else scorers
        self.threads = ThreadPoolExecutor(2) if device.type == "cuda" else None

    def begin(self, pairs: list[Pair], model: nn.Module, loss: LossFunction) -> Callable[[], Scores]:
        """Upscale the images and start their scoring.

        Args:
            pairs: the images.
            model: in evaluation mode.
            loss: of the generator, and the pixel loss alone, for images `(1, 3, H, W)` in 0..1.

        Returns:
            A function that waits for the rest. Its `val_pixel` is the mean pixel loss.
        """
        parts = []
        for number in range(process_group.rank(), len(pairs), process_group.size()):
            pair = pairs[number]
            original, lr_image = pair.read(deep=True)
            sr_image = upscale(model, lr_image)
            deep = (sr_image, original) if original.dtype == np.uint16 else None
            shallow = [to_uint8(image) for image in (sr_image, original, lr_image)]
            sample = Sample(*shallow, self.scale, pair.grey_input, deep=deep)
            whole, pixel = self._loss_by_tiles(loss, sr_image, as_rgb(original), lr_image)
            on_device = score(sample, {name: scorer for name, scorer in self.scorers.items() if METRICS[name].load})
            arguments = number, pair.name, sample, whole, pixel, on_device
            parts.append(self.threads.submit(self._scored, *arguments) if self.threads else self._scored(*arguments))
        return lambda: _summary([part.result() if isinstance(part, Future) else part for part in parts])

    def _loss_by_tiles(self, loss: LossFunction, sr_image: np.ndarray, hr_image: np.ndarray, lr_image: np.ndarray) -> tuple[float, float]:
        """Return both losses of an image as means over its tiles, weighted by their area.

        Networks see tiles as they see patches in the training. An image of at most `LOSS_TILE` pixels a side is one tile.
        """
        total, pixel, scale = 0.0, 0.0, self.scale
        for top, bottom, left, right in _tiles(*lr_image.shape[:2], max(LOSS_TILE // scale, 1)):
            share = (bottom - top) * (right - left) / (lr_image.shape[0] * lr_image.shape[1])
            in_hr = slice(scale * top, scale * bottom), slice(scale * left, scale * right)
            parts = sr_image[in_hr], hr_image[in_hr], lr_image[top:bottom, left:right]
            whole, distance = loss(*map(self._tensor, parts))
            total, pixel = total + share * whole, pixel + share * distance
        return total, pixel

    def _scored(self, number: int, name: str, sample: Sample, loss: float, pixel: float, on_device: dict[str, float]) -> _Scored:
        others = score(sample, {name: scorer for name, scorer in self.scorers.items() if name not in on_device})
        row = {f"val_{name}": value for name, value in others.items()} | {"val_loss": loss}
        row |= {f"val_{name}": value for name, value in on_device.items()}
        strip = None
        if number < SHOWN_IMAGES:
            task, text = self.task, caption(others | on_device, self.task)
            baseline = task.baseline_image(sample.lr_image, self.scale)
            nearest = {"LR": sample.lr_image.repeat(self.scale, 0).repeat(self.scale, 1)} if self.scale > 1 else {}
            shown = nearest | {task.baseline: baseline, task.result: sample.sr_image, "HR" if self.scale > 1 else "original": sample.hr_rgb}
            strip = visualize.comparison_row(name, shown, {task.result: text}, baseline, sample.hr_rgb)
        return _Scored(number, row, pixel, strip)

    def _tensor(self, image: np.ndarray) -> Tensor:
        stored = image if image.dtype == np.uint8 else image.astype(np.int32)  # torch computes little with uint16
        pixels = torch.from_numpy(np.ascontiguousarray(stored)).to(self.device).permute(2, 0, 1)[None].float()
        return pixels.div_(np.iinfo(image.dtype).max)


def _tiles(height: int, width: int, largest: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield top, bottom, left and right of tiles of nearly equal size that cover an area."""
    rows, columns = -(-height // largest), -(-width // largest)
    for row in range(rows):
        for column in range(columns):
            yield row * height // rows, (row + 1) * height // rows, column * width // columns, (column + 1) * width // columns


def _summary(own: list[_Scored]) -> Scores:
    scored = sorted(process_group.all_gather(own), key=lambda one: one.number)
    means = {key: float(np.mean([one.row[key] for one in scored])) for key in scored[0].row}
    means["val_pixel"] = float(np.mean([one.pixel for one in scored]))
    return means, [one.strip for one in scored if one.strip is not None]
