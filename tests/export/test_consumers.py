"""The examples in docs/onnx.md, run as a consumer would."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from srgan.inference.upscaler import Upscaler
from tests.helpers.commands import environment
from tests.helpers.project import ROOT, write_model

IMAGE = np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)
RUNTIME = "onnxruntime-web@1.30.0"
NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import { upscale } from "./example.mjs";
const image = JSON.parse(readFileSync("image.json"));
const result = await upscale(new Uint8Array(readFileSync("model.onnx")), { ...image, data: Uint8ClampedArray.from(image.data) });
writeFileSync("result.json", JSON.stringify({ ...result, data: Array.from(result.data) }));
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("m"), scale=4)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "onnx.md").read_text(), re.DOTALL)


def test_the_python_examples_run(model, tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copy(model, tmp_path / "models" / "4x-demo-compact-fp32.onnx")
    Image.fromarray(IMAGE).save(tmp_path / "photo.jpg", quality=100)
    pixels = np.asarray(Image.open(tmp_path / "photo.jpg"))
    examples = blocks("python")
    assert len(examples) == 2
    for number, example in enumerate(examples):
        (tmp_path / f"{number}.py").write_text(example)
        subprocess.run([sys.executable, f"{number}.py"], cwd=tmp_path, env=environment(), check=True)
    expected = Upscaler(model).upscale(pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "big.png")), expected)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "also-big.png")), expected)


def test_the_javascript_example_runs(model, tmp_path, pytestconfig):
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node.js")
    packages = pytestconfig.cache.mkdir(re.sub(r"\W", "-", RUNTIME))  # kept between runs: it is large
    with FileLock(packages / "lock"):
        if not (packages / "node_modules").is_dir():
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", RUNTIME]
            done = subprocess.run(command, cwd=packages, capture_output=True, text=True, timeout=200, check=False)
            if done.returncode:
                shutil.rmtree(packages / "node_modules", ignore_errors=True)
                pytest.skip(f"{RUNTIME} cannot be installed: {done.stderr[-300:]}")
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    shutil.copy(ROOT / "docs" / "example.mjs", tmp_path)
    shutil.copy(model, tmp_path / "model.onnx")
    (tmp_path / "run.mjs").write_text(NODE)
    rgba = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 255, np.uint8)])
    (tmp_path / "image.json").write_text(json.dumps({"data": rgba.ravel().tolist(), "width": 20, "height": 15}))
    subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=True, timeout=100)
    result = json.loads((tmp_path / "result.json").read_text())
    enlarged = np.array(result["data"]).reshape(result["height"], result["width"], 4)
    assert np.abs(enlarged[..., :3] - Upscaler(model).upscale(IMAGE).astype(int)).max() <= 1
    assert (enlarged[..., 3] == 255).all()
