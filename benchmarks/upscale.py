"""Measure memory and time of `srgan upscale`: ``python benchmarks/upscale.py`` (two minutes on two cores).

A Compact network of 32 features and 8 layers with random weights upscales images of 750x562 and 3000x2250 pixels four times to PNG.
Each image runs in its own process. The last lines are ``ratio memory VALUE`` (memory of the large image divided by that of the
small one, for 16 times the pixels) and ``value NAME VALUE`` (peak memory in MB and megapixels of the large result per second).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from data import photograph
from srgan.export import onnx
from srgan.models.registry import build_generator

SIZES = {"small": (562, 750), "large": (2250, 3000)}
COMMAND = """
import sys
from srgan.commands import main
from srgan.inference import benchmark
main.main(sys.argv[1:])
print(benchmark.peak_memory())
"""


def main() -> None:
    """Run the measurement and print the values last."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    peak, seconds = {}, {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        model = Path(folder) / "4x-benchmark-compact-fp32.onnx"
        onnx.export_onnx(model, build_generator("compact", scale=4, features=32, depth=8).eval(), {"sr.objective": "gan"})
        for name, (height, width) in SIZES.items():
            source = Path(folder) / f"{name}.jpg"
            Image.fromarray(photograph(0, height, width)).save(source, quality=92)
            start = time.perf_counter()
            arguments = ["upscale", str(source), "-o", f"{folder}/{name}.png", "--model", str(model)]
            done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=True)
            seconds[name], peak[name] = time.perf_counter() - start, int(done.stdout) / 1e6
            print(f"{name}: {4 * width} x {4 * height} pixels in {seconds[name]:.1f} s, {peak[name]:.0f} MB")
    print(f"ratio memory {peak['large'] / peak['small']:.2f}")
    for name, value in peak.items():
        print(f"value peak_memory_{name}_mb {value:.0f}")
    print(f"value megapixels_per_second {16 * 3000 * 2250 / 1e6 / seconds['large']:.2f}")


if __name__ == "__main__":
    main()
