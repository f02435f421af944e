"""Find training images that show a held-out image, also after a crop, a resize, a re-encoding or a flip.

An image's fingerprint is a few hundred local perceptual hashes. Features are blobs of all sizes: differences of Gaussians, as in Lowe
2004, "Distinctive image features from scale-invariant keypoints", section 3. A hash is the signs of the low cosine frequencies of the
patch around a blob, in proportion to its size. Patches are upright: copies of test images are rarely rotated, and in the cosine basis a
flip only changes signs. An image matches a reference if enough of its hashes are near the reference's and agree on one scale and position.

OpenCV's SIFT needs less code. On the benchmarks it took three to four times as long for each image: it runs again for each flip and
compares its descriptors with all others. It also lost half of the crops that keep 40 % of each side.
"""

import math
from collections.abc import Container
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

SIDE = 512  # longer side in pixels of the grey working image
REFERENCE_FEATURES, QUERY_FEATURES = 160, 500  # a stored reference takes 22 bytes a feature and 256 bytes
BLUR, LAYERS, CONTRAST, EDGE = 1.6, 3, 0.004, 8.0  # scale space: finest blur (pixels), layers an octave, least response, edge limit
COARSE = 0.5  # features rank by response * scale ** COARSE: coarse features survive downsizing
CELLS = 6  # features are spread over CELLS x CELLS squares of the working image
GRID, STEP, BITS = 16, 0.75, 128  # a patch has GRID x GRID samples at a distance of STEP scales. Its hash has BITS bits
KEY, PROBES = 16, 6  # the first KEY bits find candidates. All values of the PROBES least certain bits are tried
NEAR = 34  # largest Hamming distance of similar patches. Unrelated patches differ in about BITS / 2 bits
INLIERS = 6  # least number of features that agree on one scale and position
CANDIDATES, THUMBNAILS = 1 << 18, 1024  # features and references that are compared at a time
FEW, ALIKE = 30, 0.998  # images with fewer than FEW features are compared by the correlation of 16 x 16 thumbnails


def _waves() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row and column of the BITS coarsest cosine waves, and a mask of those that a flip negates, (4, BITS / 64) uint64."""
    row, column = np.indices((GRID, GRID)).reshape(2, -1)
    order = np.lexsort((column, np.abs(column - row), column + row))[1 : BITS + 1]  # from 1: without the mean
    row, column = row[order], column[order]
    across, down = column % 2 > 0, row % 2 > 0
    flips = np.stack([np.zeros(BITS, bool), across, down, across ^ down])
    return row, column, np.packbits(flips, axis=1, bitorder="little").view(np.uint64)


ROWS, COLUMNS, FLIPS = _waves()


def _transformed(patches: np.ndarray) -> np.ndarray:
    """Return the BITS coarsest cosine waves of (K, GRID * GRID) float32 patches, (K, BITS)."""
    across = cv2.dct(patches.reshape(-1, GRID), flags=cv2.DCT_ROWS).reshape(-1, GRID, GRID)
    down = cv2.dct(np.ascontiguousarray(across.transpose(0, 2, 1)).reshape(-1, GRID), flags=cv2.DCT_ROWS).reshape(-1, GRID, GRID)
    return down[:, COLUMNS, ROWS]


@dataclass(frozen=True)
class Fingerprint:
    """The features of an image, in pixels of the working image."""

    points: np.ndarray  # (K, 3) float32: x, y and scale
    waves: np.ndarray  # (K, BITS) float32: the patches in the cosine basis. Their signs are the hashes
    thumbnail: np.ndarray  # (16, 16) uint8
    size: tuple[int, int]  # width and height of the working image

    @property
    def hashes(self) -> np.ndarray:
        """The hashes, (K, BITS / 64) uint64."""
        return np.packbits(self.waves > 0, axis=1, bitorder="little").view(np.uint64)


def _extrema(dogs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the blobs of one octave of differences of Gaussians: `(n, 3)` float32 column, row and layer, and `(n,)` strength."""
    found = []
    box = np.ones((3, 3), np.uint8)
    high, low = [cv2.dilate(d, box) for d in dogs], [cv2.erode(d, box) for d in dogs]
    for i in range(1, LAYERS + 1):
        top = cv2.max(cv2.max(cv2.max(high[i - 1], high[i + 1]), high[i]), CONTRAST)  # type: ignore[call-overload]
        bottom = cv2.min(cv2.min(cv2.min(low[i - 1], low[i + 1]), low[i]), -CONTRAST)  # type: ignore[call-overload]
        y, x = np.nonzero(((dogs[i] >= top) | (dogs[i] <= bottom))[1:-1, 1:-1])
        found.append(np.stack([np.full(len(y), i), y + 1, x + 1]))
    i, y, x = np.concatenate(found, 1)
    stack = np.stack(dogs)
    middle = stack[i, y, x]

    def bend(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        second = before + after - 2 * middle
        return second, np.clip((before - after) / 2 / np.where(second == 0, 1, second), -0.5, 0.5)

    xx, dx = bend(stack[i, y, x - 1], stack[i, y, x + 1])
    yy, dy = bend(stack[i, y - 1, x], stack[i, y + 1, x])
    _, di = bend(stack[i - 1, y, x], stack[i + 1, y, x])
    xy = (stack[i, y + 1, x + 1] + stack[i, y - 1, x - 1] - stack[i, y + 1, x - 1] - stack[i, y - 1, x + 1]) / 4
    det = xx * yy - xy**2
    good = (det > 0) & ((xx + yy) ** 2 * EDGE < (EDGE + 1) ** 2 * det)  # a point on an edge has no certain position
    return np.stack([x + dx, y + dy, i + di], 1)[good].astype(np.float32), np.abs(middle[good])


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Return the strongest features of an `(H, W)` or `(H, W, 3)` uint8 RGB image, strongest first, spread over the image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    ratio = SIDE / max(grey.shape)
    size = (max(16, round(grey.shape[1] * ratio)), max(16, round(grey.shape[0] * ratio)))
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR)
    thumbnail = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
    level = cv2.GaussianBlur(grey.astype(np.float32) / 255, (0, 0), math.sqrt(BLUR**2 - 0.25))
    step = 2 ** (1 / LAYERS)
    levels: list[np.ndarray] = []
    points, strengths, octaves = [], [], []
    while min(level.shape) >= 16:
        gauss = [level]
        for i in range(LAYERS + 2):
            gauss.append(cv2.GaussianBlur(gauss[-1], (0, 0), BLUR * step**i * math.sqrt(step**2 - 1)))
        found, strength = _extrema([cv2.subtract(b, a) for a, b in pairwise(gauss)])
        found[:, 2] = BLUR * step ** found[:, 2]
        points.append(found)
        strengths.append(strength * (found[:, 2] * 2 ** len(levels)) ** COARSE)
        octaves.append(np.full(len(found), len(levels)))
        levels.append(gauss[1])
        level = np.ascontiguousarray(gauss[LAYERS][::2, ::2])
    point, strength, octave = np.concatenate(points), np.concatenate(strengths), np.concatenate(octaves)
    pixel = 2.0 ** octave[:, None]
    full = (point * pixel).astype(np.float32)
    # The strongest feature of every square comes first, then the second of every square.
    order = np.argsort(-strength, kind="stable")
    square = (full[order, :2] * (CELLS / SIDE)).astype(int) @ (CELLS + 1, 1)
    by_square = np.argsort(square, kind="stable")
    rank = np.empty(len(order), int)
    rank[by_square] = np.arange(len(order)) - np.searchsorted(square[by_square], square[by_square])
    keep = order[np.argsort(rank, kind="stable")[:QUERY_FEATURES]]
    across, down = STEP * (np.indices((GRID, GRID)).reshape(2, -1)[::-1] - (GRID - 1) / 2).astype(np.float32)
    waves = np.zeros((len(keep), BITS), np.float32)
    for i, level in enumerate(levels):
        here = octave[keep] == i
        if here.any():
            x, y, scale = point[keep[here]].T[:, :, None]
            patch = cv2.remap(level, x + scale * across, y + scale * down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            waves[here] = _transformed(patch)
    return Fingerprint(full[keep], waves, thumbnail, size)


def _agreement(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return a mask of the matched (n, 3) features that fit the most voted scale and shift, (n,) bool."""
    ratio = query[:, 2] / reference[:, 2]
    apart = reference[None, :, :2] - reference[:, None, :2]
    error = np.abs(query[None, :, :2] - query[:, None, :2] - apart * ratio[:, None, None]).max(2)
    # The scale of a feature is exact to 12 %, so the allowed error grows with the distance.
    fits = error < 0.12 * np.abs(apart).max(2) * ratio[:, None] + 2 * query[:, 2] + 2
    fits &= np.abs(np.log(ratio / ratio[:, None])) < 0.35
    best = int(fits.sum(1).argmax())
    scale, inside = ratio[best], fits[best]
    for _ in range(4):
        if inside.sum() < 3:
            return np.zeros_like(inside)
        q, r = query[inside, :2].mean(0), reference[inside, :2].mean(0)
        dq, dr = query[:, :2] - q, reference[:, :2] - r
        # Least squares for each axis, regularized by the voted scale for features on a line.
        pull = inside.sum() * 20.0**2
        fit = ((dq * dr)[inside].sum(0) + pull * scale) / ((dr**2)[inside].sum(0) + pull)
        inside = (np.abs(dq - fit * dr).max(1) < 0.5 * query[:, 2] + 3) & (np.abs(np.log(ratio / fit.mean())) < 0.3)
    return inside if 0.85 < fit[0] / fit[1] < 1 / 0.85 else np.zeros_like(inside)


@dataclass(frozen=True)
class _Prints:
    """R references with N features. Arrays take less memory than objects, and processes share them."""

    exact: np.ndarray  # (R,) digests of the pixels, 64 bytes each, empty if unknown
    points: np.ndarray  # (N, 3) float16
    hashes: np.ndarray  # (N, BITS / 64) uint64
    thumbnails: np.ndarray  # (R, 16, 16) uint8
    sizes: np.ndarray  # (R, 2) int32
    counts: np.ndarray  # (R,) int64: features of each

    @classmethod
    def of(cls, fingerprint: Fingerprint, pixels: str) -> "_Prints":
        points, hashes = fingerprint.points[:REFERENCE_FEATURES].astype(np.float16), fingerprint.hashes[:REFERENCE_FEATURES].copy()
        size, count = np.array([fingerprint.size], np.int32), np.array([len(points)], np.int64)
        return cls(np.array([pixels], "S64"), points, hashes, fingerprint.thumbnail[None], size, count)

    @classmethod
    def joined(cls, parts: "list[_Prints]") -> "_Prints":
        return cls(*(np.concatenate([getattr(part, each.name) for part in (NONE, *parts)]) for each in fields(cls)))

    def chosen(self, keep: np.ndarray) -> "_Prints":
        """Return the references of a mask, (R,) bool."""
        features = np.repeat(keep, self.counts)
        points, hashes = self.points[features], self.hashes[features]
        return _Prints(self.exact[keep], points, hashes, self.thumbnails[keep], self.sizes[keep], self.counts[keep])


NONE = _Prints(
    np.zeros(0, "S64"),
    np.zeros((0, 3), np.float16),
    np.zeros((0, BITS // 64), np.uint64),
    np.zeros((0, 16, 16), np.uint8),
    np.zeros((0, 2), np.int32),
    np.zeros(0, np.int64),
)


class References:
    """Fingerprints of the held-out images, with an index for the search."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._parts: list[_Prints] = []

    def add(self, name: str, fingerprint: Fingerprint, pixels: str = "") -> None:
        """Add an image: its name, its `fingerprint`, and a digest of its pixels."""
        self._add([name], [_Prints.of(fingerprint, pixels)])

    def join(self, others: "References") -> None:
        """Add all images of `others`."""
        self._add(others.names, others._parts)

    def _add(self, names: list[str], parts: list[_Prints]) -> None:
        self.names += names
        self._parts += parts
        self.__dict__.pop("_index", None)

    def build(self) -> "References":
        """Build the index now, so that the processes that are started later share it. Return this."""
        assert self._index
        return self

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        prints = _Prints.joined(self._parts)
        arrays = {each.name: getattr(prints, each.name) for each in fields(prints)}
        np.savez(path, **arrays | {"names": np.array(self.names, str), "exact": prints.exact.astype(str)})

    @classmethod
    def load(cls, path: Path, without: Container[str] = ()) -> "References":
        """Read a file of `save`, except the images of the sets in `without`. Names are ``SET/...``."""
        references = cls()
        with np.load(path) as stored:
            names = stored["names"].tolist()
            arrays = {each.name: stored[each.name] for each in fields(_Prints)}
        keep = np.array([name.split("/")[0] not in without for name in names], bool)
        prints = _Prints(**arrays | {"exact": arrays["exact"].astype("S64")})
        references._add([name for name, kept in zip(names, keep, strict=True) if kept], [prints.chosen(keep)])
        return references

    @cached_property
    def _index(self) -> "_Index":
        self._parts = [_Prints.joined(self._parts)]
        return _Index(self._parts[0])

    def find(self, query: Fingerprint, pixels: str = "") -> list[tuple[str, int]]:
        """Return the references that match an image, with the number of features that agree, most first.

        Args:
            query: the `fingerprint` of the image.
            pixels: digest of its pixels. References with the same pixels are returned alone, with the number 0.
        """
        if pixels and (same := self._index.same_pixels(pixels)):
            return [(self.names[number], 0) for number in same]
        return [(self.names[number], score) for number, score in self._index.find(query)]


class _Index:
    """Finds references, in memory that does not grow with their number."""

    def __init__(self, prints: _Prints) -> None:
        self.prints = prints
        self.owner = np.repeat(np.arange(len(prints.counts), dtype=np.int32), prints.counts)
        key = (prints.hashes[:, 0] & np.uint64(2**KEY - 1)).astype(np.uint16)
        # Features by key: those of key k are at start[k] to start[k + 1].
        self.order = np.argsort(key, kind="stable").astype(np.uint32)
        self.start = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=2**KEY))])
        self.by_pixels = np.argsort(prints.exact, kind="stable")
        self.sorted_pixels = prints.exact[self.by_pixels]

    def same_pixels(self, pixels: str) -> list[int]:
        """Return the references with these pixels."""
        first, last = (np.searchsorted(self.sorted_pixels, pixels.encode(), side) for side in ("left", "right"))
        return [int(number) for number in self.by_pixels[first:last]]

    def _matches(self, query: Fingerprint) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return similar features, `(M,)` each: query feature, stored feature, flip (bit 0 left-right, bit 1 up-down), Hamming distance."""
        hashes = (query.hashes[:, None] ^ FLIPS).reshape(-1, BITS // 64)  # feature after feature, four flips each
        weak = np.argsort(np.abs(query.waves[:, :KEY]), 1, kind="stable")[:, :PROBES]
        chosen = np.arange(2**PROBES)[:, None] >> np.arange(PROBES) & 1
        probe = np.repeat((chosen << weak[:, None]).sum(2), 4, 0)  # (4 K, 2 ** PROBES)
        key = (hashes[:, :1] & np.uint64(2**KEY - 1)).astype(np.int64) ^ probe
        count = self.start[key + 1] - self.start[key]
        block = np.cumsum(count.sum(1)) // CANDIDATES
        found = [self._near(hashes, rows, key, count) for rows in np.split(np.arange(len(key)), np.flatnonzero(np.diff(block)) + 1)]
        source, stored, distance = (np.concatenate(each) for each in zip(*found, strict=True))
        return source >> 2, stored, source & 3, distance

    def _near(self, hashes: np.ndarray, rows: np.ndarray, key: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare some hashes with the stored features of their keys. Return rows, stored features and distances of the near ones."""
        hit_row, probe = np.nonzero(count[rows])
        hit_row = rows[hit_row]
        first, count = self.start[key[hit_row, probe]], count[hit_row, probe]
        source = np.repeat(hit_row, count)
        found = self.order[np.arange(len(source)) + np.repeat(first - np.cumsum(count) + count, count)]
        distance = np.bitwise_count(hashes[source] ^ self.prints.hashes[found]).sum(1, dtype=np.int32)
        near = distance <= NEAR
        return source[near], found[near], distance[near]

    def find(self, query: Fingerprint) -> list[tuple[int, int]]:
        """Numbers of the references that a query shows, each with the features that agree, most first."""
        sizes, points = self.prints.sizes, self.prints.points
        scores = dict.fromkeys(self._same_whole(query), INLIERS)
        q, r, flip, distance = self._matches(query)
        group = self.owner[r] * 4 + flip
        total = np.bincount(group)
        for g in np.argsort(-total, kind="stable")[:20]:
            if total[g] < INLIERS:
                break
            of = np.flatnonzero(group == g)
            of = of[np.argsort(distance[of], kind="stable")[:300]]  # A repeating pattern may have thousands.
            there = points[r[of]].astype(np.float64)
            for axis in (0, 1):
                if g >> axis & 1:
                    there[:, axis] = sizes[g // 4, axis] - 1 - there[:, axis]
            of = of[_agreement(query.points[q[of]].astype(np.float64), there)]
            score = min(len(np.unique(q[of])), len(np.unique(r[of])))
            if score >= INLIERS:
                scores[g // 4] = max(score, scores.get(g // 4, 0))
        return sorted(((int(number), int(score)) for number, score in scores.items()), key=lambda pair: (-pair[1], pair[0]))

    def _same_whole(self, query: Fingerprint) -> list[int]:
        """Return the references that equal the whole image in any flip, if one of the two is too smooth for features."""
        prints = self.prints
        shape = np.log(prints.sizes[:, 0] / prints.sizes[:, 1] * (query.size[1] / query.size[0]))
        maybe = np.flatnonzero(((prints.counts < FEW) | (len(query.points) < FEW)) & (np.abs(shape) < 0.15))
        flips = np.array([query.thumbnail[::down, ::across].ravel() for down in (1, -1) for across in (1, -1)], np.float64)
        these = flips - flips.mean(1, keepdims=True)
        spread, found = np.linalg.norm(these, axis=1), []
        for numbers in np.split(maybe, range(THUMBNAILS, len(maybe), THUMBNAILS)):
            known = prints.thumbnails[numbers].reshape(-1, 256).astype(np.float64)
            those = known - known.mean(1, keepdims=True)
            spreads = np.linalg.norm(those, axis=1)
            alike = (np.einsum("rp,fp->rf", those, these) > ALIKE * np.outer(spreads, spread)).any(1)
            found += numbers[alike & (np.minimum(spreads, spread[0]) > 32)].tolist()  # 32: two grey levels
        return found
