"""Estimate the degradations of photographs, and write a recipe that imitates them.

All findings but the noise of the colours are of the luma (BT.601), in levels of 255 and in pixels of the photograph.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin
from scipy import fft, ndimage, special

from srgan.data.left_out import LeftOut
from srgan.data.walk import images_below
from srgan.degradations.jpeg import BLOCK, TABLES
from srgan.images.read import SUFFIXES, read_rgb
from srgan.utils.errors import SrganError
from srgan.utils.machine import processes
from srgan.utils.progress import Progress
from srgan.utils.workers import Lost, Workers

LUMA = (0.299, 0.587, 0.114)
CHROMA = (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)  # the colour differences of JFIF
COLORED = 0.5  # share of the noise of the luma that the noise of the chroma explains, if the noise differs between the colours
LUMA_SHARE = math.hypot(*LUMA)  # noise of the luma / noise of each colour, if it differs between the colours
SIDE = 1024  # pixels of the middle of a photograph that is measured
MIN_SIDE = 32
SUBSAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # numbers of Pillow
ROUNDING = 0.35  # standard deviation of a cosine coefficient after the pixels were rounded, in levels
OUTLIERS = 0.05  # share of coefficients that clipping and later changes displaced
MIN_COEFFICIENTS = 40  # above ROUNDING, to look for traces of a compression
MIN_GAIN, MIN_TOTAL_GAIN = 0.1, 20.0  # mean and sum of the log-likelihood of a compression against none
UNQUANTIZED = np.full((BLOCK, BLOCK), 1e-6)
LEAST, HIGH = 3, 8  # least sum of row and column of the coefficients that noise is measured by
HIDDEN = 0.35  # standard deviation of noise of which a seventh exceeds half of a quantization step / this step
FLAT_BLOCKS = 0.1  # share of the blocks that the noise is measured in
EDGES = 0.2  # share of the edge pixels that the blur is measured at
SCALES = (1.0, 2.5)  # standard deviations of the two Gaussian filters that edges are measured by
MIN_EDGES = 20
SHARP = 0.4  # standard deviation of the edges of a sharp photograph

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """The degradations of a photograph.

    Attributes:
        quality: JPEG quality of libjpeg, 1..100. None if no compression was found.
        subsampling: of the chroma, such as ``4:2:0``. Empty if the file does not state it.
        noise: standard deviation in levels of 255, before a compression. None if the photograph has no flat areas.
        blur: standard deviation of a Gaussian kernel in pixels. None if the photograph has no edges.
        color_noise: standard deviation of the noise that differs between the colours, in each of them. None if it is unknown, because a
            compression removes the noise of the chroma.
    """

    quality: int | None
    subsampling: str
    noise: float | None
    blur: float | None
    color_noise: float | None = None

    @property
    def hidden_noise(self) -> float:
        """Return the standard deviation below which the compression removes six of seven coefficients of the noise.

        Texture explains the few that are left in an image without noise.
        """
        return HIDDEN * float(np.mean([_table(self.quality)[row, LEAST - row] for row in range(LEAST + 1)])) if self.quality else 0.0

    @property
    def sigmas(self) -> dict[bool, float]:
        """Return the standard deviation of the noise in each colour if it is equal in the three (True) or differs (False).

        Both are there if it is unknown which. Fine texture is grey, so that the noise of the chroma is the surer one.
        """
        noise = self.noise or 0.0
        if self.color_noise is None:
            return {True: noise, False: noise / LUMA_SHARE}
        colored = LUMA_SHARE * self.color_noise >= COLORED * noise
        return {False: self.color_noise} if colored else {True: noise}


def measure(path: Path) -> Findings:
    """Measure the degradations of an image file.

    Raises:
        SrganError: the file cannot be read, or a side is below 32 pixels.
    """
    pixels, luma, stated, subsampling = _read(path)
    if min(luma.shape) < MIN_SIDE:
        raise SrganError(f"{path}: has {luma.shape[1]}x{luma.shape[0]} pixels, and an estimate needs {MIN_SIDE} a side. Remove the file")
    found = measure_pixels(luma, stated, subsampling)
    return found if found.quality else replace(found, color_noise=_color_noise(pixels))


def measure_pixels(luma: np.ndarray, stated: int | None = None, subsampling: str = "") -> Findings:
    """Measure the degradations of an image in memory.

    Args:
        luma: `(H, W)`, at least 32 pixels a side, in levels of 255. See `LUMA`.
        stated: JPEG quality that the file states.
        subsampling: that the file states.
    """
    luma = _middle(luma)
    coefficients = _cosines(luma)
    quality = stated
    if not stated:
        top, left = _corner(luma)  # of the blocks of an image that was compressed and then cropped
        cropped = _cosines(luma[top:, left:])
        quality, coefficients = max(((_quality(one), one) for one in (coefficients, cropped)), key=lambda found: found[0] or 0)
    if quality:
        noise = _noise(coefficients, _table(quality))
    else:  # texture has less of the highest frequencies, white noise has as much
        noise = min((_noise(coefficients, UNQUANTIZED, least) for least in (LEAST, HIGH)), key=lambda found: found or 0.0)
    return Findings(quality, subsampling, noise, _blur(luma, noise or 0.0))


def jpeg_quality(path: Path) -> int | None:
    """Return the lowest JPEG quality that an image file states or shows, or None. Unlike `measure` it finds a former compression, too.

    Raises:
        SrganError: the file cannot be read.
    """
    _, luma, stated, _ = _read(path)
    luma = _middle(luma)
    top, left = _corner(luma)
    found = [stated, *(_quality(_cosines(part)) for part in (luma, luma[top:, left:]))]
    return min((quality for quality in found if quality), default=None)


def _middle(luma: np.ndarray) -> np.ndarray:
    """Return at most `SIDE` pixels a side. They begin at a multiple of the blocks, so that the blocks of a JPEG file stay whole."""
    top, left = (max(side - SIDE, 0) // 2 // BLOCK * BLOCK for side in luma.shape)
    return luma[top : top + SIDE, left : left + SIDE]


def luma_of(pixels: np.ndarray) -> np.ndarray:
    """Return the luma, `(H, W)` float in levels of 255, of `(H, W, 3)` uint8."""
    return pixels @ np.array(LUMA)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, int | None, str]:
    """Return the pixels, the luma, and the quality and subsampling that a JPEG file states."""
    pixels = read_rgb(path)
    try:
        with Image.open(path) as file:
            if not isinstance(file, JpegImagePlugin.JpegImageFile) or 0 not in file.quantization:
                return pixels, luma_of(pixels), None, ""
            table, subsampling = np.array(file.quantization[0]), JpegImagePlugin.get_sampling(file)
            # The luma of the file itself: it is not rounded again, and not turned, which would transpose the blocks.
            file.draft("L", file.size)
            luma = np.asarray(file.convert("L"), float)
    except (OSError, ValueError, SyntaxError) as error:
        raise SrganError(f"{path}: cannot be read ({error}). Remove the file") from error
    distances = [np.abs(_table(quality).ravel() - table).sum() for quality in range(1, 101)]
    return pixels, luma, 1 + int(np.argmin(distances)), SUBSAMPLINGS.get(subsampling, "")


def _table(quality: int) -> np.ndarray:
    """Return libjpeg's quantization steps of the luma, `(8, 8)` (jcparam.c)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.array(TABLES[0]) * percent + 50) // 100, 1, 255).reshape(BLOCK, BLOCK)


def _cosines(luma: np.ndarray) -> np.ndarray:
    """Return the cosine transform of the blocks, `(N, 8, 8)`."""
    rows, columns = (side // BLOCK for side in luma.shape)
    blocks = luma[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    return fft.dctn(blocks - 128, axes=(1, 2), norm="ortho")


def _corner(luma: np.ndarray) -> tuple[int, int]:
    """Return the row and column, 0..7, where blocks begin. The step between pixels exceeds that of its neighbours there."""

    def first(image: np.ndarray) -> int:
        steps = np.abs(np.diff(image, axis=0))
        excess = np.minimum(steps[1:-1] - (steps[:-2] + steps[2:]) / 2, 8).mean(1)  # strong edges of the scene count no more than blocks
        by_place = [excess[place::BLOCK].mean() for place in range(BLOCK)]
        return (int(np.argmax(by_place)) + 2) % BLOCK

    return first(luma), first(luma.T)


def _quality(coefficients: np.ndarray) -> int | None:
    """Return the JPEG quality that explains the coefficients best, or None.

    A decompressed coefficient is near a multiple of its quantization step (Fan and de Queiroz 2003). The likelihood is a normal
    distribution around the multiples with some outliers, against a smooth distribution.
    """
    low = [(row, column) for row in range(4) for column in range(4) if row + column in (1, 2, 3)]
    values = [one[np.abs(one) > 3 * ROUNDING] for one in (coefficients[:, row, column] for row, column in low)]
    count = sum(map(len, values))
    if count < MIN_COEFFICIENTS:
        return None
    gains = {}
    for quality in range(1, 96):
        table, total = _table(quality), 0.0
        for (row, column), one in zip(low, values, strict=True):
            step = float(table[row, column])
            distance = (one - step * np.round(one / step)) / ROUNDING
            near = step / (ROUNDING * math.sqrt(2 * math.pi)) * np.exp(-(distance**2) / 2)
            total += float(np.log((1 - OUTLIERS) * near + OUTLIERS).sum())
        gains[quality] = total / count
    best = max(gains, key=gains.__getitem__)
    return best if gains[best] > max(MIN_GAIN, MIN_TOTAL_GAIN / count) else None


def _color_noise(pixels: np.ndarray) -> float | None:
    """Return the standard deviation in each colour of noise that differs between the colours, by the noise of the chroma."""
    found = [_noise(_cosines(_middle(pixels @ np.array(one)) + 128), UNQUANTIZED) for one in CHROMA]
    known = [noise / math.hypot(*one) for noise, one in zip(found, CHROMA, strict=True) if noise is not None]
    return float(np.mean(known)) if known else None


def _noise(coefficients: np.ndarray, steps: np.ndarray, least: int = LEAST) -> float | None:
    """Return the standard deviation of white noise before the quantization by `steps`.

    Blocks of the least low frequencies are flat. The share of their other coefficients below a threshold gives the deviation by
    maximum likelihood. The threshold is between two quantized values, so that the quantization does not change the share.
    """
    sums = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
    low = np.abs(coefficients[:, (sums > 0) & (sums < LEAST)]).sum(1)
    clipped = np.abs(coefficients[:, 0, 0]) > 0.9 * 128 * BLOCK  # nearly black or white: the noise was clipped
    usable = np.flatnonzero(~clipped)
    count = max(int(FLAT_BLOCKS * len(usable)), 16)
    if len(usable) < count:
        return None
    flat = coefficients[usable[np.argsort(low[usable])[:count]]]
    deviations = np.geomspace(0.05, 80, 300)
    likelihood = np.zeros_like(deviations)
    for row, column in zip(*np.nonzero(sums >= least), strict=True):
        values, step = np.abs(flat[:, row, column]), float(steps[row, column])
        threshold = (math.floor(float(np.median(values)) / step + 0.5) + 0.5) * step
        below = np.clip(special.erf(threshold / (math.sqrt(2) * deviations)), 1e-6, 1 - 1e-6)
        share = float((values < threshold).mean())
        likelihood += share * np.log(below) + (1 - share) * np.log(1 - below)
    return float(deviations[likelihood.argmax()])


def _blur(luma: np.ndarray, noise: float) -> float | None:
    """Return the standard deviation of a Gaussian blur, by the gradients of the strongest edges under two filters.

    A step edge of width s has a gradient proportional to 1 / s, and filters add to s² (Zhuo and Sim 2011, section 3).
    """
    fine, coarse = ([ndimage.gaussian_filter(luma, one, order) for order in ((0, 1), (1, 0))] for one in SCALES)
    wide_gradient = np.hypot(*coarse)
    # Edges are chosen by the wide filter and the other gradient is projected on its direction. Else noise looks like sharp edges.
    narrow_gradient = (fine[0] * coarse[0] + fine[1] * coarse[1]) / np.maximum(wide_gradient, 1e-6)
    peaks = (wide_gradient == ndimage.maximum_filter(wide_gradient, 5)) & (wide_gradient > max(4.0, noise / 2))
    if peaks.sum() < MIN_EDGES:
        return None
    strong = peaks & (wide_gradient >= np.quantile(wide_gradient[peaks], 1 - EDGES))
    ratio = float(np.median(narrow_gradient[strong] / wide_gradient[strong])) ** 2
    narrow, wide = (one**2 for one in SCALES)
    squared = (wide - ratio * narrow) / max(ratio - 1, 1e-3)
    return math.sqrt(min(max(squared - SHARP**2, 0.0), 100.0))


@dataclass(frozen=True)
class Kind:
    """A degradation in the summary and in the recipe.

    Attributes:
        name: of the attribute of `Findings`.
        title: of its row in the table.
        digits: after the decimal point.
        least: smaller values count as none.
    """

    name: str
    title: str
    digits: int
    least: float


KINDS = (
    Kind("blur", "blur, standard deviation in pixels", 1, 0.5),
    Kind("noise", "noise, standard deviation in levels of 255", 1, 1.0),
    Kind("quality", "JPEG quality", 0, 1),
)


# Sizes are in pixels of the LR image, so the reduction comes first.
STEPS = {
    "blur": "name: blur, probability: {probability}, kinds: {{isotropic: 1.0}}, size: [21, 21], sigma: {range}",
    "quality": "name: jpeg, probability: {probability}, quality: {range}, subsampling: {{{subsampling}}}",
}


def estimate(folder: Path) -> tuple[list[Findings], list[str]]:
    """Measure all photographs of a folder and its subfolders. A damaged file does not stop the others.

    Returns:
        The findings, and a message for each file that failed.

    Raises:
        SrganError: the folder is missing, it holds no image or every image failed.
    """
    if not folder.is_dir():
        raise SrganError(f"{folder}: no such folder")
    left_out = LeftOut()
    paths = images_below(folder, left_out)
    log.info("%s: %d images%s", folder, len(paths), left_out.summary())
    if not paths:
        raise SrganError(f"{folder}: no images found. The suffixes are {', '.join(SUFFIXES)}")
    findings, failures = [], []
    with Progress("estimate", len(paths), "image") as progress, Workers(_try_to_measure, processes()) as workers:
        for path, answer in zip(paths, workers.map(paths), strict=True):
            if isinstance(answer, Findings):
                findings.append(answer)
            else:
                failures.append(f"{path}: measuring it {answer.reason}" if isinstance(answer, Lost) else str(answer))
            progress.add(1)
    if not findings:
        raise SrganError("\n  ".join([f"{folder}: none of {len(paths)} images can be measured:", *failures]))
    return findings, failures


def _try_to_measure(path: Path) -> Findings | SrganError:
    try:
        return measure(path)
    except SrganError as error:
        return error


def recipe_text(folder: Path, findings: Sequence[Findings], failures: Sequence[str]) -> str:
    """Return a recipe as YAML that imitates the photographs, with the findings as comments.

    Each range is from the 10th to the 90th percentile of the photographs that have the degradation. Its probability is their share.
    """
    lines = [f"{len(findings)} images of {folder}", "", f"{'':48}images   10%   50%   90%"]
    steps = ["- {name: downscale}"]
    for kind in KINDS:
        values = [getattr(one, kind.name) for one in _with(findings, kind)]
        share = f"{len(values)} of {len(findings)}"
        if not values:
            lines.append(f"{kind.title:42}{share:>12}")
            continue
        lines.append(f"{kind.title:42}{share:>12}" + "".join(f"{value:>6.{kind.digits}f}" for value in np.percentile(values, (10, 50, 90))))
        probability = f"{len(values) / len(findings):.2f}"
        if kind.name == "noise":
            steps.append(f"- {_noise_step(findings, kind, probability)}")
        else:
            step = STEPS[kind.name].format(probability=probability, range=_range(values, kind), subsampling=_subsampling(findings))
            steps.append(f"- {{{step}}}")
    stated = Counter(one.subsampling for one in findings if one.subsampling)
    lines.append("subsampling stated by the files: " + (", ".join(f"{name} {count}" for name, count in sorted(stated.items())) or "none"))
    for name, title in (
        ("noise", "without flat areas, so that their noise is unknown"),
        ("blur", "without edges, so that their blur is unknown"),
    ):
        if unknown := sum(getattr(one, name) is None for one in findings):
            lines.append(f"{unknown} images {title}")
    if failures:
        lines += [f"{len(failures)} files could not be measured:", *(f"  {failure}" for failure in failures)]
    return "".join(f"# {line}".rstrip() + "\n" for line in "\n".join(lines).splitlines()) + "\n" + "".join(f"{step}\n" for step in steps)


def _with(findings: Sequence[Findings], kind: Kind) -> list[Findings]:
    """Return the photographs that have a degradation."""
    return [one for one in findings if (getattr(one, kind.name) or 0) >= max(kind.least, one.hidden_noise if kind.name == "noise" else 0)]


def _range(values: Sequence[float], kind: Kind) -> str:
    low, high = np.percentile(values, (10, 90))
    return f"[{low:.{kind.digits}f}, {high:.{kind.digits}f}]"


def _noise_step(findings: Sequence[Findings], kind: Kind, probability: str) -> str:
    """Return a step with equal noise of the three colours, one with noise of each, or one of both. Unknown noise may be both."""
    noisy = _with(findings, kind)
    found = {grey for one in noisy if one.color_noise is not None for grey in one.sigmas} or {False, True}
    steps = [
        f"kinds: {{gaussian: 1.0}}, sigma: {_range([one.sigmas[grey] for one in noisy if grey in one.sigmas], kind)}, grey: {float(grey)}"
        for grey in sorted(found)
    ]
    if len(steps) == 1:
        return f"{{name: noise, probability: {probability}, {steps[0]}}}"
    return f"{{name: one_of, probability: {probability}, steps: [{', '.join(f'{{name: noise, {step}}}' for step in steps)}]}}"


def _subsampling(findings: Sequence[Findings]) -> str:
    stated = Counter(one.subsampling for one in findings if one.subsampling) or Counter({SUBSAMPLINGS[2]: 1})
    return ", ".join(f'"{name}": {float(count)}' for name, count in sorted(stated.items()))
