"""Scores and pictures of whole images, while the training goes on."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from srgan.data.manifest import Pair
from srgan.degradations.bicubic import bicubic_upscale
from srgan.distributed import process_group
from srgan.images import visualize
from srgan.images.read import as_rgb
from srgan.inference.torch_upscale import enlarge
from srgan.metrics.metric import Sample, Scorer
from srgan.metrics.registry import METRICS, open_metrics, score, select_metrics

SHOWN = 3  # images in the picture of each validation

Scores = tuple[dict[str, float], list[np.ndarray]]  # means over the images; strips of pictures: LR, bicubic, SR, HR


class _Scored(NamedTuple):
    number: int  # of the image
    row: dict[str, float]
    pixel: float  # loss
    strip: np.ndarray | None


class Validation:
    """Scores a generator on whole images, of which each process takes some.

    The device's part is done at once. PSNR, SSIM and the pictures are left to threads while a GPU trains on; a CPU has no time to spare
    and does them at once as well.

    Args:
        scale: HR size / LR size.
        device: where the generator is.
        scorers: metrics, see `srgan.metrics.registry.open_metrics`. By default those that need no weights.
    """

    def __init__(self, scale: int, device: torch.device, scorers: Mapping[str, Scorer] | None = None) -> None:
        self.scale, self.device = scale, device
        self.scorers = open_metrics(select_metrics(validation=True)) if scorers is None else scorers
        self.threads = ThreadPoolExecutor(2) if device.type == "cuda" else None

    def begin(self, pairs: list[Pair], model: nn.Module, loss: Callable[[Tensor, Tensor], tuple[float, float]]) -> Callable[[], Scores]:
        """Let the model enlarge the images.

        Args:
            pairs: the images.
            model: in evaluation mode.
            loss: the loss to minimise and the pixel loss alone, of an SR and an HR image, `(1, 3, H, W)`.

        Returns:
            A function that waits for the rest. Its `val_pixel` is the mean pixel loss.
        """
        parts = []
        for number in range(process_group.rank(), len(pairs), process_group.size()):
            pair = pairs[number]
            original, lr_image = pair.read()
            sr_image = enlarge(model, lr_image)
            whole, pixel = loss(self._tensor(sr_image), self._tensor(as_rgb(original)))
            sample = Sample(sr_image, original, lr_image, self.scale)
            on_device = score(sample, {name: scorer for name, scorer in self.scorers.items() if METRICS[name].load})
            arguments = number, pair.name, sample, whole, pixel, on_device
            parts.append(self.threads.submit(self._scored, *arguments) if self.threads else self._scored(*arguments))
        return lambda: _summary([part.result() if isinstance(part, Future) else part for part in parts])

    def _scored(self, number: int, name: str, sample: Sample, loss: float, pixel: float, on_device: dict[str, float]) -> _Scored:
        others = score(sample, {name: scorer for name, scorer in self.scorers.items() if name not in on_device})
        row = {f"val_{name}": value for name, value in others.items()} | {"val_loss": loss}
        row |= {f"val_{name}": value for name, value in on_device.items()}
        caption = f"{others['psnr_y']:.2f} dB" + (f"  LPIPS {on_device['lpips']:.3f}" if "lpips" in on_device else "")
        strip = None
        if number < SHOWN:
            bicubic = bicubic_upscale(sample.lr_image, self.scale)
            enlarged = sample.lr_image.repeat(self.scale, 0).repeat(self.scale, 1)
            shown = {"LR": enlarged, "bicubic": bicubic, "SR": sample.sr_image, "HR": sample.hr_rgb}
            strip = visualize.comparison_row(name, shown, {"SR": caption}, bicubic, sample.hr_rgb)
        return _Scored(number, row, pixel, strip)

    def _tensor(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float().div_(255)


def _summary(own: list[_Scored]) -> Scores:
    scored = sorted(process_group.gathered(own), key=lambda one: one.number)
    means = {key: float(np.mean([one.row[key] for one in scored])) for key in scored[0].row}
    means["val_pixel"] = float(np.mean([one.pixel for one in scored]))
    return means, [one.strip for one in scored if one.strip is not None]
