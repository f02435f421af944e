"""Scores and pictures of whole images, while the training goes on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from srgan.data.manifest import Pair
from srgan.degradations.bicubic import bicubic_upscale
from srgan.distributed import process_group
from srgan.images import visualize
from srgan.images.read import as_rgb, read_image, read_rgb
from srgan.inference.torch_upscale import enlarge
from srgan.metrics.lpips import Lpips
from srgan.metrics.psnr_ssim import psnr_ssim_y

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
        lpips: None if LPIPS is not wanted or cannot be had.
    """

    def __init__(self, scale: int, device: torch.device, lpips: Lpips | None) -> None:
        self.scale, self.device, self.lpips = scale, device, lpips
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
            lr_image, original = read_rgb(pair.lr), read_image(pair.hr)
            sr_image = enlarge(model, lr_image)
            hr_image = as_rgb(original)
            whole, pixel = loss(self._tensor(sr_image), self._tensor(hr_image))
            lpips = self.lpips(sr_image, hr_image) if self.lpips else None
            arguments = number, pair.name, lr_image, sr_image, original, whole, pixel, lpips
            parts.append(self.threads.submit(self._scored, *arguments) if self.threads else self._scored(*arguments))
        return lambda: _summary([part.result() if isinstance(part, Future) else part for part in parts])

    def _scored(
        self,
        number: int,
        name: str,
        lr_image: np.ndarray,
        sr_image: np.ndarray,
        original: np.ndarray,
        loss: float,
        pixel: float,
        lpips: float | None,
    ) -> _Scored:
        psnr, ssim = psnr_ssim_y(sr_image, original, border=self.scale)
        row = {"val_psnr_y": psnr, "val_ssim_y": ssim, "val_loss": loss}
        caption = f"{psnr:.2f} dB"
        if lpips is not None:
            row["val_lpips"] = lpips
            caption += f"  LPIPS {lpips:.3f}"
        strip = None
        if number < SHOWN:
            bicubic, hr_image = bicubic_upscale(lr_image, self.scale), as_rgb(original)
            enlarged = lr_image.repeat(self.scale, 0).repeat(self.scale, 1)
            shown = {"LR": enlarged, "bicubic": bicubic, "SR": sr_image, "HR": hr_image}
            strip = visualize.strip(name, shown, {"SR": caption}, bicubic, hr_image)
        return _Scored(number, row, pixel, strip)

    def _tensor(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float().div_(255)


def _summary(own: list[_Scored]) -> Scores:
    scored = sorted(process_group.gathered(own), key=lambda one: one.number)
    means = {key: float(np.mean([one.row[key] for one in scored])) for key in scored[0].row}
    means["val_pixel"] = float(np.mean([one.pixel for one in scored]))
    return means, [one.strip for one in scored if one.strip is not None]
