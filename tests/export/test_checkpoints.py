import json
import sys
import zipfile

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)
from srgan.export import checkpoints
from srgan.inference.upscaler import Upscaler
from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from srgan.models.weights_file import read_metadata
from srgan.utils.errors import SrganError
from tests.helpers.commands import run


def network(seed=0, **config):
    torch.manual_seed(seed)
    return build_generator("rrdb", **({"scale": 4, "features": 8, "growth": 4, "depth": 1} | config)).eval()


def saved(path, model, objective="psnr"):
    save_generator(path, model, {"sr.objective": objective, "sr.train_data_sha256": "same", "sr.train_run": path.stem})
    return path


def test_weights_are_mixed_by_alpha(tmp_path):
    first, second = saved(tmp_path / "a.safetensors", network(0)), saved(tmp_path / "b.safetensors", network(1), "gan")
    run("srgan", "interpolate", first, second, "--alpha", "0.25", "-o", tmp_path / "mix.safetensors", cwd=tmp_path)
    a, b, mixed = (load_file(path) for path in (first, second, tmp_path / "mix.safetensors"))
    for key, value in mixed.items():
        assert torch.allclose(value, 0.75 * a[key] + 0.25 * b[key], atol=1e-7)
    metadata = read_metadata(tmp_path / "mix.safetensors", "train")
    assert metadata["sr.objective"] == "gan"
    assert metadata["sr.train_data_sha256"] == "same"
    assert "sr.train_run" not in metadata
    assert json.loads(metadata["sr.interpolated"])["alpha"] == 0.25
    checkpoints.interpolate(first, second, 0, tmp_path / "zero.safetensors")
    assert read_metadata(tmp_path / "zero.safetensors", "train")["sr.objective"] == "psnr"
    assert all(torch.equal(value, a[key]) for key, value in load_file(tmp_path / "zero.safetensors").items())


def test_only_one_network_can_be_mixed(tmp_path):
    first, second = saved(tmp_path / "a.safetensors", network()), saved(tmp_path / "b.safetensors", network(depth=2))
    with pytest.raises(SrganError, match=r"a\.safetensors holds rrdb .*'depth': 1.*b\.safetensors holds rrdb .*'depth': 2"):
        checkpoints.interpolate(first, second, 0.5, tmp_path / "mix.safetensors")
    done = run("srgan", "interpolate", first, first, "--alpha", "2", "-o", "x.safetensors", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "'--alpha': Input should be less than or equal to 1" in done.stderr
    done = run("srgan", "interpolate", first, first, "--alpha", "1", "-o", "x.pth", cwd=tmp_path, check=False)
    assert "weights are written as .safetensors" in done.stderr


@pytest.mark.parametrize("kind", [pytest.param("rrdb", marks=pytest.mark.slow), "compact"])
def test_a_checkpoint_of_the_community_becomes_a_model(tmp_path, kind):
    model = network() if kind == "rrdb" else build_generator("compact", scale=4, features=8, depth=2).eval()
    torch.save({"params_ema": model.state_dict()}, tmp_path / "Real model (v3).pth")
    run("srgan", "export", "Real model (v3).pth", "--license", "BSD-3-Clause", cwd=tmp_path)
    path = tmp_path / f"4x-Real_model__v3_-{kind}-fp32.onnx"
    metadata = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    assert (metadata["sr.license"], metadata["sr.objective"], metadata["sr.arch"]) == ("BSD-3-Clause", "gan", kind)
    image = torch.rand(1, 3, 9, 14)
    assert abs(Upscaler(path).run(image.numpy()) - model(image).detach().numpy()).max() < 1e-4


def test_own_weights_bring_what_is_known_of_them(tmp_path):
    saved(tmp_path / "w.safetensors", build_generator("compact", scale=2, features=4, depth=1))
    path = checkpoints.export_checkpoint(tmp_path / "w.safetensors", tmp_path / "out" / "m.onnx", name="mine", optimize_graph=False)
    assert path == tmp_path / "out" / "m.onnx"
    metadata = Upscaler(path).metadata
    assert (metadata["sr.objective"], metadata["sr.train_run"], metadata["sr.name"]) == ("psnr", "w", "mine")


def test_what_is_no_checkpoint_is_told(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"nothing")
    save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors")
    for arguments, message in (
        (["x.pth"], "x.pth: not a checkpoint of plain tensors"),
        (["y.safetensors"], "y.safetensors: holds no network of compact, srresnet, rrdb, srcnn, nafnet, span, realplksr, swinir"),
        (["z.pth"], "z.pth: no such file of weights"),
        (["--plain"], "--plain is for a checkpoint"),
    ):
        done = run("srgan", "export", *arguments, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert message in done.stderr


def test_one_command_writes_many_formats(tmp_path):
    torch.manual_seed(0)
    model = build_generator("compact", scale=2, features=4, depth=1).eval()
    torch.save(model.state_dict(), tmp_path / "My net.pth")
    run(
        "srgan",
        "export",
        "--to",
        "onnx, onnx-fp16io,safetensors,pth,onnx",
        "-m",
        "My net.pth",
        "-o",
        "out",
        "--license",
        "MIT",
        cwd=tmp_path,
    )
    names = {"2x-My_net-compact-fp32.onnx", "2x-My_net-compact-fp16io.onnx", "2x-My_net-compact.safetensors", "2x-My_net-compact.pth"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    image = torch.rand(1, 3, 9, 14)
    expected = model(image).detach().numpy()
    for precision, tolerance in (("fp32", 1e-4), ("fp16io", 4e-3)):
        upscaler = Upscaler(tmp_path / "out" / f"2x-My_net-compact-{precision}.onnx")
        assert (upscaler.metadata["sr.precision"], upscaler.metadata["sr.license"]) == (precision, "MIT")
        assert abs(upscaler.run(image.numpy()) - expected).max() < tolerance
    for suffix in ("safetensors", "pth"):
        path = tmp_path / "out" / f"2x-My_net-compact.{suffix}"
        assert torch.equal(checkpoints.read_weights(path)[0](image), model(image))
    path = tmp_path / "out" / "2x-My_net-compact.pth"
    assert set(torch.load(path, weights_only=True)) == {"params_ema"}
    assert all(name.startswith("archive/") for name in zipfile.ZipFile(path).namelist())  # no names of this machine


def test_formats_that_fail_are_named_and_the_others_are_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pnnx", None)
    path = saved(tmp_path / "w.safetensors", build_generator("compact", scale=2, features=4, depth=0))
    with pytest.raises(SrganError, match=r"1 of 2 formats were not written:\s+ncnn: .*pip install 'srgan\[ncnn\]'"):
        checkpoints.convert(path, "ncnn,pth", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["2x-w-compact.pth"]
    for arguments, message in (
        (["--to", "tflite", "-o", "out"], "'tflite' is not an export format. Use some of: onnx, onnx-fp16"),
        (["--to", ",", "-o", "out"], "--to names no format"),
        (["--to", "onnx"], "--to needs a folder for its files: -o FOLDER"),
        (["--to", "onnx", "-o", "out", "--plain"], "--to always optimizes the graph. Leave out --plain"),
        (["--to", "onnx", "-o", "out", "w.safetensors"], "name the weights either as CHECKPOINT or with -m"),
    ):
        done = run("srgan", "export", "-m", "w.safetensors", *arguments, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert message in done.stderr
    run("srgan", "export", "-m", "w.safetensors", "-o", "one.onnx", cwd=tmp_path)
    assert Upscaler(tmp_path / "one.onnx").scale == 2


# It knows no RRDB of x3: it takes each upsampling as one by two.
@pytest.mark.parametrize(
    ("name", "scale"), [("compact", 1), ("compact", 2), ("compact", 3), ("compact", 4), ("rrdb", 1), ("rrdb", 2), ("rrdb", 4)]
)
def test_spandrel_opens_our_weights_with_zero_difference(tmp_path, name, scale):
    spandrel = pytest.importorskip("spandrel")
    config = {"compact": {"features": 16, "depth": 4}, "rrdb": {"features": 16, "growth": 32, "depth": 2}}[name]
    torch.manual_seed(0)
    model = build_generator(name, scale=scale, **config).eval()
    save_generator(tmp_path / "w.safetensors", model, {})
    loaded = spandrel.ModelLoader(device="cpu").load_from_file(tmp_path / "w.safetensors")
    assert loaded.scale == scale
    image = torch.rand(1, 3, 12, 17)
    with torch.inference_mode():
        assert torch.equal(loaded.model.eval()(image), model(image))
