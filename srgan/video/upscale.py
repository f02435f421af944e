"""Upscale a clip or an animation: read, upscale and encode at the same time, in segments that a killed run continues."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from srgan import __version__
from srgan.inference.upscaler import Upscaler
from srgan.tasks import task_of
from srgan.utils.errors import SrganError
from srgan.utils.progress import Progress
from srgan.video import animation, join
from srgan.video.ahead import ahead
from srgan.video.animation import Animation, is_animation
from srgan.video.clip import Clip
from srgan.video.encoding import Encoding, choose, lossless
from srgan.video.picture import Frame
from srgan.video.segments import SEGMENT_FRAMES, Segments, open_segments
from srgan.video.suffixes import ANIMATIONS, Codec
from srgan.video.temporal import steadied

FRAMES_AHEAD = 3  # of each step. More gain nothing, as the steps take constant time

OnFrame = Callable[[int, int], None]  # gets the number of finished frames and of all frames, as the file states it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoOptions:
    """Options of a clip.

    Attributes:
        outscale: size of the result relative to the clip. Default: the factor of the model.
        codec: of the result. Default: the one that most players of such a file decode.
        crf: constant rate factor of the codec, less is better. Default: that of the codec.
        quality: of animated WebP, 1 to 100.
        lossless: write animated WebP without loss.
        provenance: name the model in the comment of the file. Animations have none.
        temporal: frames on each side that a result is blended with, to reduce flicker. 0 blends none.
    """

    outscale: float | None = None
    codec: Codec | None = None
    crf: int | None = None
    quality: int = 95
    lossless: bool = False
    provenance: bool = True
    temporal: int = 0


def upscale_clip(
    upscaler: Upscaler,
    source: Path,
    target: Path,
    options: VideoOptions = VideoOptions(),
    on_frame: OnFrame = lambda done, total: None,
    on_tile: Callable[[], None] = lambda: None,
) -> tuple[int, int, int]:
    """Upscale a clip with its sound, subtitles, chapters and metadata.

    Args:
        upscaler: the model.
        source: the clip.
        target: the file to write. It is replaced as a whole or not at all. The folder ``NAME.parts`` next to it holds an unfinished
            result. The same call continues it.
        options: size, codec and quality of the result.
        on_frame: is called before the first frame and after each one.
        on_tile: is called after each tile of a frame. An exception that it raises ends the work.

    Returns:
        Width, height and number of the frames of the result.

    Raises:
        SrganError: the clip is damaged or cannot be converted, or the file cannot hold the result.
    """
    start = time.monotonic()
    if target.exists() and source.exists() and target.samefile(source):
        raise SrganError(f"{target}: the result would replace the clip. Choose another name or folder")
    clip = Animation(source) if is_animation(source) else Clip(source)
    animated = target.suffix.lower() in ANIMATIONS
    if animated:
        encoding = lossless(clip.picture, target, upscaler.scale, options.outscale)
    else:
        encoding = choose(clip.picture, target, upscaler.scale, options.outscale, options.codec, options.crf)
    others = clip if isinstance(clip, Clip) and not animated else None
    if not animated:
        join.check(others, encoding, target)
    with open_segments(target, _identity(upscaler, source, encoding, options.temporal)) as segments:
        frames = _encode(upscaler, clip, encoding, segments, options.temporal, on_frame, on_tile)
        if animated:
            plays = clip.plays if isinstance(clip, Animation) else animation.FOREVER
            animation.write(segments, encoding, target, plays, None if options.lossless else options.quality)
        else:
            join.join(others, segments, encoding, target, _comment(upscaler) if options.provenance else None)
    for problem in clip.problems():
        log.warning("%s: %s. The result has what could be read", source, problem)
    seconds = time.monotonic() - start
    log.info("%s: %d frames of %d x %d pixels in %.1f s", target, frames, encoding.width, encoding.height, seconds)
    return encoding.width, encoding.height, frames


def _encode(
    upscaler: Upscaler,
    clip: Clip | Animation,
    encoding: Encoding,
    segments: Segments,
    temporal: int,
    on_frame: OnFrame,
    on_tile: Callable[[], None],
) -> int:
    """Write the segments that are missing. Return the number of frames."""
    first = segments.frames()
    if first:
        log.info("%s: continuing after frame %d", clip.path, first)
    with Progress(task_of(upscaler.scale, upscaler.adds_colour).verb, clip.picture.frames, "frame", first) as progress:
        results = ahead(_results(upscaler, clip, first, temporal, on_tile), FRAMES_AHEAD)
        for number, segment in enumerate(_segments(_counted(results, progress, on_frame)), segments.count()):
            segments.write(number, encoding.encode(segment))
    return segments.frames()


def _results(upscaler: Upscaler, clip: Clip | Animation, first: int, temporal: int, on_tile: Callable[[], None]) -> Iterator[Frame]:
    """Yield the upscaled frames but the `first` ones."""
    context = min(first, temporal)  # frames before the first one that are blended into it
    pairs = upscaled(upscaler, ahead(clip.frames(first - context), FRAMES_AHEAD), on_tile)
    if not temporal:
        return (frame for _, frame in pairs)
    return islice(steadied(ahead(pairs, FRAMES_AHEAD), temporal), context, None)


def upscaled(upscaler: Upscaler, frames: Iterable[Frame], on_tile: Callable[[], None] = lambda: None) -> Iterator[tuple[np.ndarray, Frame]]:
    """Upscale frames one after the other. Yield the pixels that the model gets and the result."""
    for frame in frames:
        pixels = frame.pixels
        if upscaler.adds_colour and pixels.shape[2] == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # the tint of a film would be taken as a hint
        yield pixels, replace(frame, pixels=upscaler.upscale(pixels, on_tile))


def _counted(frames: Iterable[Frame], progress: Progress, on_frame: OnFrame) -> Iterator[Frame]:
    total = progress.total or 0
    on_frame(progress.done, max(progress.done, total))
    for frame in frames:
        yield frame
        progress.add(1)
        on_frame(progress.done, max(progress.done, total))


def _segments(frames: Iterator[Frame]) -> Iterator[Iterator[Frame]]:
    """Divide the frames. Each part has to be used up before the next one is taken."""
    for frame in frames:
        yield chain([frame], islice(frames, SEGMENT_FRAMES - 1))


def _identity(upscaler: Upscaler, source: Path, encoding: Encoding, temporal: int) -> dict[str, Any]:
    """Return what the frames of a result depend on, as JSON holds it."""
    found = source.stat()
    return {
        "source": [str(source.resolve()), found.st_size, found.st_mtime_ns],
        "model": [upscaler.sha256, upscaler.provider, upscaler.tile],
        "temporal": temporal,
        "encoding": {name: str(value) for name, value in asdict(encoding).items()},
        "version": __version__,
    }


def _comment(upscaler: Upscaler) -> str:
    model = upscaler.metadata
    name = f"{upscaler.scale}x-{model.get('sr.name', 'unnamed')}-{model.get('sr.arch', 'unknown')}"
    return f"upscaled by srgan {__version__} with {name}, sha256 {upscaler.sha256}"
