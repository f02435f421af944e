"""Damage of old prints: cracks, scratches, tears, dust, fibres and stains.

The damage is a Poisson process over a plane that is larger than the image. So a patch of a training has as much of it per area as a whole
picture, up to its edges.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
import torch

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn

Span = tuple[float, float]

_FINE = 2  # lines are drawn at twice the size and averaged, so that a width may be half a pixel
_SHIFT = 4  # binary digits of the coordinates that OpenCV takes, after the point
_ROUGH = 1.6  # pixels between the random numbers that make edges rough
_BRANCH = (0.1, 0.6)  # length of a branch, of the line that it begins on
_WEAR = 6  # pixels between the random numbers that make lines patchy, at size 1


@dataclass(frozen=True)
class Lines:
    """A family of lines. Lengths and widths are in pixels at size 1."""

    lengths: Span
    widths: Span
    opacities: Span
    bright: float  # share of bright lines. The others are dark
    bend: float  # standard deviation of the change of direction per step
    jitter: float = 0.0  # standard deviation of the direction of each step
    branches: float = 0.0  # mean number of branches
    step: float = 5.0  # length of the straight parts
    split: float = 0.0  # variation of the width along the line


_FAMILIES = {
    "cracks": Lines((15, 250), (0.4, 2.2), (0.3, 1.0), 1.0, bend=0.07, jitter=0.5, branches=1.5, step=4, split=0.5),
    "scratches": Lines((20, 300), (0.5, 1.0), (0.1, 0.6), 0.6, bend=0.02, step=15),
    "tears": Lines((120, 400), (1.2, 4.5), (0.8, 1.0), 1.0, bend=0.02, jitter=0.4, branches=0.7, step=3, split=0.6),
    "fibres": Lines((8, 40), (0.5, 1.0), (0.3, 0.9), 0.5, bend=0.3, step=3),
}


class ScratchesOptions(StepOptions):
    """Damage of a print, bright and dark. Numbers are per million pixels at size 1."""

    size: Annotated[Range, within(0.1, 10)] = option((0.5, 2.0), "scale of the damage. 1 is a print of about 800 pixels")
    cracks: Annotated[Range, within(0, 10_000)] = option((0.0, 80.0), "branching cracks of the emulsion")
    scratches: Annotated[Range, within(0, 10_000)] = option((0.0, 80.0), "long thin scratches")
    tears: Annotated[Range, within(0, 10_000)] = option((0.0, 3.0), "folds and tears down to the paper")
    dust: Annotated[Range, within(0, 100_000)] = option((0.0, 500.0), "specks")
    fibres: Annotated[Range, within(0, 10_000)] = option((0.0, 30.0), "hairs and fibres")
    stains: Annotated[Range, within(0, 1_000)] = option((0.0, 8.0), "stains with a dark rim")


def _draw(options: ScratchesOptions, state: Drawing) -> Drawn:
    draws = state.draws
    size = math.exp(draws.uniform(*np.log(options.size).tolist()))
    numbers = {key: draws.uniform(*getattr(options, key)) for key in (*_FAMILIES, "dust", "stains")}
    white, yellow = draws.uniform(0.75, 1.0), draws.uniform(0.0, 0.35)
    return {
        "size": size,
        **numbers,
        "paper": [white, white * (1 - yellow * 0.3), white * (1 - yellow)],  # what shows below the emulsion
        "dark": draws.uniform(0.0, 0.25),
        "relief": draws.uniform(0.0, 0.5),
        "stain": [1.0, draws.uniform(0.8, 0.95), draws.uniform(0.5, 0.8)],
        "seed": draws.seed(),
    }


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    pixels = batch.pixels
    masks = np.zeros((len(drawn), 3, *pixels.shape[2:]), np.float32)
    for mask, one, height, width in zip(masks, drawn, batch.heights, batch.widths, strict=True):
        mask[:, :height, :width] = damage(one, height, width)
    bright, dark, stain = torch.from_numpy(masks).to(pixels.device, non_blocking=True).split(1, dim=1)
    colours = torch.tensor([[one[key] for key in ("paper", "stain")] for one in drawn]).to(pixels, non_blocking=True)[..., None, None]
    edges = torch.tensor([[one["dark"], one["relief"]] for one in drawn]).to(pixels, non_blocking=True)[:, :, None, None, None]
    damaged = pixels * (1 - stain * (1 - colours[:, 1]))
    damaged = torch.lerp(damaged, edges[:, 0], dark)
    damaged = torch.lerp(damaged, colours[:, 0], bright)
    shadow = torch.nn.functional.pad(bright, (1, 0, 1, 0))[:, :, :-1, :-1] - bright  # the light falls from the upper left
    return batch.with_pixels((damaged * (1 - edges[:, 1] * shadow.clamp_(min=0))).clamp_(0, 1))


def damage(drawn: Drawn, height: int, width: int) -> np.ndarray:
    """Return the strength of the bright, the dark and the stained damage of one image, `(3, height, width)` float32 in 0..1."""
    rng = np.random.default_rng(drawn["seed"])
    size = drawn["size"]
    fine = np.zeros((2, height * _FINE, width * _FINE), np.uint8)
    lines = [line for key, family in _FAMILIES.items() for line in _lines(rng, family, drawn[key], size, height, width)]
    for line in sorted(lines, key=lambda line: line.opacity):  # so that a faint line does not hide a strong one
        line.paint(rng, fine[0 if line.bright else 1])
    for specks in _specks(rng, drawn["dust"], size, height, width):
        layer = fine[int(rng.random() < 0.5)]
        cv2.fillPoly(layer, [_fixed(specks)], int(rng.uniform(100, 255)), cv2.LINE_AA, _SHIFT)
    coarse = [cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA) for layer in fine]
    masks = np.stack([*coarse, _stains(rng, drawn["stains"], size, height, width)]).astype(np.float32) / 255
    _roughen(rng, masks[:2], size)
    return masks


def _roughen(rng: np.random.Generator, masks: np.ndarray, size: float) -> None:
    """Displace lines and specks by noise, so that their edges look torn, and make them patchy."""
    height, width = masks.shape[1:]
    rough, also_rough = (_noise(rng, _ROUGH, height, width) for _ in range(2))
    rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.4 * size**0.5 * np.stack([rough, also_rough])
    wear = np.clip(1.1 + 0.4 * _noise(rng, _WEAR * size, height, width) + 0.2 * rough, 0, 1)
    for mask in masks:
        mask[:] = cv2.remap(mask, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) * wear


@dataclass(frozen=True)
class _Line:
    points: np.ndarray  # `(P, 2)` of x and y in pixels
    width: float
    opacity: float
    bright: bool
    split: float

    def paint(self, rng: np.random.Generator, layer: np.ndarray) -> None:
        """Draw the line in parts of different widths, thin at both ends."""
        points = _fixed(self.points)
        parts = range(0, len(points) - 1, 2)
        places = np.linspace(-1, 1, len(parts) + 2)[1:-1]
        widths = _FINE * self.width * (1 - places**4) * np.exp(rng.normal(0, self.split, len(parts)))
        for start, width in zip(parts, widths, strict=True):
            cv2.polylines(layer, [points[start : start + 3]], False, int(255 * self.opacity), max(1, round(width)), cv2.LINE_AA, _SHIFT)


def _lines(rng: np.random.Generator, family: Lines, number: float, size: float, height: int, width: int) -> Iterator[_Line]:
    """Yield the lines of a family that may cross the image."""
    starts = _places(rng, number, size, family.lengths[1] * size, height, width)
    lengths = _log_uniform(rng, family.lengths, len(starts)) * size
    reach = lengths[:, None] * (1 + _BRANCH[1])
    near = ((starts > -reach) & (starts - (width, height) < reach)).all(1)
    starts, lengths = starts[near], lengths[near]
    stems = _paths(rng, family, starts, rng.uniform(0, 2 * math.pi, len(starts)), lengths, size)
    for paths, thickness in ((stems, size), (_branches(rng, family, stems, size), size / 2)):
        crossing = _crossing(paths, family.widths[1] * size, height, width)
        for path, wide in zip(crossing, _log_uniform(rng, family.widths, len(crossing)) * thickness, strict=True):
            yield _Line(path, wide, rng.uniform(*family.opacities), rng.random() < family.bright, family.split)


def _crossing(paths: list[np.ndarray], margin: float, height: int, width: int) -> list[np.ndarray]:
    """Return the paths whose bounding box meets the image and a margin around it."""
    if not paths:
        return []
    points, firsts = np.concatenate(paths), np.cumsum([0, *(len(path) for path in paths[:-1])])
    low, high = np.minimum.reduceat(points, firsts), np.maximum.reduceat(points, firsts)
    meets = np.all((high >= -margin) & (low - (width, height) <= margin), axis=1)
    return [path for path, meeting in zip(paths, meets, strict=True) if meeting]


def _branches(rng: np.random.Generator, family: Lines, stems: list[np.ndarray], size: float) -> list[np.ndarray]:
    """Return lines that begin on others, to either side."""
    stems = [path for path, count in zip(stems, rng.poisson(family.branches, len(stems)), strict=True) for _ in range(count)]
    if not stems:
        return []
    places = rng.integers([len(path) - 1 for path in stems])
    starts, following = (np.array([path[place + i] for path, place in zip(stems, places, strict=True)]) for i in (0, 1))
    headings = np.arctan2(*(following - starts).T[::-1]) + rng.uniform(0.5, 1.3, len(stems)) * rng.choice([-1, 1], len(stems))
    lengths = np.array([len(path) for path in stems]) * family.step * size * rng.uniform(*_BRANCH, len(stems))
    return _paths(rng, family, starts, headings, lengths, size)


def _paths(
    rng: np.random.Generator, family: Lines, starts: np.ndarray, headings: np.ndarray, lengths: np.ndarray, size: float
) -> list[np.ndarray]:
    """Return random walks from each start, `(P, 2)` with their own P."""
    counts = np.ceil(lengths / (family.step * size)).astype(int).clip(min=2)
    shape = len(starts), int(counts.max(initial=2))
    angles = headings[:, None] + rng.normal(0, family.bend, shape).cumsum(1) + rng.normal(0, family.jitter, shape)
    walks = np.stack([np.cos(angles), np.sin(angles)], -1).cumsum(1) * family.step * size
    points = np.concatenate([starts[:, None], starts[:, None] + walks], 1)
    return [path[: count + 1] for path, count in zip(points, counts, strict=True)]


def _specks(rng: np.random.Generator, number: float, size: float, height: int, width: int) -> np.ndarray:
    """Return the outlines of specks, `(N, 8, 2)`."""
    places = _places(rng, number, size, 4 * size, height, width)
    return _outlines(rng, places, _log_uniform(rng, (0.4, 1.8), len(places)) * size, 8, 0.4)


def _stains(rng: np.random.Generator, number: float, size: float, height: int, width: int) -> np.ndarray:
    """Return the strength of the stains, `(height, width)` float32 in 0..255: even, with a strong rim."""
    places = _places(rng, number, size, 80 * size, height, width)
    if not len(places):
        return np.zeros((height, width), np.float32)
    edge = math.ceil(8 * size)
    layer = np.zeros((height + 2 * edge, width + 2 * edge), np.float32)
    for outline in _outlines(rng, places, _log_uniform(rng, (8, 60), len(places)) * size, 48, 0.5):
        cv2.fillPoly(layer, [_fixed((outline + edge) / _FINE)], rng.uniform(40, 255), cv2.LINE_8, _SHIFT)
    soft, softer = (cv2.GaussianBlur(layer, (0, 0), sigma * size) for sigma in (0.8, 3))
    return (0.5 * soft + 1.2 * (soft - softer).clip(min=0)).clip(0, 255)[edge:-edge, edge:-edge]


def _outlines(rng: np.random.Generator, places: np.ndarray, radii: np.ndarray, corners: int, roughness: float) -> np.ndarray:
    """Return closed curves around the places, `(N, corners, 2)`: circles with random harmonics."""
    angles = np.arange(corners) * 2 * math.pi / corners
    orders = np.arange(1, 6)
    phases = rng.uniform(0, 2 * math.pi, (len(places), len(orders), 1))
    strengths = rng.uniform(0, roughness, (len(places), len(orders), 1)) / orders[:, None]
    distances = radii[:, None] * (1 + (strengths * np.sin(orders[:, None] * angles + phases)).sum(1)).clip(min=0.2)
    return places[:, None] + distances[..., None] * np.stack([np.cos(angles), np.sin(angles)], -1)


def _places(rng: np.random.Generator, number: float, size: float, margin: float, height: int, width: int) -> np.ndarray:
    """Return random points in the image and a margin around it, `(N, 2)`. `number` is their mean per million pixels at size 1."""
    sides = np.array([width, height]) + 2 * margin
    count = rng.poisson(number * sides.prod() / (1e6 * size**2))
    return rng.random((count, 2)) * sides - margin


def _noise(rng: np.random.Generator, distance: float, height: int, width: int) -> np.ndarray:
    """Return smooth noise of about standard deviation 1 whose values change within `distance` pixels, `(height, width)` float32."""
    coarse = rng.standard_normal((math.ceil(height / distance) + 2, math.ceil(width / distance) + 2)).astype(np.float32)
    whole = cv2.resize(coarse, None, fx=distance, fy=distance, interpolation=cv2.INTER_CUBIC)
    return whole[:height, :width] * 1.2


def _log_uniform(rng: np.random.Generator, span: Span, count: int) -> np.ndarray:
    return np.exp(rng.uniform(math.log(span[0]), math.log(span[1]), count))


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return points in pixels as coordinates of the larger canvas, in the fixed-point numbers of OpenCV."""
    return np.rint((points * _FINE - 0.5) * (1 << _SHIFT)).astype(np.int32)


SCRATCHES = Degradation(
    "scratches",
    "Damage of old prints: cracks, scratches, tears, dust, fibres and stains, bright and dark.",
    ScratchesOptions,
    _draw,
    _apply,
)
