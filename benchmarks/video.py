"""Measure memory, speed and flicker of clips: ``python benchmarks/video.py memory|speed|flicker``.

``memory`` (three minutes on two cores) upscales clips of 30 and 300 frames of 480 x 270 pixels four times, each in its own process. The
network is tiny, as its memory does not depend on the number of frames. The last line is ``ratio memory VALUE``: peak memory of 300 frames
divided by that of 30.

``speed`` (five minutes) upscales a clip with a Compact network of 64 features and 16 layers and random weights. The bare model upscales
the same frames in memory. Both run alternately, each time in their own process. The last lines are ``ratio NAME VALUE``, the medians of
frames per second (``speed``) and frames per second of processor time (``processor``) divided by those of the bare model.

``flicker CLIP`` (ten minutes for 150 frames of 960 x 540 pixels) reduces a clip by bicubic interpolation and upscales it with a starter,
plain and with ``--temporal 1`` and 2. It prints the metrics of clips and ``ratio flicker N VALUE``, the warping error with ``--temporal N``
divided by the plain one.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch

from data import photograph
from srgan.degradations.bicubic import bicubic_downscale
from srgan.evaluation.files import text_table
from srgan.export import onnx
from srgan.inference.upscaler import Upscaler
from srgan.metrics.metric import Sample
from srgan.metrics.registry import CLIP_METRICS, open_metrics, score
from srgan.models.registry import build_generator
from srgan.video.clip import Clip
from srgan.video.picture import Frame
from srgan.video.temporal import steadied

SCALE = 4
WIDTH, HEIGHT = 480, 270
TINY, LARGE = {"features": 8, "depth": 1}, {"features": 64, "depth": 16}
BARE = "bare"
COMMAND = """
import json, sys, time
from pathlib import Path
from srgan.inference import benchmark
from srgan.inference.upscaler import Upscaler
from srgan.utils.machine import return_freed_memory
from srgan.video.clip import Clip
from srgan.video.upscale import VideoOptions, upscale_clip
return_freed_memory()  # like `srgan upscale`
model, source, target, temporal = sys.argv[1:]
upscaler = Upscaler(model)
frames = [frame.pixels for frame in Clip(Path(source)).frames()] if target == "bare" else []
upscaler.upscale(next(Clip(Path(source)).frames()).pixels)  # sets up the libraries
start, processor = time.perf_counter(), time.process_time()
count = len([upscaler.upscale(frame).shape for frame in frames])
count = count or upscale_clip(upscaler, Path(source), Path(target), VideoOptions(temporal=int(temporal)))[2]
speeds = {"speed": count / (time.perf_counter() - start), "processor": count / (time.process_time() - processor)}
print(json.dumps(speeds | {"memory": benchmark.peak_memory()}))
"""


def memory(temporal: int) -> None:
    """Compare the memory of a long clip with that of a short one."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        model = write_model(Path(name), **TINY)
        short, long = (
            _measure(model, _write_clip(Path(name) / f"{count}.mp4", count), Path(name) / "out.mp4", temporal) for count in (30, 300)
        )
    for title, found in (("30 frames", short), ("300 frames", long)):
        print(f"{title}: {found['memory'] / 1e6:.0f} MB")
    print(f"ratio memory {long['memory'] / short['memory']:.3f}")


def speed(temporal: int, frames: int, rounds: int) -> None:
    """Compare the speed of a clip with that of the bare model."""
    ratios = []
    with tempfile.TemporaryDirectory(dir=".") as name:
        model, clip = write_model(Path(name), **LARGE), _write_clip(Path(name) / "in.mp4", frames)
        for _ in range(rounds):
            bare, whole = (_measure(model, clip, target, temporal) for target in (Path(BARE), Path(name) / "out.mp4"))
            print(f"bare model {bare['speed']:.2f} frames per second, clip {whole['speed']:.2f}", flush=True)
            ratios.append({name: whole[name] / bare[name] for name in ("speed", "processor")})
    for name in ("speed", "processor"):
        print(f"ratio {name} {statistics.median(found[name] for found in ratios):.3f}")


def flicker(clip: Path, model: str, frames: int | None) -> None:
    """Compare the flicker of plain and blended results, with the clip as ground truth."""
    scorers = open_metrics(metric for metric in CLIP_METRICS.values() if metric.score or metric.load)
    originals = [_multiple(frame) for frame in Clip(clip).frames()][:frames]
    inputs = [bicubic_downscale(image, SCALE) for image in originals]
    upscaler = Upscaler(model)
    plain = [(image, Frame(upscaler.upscale(image), number, 1)) for number, image in enumerate(inputs)]
    table = pd.DataFrame({"input": _scores(inputs, None, scorers), "original": _scores(originals, None, scorers)}).T
    table.loc["plain"] = _scores([frame.pixels for _, frame in plain], originals, scorers)
    for neighbours in (1, 2):
        table.loc[f"--temporal {neighbours}"] = _scores([frame.pixels for frame in steadied(plain, neighbours)], originals, scorers)
    table["flicker"] = table["warping_error"] / table["warping_error"]["input"]
    print(text_table(table, CLIP_METRICS, mean=False))
    for neighbours in (1, 2):
        print(f"ratio flicker {neighbours} {table['warping_error'][f'--temporal {neighbours}'] / table['warping_error']['plain']:.3f}")


def _multiple(frame: Frame) -> np.ndarray:
    """Return a frame without the rows and columns that exceed a multiple of the scale."""
    height, width = (side // SCALE * SCALE for side in frame.pixels.shape[:2])
    return np.ascontiguousarray(frame.pixels[:height, :width])


def _scores(images: list[np.ndarray], originals: list[np.ndarray] | None, scorers: dict) -> pd.Series:
    def samples() -> Iterator[Sample]:
        before = None
        for number, image in enumerate(images):
            hr_image = originals[number] if originals else None
            yield Sample(image, hr_image, scale=SCALE, before=before)
            before = Sample(image, hr_image)

    return pd.DataFrame([score(sample, scorers) for sample in samples()], columns=[*CLIP_METRICS]).mean()


def write_model(folder: Path, features: int, depth: int, scale: int = SCALE) -> Path:
    """Write a Compact network with random weights, which begins as bilinear interpolation."""
    torch.manual_seed(0)
    path = folder / f"{scale}x-benchmark-compact-fp32.onnx"
    onnx.export_onnx(path, build_generator("compact", scale=scale, features=features, depth=depth).eval(), {"sr.objective": "gan"})
    return path


def _write_clip(path: Path, frames: int) -> Path:
    """Write a clip of a camera that moves over a photograph."""
    image = photograph(0, HEIGHT + 60, WIDTH + 60)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            top, left = (round(30 + 29 * np.sin(number / slow)) for slow in (15, 23))
            pixels = np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode(None))
    return path


def _measure(model: Path, source: Path, target: Path, temporal: int) -> dict[str, float]:
    command = [sys.executable, "-c", COMMAND, str(model), str(source), str(target), str(temporal)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run a measurement and print the values last."""
    parser = argparse.ArgumentParser(description="Measure clips.")
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("memory", "speed"):
        parts.add_parser(name).add_argument("--temporal", type=int, default=0)
    parts.choices["speed"].add_argument("--frames", type=int, default=30)
    parts.choices["speed"].add_argument("--rounds", type=int, default=3)
    of_flicker = parts.add_parser("flicker")
    of_flicker.add_argument("clip", type=Path, help="a clip whose frames are the ground truth")
    of_flicker.add_argument("--model", default="x4-clean", help="a starter or a model of this scale")
    of_flicker.add_argument("--frames", type=int, help="only the first ones")
    options = vars(parser.parse_args())
    {"memory": memory, "speed": speed, "flicker": flicker}[options.pop("part")](**options)


if __name__ == "__main__":
    main()
