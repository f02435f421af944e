"""Join the upscaled frames of a clip with its other streams, chapters and metadata, which are copied bit for bit."""

import heapq
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av

from srgan.utils.errors import SrganError, reason
from srgan.utils.files import atomic_file, named
from srgan.video.clip import Clip, open_clip
from srgan.video.encoding import ENCODERS, Encoding
from srgan.video.segments import Segments
from srgan.video.suffixes import CONTAINERS

# Entries that describe the former file. FFmpeg writes those of the new one.
FORMER = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "bps", "number_of", "_statistics", "alpha_mode")
UPSCALED = -1  # index of the stream of the upscaled frames
HEVC_TAG = "hvc1"  # Apple's players open no other
# No random number in Matroska. The index of MP4 comes first, and streams start at the sample.
OPTIONS = {"fflags": "+bitexact", "movflags": "+faststart", "movie_timescale": "48000"}

log = logging.getLogger(__name__)


def join(clip: Clip | None, segments: Segments, encoding: Encoding, target: Path, comment: str | None) -> None:
    """Write a result from its segments and its clip.

    Args:
        clip: gives the other streams. None if there are none.
        segments: the encoded frames.
        encoding: how they were encoded.
        target: the file to write. It is replaced as a whole or not at all.
        comment: a text about the model, None for none.
    """
    with _opened(clip) as source, atomic_file(target) as temporary, _written(str(temporary), target, OPTIONS) as result:
        streams = _add_streams(result, source, clip, encoding, target)
        _describe(result, source, comment)
        result.start_encoding()
        packets = _upscaled(segments, encoding, streams, source), _copied(source, streams)
        for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
            result.mux_one(packet)


def check(clip: Clip | None, encoding: Encoding, target: Path) -> None:
    """Check that a file can hold all streams of a clip, before its frames are upscaled.

    Raises:
        SrganError: it cannot. The message names the streams and a file that can.
    """
    with _opened(clip) as source, _written(BytesIO(), target, {}) as result:
        _add_streams(result, source, clip, encoding, target, warn=True)
        result.start_encoding()


def _opened(clip: Clip | None) -> AbstractContextManager[Any]:
    return open_clip(clip.path) if clip else nullcontext()


def _upscaled(segments: Segments, encoding: Encoding, streams: dict[int, Any], source: Any) -> Iterator[Any]:
    for packet in segments.packets(encoding.picture.time_base):
        yield _moved(packet, streams[UPSCALED], source)


def _copied(source: Any, streams: dict[int, Any]) -> Iterator[Any]:
    others = [stream for stream in source.streams if stream.index in streams] if source else []
    for packet in source.demux(others) if others else ():
        if packet.dts is not None:  # else it marks the end
            yield _moved(packet, streams[packet.stream.index], source)


def _moved(packet: Any, stream: Any, source: Any) -> Any:
    """Return the packet for its new stream. The result begins at zero."""
    delay = round(Fraction(max(source.start_time or 0, 0), av.time_base) / packet.time_base) if source else 0
    packet.stream = stream
    packet.dts -= delay
    if packet.pts is not None:
        packet.pts -= delay
    return packet


def _add_streams(result: Any, source: Any, clip: Clip | None, encoding: Encoding, target: Path, warn: bool = False) -> dict[int, Any]:
    """Add a stream for each stream of the clip, in its order. Return them by the index in the clip, and the one that is `UPSCALED`."""
    streams: dict[int, Any] = {}
    refused = []
    if clip is None:
        return {UPSCALED: _new_stream(result, encoding, target)}
    for former in source.streams:
        try:
            index, new = (
                (UPSCALED, _new_stream(result, encoding, target))
                if former.index == clip.stream
                else (former.index, _copy_of(result, former))
            )
        except (ValueError, av.FFmpegError):
            refused.append(former)
            continue
        new.metadata.update(_kept(former.metadata))
        new.disposition = former.disposition
        streams[index] = new
    _judge(refused, clip, target, warn)
    return streams


def _new_stream(result: Any, encoding: Encoding, target: Path) -> Any:
    """Add the stream of the upscaled frames.

    Raises:
        SrganError: such a file cannot hold their codec.
    """
    try:
        stream = result.add_stream(ENCODERS[encoding.codec].name, rate=encoding.picture.rate)
    except ValueError as error:
        raise SrganError(f"{target}: such a file cannot hold {encoding.codec}. Use another --codec or write a .mkv file") from error
    encoding.settings(stream.codec_context)
    stream.time_base = encoding.picture.time_base
    if encoding.codec == "hevc" and target.suffix.lower() != ".mkv":
        stream.codec_context.codec_tag = HEVC_TAG
    return stream


def _copy_of(result: Any, former: Any) -> Any:
    if former.type == "attachment":
        return result.add_attachment(former.name or "attachment", former.mimetype or "application/octet-stream", former.data)
    if former.type in ("data", "unknown"):
        raise ValueError  # such as time codes, which FFmpeg cannot write
    return result.add_stream_from_template(former, opaque=True)


def _judge(refused: list[Any], clip: Clip, target: Path, warn: bool) -> None:
    """Warn of data that the result will not hold, and refuse to lose sound, subtitles or video."""
    lost = [stream for stream in refused if stream.type in ("audio", "subtitle", "video")]
    if lost:
        names = ", ".join(f"{stream.index} ({stream.type} {stream.codec_context.name})" for stream in lost)
        raise SrganError(f"{target}: such a file cannot hold stream {names} of {clip.path}. Write a .mkv file, which can")
    if warn and refused:
        names = ", ".join(f"{stream.index} ({stream.type})" for stream in refused)
        log.warning("%s: not in the result: stream %s", clip.path, names)


def _describe(result: Any, source: Any, comment: str | None) -> None:
    """Copy chapters and metadata and add the comment."""
    result.metadata.update(_kept(source.metadata) if source else {})
    if comment:
        former = result.metadata.get("comment")
        result.metadata["comment"] = f"{former}; {comment}" if former else comment
    if source and source.chapters():
        delay = Fraction(max(source.start_time or 0, 0), av.time_base)
        result.set_chapters([_earlier(chapter, delay) for chapter in source.chapters()])


def _earlier(chapter: Any, delay: Fraction) -> Any:
    start, end = (max(chapter[side] - round(delay / chapter["time_base"]), 0) for side in ("start", "end"))
    return chapter | {"start": start, "end": end}


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if not key.lower().startswith(FORMER)}


@contextmanager
def _written(file: str | BytesIO, target: Path, options: dict[str, str]) -> Iterator[Any]:
    """Open a file for writing. Errors of FFmpeg in the block become those of `target`."""
    try:
        with named(target), av.open(file, "w", format=CONTAINERS[target.suffix.lower()], container_options=options) as result:
            yield result
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise SrganError(f"{target}: FFmpeg cannot write it ({error.strerror or reason(error)}). Write a .mkv file") from error
