"""Measure memory and speed of clips: ``python benchmarks/video.py [WIDTH HEIGHT]`` (480 x 270 pixels: ten minutes on two cores).

A Compact network of 64 features and 16 layers with random weights upscales clips of 30 and 300 frames four times, each in its own
process. The bare model upscales 30 frames in memory, in a process between them. Last come are ``ratio memory VALUE`` (peak memory of
300 frames divided by that of 30) and ``ratio speed VALUE`` (frames per second of 300 frames divided by those of the bare model).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import torch

from data import photograph
from srgan.export import onnx
from srgan.models.registry import build_generator

FRAMES = 30, 300
COMMAND = """
import json, sys, time
from pathlib import Path
from srgan.inference import benchmark
from srgan.inference.upscaler import Upscaler
from srgan.video.clip import Clip
from srgan.video.upscale import upscale_clip
model, source, target = sys.argv[1:]
upscaler = Upscaler(model)
frames = [frame.pixels for frame in Clip(Path(source)).frames()] if target == "bare" else []
upscaler.upscale(next(Clip(Path(source)).frames()).pixels)  # sets up the libraries
start = time.perf_counter()
count = len([upscaler.upscale(frame).shape for frame in frames]) or upscale_clip(upscaler, Path(source), Path(target))[2]
print(json.dumps({"rate": count / (time.perf_counter() - start), "memory": benchmark.peak_memory()}))
"""


def main(width: int = 480, height: int = 270) -> None:
    """Run the measurement and print the values last."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        model = folder / "4x-benchmark-compact-fp32.onnx"
        onnx.export_onnx(model, build_generator("compact", scale=4, features=64, depth=16).eval(), {"sr.objective": "gan"})
        clips = {count: _write_clip(folder / f"{count}.mp4", count, width, height) for count in FRAMES}
        short = _measure(model, clips[FRAMES[0]], folder / "short.mp4")
        bare = _measure(model, clips[FRAMES[0]], Path("bare"))
        long = _measure(model, clips[FRAMES[1]], folder / "long.mp4")
    for title, found in (("30 frames", short), ("bare model", bare), ("300 frames", long)):
        print(f"{title}: {found['rate']:.2f} frames per second, {found['memory'] / 1e6:.0f} MB")
    print(f"ratio memory {long['memory'] / short['memory']:.3f}")
    print(f"ratio speed {long['rate'] / bare['rate']:.3f}")


def _write_clip(path: Path, frames: int, width: int, height: int) -> Path:
    """Write a clip of a camera that moves over a photograph."""
    image = photograph(0, height + 60, width + 60)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            top, left = (round(30 + 29 * np.sin(number / slow)) for slow in (15, 23))
            file.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image[top : top + height, left : left + width]), "rgb24"))
            )
        file.mux(stream.encode(None))
    return path


def _measure(model: Path, source: Path, target: Path) -> dict[str, float]:
    command = [sys.executable, "-c", COMMAND, str(model), str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
