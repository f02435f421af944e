"""Leave out training images that fail the declared checks of ``prepare.checks``, before anything is prepared."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from scipy import fft

from srgan.config.data import Checks
from srgan.data import estimate, near_duplicates
from srgan.images.read import read_rgb
from srgan.utils.disk import DiskList
from srgan.utils.errors import SrganError
from srgan.utils.progress import Progress
from srgan.utils.workers import Engine, Lost

Record = dict[str, Any]

# Coarse and fine detail in cycles per pixel. A strong blur weakens both of the first pair down to the noise of the rounded pixels.
BANDS = ((0.075, 0.15), (0.225, 0.45)), ((0.025, 0.075), (0.1, 0.225))
WIDTH = 0.025  # of the rings of the spectrum
MIN_SIDE = 32  # pixels: smaller images have too few frequencies
SHOWN = 20  # images in a message. The data card has all

log = logging.getLogger(__name__)


class TooManyRejected(SrganError):
    """More images than ``prepare.checks.max_share`` fail the checks. `left_out` has the lists of the manifest."""

    def __init__(self, message: str, rejected: list[Record]) -> None:
        super().__init__(message)
        self.left_out: dict[str, list[Any]] = {"skipped": [], "leaks": [], "duplicates": [], "left_out": [], "rejected": rejected}


@dataclass(frozen=True)
class _Task:
    source: Path
    checks: Checks


@dataclass(frozen=True)
class _Measured:
    reasons: dict[str, str] = field(default_factory=dict)
    fingerprint: near_duplicates.Fingerprint | None = None


def select(raw: Path, listing: Record, checks: Checks, engine: Engine) -> tuple[Record, list[Record]]:
    """Apply the checks to the images of ``data.train``. Test images stay.

    An unreadable image stays too, since the preparation reports it.

    Args:
        raw: output of `srgan.stages.download`.
        listing: its ``manifest.json``.
        checks: ``prepare.checks`` of ``params.yaml``.
        engine: what processes the images. The result does not depend on it.

    Returns:
        The listing without the rejected images, and a record for each of those: `image`, and `reasons` by the name of the check.

    Raises:
        TooManyRejected: the share of the rejected images exceeds `checks.max_share`.
    """
    training = sum(record["split"] == "train" for record in listing["images"])
    if checks == Checks(max_share=checks.max_share) or not training:
        return listing, []
    rejected, accepted = [], near_duplicates.References()

    def records() -> Iterator[Record]:
        return (record for record in listing["images"] if record["split"] == "train")

    with Progress("check", training, "image") as progress, engine(_measure) as workers:
        for record, answer in zip(records(), workers.map(_Task(raw / record["path"], checks) for record in records()), strict=True):
            progress.add(1)
            found = _Measured() if isinstance(answer, Lost) else answer
            reasons = _licence(record, checks) | found.reasons
            if found.fingerprint and (shown := accepted.find(found.fingerprint)):
                reasons["near_duplicates"] = f"shows {shown[0][0]}"
            if reasons:
                rejected.append({"image": record["path"], "reasons": reasons})
            elif found.fingerprint:
                accepted.add(record["path"], found.fingerprint)
    if rejected:
        _report(rejected, training, checks)
    paths = {record["image"] for record in rejected}
    return listing | {"images": DiskList(record for record in listing["images"] if record["path"] not in paths)}, rejected


def _report(rejected: list[Record], count: int, checks: Checks) -> None:
    lines = [f"{record['image']}: {', '.join(record['reasons'].values())}" for record in rejected]
    if len(rejected) > checks.max_share * count:
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise TooManyRejected(
            "\n  ".join(
                [
                    f"{len(rejected)} of {count} training images fail prepare.checks, whose max_share allows {checks.max_share:g}. "
                    "Remove them, change the checks or raise max_share:",
                    *lines[:SHOWN],
                    *more,
                ]
            ),
            rejected,
        )
    for line in lines:
        log.warning("left out %s", line)
    by_check = Counter(check for record in rejected for check in record["reasons"])
    shares = ", ".join(f"{check} {number / count:.1%}" for check, number in by_check.most_common())
    log.info("prepare.checks: left out %d of %d training images (%s)", len(rejected), count, shares)


def _licence(record: Record, checks: Checks) -> dict[str, str]:
    licence = str(record.get("licence"))
    if not checks.licenses or any(fnmatchcase(licence.lower(), pattern.lower()) for pattern in checks.licenses):
        return {}
    return {"licenses": f"license {licence!r} is not allowed"}


def _measure(task: _Task) -> _Measured:
    """Measure one image, in a worker process."""
    checks = task.checks
    try:
        pixels = read_rgb(task.source)
    except SrganError:
        return _Measured()
    side = min(pixels.shape[:2])
    reasons = (
        {"min_side": f"{pixels.shape[1]}x{pixels.shape[0]} pixels, at least {checks.min_side} a side"} if side < checks.min_side else {}
    )
    if checks.max_softness and side >= MIN_SIDE and (found := softness(estimate.luma_of(pixels))) > checks.max_softness:
        reasons["max_softness"] = f"softness {found:.1f} dB, at most {checks.max_softness:g}"
    if checks.min_jpeg_quality and side >= MIN_SIDE:
        quality = estimate.jpeg_quality(task.source)
        if quality is not None and quality < checks.min_jpeg_quality:
            reasons["min_jpeg_quality"] = f"JPEG quality {quality}, at least {checks.min_jpeg_quality}"
    fingerprint = near_duplicates.fingerprint(pixels) if checks.near_duplicates and not reasons else None
    return _Measured(reasons, fingerprint)


def softness(luma: np.ndarray) -> float:
    """Return how much weaker fine detail is than coarse detail, in dB. It is the larger one of two such differences, of `BANDS`.

    The power spectrum of photographs falls with the square of the frequency (Field 1987), which gives about 12 dB. A blur or an
    enlargement removes fine detail alone. Photographs of BSDS500 and T91 have 6 to 20 dB, blurred and enlarged ones more.

    Args:
        luma: `(H, W)` in levels of 255, at least 32 pixels a side. The middle 1024 pixels are measured.
    """
    top, left = (max(length - estimate.SIDE, 0) // 2 for length in luma.shape)
    luma = luma[top : top + estimate.SIDE, left : left + estimate.SIDE]
    window = np.outer(*(np.hanning(length) for length in luma.shape))
    power = np.abs(fft.fft2((luma - luma.mean()) * window)) ** 2 / (window**2).sum()
    distance = np.hypot(fft.fftfreq(luma.shape[0])[:, None], fft.fftfreq(luma.shape[1])[None])
    rings = np.minimum((distance / WIDTH).astype(int), round(BANDS[0][1][1] / WIDTH))  # the last one is not used
    levels = 10 * np.log10(np.bincount(rings.ravel(), power.ravel()) / np.bincount(rings.ravel()) + 1e-9)
    means = [[levels[round(low / WIDTH) : round(high / WIDTH)].mean() for low, high in pair] for pair in BANDS]
    return float(max(coarse - fine for coarse, fine in means))
