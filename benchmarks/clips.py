"""Upscale all clips of a folder and compare each result with its clip: ``python benchmarks/clips.py FOLDER`` (five minutes for 19 clips).

The command ``srgan upscale`` runs with a tiny network of scale 2. A clip is upscaled or refused in one line. The result keeps the suffix
of the clip, or becomes ``.mkv`` if such files are only read. It is checked through FFmpeg (PyAV):

- all frames of the result are decoded, as many as those of the clip, twice as large;
- the other streams have the same kinds, codecs and packets, bit for bit;
- each packet and the end of each stream have the same time, counted from the start of the file, up to one frame;
- the color tags that the clip states are those of the result.

The script prints a table in Markdown. The exit code is 1 if a check fails.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from srgan.video.suffixes import ANIMATIONS, CONTAINERS
from video import TINY, write_model

SCALE = 2
UNSPECIFIED = 2  # matrix, primaries and transfer in H.273
HEAD = "| clip | streams | result | frames | streams copied | largest time difference | color tags |\n|---|---|---|---|---|---|---|"


@dataclass
class Stream:
    """A stream of a file.

    Attributes:
        kind: ``video``, ``audio`` and so on.
        codec: name of the codec.
        times: start of each packet in seconds, in order, then the end of the last one.
        digest: of the contents of all packets.
    """

    kind: str
    codec: str
    times: list[float] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)


@dataclass(frozen=True)
class File:
    """The streams of a file.

    Attributes:
        streams: by their place, without the main video.
        main: times of the frames of the main video.
        size: width and height of the frames as they are shown, 0 without rotation by a file.
        tags: range, matrix, primaries and transfer.
        rate: frames per second.
    """

    streams: list[Stream]
    main: list[float]
    size: tuple[int, int]
    tags: tuple[int, ...]
    rate: float


def read(path: Path) -> File:
    """Read a file: the frames of the main video, and the packets of all other streams."""
    with av.open(str(path), metadata_errors="replace") as file:
        video = file.streams.best("video")
        video.thread_type = "AUTO"
        rate = float(video.average_rate or video.guessed_rate)
        streams = {stream.index: Stream(stream.type, stream.codec_context.name) for stream in file.streams if stream.index != video.index}
        frames, sizes, tags, spans = [], set(), (0, 2, 2, 2), {index: [] for index in streams}
        for packet in file.demux():
            if packet.stream.index == video.index:
                for frame in _decoded(packet):
                    frames.append((float(frame.pts * video.time_base), float((frame.duration or 0) * video.time_base) or 1 / rate))
                    sizes.add((frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height))
                    tags = frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc
            elif packet.size:
                spans[packet.stream.index].append((float(packet.pts * packet.time_base), float(packet.duration * packet.time_base)))
                streams[packet.stream.index].digest.update(bytes(packet))
    for index, stream in streams.items():
        stream.times = _times(spans[index])
    main = _times(frames)
    start = min(times[0] for times in (main, *(stream.times for stream in streams.values())) if times)
    for stream in streams.values():
        stream.times = [time - start for time in stream.times]
    assert len(sizes) == 1
    return File(list(streams.values()), [time - start for time in main], sizes.pop(), tags, rate)


def _decoded(packet: Any) -> list[Any]:
    try:
        return packet.decode()
    except av.FFmpegError:  # a damaged packet, which players leave out
        return []


def _times(spans: list[tuple[float, float]]) -> list[float]:
    """Return the starts and the end of packets, given by start and duration."""
    ordered = sorted(spans)
    return [*(start for start, _ in ordered), ordered[-1][0] + ordered[-1][1]] if ordered else []


def row(clip: Path, target: Path, model: Path | str) -> tuple[str, list[str]]:
    """Upscale a clip. Return its line of the table and the failed checks."""
    command = [sys.executable, "-m", "srgan", "upscale", str(clip), "-o", str(target), "--model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    before = read(clip)
    kinds = ", ".join(["video", *(stream.kind for stream in before.streams)])
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return f"| `{clip.name}` | {kinds} | refused: {lines[-1]} | | | | |", [] if len(lines) == 1 else ["more than one line"]
    after = read(target)
    difference = _difference(before, after)
    stated = [(name, old, new) for name, old, new in zip(NAMES, before.tags, after.tags, strict=True) if old not in UNSTATED[name]]
    kept = [(stream.kind, stream.codec, stream.digest.digest()) for stream in before.streams]
    checks = {
        "frames": len(before.main) == len(after.main),
        "size": after.size == (SCALE * before.size[0], SCALE * before.size[1]),
        "streams": kept == [(stream.kind, stream.codec, stream.digest.digest()) for stream in after.streams],
        "times": difference is not None and difference <= 1 / before.rate,
        "color tags": all(old == new for _, old, new in stated),
    }
    frames = f"{len(after.main) - 1} of {after.size[0]}x{after.size[1]}"
    shown = "differ" if difference is None else f"{1000 * difference:.1f} ms"
    tags = ("kept" if checks["color tags"] else "differ") if stated else "none stated"
    copied = (f"{len(kept)} of {len(kept)}" if checks["streams"] else "differ") if kept else "none"
    line = f"| `{clip.name}` | {kinds} | `{target.suffix}` | {frames} | {copied} | {shown} | {tags} |"
    return line, [name for name, passed in checks.items() if not passed]


NAMES = ("range", "matrix", "primaries", "transfer")
UNSTATED = {"range": (0,), "matrix": (0, UNSPECIFIED), "primaries": (0, UNSPECIFIED), "transfer": (0, UNSPECIFIED)}


def _difference(before: File, after: File) -> float | None:
    """Return the largest difference of two times in seconds, None if the numbers of packets differ."""
    pairs = [(before.main, after.main), *zip([s.times for s in before.streams], [s.times for s in after.streams], strict=False)]
    if any(len(old) != len(new) for old, new in pairs):
        return None
    return max(abs(a - b) for old, new in pairs for a, b in zip(old, new, strict=True))


def main() -> int:
    """Print the table. Return the exit code."""
    parser = argparse.ArgumentParser(description="Upscale all clips of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="a starter or file of scale 2 (default: a tiny network)")
    parser.add_argument("--only", nargs="*", help="names of clips")
    options = parser.parse_args()
    failed = []
    print(HEAD)
    with tempfile.TemporaryDirectory(dir=".") as name:
        model = options.model or write_model(Path(name), **TINY, scale=SCALE)
        for clip in sorted(options.folder.iterdir()):
            if options.only and clip.name not in options.only:
                continue
            suffix = clip.suffix if clip.suffix in (*CONTAINERS, *ANIMATIONS) else ".mkv"
            line, problems = row(clip, Path(name, f"big{suffix}"), model)
            failed += [f"{clip.name}: {problem}" for problem in problems]
            print(line, flush=True)
    print("\n".join(failed) or "all checks passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
