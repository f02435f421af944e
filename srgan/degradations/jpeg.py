"""JPEG compression as tensors, which agrees with libjpeg's encoder and decoder."""

import functools
import math
from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np
import torch
from torch import Tensor

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn

BLOCK = 8  # side of the blocks
UNIT = 16  # side of the largest coded unit: 2 x 2 blocks of luma and one of each chroma

# Rows and columns of pixels for each sample of chroma
SUBSAMPLING = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
SAMPLING_FACTORS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
# What libjpeg adds before it rounds down, in even and in odd columns (jcsample.c and jdsample.c). The sum has 4 and 16 parts.
MEAN_BIAS = {"4:4:4": (0, 0), "4:2:2": (0, 2), "4:2:0": (1, 2)}
UPSAMPLING_BIAS = {"4:4:4": (0, 0), "4:2:2": (4, 8), "4:2:0": (8, 7)}

# Fixed-point factors of libjpeg, of 2**16 (jccolor.c and jdcolor.c). All sums are integers below 2**24, which float32 holds exactly.
TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
YCC_BIAS = (32768 - (128 << 16), 32767, 32767)  # all three are around 0
TO_RGB = ((0, 91881), (-22554, -46802), (116130, 0))  # what blue and red chroma add to luma
ONE = 65536

# The left half of libjpeg's forward cosine transform (jfdctint.c): a row per frequency, of 2**13. The right half mirrors it, with the
# other sign for odd frequencies. Nearly equal numbers, instead of the cosines, round every coefficient as libjpeg does.
HALF_TRANSFORM = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)

# Annex K of the standard (ITU-T T.81): luma and chroma at quality 50
TABLES = (
    (
        *(16, 11, 10, 16, 24, 40, 51, 61),
        *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56),
        *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77),
        *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101),
        *(72, 92, 95, 98, 112, 100, 103, 99),
    ),
    (
        *(17, 18, 24, 47, 99, 99, 99, 99),
        *(18, 21, 26, 66, 99, 99, 99, 99),
        *(24, 26, 56, 99, 99, 99, 99, 99),
        *(47, 66, 99, 99, 99, 99, 99, 99),
        *(99,) * 32,
    ),
)


class JpegOptions(StepOptions):
    """Compress as JPEG and decompress."""

    quality: Annotated[Range, within(1, 100)] = option((30, 95), "lowest and highest quality of libjpeg, 1 to 100")
    subsampling: Annotated[Weights, among(*SUBSAMPLING)] = option(
        {"4:4:4": 0.2, "4:2:2": 0.1, "4:2:0": 0.7}, "weights of the subsamplings of chroma"
    )
    shifted: bool = option(False, "blocks begin anywhere in whole images too, as in an image that was compressed and then cropped")


def _draw(options: JpegOptions, state: Drawing) -> Drawn:
    low, high = options.quality
    quality, subsampling = state.draws.integer(round(low), round(high)), state.draws.choose(options.subsampling)
    shift = [state.draws.integer(0, UNIT - 1), state.draws.integer(0, UNIT - 1)]
    return {"quality": quality, "subsampling": subsampling, "shift": shift if state.patch or options.shifted else [0, 0]}


def compress(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    """Compress each image with its `quality` and `subsampling`, and decompress it.

    The colours are rounded to 8 bits before. `shift` is the position of the image in its first coded unit, in rows and columns. It is
    (0, 0) in a file. Chroma is interpolated as libjpeg does by default ("fancy upsampling").
    """
    pixels, kinds, shifts = batch.pixels, [one["subsampling"] for one in drawn], [one["shift"] for one in drawn]
    steps = [SUBSAMPLING[kind] for kind in kinds]
    rows = _Axis(batch.heights, [shift[0] for shift in shifts], [step[0] for step in steps], True, pixels.device)
    columns = _Axis(batch.widths, [shift[1] for shift in shifts], [step[1] for step in steps], False, pixels.device)
    tables = torch.stack([_tables(one["quality"]) for one in drawn]).to(pixels.device, non_blocking=True)

    levels = pixels.mul(255).round_().flatten(2)
    planes = (levels.new_tensor(TO_YCC) @ levels).add_(levels.new_tensor(YCC_BIAS)[:, None]).mul_(1 / ONE).floor_()
    luma = _code(_at(planes[:, :1], _to_blocks(rows.luma, columns.luma, pixels.shape[3])), tables[:, :1])
    chroma = _code(_mean(planes[:, 1:], rows, columns, pixels.shape[3], _biases(MEAN_BIAS, kinds, pixels)), tables[:, 1:])

    luma = _at(luma, _from_blocks(rows.pixels, columns.pixels, columns.luma.shape[1]))
    bias = _biases(UPSAMPLING_BIAS, kinds, pixels).gather(1, columns.pixels % 2)[:, None, None]
    return batch.with_pixels(_rgb(luma, _upsample(chroma, rows, columns, bias)))


class _Axis:
    """The rows or the columns of images of different sizes. Each attribute is an index per image and place, `(N, places)`.

    Args:
        sizes: of the images, in pixels.
        shifts: of the images in their coded image.
        steps: pixels for each sample of chroma.
        repeat_last: fill the last block with the last sample of chroma, as libjpeg does with rows. Else with that of the last pixel.
        device: of the images.

    Attributes:
        luma: the pixel of each place in the coded image.
        first: the first pixel of each sample of chroma.
        second: the last pixel of it.
        pixels: the place of each pixel in the coded image.
        nearest: the sample of chroma over each pixel.
        next: the next nearest sample. Each pixel takes 3 parts of the nearest and 1 part of this.
    """

    def __init__(self, sizes: Sequence[int], shifts: Sequence[int], steps: Sequence[int], repeat_last: bool, device: torch.device) -> None:
        size, shift, step = torch.tensor([sizes, shifts, steps]).to(device, non_blocking=True)[..., None]
        ends = [size + shift for size, shift in zip(sizes, shifts, strict=True)]
        last = (size + shift - 1) // step
        self.luma = _inside(torch.arange(_whole_blocks(max(ends)), device=device) - shift, size)
        count = max((end - 1) // step + 1 for end, step in zip(ends, steps, strict=True))
        sample = torch.arange(_whole_blocks(count), device=device)
        start = (sample.minimum(last) if repeat_last else sample) * step - shift
        self.first, self.second = _inside(start, size), _inside(start + step - 1, size)
        self.pixels = _inside(torch.arange(max(sizes), device=device), size) + shift
        self.nearest = self.pixels // step
        self.next = _inside(self.nearest + (self.pixels % 2 * 2 - 1) * (step - 1), last + 1)


def _whole_blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _inside(index: Tensor, size: Tensor) -> Tensor:
    return index.clamp(min=0).minimum(size - 1)


def _at(planes: Tensor, index: Tensor) -> Tensor:
    """Return the values `(N, C, ...)` of planes `(N, C, places)` at places `(N, ...)`."""
    found = planes.gather(2, index.flatten(1)[:, None].expand(-1, planes.shape[1], -1))
    return found.unflatten(2, index.shape[1:])


def _to_blocks(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Return the places of pixels in images of this width, block by block: `(N, block rows, block columns, 64)`."""
    rows, columns = rows.unflatten(1, (-1, 1, BLOCK, 1)), columns.unflatten(1, (1, -1, 1, BLOCK))
    return (rows * width + columns).flatten(3)


def _from_blocks(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Return the places of pixels in images of this width that are stored block by block: `(N, rows, columns)`."""
    rows = rows // BLOCK * BLOCK * width + rows % BLOCK * BLOCK
    columns = columns // BLOCK * BLOCK**2 + columns % BLOCK
    return rows[:, :, None] + columns[:, None]


def _biases(table: dict[str, tuple[int, int]], kinds: Sequence[str], like: Tensor) -> Tensor:
    """Return the bias of even and of odd columns of each image, `(N, 2)`."""
    return torch.tensor([table[kind] for kind in kinds], dtype=like.dtype).to(like.device, non_blocking=True)


def _mean(chroma: Tensor, rows: _Axis, columns: _Axis, width: int, bias: Tensor) -> Tensor:
    """Return the samples of chroma block by block: the mean of 1, 2 or 4 pixels each, as integers."""
    first, *others = (_to_blocks(row, column, width) for row in (rows.first, rows.second) for column in (columns.first, columns.second))
    total = _at(chroma, first).add_(bias.tile(1, BLOCK**2 // 2)[:, None, None, None])
    for place in others:
        total.add_(_at(chroma, place))
    return total.mul_(1 / 4).floor_()


def _code(blocks: Tensor, tables: Tensor) -> Tensor:
    """Quantise the coefficients of blocks and decode them.

    Args:
        blocks: `(N, C, block rows, block columns, 64)`, integers in -128..127.
        tables: `(N, 1, 64)`, the quantisation tables of the images.

    Returns:
        `(N, C, places)` of the same kind, block by block.
    """
    tables = tables[:, :, None, None]
    across, down, inverse = (matrix.to(blocks.device, non_blocking=True) for matrix in _transforms())
    # libjpeg keeps quarters after the first pass, and eighths of coefficients after the second.
    eighths = ((blocks @ across).add_(0.5).floor_() @ down).add_(0.5).floor_()
    # Halves are rounded away from zero. The factor of 1e-6 exceeds float32's error.
    coefficients = eighths.mul_((1 + 1e-6) / (8 * tables)).round_()
    # Halves of levels are rounded up. The last digit exceeds float32's error.
    return (coefficients.mul_(tables) @ inverse).add_(0.501).floor_().clamp_(-128, 127).flatten(2)


def _upsample(chroma: Tensor, rows: _Axis, columns: _Axis, bias: Tensor) -> Tensor:
    """Return chroma `(N, 2, H, W)` of all pixels: 3/4 of the nearest sample and 1/4 of the next, in both directions."""
    width = columns.first.shape[1]
    every = torch.arange(width, device=chroma.device).expand(len(chroma), -1)
    tall = _at(chroma, _from_blocks(rows.nearest, every, width)).mul_(3).add_(_at(chroma, _from_blocks(rows.next, every, width)))
    line = torch.arange(tall.shape[2], device=chroma.device)[:, None] * width
    tall = tall.flatten(2)
    nearest, following = _at(tall, line + columns.nearest[:, None]), _at(tall, line + columns.next[:, None])
    return nearest.mul_(3).add_(following).add_(bias).mul_(1 / 16).floor_()


def _rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """Return colours in 0..1 from luma and chroma around 0."""
    factors = chroma.new_tensor(TO_RGB)
    change = (factors @ chroma.flatten(2)).add_(ONE // 2).mul_(1 / ONE).floor_().unflatten(2, chroma.shape[2:])
    return change.add_(luma).add_(128).clamp_(0, 255).div_(255)


@functools.cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Return the cosine transform of the rows of a block, of its columns, and the inverse of both, as products ``block @ matrix``."""
    left = torch.tensor(HALF_TRANSFORM, dtype=torch.float64).T
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).tile(BLOCK // 2)
    forward, one = torch.cat([left, left.flip(0) * signs]), torch.eye(BLOCK, dtype=torch.float64)
    place, frequency = torch.arange(BLOCK, dtype=torch.float64), torch.arange(BLOCK, dtype=torch.float64)[:, None]
    backward = torch.cos((2 * place + 1) * frequency * math.pi / (2 * BLOCK)) / 2
    backward[0] /= math.sqrt(2)
    return torch.kron(one, forward / 2**11).float(), torch.kron(forward / 2**15, one).float(), torch.kron(backward, backward).float()


@functools.cache
def _tables(quality: int) -> Tensor:
    """Return the tables of luma and chroma at a quality, `(2, 64)`, by libjpeg's rule (jcparam.c)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor(TABLES).mul_(percent).add_(50).div_(100, rounding_mode="floor").clamp_(1, 255).float()


def _alone(image: np.ndarray, drawn: Drawn) -> np.ndarray:
    """Compress by libjpeg, which takes at most a quarter of the time of `compress` on a CPU."""
    (top, left), settings = drawn["shift"], [cv2.IMWRITE_JPEG_QUALITY, drawn["quality"]]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING_FACTORS[drawn["subsampling"]]]
    planes = cv2.convertScaleAbs(image.reshape(-1, image.shape[2]), alpha=255).reshape(image.shape)
    levels = cv2.copyMakeBorder(cv2.merge([*planes[::-1]]), top, 0, left, 0, cv2.BORDER_REPLICATE)  # OpenCV's colours are BGR
    coded = cv2.imdecode(cv2.imencode(".jpg", levels, settings)[1], cv2.IMREAD_COLOR)
    assert coded is not None
    cv2.split(coded[top:, left:], [*planes[::-1]])
    return np.divide(planes, np.float32(255))


JPEG = Degradation(
    "jpeg",
    "JPEG compression at a random quality, as libjpeg does it (ITU-T T.81).",
    JpegOptions,
    _draw,
    compress,
    alone=_alone,
)
