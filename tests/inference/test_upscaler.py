import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from srgan.inference import backends, benchmark
from srgan.inference import upscaler as inference
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from tests.helpers import stub_driver
from tests.helpers.commands import environment, run
from tests.helpers.project import write_model


@pytest.fixture
def photograph():
    random = np.random.default_rng(0)
    return np.kron(random.integers(0, 256, (9, 12, 3)), np.ones((5, 5, 1))).astype(np.uint8)


def test_the_result_is_what_the_file_says(upscaler, model, photograph):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (raw,) = session.run(None, {"input": photograph.transpose(2, 0, 1)[None].astype(np.float32) / 255})
    expected = np.rint(raw[0].transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)
    result = upscaler.upscale(photograph)
    assert result.dtype == np.uint8
    assert np.array_equal(result, expected)
    assert upscaler.scale == 2
    assert upscaler.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("tile", [None, 32, 61])
def test_any_size_in_tiles_is_the_whole_image(model, upscaler, tile):
    assert upscaler.halo * 4 <= 32
    in_tiles, random = Upscaler(model, tile=tile), np.random.default_rng(0)
    for height, width in ((1, 1), (1, 80), (80, 1), *random.integers(1, 81, (12, 2)).tolist()):
        image = random.random((height, width, 3), dtype=np.float32)
        (raw,) = upscaler.run(image.transpose(2, 0, 1)[None].copy())
        result = in_tiles.upscale(image)
        assert result.shape == (2 * height, 2 * width, 3)
        assert np.abs(result - raw.transpose(1, 2, 0).clip(0, 1)).max() < 1e-5, (height, width)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_kind_and_channels_come_back(upscaler, kind, channels):
    full = 1 if kind == np.float32 else np.iinfo(kind).max
    image = (np.random.default_rng(0).random((11, 7, *channels)) * full).astype(kind)
    result = upscaler.upscale(image)
    assert result.dtype == kind
    assert result.shape == (22, 14, *channels)


def test_sixteen_bits_are_finer_than_eight(upscaler):
    ramp = np.linspace(20000, 21000, 64, dtype=np.uint16)[None].repeat(16, 0)
    assert len(np.unique(upscaler.upscale(ramp))) > 30


def test_white_stays_white(upscaler):
    assert (upscaler.upscale(np.full((20, 30, 3), 255, np.uint8)) == 255).all()
    assert (upscaler.upscale(np.full((20, 30), 65535, np.uint16)) == 65535).all()
    half = np.full((40, 40, 3), 255, np.uint8)
    half[:, :20] = 90
    result = upscaler.upscale(half)
    assert (result[:, 42:] == 255).all()
    assert (result[:, :30] < 255).all()


def test_what_is_transparent_does_not_shine_through(upscaler):
    image = np.zeros((30, 30, 4), np.uint8)  # a grey square on black that nobody can see
    image[10:20, 10:20] = (130, 130, 130, 255)
    result = upscaler.upscale(image)
    seen = result[..., 3] > 0
    flat = upscaler.upscale(np.full((30, 30, 3), 130, np.uint8))
    assert np.abs(result[seen][:, :3].astype(int) - flat[seen]).max() <= 1
    assert set(np.unique(result[24:36, 24:36, 3])) == {255}
    assert result[0, 0, 3] == 0


@pytest.mark.parametrize("image", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4)), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)])
def test_other_arrays_are_refused_by_name(upscaler, image):
    with pytest.raises(SrganError, match=r"cannot be upscaled. Expected:"):
        upscaler.upscale(image)


def test_short_memory_halves_the_tile_and_changes_nothing(model, caplog, monkeypatch):
    image = np.random.default_rng(0).random((150, 170, 3), dtype=np.float32)
    upscaler = Upscaler(model, tile=512)
    expected = upscaler.upscale(image)
    given_shapes, engine = [], upscaler._engine

    def scarce(tensor):
        given_shapes.append(tensor.shape[2:])
        if max(tensor.shape[2:]) > 64:
            raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException("BFCArena::AllocateRawInternal Failed to allocate memory")
        return engine.run(tensor)

    upscaler._engine = backends.Engine(scarce, engine.provider, engine.metadata)
    with caplog.at_level(logging.WARNING):
        result = upscaler.upscale(image)
    assert np.abs(result - expected).max() < 1e-5
    assert given_shapes[0] == (150, 170)
    assert sum(max(shape) > 64 for shape in given_shapes) <= 2  # 150 and 85: not again for each tile
    assert upscaler.tile <= 64
    assert "memory is short: continuing with tiles of 85 pixels" in caplog.text
    tried = len(given_shapes)
    upscaler.upscale(image)  # the next one does not try in vain
    assert max(max(shape) for shape in given_shapes[tried:]) <= 64


def test_memory_that_is_not_there_at_all_is_told(model):
    upscaler = Upscaler(model)

    def none(tensor):
        raise MemoryError

    upscaler._engine = backends.Engine(none, "none", {})
    with pytest.raises(SrganError, match="pixels at a time take more memory than is free"):
        upscaler.upscale(np.zeros((100, 100, 3), np.uint8))


def test_the_tile_follows_the_memory(model, monkeypatch):
    assert Upscaler(model).tile == inference.MAX_TILE
    monkeypatch.setattr(inference.machine, "available_memory", lambda: 2e6)
    tile = Upscaler(model).tile
    assert inference.MIN_TILE <= tile < 128
    assert tile**2 * int(Upscaler(model).metadata["sr.memory_per_pixel"]) <= 1e6


def test_engines_that_compile_see_one_shape_alone(model, photograph):
    upscaler = Upscaler(model, tile=40)
    expected, shapes = upscaler.upscale(photograph), []
    engine = upscaler._engine

    def compiled(tensor):
        shapes.append(tensor.shape)
        return engine.run(tensor)

    upscaler._engine, upscaler._compiles = backends.Engine(compiled, "TensorrtExecutionProvider", engine.metadata), True
    result = upscaler.upscale(photograph)
    upscaler.upscale(photograph[:7, :9])
    assert set(shapes) == {(1, 3, 40, 40)}
    assert np.array_equal(result, expected)
    assert upscaler.upscale(photograph[:7, :9]).shape == (14, 18, 3)


def test_a_provider_that_does_not_work_is_replaced_or_refused(model, caplog):
    if torch.cuda.is_available():
        pytest.skip("CUDA works here")
    with caplog.at_level(logging.WARNING):
        assert Upscaler(model, provider="cuda").provider == "CPUExecutionProvider"
    assert "provider cuda does not work here" in caplog.text
    for provider in ("cuda", "tensorrt"):
        with pytest.raises(SrganError, match=f"provider {provider} does not work here: "):
            Upscaler(model, provider=provider, strict=True)
    with pytest.raises(SrganError, match=r"a tile of 8 pixels is too small .* at least 32"):
        Upscaler(model, tile=8)
    with pytest.raises(SrganError, match=r"unknown provider 'tpu'. Use one of auto, cuda"):
        Upscaler(model, provider="tpu")


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine with a GPU and its driver, and an ONNX Runtime for GPUs."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("an ONNX Runtime for the CPU")
    stub_driver.use(monkeypatch, stub_driver.write(tmp_path))
    backends._warn_of_unused_gpu.cache_clear()
    yield
    backends._warn_of_unused_gpu.cache_clear()


def preload_without_libraries():
    """What `onnxruntime.preload_dlls` prints where CUDA's libraries are missing, except for one in a second folder."""
    print("Failed to load /site-packages/nvidia/cu13/lib/libcudart.so.13: file too short")
    print("Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared object file: No such file or directory")
    print("Please follow https://onnxruntime.ai/docs/install/#cuda-and-cudnn to install CUDA.")


def test_a_gpu_without_the_libraries_of_cuda_is_named_once_and_not_on_standard_output(model, driver, monkeypatch, caplog, capfd):
    monkeypatch.setattr(backends.onnxruntime, "preload_dlls", preload_without_libraries)
    for _ in range(2):
        assert Upscaler(model).provider == "CPUExecutionProvider"
    reason = "ONNX Runtime does not find libcublasLt.so.13"
    assert caplog.messages == [f"the GPU is not used ({reason}); the CPU is used. Its driver supports CUDA up to 12.4"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(SrganError, match=f"provider cuda does not work here: {reason}"):
        Upscaler(model, provider="cuda", strict=True)


def test_a_hidden_gpu_is_not_tried(model, driver, tmp_path, monkeypatch, caplog, capfd):
    (tmp_path / "hidden").mkdir()
    stub_driver.use(monkeypatch, stub_driver.write(tmp_path / "hidden", result=100))
    monkeypatch.setattr(backends.onnxruntime, "preload_dlls", None)  # would fail if called
    assert Upscaler(model).provider == "CPUExecutionProvider"
    assert (caplog.messages, capfd.readouterr()) == ([], ("", ""))
    with pytest.raises(SrganError, match="provider cuda does not work here: the driver finds no GPU"):
        Upscaler(model, provider="cuda", strict=True)


@pytest.mark.slow
def test_a_measurement_survives_a_driver_without_the_libraries_of_cuda(model, driver, tmp_path):
    """With the real ONNX Runtime, which prints to standard output there."""
    command = [sys.executable, "-m", "srgan.inference.benchmark", str(model)]
    shown = environment(LD_LIBRARY_PATH=str(tmp_path))
    done = subprocess.run(command, env=shown, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["provider"] == "CPUExecutionProvider"
    assert done.stderr.count("\n") <= 1, done.stderr


def test_a_measurement_reads_the_last_line(model, monkeypatch):
    printed = subprocess.CompletedProcess([], 0, 'Failed to load libcublasLt.so.13\n{"provider": "x"}\n', "")
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *_, **__: printed)
    assert benchmark.measure(model) == {"provider": "x"}


def test_openvino_enlarges_as_well(model, upscaler, photograph):
    pytest.importorskip("openvino")
    other = Upscaler(model, provider="openvino", strict=True)
    assert other.provider == "OpenVINO"
    assert np.abs(other.upscale(photograph).astype(int) - upscaler.upscale(photograph)).max() <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_enlarges_as_well(model, upscaler, photograph):
    other = Upscaler(model, provider="cuda", strict=True)
    assert other.provider == "CUDAExecutionProvider"
    assert np.abs(other.upscale(photograph).astype(int) - Upscaler(model, provider="cpu").upscale(photograph)).max() <= 1


def test_memory_is_given_back_and_taken_again(upscaler, photograph):
    before = upscaler.upscale(photograph)
    upscaler.release()
    assert np.array_equal(upscaler.upscale(photograph), before)


def test_files_that_are_no_models_are_told_by_name(tmp_path, model):
    with pytest.raises(SrganError, match=r"x\.onnx: no such file"):
        Upscaler(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    for provider in ("cpu", "openvino"):
        with pytest.raises(SrganError, match=r"x\.onnx: not a model that \w+ ?\w* can load"):
            Upscaler(tmp_path / "x.onnx", provider=provider)
    foreign = onnx.load(model)
    del foreign.metadata_props[:]
    onnx.save_model(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(SrganError, match=r"foreign\.onnx: not a model of contract 1 \(sr\.contract is None\)"):
        Upscaler(tmp_path / "foreign.onnx")


def test_a_file_that_is_another_is_taken_up_between_two_photographs(tmp_path, caplog):
    path = write_model(tmp_path, scale=2)
    upscaler = Upscaler(path, provider="cpu", tile=64)
    assert upscaler.refresh() is upscaler
    (tmp_path / "other").mkdir()
    write_model(tmp_path / "other", scale=3).replace(path)
    fresh = upscaler.refresh()
    assert (upscaler.scale, fresh.scale, fresh.tile) == (2, 3, 64)
    path.write_bytes(b"no model")
    assert fresh.refresh() is fresh
    assert "the former model stays in use" in caplog.text
    path.unlink()
    assert fresh.refresh() is fresh


def altered(path, target, change):
    """A copy of a model file, changed."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, target)
    return target


def spoilt(model):
    """NaN in the first convolution, as a training that diverged leaves it, or an overflow of float16."""
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    (weight,) = (weight for weight in model.graph.initializer if weight.name == name)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full_like(onnx.numpy_helper.to_array(weight), np.nan), name))


def entries(**changed):
    def change(model):
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        metadata |= {f"sr.{key}": value for key, value in changed.items()}
        onnx.helper.set_model_props(model, {key: value for key, value in metadata.items() if value is not None})

    return change


def test_an_answer_that_is_not_finite_is_an_error_that_names_the_tile(model, tmp_path):
    upscaler = Upscaler(altered(model, tmp_path / "odd.onnx", spoilt), tile=32)
    with pytest.raises(
        SrganError, match=r"odd\.onnx: the model's output is not finite \(NaN or infinite\) in tile 1 of \d+ \(32x32 pixels\)"
    ):
        upscaler.upscale(np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(SrganError, match="the image has values that are not finite"):
        upscaler.upscale(np.full((8, 8), np.nan, np.float32))


def test_where_float16_overflows_the_float32_file_answers(model, tmp_path, photograph, caplog):
    half = altered(model, tmp_path / "2x-t-compact-fp16.onnx", spoilt)
    altered(half, half, entries(precision="fp16"))
    with pytest.raises(SrganError, match=r"fp16\.onnx: .* not finite .*. Use the float32 file"):
        Upscaler(half).upscale(photograph)
    (tmp_path / "2x-t-compact-fp32.onnx").write_bytes(model.read_bytes())
    assert np.array_equal(Upscaler(half).upscale(photograph), Upscaler(model).upscale(photograph))
    assert "2x-t-compact-fp32.onnx is used instead" in caplog.text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": None}, "its entry sr.scale is missing, expected is a whole number from 1 to 16"),
        ({"scale": "0"}, "its entry sr.scale is '0'"),
        ({"scale": "²"}, "its entry sr.scale is "),
        ({"tile_overlap": "-3"}, "its entry sr.tile_overlap is '-3'"),
        ({"memory_per_pixel": "nan"}, "its entry sr.memory_per_pixel is 'nan'"),
        ({"memory_per_pixel": "0"}, "its entry sr.memory_per_pixel is '0'"),
        ({"arch": None}, "its entry sr.arch is missing"),
        ({"name": "a\x1b[31m"}, r"its entry sr.name is 'a\\x1b\[31m'"),
        ({"scale": "3"}, r"the output for 6x5 pixels is float32 \(1, 3, 10, 12\), but sr.scale = 3 requires float32 \(1, 3, 15, 18\)"),
    ],
)
def test_entries_of_a_model_that_make_no_sense_are_named(model, tmp_path, changed, message):
    with pytest.raises(SrganError, match=message):
        Upscaler(altered(model, tmp_path / "odd.onnx", entries(**changed))).upscale(np.zeros((5, 6, 3), np.uint8))


def test_a_model_with_other_ports_is_refused_when_it_is_opened(model, tmp_path):
    def renamed(model):
        model.graph.input[0].name = "pixels"
        for node in model.graph.node:
            node.input[:] = ["pixels" if name == "input" else name for name in node.input]

    for provider in ("cpu", "openvino"):
        with pytest.raises(SrganError, match=r"not a model of contract 1: it has inputs pixels .*. Expected: float32 tensors"):
            Upscaler(altered(model, tmp_path / "odd.onnx", renamed), provider)


def test_a_flipped_bit_in_the_pipelines_own_model_is_refused(project, tmp_path):
    for name in ("models", "reports"):
        shutil.copytree(project / name, tmp_path / name)
    Image.new("RGB", (20, 20)).save(tmp_path / "photo.png")
    (path,) = (tmp_path / "models").glob("*-fp32.onnx")
    command = ("srgan", "upscale", "photo.png", "-o", "big.png", "--model", path.relative_to(tmp_path))
    run(*command, cwd=tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # perhaps a link into DVC's cache
    path.write_bytes(content)
    done = run(*command, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "-fp32.onnx: not the file that was exported" in done.stderr
    assert "dvc checkout --force models" in done.stderr


@pytest.mark.parametrize("text", [b"sr.arch", b"input", b"output"])
def test_a_model_with_text_that_is_not_utf_8_is_refused(tmp_path, text):
    path = write_model(tmp_path)
    path.write_bytes(path.read_bytes().replace(text, text[:-1] + b"\xe5"))
    with pytest.raises(SrganError, match="not a model"):
        Upscaler(path)
