import json
import os
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
import torch

from srgan.data.manifest import Pair
from srgan.degradations import bicubic
from srgan.export import onnx as export
from srgan.export import quantize
from srgan.images.png import write_png
from srgan.images.read import read_rgb
from srgan.inference.upscaler import Upscaler
from srgan.metrics.registry import METRICS
from srgan.models.registry import build_generator
from tests.helpers.commands import run
from tests.helpers.project import write_params


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A network that enlarges as nearest neighbours do, and adds a little noise."""
    torch.manual_seed(0)
    model = build_generator("srresnet", scale=4, features=16, depth=2, upsampling="pixelshuffle").eval()
    path = tmp_path_factory.mktemp("m") / "4x-t-srresnet-fp32.onnx"
    export.export_onnx(path, model, {"sr.objective": "gan"})
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("pairs"), []
    for name in ("chelsea", "coffee"):
        hr_image = getattr(skimage.data, name)()[:160, :200]
        pair = Pair("sample", name, folder / f"{name}_hr.png", folder / f"{name}_lr.png")
        write_png(pair.hr, hr_image)
        write_png(pair.lr, bicubic.bicubic_downscale(hr_image, 4))
        found.append(pair)
    return found


def crops(pairs):
    return [read_rgb(pair.lr)[:24, :24] for pair in pairs]


def test_fp16_keeps_the_contract_and_says_what_it_costs(full, pairs, tmp_path):
    record = quantize.write_fp16(tmp_path / "h.onnx", full, pairs)
    assert record["written"]
    assert abs(record["psnr_y_change"]) < 0.05
    assert record["images"] == 2
    assert record["bytes"] < 0.6 * full.stat().st_size
    proto = onnx.load(tmp_path / "h.onnx")
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert {weight.data_type for weight in proto.graph.initializer if len(weight.dims) == 4} == {onnx.TensorProto.FLOAT16}
    keeps_the_contract(proto, "fp16")


def test_fp16io_has_float16_at_both_ends_and_upscales_the_same(full, pairs, tmp_path):
    path = tmp_path / "4x-t-srresnet-fp16io.onnx"
    record = quantize.write_fp16(path, full, pairs, float32_io=False)
    assert record["written"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {port.type for port in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float16)"}
    assert session.get_modelmeta().custom_metadata_map["sr.precision"] == "fp16io"
    _, image = pairs[0].read()
    results = [Upscaler(file, provider="cpu").upscale(image).astype(int) for file in (path, full)]
    assert abs(results[0] - results[1]).max() <= 1
    openvino = pytest.importorskip("openvino")
    assert openvino and abs(Upscaler(path, provider="openvino").upscale(image) - results[1]).max() <= 1


def test_int8_keeps_first_and_last_convolution(full, pairs, tmp_path):
    record = quantize.write_int8(tmp_path / "q.onnx", full, pairs, crops(pairs), 1.0)
    assert record["written"]
    proto = onnx.load(tmp_path / "q.onnx")
    made_by = {name: node.op_type for node in proto.graph.node for name in node.output}
    quantised = [made_by.get(node.input[1]) == "DequantizeLinear" for node in proto.graph.node if node.op_type == "Conv"]
    assert quantised == [False, *[True] * (len(quantised) - 2), False]
    assert len(quantised) > 4
    keeps_the_contract(proto, "int8")


def keeps_the_contract(proto, name):
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["sr.precision"] == name
    assert metadata["sr.contract"] == "1"
    assert {node.domain for node in proto.graph.node} == {""}
    assert proto.ir_version == 9
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 1, 1), (2, 3, 17, 31)):
        (result,) = session.run(None, {"input": np.random.default_rng(0).random(shape, np.float32)})
        assert result.shape == (shape[0], 3, 4 * shape[2], 4 * shape[3])
        assert np.isfinite(result).all()


def test_what_loses_too_much_is_not_written(full, pairs, tmp_path, monkeypatch, caplog):
    record = quantize.write_int8(tmp_path / "q.onnx", full, pairs, crops(pairs), -20)
    assert not record["written"]
    assert "psnr_y_change" in record
    assert "not written" in caplog.text
    monkeypatch.setattr(quantize, "FP16_MAX_DROP", -20)
    assert not quantize.write_fp16(tmp_path / "h.onnx", full, pairs)["written"]
    assert list(tmp_path.iterdir()) == []


def test_equal_images_have_no_loss(pairs, tmp_path):
    model = build_generator("compact", scale=1, features=8, depth=1).eval()  # new, it returns its input
    path = tmp_path / "1x-t-compact-fp32.onnx"
    export.export_onnx(path, model, {})
    same = [replace(pair, lr=pair.hr) for pair in pairs]
    record = quantize.write_fp16(tmp_path / "h.onnx", path, same, METRICS["psnr_rgb"])
    assert (record["psnr_rgb"], record["psnr_rgb_change"], record["written"]) == (60.0, 0.0, True)


def test_too_large_activations_are_a_loss(pairs, tmp_path):
    """float16 ends at 65504: a network whose activations are larger must not ship in it."""
    torch.manual_seed(0)
    model = build_generator("compact", scale=4, features=8, depth=1).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.PReLU):
                layer.weight.fill_(1.0)
        first, middle, last = (layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
        first.weight.mul_(3e3)
        middle.weight.mul_(3e3)
        last.weight.mul_(1e-7)
        for layer in (first, middle, last):
            layer.bias.zero_()
    path = tmp_path / "4x-t-compact-fp32.onnx"
    export.export_onnx(path, model, {"sr.objective": "gan"})
    record = quantize.write_fp16(tmp_path / "h.onnx", path, pairs)
    assert not record["written"]
    assert record["psnr_y_change"] < -5


@pytest.mark.slow
def test_the_pipeline_writes_scores_and_forgets_them(copy_of_project):
    assert list((copy_of_project / "models" / "reduced").iterdir()) == []
    write_params(copy_of_project, {"export.fp16": True, "export.int8": True, "export.int8_max_drop_db": 5.0})
    run("dvc", "repro", "evaluate", cwd=copy_of_project)
    names = {path.name for path in (copy_of_project / "models" / "reduced").iterdir()}
    assert names == {"4x-demo-compact-fp16.onnx", "4x-demo-compact-int8.onnx"}
    reduced = json.loads((copy_of_project / "reports" / "export.json").read_text())["reduced"]
    assert reduced["fp16"]["written"]
    assert reduced["int8"]["written"]
    scores = json.loads((copy_of_project / "reports" / "metrics.json").read_text())["sample"]
    assert {"onnx-fp32", "onnx-fp16", "onnx-int8"} <= set(scores)
    write_params(copy_of_project, {"export.optimize_graph": False})
    run("dvc", "repro", "export", cwd=copy_of_project)
    assert list((copy_of_project / "models" / "reduced").iterdir()) == []
    kinds = {node.op_type for node in onnx.load(copy_of_project / "models" / "4x-demo-compact-fp32.onnx").graph.node}
    assert "PRelu" in kinds


def public_srgan(mirror):
    """Trained weights: those of leftthomas/SRGAN, up to its last tanh, in our network; one normalisation is an activation there."""
    network = build_generator("srresnet", scale=4, features=64, depth=5, upsampling="pixelshuffle")
    network.norm = torch.nn.PReLU()
    names = {"block1.0": "head.0", "block1.1": "head.1", "block7.0": "conv", "block7.1": "norm", "block8.2": "tail"}
    names |= {f"block8.{n}.conv": f"up.{n}.pixelshuffle2" for n in (0, 1)} | {f"block8.{n}.prelu": f"up.{n}.activation" for n in (0, 1)}
    inner = {"conv1": "conv1", "conv2": "conv2", "bn1": "norm1", "bn2": "norm2", "prelu": "activation"}
    names |= {f"block{n + 2}.{theirs}": f"body.{n}.{ours}" for n in range(5) for theirs, ours in inner.items()}
    state = torch.load(mirror / "generators" / "srgan-x4-leftthomas.pth", map_location="cpu", weights_only=True)
    found = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}
    missing, unexpected = network.load_state_dict(found, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return network.eval()


@pytest.mark.slow
def test_fp16_is_finite_on_benchmark_images(mirror, tmp_path):
    """On every twelfth; with ``SRGAN_ALL_IMAGES=1`` on all 119."""
    full = tmp_path / "4x-t-srresnet-fp32.onnx"
    export.export_onnx(full, public_srgan(mirror), {"sr.objective": "gan"})
    paths = [path for name in ("set5", "set14", "b100") for path in sorted((mirror / "datasets" / name).iterdir())]
    images = {path: bicubic.modcrop(read_rgb(path), 4) for path in paths[:: 1 if os.environ.get("SRGAN_ALL_IMAGES") else 12]}
    lr_images = {path: bicubic.bicubic_downscale(image, 4) for path, image in images.items()}
    pair = Pair("set5", "baby", tmp_path / "hr.png", tmp_path / "lr.png")
    write_png(pair.hr, images[paths[0]])
    write_png(pair.lr, lr_images[paths[0]])
    assert quantize.write_fp16(tmp_path / "h.onnx", full, [pair])["written"]
    half, whole = (Upscaler(path, provider="cpu") for path in (tmp_path / "h.onnx", full))
    for path, lr_image in lr_images.items():
        tensor = lr_image.transpose(2, 0, 1)[None].astype(np.float32) / 255
        results = [np.tanh(model.run(tensor)) * 0.5 + 0.5 for model in (half, whole)]
        assert np.isfinite(results[0]).all(), path
        psnr = [-10 * np.log10(np.square(result[0].transpose(1, 2, 0) - images[path] / 255.0).mean()) for result in results]
        assert abs(psnr[0] - psnr[1]) < 0.05, path
