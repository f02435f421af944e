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

from srgan.export.onnx import export_onnx
from srgan.inference.upscaler import Upscaler
from srgan.models.registry import build_generator
from tests.export.test_onnx import SMALL
from tests.helpers.commands import environment
from tests.helpers.project import ROOT, write_colorizer, write_model

IMAGE = np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)
RUNTIME = "onnxruntime-web@1.30.0"
NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import { upscale } from "./example.mjs";
const { data, ...size } = JSON.parse(readFileSync("image.json"));
for (const [name, gray] of [["x4", false], ["color", true], ["dysample", false], ["swinir", false]]) {
  const result = await upscale(new Uint8Array(readFileSync(`${name}.onnx`)), { data: Uint8ClampedArray.from(data), ...size }, gray);
  writeFileSync(`${name}.json`, JSON.stringify({ ...result, data: Array.from(result.data) }));
}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("m"), scale=4)


@pytest.fixture(scope="module")
def colorizer(tmp_path_factory):
    return write_colorizer(tmp_path_factory.mktemp("c"), hints=False)


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


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_first_python_example_colorizes_at_scale_1(colorizer, tmp_path, monkeypatch, mode):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    shutil.copy(colorizer, tmp_path / "models" / "4x-demo-compact-fp32.onnx")
    Image.fromarray(IMAGE).convert(mode).save("photo.jpg", quality=100)
    exec(compile(blocks("python")[0], "onnx.md", "exec"), {})
    expected = Upscaler(colorizer).upscale(np.asarray(Image.open("photo.jpg")))
    assert np.array_equal(np.asarray(Image.open("big.png")), expected)


@pytest.mark.slow
def test_the_javascript_example_runs(model, colorizer, tmp_path, pytestconfig):
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
    shutil.copy(model, tmp_path / "x4.onnx")
    shutil.copy(colorizer, tmp_path / "color.onnx")
    options = SMALL["realplksr"] | {"upsampling": "dysample"}
    export_onnx(tmp_path / "dysample.onnx", build_generator("realplksr", scale=2, **options).eval(), {})
    export_onnx(tmp_path / "swinir.onnx", build_generator("swinir", scale=2, **SMALL["swinir"]).eval(), {})
    (tmp_path / "run.mjs").write_text(NODE)
    rgba = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 255, np.uint8)])
    (tmp_path / "image.json").write_text(json.dumps({"data": rgba.ravel().tolist(), "width": 20, "height": 15}))
    subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=True, timeout=100)
    for name in ("x4", "color", "dysample", "swinir"):
        result = json.loads((tmp_path / f"{name}.json").read_text())
        pixels = np.array(result["data"]).reshape(result["height"], result["width"], 4)
        assert np.abs(pixels[..., :3] - Upscaler(tmp_path / f"{name}.onnx").upscale(IMAGE).astype(int)).max() <= 1
        assert (pixels[..., 3] == 255).all()
