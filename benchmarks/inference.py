"""Measure the upscaling with exported models: ``python benchmarks/inference.py`` (three minutes on two cores).

SRResNet x4 upscales an image of 480x320 pixels without tiles. Three versions run alternately in one process: PyTorch in float32,
the graph as written and the optimized graph. The median counts. The last lines are ``ratio NAME VALUE`` (above 1: the optimized
graph is faster) and ``value NAME VALUE`` (difference from PyTorch).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from data import in_turn, photograph
from srgan.export import onnx
from srgan.models.registry import build_generator

ROUNDS = 5


def main() -> None:
    """Run the comparison and print the values last."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    model = build_generator("srresnet", scale=4, features=64, depth=16, upsampling="pixelshuffle").eval()
    model.optimize_graph = False  # eager PyTorch runs the network as written
    image = photograph(0, 320, 480).transpose(2, 0, 1)[None].astype(np.float32) / 255
    tensor = torch.from_numpy(image)
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, plain in (("ours", False), ("plain", True)):
            path = Path(folder) / f"{name}.onnx"
            onnx.export_onnx(path, model, {}, optimize_graph=not plain)
            sessions[name] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def eager() -> np.ndarray:
        with torch.inference_mode():
            return model(tensor).numpy()

    def run(name: str) -> np.ndarray:
        return sessions[name].run(None, {"input": image})[0]

    expected = eager()
    differences = {name: float(np.abs(run(name) - expected).max()) for name in sessions}
    seconds = in_turn({"eager": eager, "plain": lambda: run("plain"), "ours": lambda: run("ours")}, ROUNDS)
    for name, taken in seconds.items():
        print(f"{name:6} {taken:.2f} s, {1920 * 1280 / 1e6 / taken:.2f} megapixels/s")
    print(f"ratio onnx_vs_eager {seconds['eager'] / seconds['ours']:.2f}")
    print(f"ratio onnx_vs_plain_export {seconds['plain'] / seconds['ours']:.2f}")
    for name, difference in differences.items():
        print(f"value difference_{name} {difference:.1e}")


if __name__ == "__main__":
    main()
