"""Read the frames of a clip as R'G'B' images with their time stamps. FFmpeg decodes, through PyAV."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from srgan.utils.errors import SrganError, reason
from srgan.video import colours, hdr, orientation
from srgan.video.picture import Frame, Picture

# Without the flags FFmpeg rounds down. Without the matrices it would convert BT.2020 to BT.601.
SCALE_FLAGS = "in_color_matrix=bt709:out_color_matrix=bt709:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
CENTRED_CHROMA = ("mjpeg", "mpeg1video")  # codecs whose chroma samples are between the luma samples, not left of them
# Names of the sixteen bits that FFmpeg may give the planes of a frame, by transparency.
DEEP = {False: "yuv444p16le", True: "yuva444p16le"}
MAX_MISSING = 2  # frames that may be missing at the end of a clip without a warning

log = logging.getLogger(__name__)


class Clip:
    """A clip whose frames can be read from first to last, more than once.

    Args:
        path: the file.

    Attributes:
        path: the file.
        picture: what the frames have in common.
        stream: index of the video stream that is read.

    Raises:
        SrganError: the file is missing or damaged, holds no video, or has colours that cannot be converted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._problems: list[str] = []
        with open_clip(path) as container:
            stream = _video_stream(container, path)
            self.stream, self._codec = stream.index, stream.codec_context.name
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise SrganError(f"{path}: no frame can be decoded. The file is damaged or holds no picture")
            self._full = first.color_range == 2 or first.format.name.startswith("yuvj")
            self._turn = orientation.of(first, path)
            self._size = first.width, first.height, first.format.name
            self.picture = self._describe(container, stream, first)
            others = [str(other.index) for other in container.streams.video if other is not stream and not _is_cover(other)]
        self._warn(others, first)

    def _describe(self, container: Any, stream: Any, first: Any) -> Picture:
        known = first.format
        matrix = colours.BT709 if known.is_rgb else first.colorspace
        if matrix in (colours.UNSPECIFIED, 0):
            matrix = colours.assumed_matrix(first.width, first.height)
        if matrix not in colours.LUMA_WEIGHTS:
            raise SrganError(
                f"{self.path}: the color matrix {matrix} of H.273 is not supported. Convert the clip to BT.709 or BT.2020 first"
            )
        hdr.check(first, self.path)
        sides = (first.height, first.width) if self._turn.transposed else (first.width, first.height)
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or None
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return Picture(
            *sides,
            time_base=stream.time_base,
            rate=rate,
            frames=stream.frames or _estimated_frames(container, stream, rate),
            bits=max(component.bits for component in known.components),
            alpha=any(component.is_alpha for component in known.components),
            matrix=matrix,
            primaries=stream.codec_context.color_primaries,
            transfer=_transfer(stream, first),
            full=self._full and not known.is_rgb,
            aspect=1 / aspect if aspect and self._turn.transposed else aspect,
            full_chroma=known.is_rgb or (known.chroma_width(64), known.chroma_height(64)) == (64, 64),
            light=hdr.light_of(first),
        )

    def _warn(self, others: list[str], first: Any) -> None:
        if others:
            log.warning(
                "%s: stream %s is upscaled; the other video is copied as it is: stream %s", self.path, self.stream, ", ".join(others)
            )
        if first.interlaced_frame:
            log.info("%s: the frames are interlaced. They are deinterlaced by FFmpeg's bwdif", self.path)
        if self.picture.transfer in colours.HDR:
            kind = colours.HDR[self.picture.transfer]
            log.warning("%s: HDR (%s) is kept. The models are trained with SDR images, so look at the result", self.path, kind)

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Read the frames.

        Args:
            first: frames at the beginning that are decoded and left out.

        Yields:
            The others. The duration of each ends where the next one starts.

        Raises:
            SrganError: the frames change their size or format.
        """
        self._problems = []
        number, former = 0, None
        with open_clip(self.path) as container:
            stream = container.streams[self.stream]
            for image, start, duration in self._upright(self._decoded(container, stream), stream.time_base):
                if former is not None:
                    yield Frame(former[0], former[1], start - former[1])
                former = (self._pixels(image), start, duration) if number >= first else None
                end, number = start + duration, number + 1
            if former is not None:
                yield Frame(*former)
            self._check_end(container, stream, number, end)

    def problems(self) -> list[str]:
        """Return what the last complete reading found wrong with the file."""
        return self._problems

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Decode the frames, with increasing time stamps. Damaged packets are counted and left out."""
        decoder, damaged, last = _decoder(stream), 0, None
        for packet in container.demux(stream):
            try:
                frames = decoder.decode(packet if packet.size else None)
            except av.FFmpegError:  # FFmpeg shows what it can, and so do players
                damaged += 1
                continue
            for frame in frames:
                step = frame.duration or max(round(1 / (stream.average_rate or 25) / stream.time_base), 1)
                pts = frame.pts if frame.pts is not None else (0 if last is None else last + step)
                frame.pts = pts if last is None else max(pts, last + 1)
                frame.duration, frame.time_base, last = step, stream.time_base, frame.pts
                damaged += frame.is_corrupt
                yield frame
        if damaged:
            self._problems.append(f"{damaged} damaged packets or frames were left out or concealed")

    def _upright(self, frames: Iterator[Any], time_base: Fraction) -> Iterator[tuple[Any, int, int]]:
        """Deinterlace frames and give each sample of colour its own pixel. Yield frames, start and duration."""
        graph: Any = self._graph(time_base)
        durations: dict[int, int] = {}

        def pulled() -> Iterator[tuple[Any, int, int]]:
            while True:
                try:
                    frame = graph.vpull()
                except (av.BlockingIOError, av.EOFError):
                    return
                start = round(frame.pts * frame.time_base / time_base)
                yield frame, start, durations.pop(start)

        for frame in frames:
            if (frame.width, frame.height, frame.format.name) != self._size:
                second, (width, height, name) = float(frame.pts * time_base), self._size
                now = f"{frame.width}x{frame.height} {frame.format.name}"
                raise SrganError(
                    f"{self.path}: the frames change from {width}x{height} {name} to {now} at {second:.2f} s. Cut the clip there"
                )
            durations[frame.pts] = frame.duration
            graph.vpush(frame)
            yield from pulled()
        graph.vpush(None)
        yield from pulled()

    def _graph(self, time_base: Fraction) -> Graph:
        width, height, name = self._size
        known = av.VideoFormat(name, width, height)
        graph, span = Graph(), "pc" if self._full else "tv"
        nodes = [graph.add_buffer(width=width, height=height, format=known, time_base=time_base)]
        if known.is_rgb or name == "pal8":
            deep = self.picture.bits > 8
            nodes.append(graph.add("format", ("rgba64le" if deep else "rgba") if self.picture.alpha else ("rgb48le" if deep else "rgb24")))
        else:
            nodes.append(graph.add("bwdif", "mode=send_frame:deint=interlaced"))  # it leaves progressive frames as they are
            nodes.append(graph.add("scale", f"in_range={span}:out_range={span}:in_chroma_loc={self._chroma()}:{SCALE_FLAGS}"))
            deep = self.picture.bits > 8 or self.picture.alpha
            nodes.append(graph.add("format", DEEP[self.picture.alpha] if deep else "yuv444p"))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph

    def _chroma(self) -> str:
        """Return where the samples of colour are. PyAV does not say, so it is the rule of the codec and the colour space."""
        return "center" if self._codec in CENTRED_CHROMA else ("topleft" if self.picture.matrix == colours.BT2020 else "left")

    def _pixels(self, frame: Any) -> np.ndarray:
        """Return a frame as an upright R'G'B' image of its bits."""
        pixels = frame.to_ndarray(channel_last=True)
        if not frame.format.is_rgb:
            pixels = colours.to_rgb(np.ascontiguousarray(pixels), self.picture.matrix, self._full, self.picture.bits)
            if self.picture.bits == 8 and pixels.dtype == np.uint16:
                pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return self._turn.apply(pixels)

    def _check_end(self, container: Any, stream: Any, frames: int, end: int) -> None:
        """Note if the file ends before the time that its header names."""
        duration = _duration(stream)
        header = min(duration, container.duration / av.time_base) if duration and container.duration else duration
        found = float((end - (stream.start_time or 0)) * stream.time_base)
        if header and frames < (stream.frames or frames + 1) and found < header - MAX_MISSING / float(self.picture.rate):
            self._problems.append(f"the file ends after {frames} frames, {found:.2f} s, but its header names {header:.2f} s")


@contextmanager
def open_clip(path: Path) -> Iterator[Any]:
    """Open a clip.

    Raises:
        SrganError: it is missing or damaged. Errors of FFmpeg in the block get the name of the file.
    """
    if not path.is_file():
        raise SrganError(f"{path}: no such file")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise SrganError(f"{path}: FFmpeg cannot read it ({error.strerror or reason(error)}). The file is damaged or no clip") from error


def _video_stream(container: Any, path: Path) -> Any:
    """Return the stream that players show: the largest one that is no cover."""
    best = container.streams.best("video")
    if best is None or _is_cover(best):
        best = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
    if best is None or best.codec_context is None:
        raise SrganError(f"{path}: holds no video that can be decoded")
    best.thread_type = "AUTO"
    return best


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _decoder(stream: Any) -> Any:
    """Return the decoder of a stream. FFmpeg's own for VP8 and VP9 leave out the transparency."""
    codec = stream.codec_context.name
    if codec in ("vp8", "vp9") and any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items()):
        decoder = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[codec], "r")
        decoder.extradata = stream.codec_context.extradata
        return decoder
    return stream.codec_context


def _transfer(stream: Any, first: Any) -> int:
    """Return the transfer function by the first frame, else by the file, which alone has that of a clip with transparency."""
    named = [number for number in (first.color_trc, stream.codec_context.color_trc) if number != colours.UNSPECIFIED]
    return named[0] if named else colours.SRGB if first.format.is_rgb else colours.UNSPECIFIED


def _duration(stream: Any) -> float | None:
    """Return the seconds of a stream by its header. Matroska has them as text, such as 00:00:01.001000000."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        return sum(float(part) * factor for part, factor in zip(parts, (3600, 60, 1), strict=True))
    except ValueError:
        return None


def _estimated_frames(container: Any, stream: Any, rate: Fraction) -> int | None:
    seconds = _duration(stream) or (container.duration or 0) / av.time_base
    return round(seconds * rate) or None
