"""Scores of clips: quality and flicker, with or without the input and the original, as a table and a page."""

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from srgan.evaluation.evaluate import image_workers
from srgan.images.png import encode_png
from srgan.metrics.metric import Sample, Scorer
from srgan.metrics.registry import CLIP_METRICS, score
from srgan.pages.render import render
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file
from srgan.utils.progress import Progress
from srgan.video.ahead import ahead
from srgan.video.clip import Clip
from srgan.video.picture import Frame

FRAMES_AT_ONCE = 8  # that are in memory
SLICE_FRAMES, SLICE_COLUMNS = 160, 900  # of a picture of the page

ERROR, FLICKER = "warping_error", "flicker"


@dataclass(frozen=True)
class Scores:
    """Scores of a clip.

    Attributes:
        path: the clip.
        frames: a row for each frame, a column for each metric.
        slice: the middle row of each frame one below the other, `(frames, W, 3)` uint8. Flicker is a pattern from top to bottom in it.
    """

    path: Path
    frames: pd.DataFrame
    slice: np.ndarray


def score_clip(path: Path, original: Path | None, scale: int, scorers: Mapping[str, Scorer]) -> Scores:
    """Score the frames of a clip.

    Args:
        path: the clip.
        original: the ground truth, with as many frames of the same size. None if there is none.
        scale: border in pixels that PSNR and SSIM leave out.
        scorers: see `srgan.metrics.registry.open_metrics`.

    Raises:
        SrganError: a clip cannot be read, or the original has other frames.
    """
    clip = Clip(path)
    rows: list[dict[str, float]] = []
    lines: list[np.ndarray] = []
    samples = _samples(clip, original, scale)
    count = clip.picture.frames or FRAMES_AT_ONCE
    with Progress(f"score {path}", clip.picture.frames, "frame") as progress, image_workers(count) as pool:
        waiting = ahead(samples, FRAMES_AT_ONCE)
        while batch := list(islice(waiting, FRAMES_AT_ONCE)):
            rows += pool.map(partial(score, scorers=scorers), batch)
            lines += [sample.sr_image[sample.sr_image.shape[0] // 2] for sample in batch]
            progress.add(len(batch))
    return Scores(path, pd.DataFrame(rows), np.stack(lines))


def summarise(clips: list[Scores], source: Scores | None) -> pd.DataFrame:
    """Return the means over the frames of each clip, and the flicker relative to the input if it is given."""
    table = pd.DataFrame([clip.frames.mean() for clip in clips], index=[str(clip.path) for clip in clips])
    table = table.reindex(columns=[name for name in CLIP_METRICS if name in table or name == FLICKER])
    if source is not None and (steady := source.frames[ERROR].mean()) > 0:
        table[FLICKER] = table[ERROR] / steady
    return table


def write_page(path: Path, clips: list[Scores], table: pd.DataFrame) -> None:
    """Write a page with the scores, the warping error over time and a slice through each clip."""
    metrics = [metric for name, metric in CLIP_METRICS.items() if name in table and table[name].notna().any()]
    slices = [(str(clip.path), _slice_picture(clip.slice, max(other.slice.shape[1] for other in clips))) for clip in clips]
    values = {"clips": table.to_dict("index"), "metrics": metrics, "chart": _chart(clips), "slices": slices}
    page = render("clips.html", package="srgan.evaluation", isfinite=np.isfinite, **values)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _samples(clip: Clip, original: Path | None, scale: int) -> Iterator[Sample]:
    """Yield each frame with its original and the frame before it."""
    before = None
    if original is None:
        for frame in clip.frames():
            now = Sample(_levels(frame), scale=scale)
            yield Sample(now.sr_image, scale=scale, before=before)
            before = now
        return
    for number, (frame, other) in enumerate(zip_longest(clip.frames(), Clip(original).frames())):
        if frame is None or other is None:
            longer, shorter = (original, clip.path) if frame is None else (clip.path, original)
            raise SrganError(f"{shorter}: ends after {number} frames, {longer} does not. Compare clips with the same frames")
        now = Sample(_levels(frame), _levels(other), scale=scale)
        if now.sr_image.shape != now.hr_rgb.shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (now.sr_image, now.hr_rgb)]
            raise SrganError(f"{clip.path}: has {sizes[0]} pixels, its original {original} has {sizes[1]}. Compare clips of one size")
        yield Sample(now.sr_image, now.hr_image, scale=scale, before=before)
        before = now


def _levels(frame: Frame) -> np.ndarray:
    """Return a frame as `(H, W, 3)` uint8."""
    pixels = frame.pixels[..., :3]
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8))


def _slice_picture(lines: np.ndarray, width: int) -> str:
    """Return the middle of a slice as PNG in base64, enlarged to the width of the largest clip."""
    lines = lines[:SLICE_FRAMES]
    wide = cv2.resize(lines, (width, len(lines)), interpolation=cv2.INTER_NEAREST)
    left = max(width - SLICE_COLUMNS, 0) // 2
    return base64.b64encode(encode_png(wide[:, left : left + SLICE_COLUMNS].repeat(2, 0))).decode()


def _chart(clips: list[Scores]) -> str:
    """Return the warping error over the frames as an SVG element. Equal scores result in equal text."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots()
    for clip in clips:
        axes.plot(clip.frames.index, clip.frames[ERROR], label=str(clip.path))
    axes.set(xlabel="frame", ylabel=CLIP_METRICS[ERROR].title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "srgan", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg ", '<svg style="width:100%;height:auto;background:#fff" ', 1)
