"""Choose how a result is encoded and encode its frames. FFmpeg encodes, through PyAV."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from srgan.utils.errors import SrganError
from srgan.video import colours
from srgan.video.clip import SCALE_FLAGS
from srgan.video.picture import Frame, Picture
from srgan.video.suffixes import CONTAINERS, Codec

LARGEST_H264 = 4096  # pixels of a side that most devices decode
RGB = {False: "rgb24", True: "rgba"}  # by transparency
SMALLEST_HEVC = 64  # pixels of a side. x265 writes beyond its buffers if frames are lower than 40 pixels


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg: its name, default quality, largest value of the quality (0 if there is none) and options."""

    name: str
    quality: int
    worst: int
    options: dict[str, str]


PNG = "png"  # of the frames of an animation, until all of them are upscaled
ENCODERS: dict[str, Encoder] = {
    # By default the lookahead of x264 holds 40 frames, most of a segment.
    "h264": Encoder("libx264", 16, 51, {"preset": "medium", "rc-lookahead": "20"}),
    "hevc": Encoder("libx265", 18, 51, {"preset": "medium"}),
    "av1": Encoder("libsvtav1", 22, 63, {"preset": "6"}),
    "vp9": Encoder("libvpx-vp9", 20, 63, {"b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"}),
    "prores": Encoder("prores_ks", 0, 0, {"vendor": "apl0"}),
    "ffv1": Encoder("ffv1", 0, 0, {"level": "3", "slicecrc": "1", "slices": "4"}),
    PNG: Encoder("png", 0, 0, {"compression_level": "1"}),
}


@dataclass(frozen=True)
class Encoding:
    """Encoding of the frames of a result.

    Attributes:
        codec: a key of `ENCODERS`.
        picture: of the clip.
        width, height: of a frame of the result.
        pixel_format: FFmpeg's name.
        bits: of a sample.
        options: of the encoder.
    """

    codec: str
    picture: Picture
    width: int
    height: int
    pixel_format: str
    bits: int
    options: dict[str, str]

    def settings(self, context: Any) -> None:
        """Set up an encoder: size, time, colours and quality."""
        picture = self.picture
        context.width, context.height, context.pix_fmt = self.width, self.height, self.pixel_format
        context.time_base, context.framerate = picture.time_base, picture.rate
        context.color_range, context.colorspace = 2 if picture.full else 1, picture.matrix
        context.color_primaries, context.color_trc = picture.primaries, picture.transfer
        context.options = self.options
        if picture.aspect:
            context.sample_aspect_ratio = picture.aspect
        context.flags |= av.codec.context.Flags.global_header

    def encode(self, frames: Iterable[Frame]) -> Iterator[Any]:
        """Encode frames with a new encoder.

        Args:
            frames: of the size that the model returns, at least one.

        Yields:
            packets in the order of decoding, with start and duration of their frame.
        """
        context: Any = av.CodecContext.create(ENCODERS[self.codec].name, "w")
        self.settings(context)
        durations: dict[int, int] = {}
        graph = None
        for frame in frames:
            graph = graph or self._graph(frame.pixels)
            durations[frame.start] = frame.duration
            graph.vpush(self._wrapped(frame))
            for packet in context.encode(graph.vpull()):
                packet.duration = durations.pop(packet.pts)
                yield packet
        for packet in context.encode(None):
            packet.duration = durations.pop(packet.pts)
            yield packet

    def _wrapped(self, frame: Frame) -> Any:
        """Return a frame of FFmpeg with one sample of each colour for each pixel."""
        pixels, picture = frame.pixels, self.picture
        if self.codec == PNG:
            pixels = pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
            wrapped = av.VideoFrame.from_ndarray(pixels, RGB[picture.alpha])
        else:
            if picture.alpha and pixels.dtype == np.uint8:
                pixels = pixels.astype(np.uint16) * 257
            bits = max(self.bits, picture.bits)
            yuv = colours.to_yuv(pixels, picture.matrix, picture.full, bits if pixels.dtype == np.uint16 else 8)
            wrapped = av.VideoFrame.from_ndarray(yuv, self._working_format(pixels), channel_last=True)
        wrapped.pts, wrapped.time_base = frame.start, picture.time_base
        return wrapped

    def _working_format(self, pixels: np.ndarray) -> str:
        if self.codec == PNG:
            return RGB[self.picture.alpha]
        if self.picture.alpha:
            return "yuva444p16le"
        return "yuv444p" if pixels.dtype == np.uint8 else "yuv444p16le"

    def _graph(self, pixels: np.ndarray) -> Graph:
        """Return the filters from the working format to the size and the format of the encoder."""
        height, width = pixels.shape[:2]
        graph, name = Graph(), self._working_format(pixels)
        nodes = [graph.add_buffer(width=width, height=height, format=av.VideoFormat(name, width, height), time_base=self.picture.time_base)]
        flags = SCALE_FLAGS.replace("bicubic", "lanczos") if (width, height) != (self.width, self.height) else SCALE_FLAGS
        if self.codec == PNG:
            nodes.append(graph.add("scale", f"w={self.width}:h={self.height}:{flags}"))
        else:
            span, chroma = "pc" if self.picture.full else "tv", "topleft" if self.picture.matrix == colours.BT2020 else "left"
            size = f"w={self.width}:h={self.height}:in_range={span}:out_range={span}:out_chroma_loc={chroma}"
            nodes.append(graph.add("scale", f"{size}:{flags}"))
        nodes.append(graph.add("format", self.pixel_format))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


def choose(picture: Picture, target: Path, factor: int, outscale: float | None, codec: Codec | None, crf: int | None) -> Encoding:
    """Choose codec, format and quality of a result.

    Args:
        picture: of the clip.
        target: file of the result.
        factor: of the model.
        outscale: size of the result relative to the clip. Default: `factor`.
        codec: default: the one that most players of such a file decode.
        crf: constant rate factor, less is better. Default: that of the codec.

    Raises:
        SrganError: the file or the codec cannot hold such frames.
    """
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise SrganError(f"{target}: clips are written as {', '.join(CONTAINERS)}, not as '{suffix}'")
    width, height = (side * factor for side in (picture.width, picture.height))
    if outscale:
        width, height = (max(round(side * outscale / 2), 1) * 2 for side in (picture.width, picture.height))
    codec = codec or _usual(picture, suffix, max(width, height))
    encoder = ENCODERS[codec]
    if crf is not None and crf > encoder.worst:
        raise SrganError(f"--crf {crf}: {codec} has {f'0 to {encoder.worst}' if encoder.worst else 'no such option'}")
    pixel_format, bits = _pixel_format(picture, codec, width, height, finer=(outscale or factor) < 2)
    _check(picture, target, codec, pixel_format, min(width, height))
    options = encoder.options | ({"crf": str(encoder.quality if crf is None else crf)} if encoder.worst else {})
    return Encoding(codec, picture, width, height, pixel_format, bits, options | _more_options(codec, picture))


def lossless(picture: Picture, target: Path, factor: int, outscale: float | None) -> Encoding:
    """Return the encoding of the frames of an animation, until all of them are upscaled.

    Raises:
        SrganError: the clip is HDR, which no animation holds.
    """
    if picture.transfer in colours.HDR:
        raise SrganError(f"{target}: animations hold no HDR. Write a .mp4, .mkv or .mov file")
    width, height = (max(round(side * (outscale or factor)), 1) for side in (picture.width, picture.height))
    return Encoding(PNG, replace(picture, full=True), width, height, "rgba", 8, ENCODERS[PNG].options)


def _usual(picture: Picture, suffix: str, side: int) -> Codec:
    """Return the codec that most players of such a file decode."""
    deep = picture.bits > 8
    if suffix == ".webm":
        return "av1" if deep and not picture.alpha else "vp9"
    if picture.alpha:
        return "prores" if suffix == ".mov" else ("ffv1" if deep else "vp9")
    return "hevc" if deep or side > LARGEST_H264 else "h264"


def _pixel_format(picture: Picture, codec: str, width: int, height: int, finer: bool) -> tuple[str, int]:
    """Return FFmpeg's name of the format, and its bits.

    Colours get half the resolution of the brightness. At a factor of 2 or more they still have all that the clip has.
    """
    bits = 8 if picture.bits == 8 else 10
    chroma = "444" if (finer and picture.full_chroma) or ((width % 2 or height % 2) and codec != "vp9") else "420"
    if codec == "prores":
        bits, chroma = 10, "444" if picture.alpha else "422"
    if codec == "ffv1":
        bits, chroma = next(number for number in (8, 10, 12, 16) if number >= picture.bits), "444"
    deep = "" if bits == 8 else f"{bits}le"
    return f"yuv{'a' if picture.alpha else ''}{chroma}p{deep}", bits


def _check(picture: Picture, target: Path, codec: str, pixel_format: str, side: int) -> None:
    known = [known.name for known in av.Codec(ENCODERS[codec].name, "w").video_formats or []]
    fits = "a .mov file (ProRes), a .mkv or a .webm file (VP9)"
    if picture.alpha and (target.suffix.lower() in (".mp4", ".m4v") or pixel_format not in known or codec == "hevc"):
        raise SrganError(f"{target}: {codec} in such a file holds no transparency. Write {fits}")
    if pixel_format not in known:
        held = f"frames of {pixel_format} ({picture.bits} bits)"
        raise SrganError(f"{target}: {codec} does not hold {held}. Use another --codec, such as hevc, av1 or ffv1")
    if codec == "hevc" and side < SMALLEST_HEVC:
        raise SrganError(f"{target}: hevc needs frames of at least {SMALLEST_HEVC} pixels in each direction. Use --codec ffv1 or h264")


def _more_options(codec: str, picture: Picture) -> dict[str, str]:
    """Return options of single encoders: HDR metadata, profiles, silence and equal bits in each run."""
    light, options = picture.light, {}
    if codec in ("h264", "hevc"):
        display = {"master-display" if codec == "hevc" else "mastering-display": light.mastering(0.00002, 0.0001)} if light.points else {}
        levels = {"max-cll" if codec == "hevc" else "cll": "{},{}".format(*light.levels)} if any(light.levels) else {}
        # Otherwise x264 with AVX-512 gives other bits in each run, and a killed run would end with another file.
        own = {"log-level": "error"} if codec == "hevc" else {"cpu-independent": "1"}
        options = {f"{ENCODERS[codec].name[3:]}-params": ":".join(f"{name}={value}" for name, value in (own | display | levels).items())}
    elif codec == "av1":
        display = {"mastering-display": light.mastering(1, 1)} if light.points else {}
        levels = {"content-light": "{},{}".format(*light.levels)} if any(light.levels) else {}
        options = {"svtav1-params": ":".join(f"{name}={value}" for name, value in (display | levels).items())}
    elif codec == "prores":
        return {"profile": "4444" if picture.alpha else "hq"}
    return {name: value for name, value in options.items() if value}
