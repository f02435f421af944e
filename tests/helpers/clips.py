"""Small clips that tests make with FFmpeg."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth coloured pattern that moves to the right by a pixel a frame, `(H, W, 3)` uint8."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin((columns - number) / 7 + phase) + np.cos(rows / 9 + phase) for phase in (0, 1, 3)]
    return np.rint(127.5 + 55 * np.stack(waves, 2)).astype(np.uint8)


def write_clip(
    path: Path,
    frames: int = 10,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    starts: list[int] | None = None,
    rate: int = 25,
    size: tuple[int, int] = (48, 64),
    options: dict[str, str] | None = None,
    sound: bool = True,
    tags: tuple[int, int, int, int] = (1, 1, 1, 1),
    aspect: Fraction | None = None,
    rotation: int = 0,
    alpha: bool = False,
) -> Path:
    """Write a clip of `picture`s. Starts are in 1/1000 s. Tags are range, matrix, primaries and transfer."""
    with av.open(str(path), "w") as file:
        video = file.add_stream(codec, rate=rate)
        video.height, video.width = size
        video.pix_fmt = pixel_format
        context = video.codec_context
        context.time_base = Fraction(1, 1000)
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = tags
        context.options = options or ({"crf": "12"} if codec == "libx264" else {})
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(rotation)
        audio = file.add_stream("pcm_s16le" if path.suffix in (".mov", ".mkv") else "aac", rate=8000) if sound else None
        file.metadata["title"] = "a test"
        for number in range(frames):
            pixels = picture(number, *size)
            if alpha:
                pixels = np.dstack([pixels, np.full(size, 40 + number, np.uint8)])
            frame = av.VideoFrame.from_ndarray(pixels, "rgba" if alpha else "rgb24")
            frame = frame.reformat(
                format=pixel_format,
                dst_colorspace={1: "itu709", 6: "smpte170m"}.get(tags[1]),
                dst_color_range="JPEG" if tags[0] == 2 else "MPEG",
            )
            frame.pts, frame.time_base = starts[number] if starts else number * 1000 // rate, Fraction(1, 1000)
            file.mux(video.encode(frame))
            if audio:
                samples = (
                    np.zeros((1, 8000 // rate), np.int16) if path.suffix in (".mov", ".mkv") else np.zeros((1, 8000 // rate), np.float32)
                )
                tone = av.AudioFrame.from_ndarray(samples, "s16" if samples.dtype == np.int16 else "fltp", "mono")
                tone.sample_rate, tone.pts = 8000, number * (8000 // rate)
                file.mux(audio.encode(tone))
        file.mux(video.encode(None))
        if audio:
            file.mux(audio.encode(None))
    return path


def packets(path: Path) -> dict[int, list[tuple[bytes, float | None]]]:
    """Return bytes and start in seconds of the packets of each stream."""
    found: dict[int, list] = {}
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.size:
                found.setdefault(packet.stream.index, []).append((bytes(packet), round(float(packet.pts * packet.time_base), 3)))
    return found
