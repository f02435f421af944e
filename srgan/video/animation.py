"""Read and write animations: GIF, animated WebP and APNG. Pillow reads them, FFmpeg writes them."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from PIL import Image, ImageSequence

from srgan.utils.errors import SrganError, reason
from srgan.utils.files import atomic_file
from srgan.video.encoding import Encoding
from srgan.video.picture import Frame, Picture
from srgan.video.segments import Segments
from srgan.video.suffixes import ANIMATIONS

TIME_BASE = Fraction(1, 1000)  # seconds
UNSTATED = 100  # milliseconds of a frame without a duration, as browsers show it
FOREVER = 0  # plays
# Encoder and pixel format of each format. GIF gets a palette for each frame.
WRITERS = {"gif": ("gif", "bgra"), "webp": ("libwebp_anim", "bgra"), "apng": ("apng", "rgba")}

log = logging.getLogger(__name__)


def is_animation(path: str | Path) -> bool:
    """Return whether a file is an image with several frames of a format that is written as an animation."""
    if Path(path).suffix.lower() not in ANIMATIONS:
        return False
    try:
        with Image.open(path) as image:
            return getattr(image, "is_animated", False)
    except (OSError, Image.DecompressionBombError):  # the reader of images reports it
        return False


class Animation:
    """An animation whose frames can be read from first to last, more than once, like those of a `Clip`.

    Attributes:
        path: the file.
        picture: what the frames have in common.
        plays: how often it is shown, `FOREVER` or a number.

    Raises:
        SrganError: the first frame cannot be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._problems: list[str] = []
        shown = [(frame.pixels[..., 3].min(), frame.duration, frame.pixels.shape) for frame in self._rgba()]
        if not shown:
            raise SrganError(f"{path}: no frame can be decoded. The file is damaged")
        with Image.open(path) as image:
            repeats = image.info.get("loop")
            self.plays = (1 if repeats is None else repeats and repeats + 1) if image.format == "GIF" else repeats or FOREVER
            if image.info.get("icc_profile"):
                log.warning("%s: not in the result: the color profile", path)
        height, width = shown[0][2][:2]
        rate = Fraction(len(shown) * 1000, sum(duration for _, duration, _ in shown)).limit_denominator(1000)
        self.picture = Picture(width, height, TIME_BASE, rate, len(shown), alpha=bool(min(least for least, *_ in shown) < 255))

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Read the frames but the `first` ones, `(H, W, 4)` uint8, or `(H, W, 3)` if all are opaque."""
        for number, frame in enumerate(self._rgba()):
            if number >= first:
                yield frame if self.picture.alpha else Frame(np.ascontiguousarray(frame.pixels[..., :3]), frame.start, frame.duration)

    def problems(self) -> list[str]:
        """Return what the last reading found wrong with the file."""
        return self._problems

    def _rgba(self) -> Iterator[Frame]:
        self._problems = []
        end, number = 0.0, 0
        try:
            with Image.open(self.path) as image:
                for index, shown in enumerate(ImageSequence.Iterator(image)):
                    if index == 0 and getattr(image, "default_image", False):
                        continue  # what programs show that know no APNG
                    pixels = np.asarray(shown.convert("RGBA"))  # before the duration, which WebP has only then
                    start, end = end, end + (shown.info.get("duration") or UNSTATED)
                    yield Frame(pixels, round(start), max(round(end) - round(start), 1))
                    number += 1
        except (OSError, SyntaxError, ValueError) as error:
            self._problems.append(f"frame {number + 1} cannot be decoded ({reason(error)})")


def write(segments: Segments, encoding: Encoding, target: Path, plays: int, quality: int | None) -> None:
    """Write an animation from its losslessly encoded frames.

    Args:
        segments: the frames.
        encoding: how they were encoded, see `srgan.video.encoding.lossless`.
        target: the file to write. It is replaced as a whole or not at all.
        plays: how often it is shown, `FOREVER` or a number.
        quality: of WebP, 1 to 100, None for lossless.
    """
    kind = ANIMATIONS[target.suffix.lower()]
    encoder, pixel_format = WRITERS[kind]
    last = round(segments.last_duration() * encoding.picture.time_base / TIME_BASE)
    settings = {
        "gif": {"loop": str({FOREVER: 0, 1: -1}.get(plays, plays - 1)), "final_delay": str(round(last / 10))},
        "webp": {"loop": str(plays)},
        "apng": {"plays": str(plays), "final_delay": f"{last}/1000"},
    }
    options = {"webp": {"lossless": "1"} if quality is None else {"quality": str(quality)}}.get(kind, {})
    with atomic_file(target) as temporary, av.open(str(temporary), "w", format=kind, container_options=settings[kind]) as result:
        stream: Any = result.add_stream(encoder, rate=encoding.picture.rate)
        stream.width, stream.height = encoding.width, encoding.height
        stream.pix_fmt = "pal8" if kind == "gif" else pixel_format
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.options = options
        for frame in _painted(segments, encoding, pixel_format, kind == "gif"):
            result.mux(stream.encode(frame))
        result.mux(stream.encode(None))


def _painted(segments: Segments, encoding: Encoding, pixel_format: str, palette: bool) -> Iterator[Any]:
    """Decode the frames of segments and give them the format of the animation."""
    decoder: Any = av.CodecContext.create(encoding.codec, "r")
    for packet in segments.packets(encoding.picture.time_base):
        for frame in decoder.decode(packet):
            unit = packet.time_base / TIME_BASE
            frame.pts, frame.duration, frame.time_base = round(packet.pts * unit), round(packet.duration * unit), TIME_BASE
            yield _with_palette(frame) if palette else frame.reformat(format=pixel_format)


def _with_palette(frame: Any) -> Any:
    """Return a frame in 256 colours of its own."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TIME_BASE)
    split, palette, use = graph.add("split"), graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
    source.link_to(split)
    split.link_to(use)
    split.link_to(palette, 1)
    palette.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    graph.vpush(frame)
    graph.vpush(None)
    painted = graph.vpull()
    painted.pts, painted.duration, painted.time_base = frame.pts, frame.duration, TIME_BASE
    return painted
