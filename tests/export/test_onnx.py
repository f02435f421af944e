import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from srgan.export import onnx as export
from srgan.models.registry import architecture_of, build_generator
from srgan.utils.errors import SrganError

SMALL = {
    "compact": {"features": 8, "depth": 2},
    "srresnet": {"features": 8, "depth": 1, "upsampling": "pixelshuffle"},
    "rrdb": {"features": 8, "growth": 4, "depth": 1},
    "srcnn": {"features": 8},
    "nafnet": {"width": 4, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)},
    "span": {"features": 4, "reparameterized": True},
    "realplksr": {"features": 8, "depth": 1, "kernel": 5, "normalization": "layer", "upsampling": "pixelshuffle"},
    "swinir": {"features": 4, "groups": 1, "depth": 2, "heads": 2, "window": 4},
}
# The others are slow in sum.
DEFAULT = {"compact": (2,), "srresnet": (), "rrdb": (4,), "srcnn": (8,), "nafnet": (), "span": (3,), "realplksr": (), "swinir": ()}
SUBJECTS = [
    pytest.param((name, scale, SMALL[name]), marks=[] if scale in DEFAULT[name] else pytest.mark.slow, id=f"{name}-x{scale}")
    for name in SMALL
    for scale in ((1, 2, 3, 4, 8) if name != "nafnet" else (1,))
]
SUBJECTS += [
    pytest.param(("srresnet", 3, SMALL["srresnet"] | {"upsampling": "nearest"}), id="srresnet-x3-nearest", marks=pytest.mark.slow),
    pytest.param(
        ("nafnet", 1, {"width": 4, "encoder_blocks": (0,), "middle_blocks": 1, "decoder_blocks": (0,)}),
        id="nafnet-x1-one-block",
        marks=pytest.mark.slow,
    ),
    pytest.param(("compact", 1, SMALL["compact"] | {"unshuffle": 2}), id="compact-x1-unshuffle"),
    pytest.param(("realplksr", 2, SMALL["realplksr"] | {"upsampling": "dysample"}), id="realplksr-x2-dysample", marks=pytest.mark.slow),
    pytest.param(("realplksr", 3, SMALL["realplksr"] | {"normalization": "group"}), id="realplksr-x3-group", marks=pytest.mark.slow),
    pytest.param(("srresnet", 4, SMALL["srresnet"] | {"upsampling": "transposed"}), id="srresnet-x4-transposed"),
]


@pytest.fixture(scope="module", params=SUBJECTS)
def exported(request, tmp_path_factory):
    name, scale, config = request.param
    torch.manual_seed(0)
    model = build_generator(name, scale=scale, **config).eval()
    with torch.no_grad():
        for layer in model.modules():  # as after a training: no two slopes and statistics alike
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
            elif isinstance(layer, torch.nn.PReLU):
                layer.weight.uniform_(0.1, 0.4)
    path = tmp_path_factory.mktemp("onnx") / export.file_name(scale, "t", name)
    result = export.export_onnx(path, model, {"sr.objective": "gan", "sr.license": "none"})
    return path, model, result


def test_onnx_and_torch_agree_at_odd_sizes(exported):
    path, model, result = exported
    assert set(result["max_difference"]) == {"1x3x1x1", "1x3x33x7", "2x3x17x31", "1x3x97x101"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 1, 1), (2, 3, 5, 64), (3, 3, 40, 2)):
        image = torch.rand(shape)
        (actual,) = session.run(None, {"input": image.numpy()})
        assert np.abs(actual - model(image).detach().numpy()).max() < 1e-4


def test_other_runtimes_and_fixed_sizes_agree(exported):
    path, model, _ = exported
    fixed = onnx.load(path)
    for axis, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim, (1, 3, 11, 17), strict=True):
        axis.dim_value = size
    image = torch.rand(1, 3, 11, 17)
    expected = model(image).detach().numpy()
    static = onnxruntime.InferenceSession(fixed.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.abs(static.run(None, {"input": image.numpy()})[0] - expected).max() < 1e-4
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled([image.numpy()])[0] - expected).max() < 1e-4
    batch = torch.rand(2, 3, 8, 9)
    assert np.abs(compiled([batch.numpy()])[0] - model(batch).detach().numpy()).max() < 1e-4


def test_names_types_opset_and_shapes_are_the_contracts(exported):
    path, model, _ = exported
    proto = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert proto.ir_version == 9
    (entrance,), (exit_,) = proto.graph.input, proto.graph.output
    for value, name, axes in (
        (entrance, "input", ["batch", 3, "height", "width"]),
        (exit_, "output", ["batch", 3, f"{model.scale}*height", f"{model.scale}*width"]),
    ):
        assert value.name == name
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim] == axes
    assert {node.domain for node in proto.graph.node} == {""}
    assert not {"BatchNormalization", "Dropout"} & {node.op_type for node in proto.graph.node}
    fixed = onnx.load(path)
    for axis, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim, (1, 3, 16, 16), strict=True):
        axis.dim_value = size
    for axis in fixed.graph.output[0].type.tensor_type.shape.dim:
        axis.Clear()
    inferred = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    sizes = [axis.dim_value for axis in inferred.graph.output[0].type.tensor_type.shape.dim]
    assert sizes == [1, 3, 16 * model.scale, 16 * model.scale]


def test_the_file_stands_alone_and_tells_nothing_of_this_machine(exported, tmp_path):
    path, model, _ = exported
    alone = shutil.copy(path, tmp_path / "m.onnx")
    onnx.checker.check_model(alone, full_check=True)
    metadata = onnxruntime.InferenceSession(alone, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    assert metadata["sr.contract"] == "1"
    assert metadata["sr.scale"] == str(model.scale)
    name, config = architecture_of(model.folded())
    assert metadata["sr.arch"] == name
    assert json.loads(metadata["sr.arch_config"]) == json.loads(json.dumps(config))
    assert metadata["sr.tile_overlap"] == str(model.receptive_field)
    assert metadata["sr.objective"] == "gan"
    content = Path(alone).read_bytes()
    assert not re.search(rb"\.py|site-packages|/home/|/root|/tmp|stack_trace", content)


@pytest.mark.slow
def test_the_graph_is_made_faster_and_stays_the_same(tmp_path):
    torch.manual_seed(0)
    model = build_generator("srresnet", scale=4, features=8, depth=2, upsampling="pixelshuffle").eval()
    kinds, results = {}, {}
    image = torch.rand(2, 3, 19, 23)
    for plain in (False, True):
        path = tmp_path / f"{plain}.onnx"
        export.export_onnx(path, model, {}, optimize_graph=not plain)
        kinds[plain] = {node.op_type for node in onnx.load(path).graph.node}
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (results[plain],) = session.run(None, {"input": image.numpy()})
    assert kinds[False] == {"Conv", "LeakyRelu", "Add", "DepthToSpace"}  # nothing is made anew at each run
    assert "PRelu" in kinds[True]
    last = [node for node in onnx.load(tmp_path / "False.onnx").graph.node if node.op_type in ("Conv", "DepthToSpace")][-1]
    assert last.op_type == "DepthToSpace"  # the last convolution comes before the last shuffle
    last = [node for node in onnx.load(tmp_path / "True.onnx").graph.node if node.op_type in ("Conv", "DepthToSpace")][-1]
    assert last.op_type == "Conv"
    assert np.abs(results[False] - results[True]).max() < 1e-5
    assert model.optimize_graph


def test_a_model_that_differs_is_not_written(tmp_path, monkeypatch):
    model = build_generator("compact", scale=2, features=4, depth=0).eval()
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    with pytest.raises(SrganError, match="differs from torch"):
        export.export_onnx(tmp_path / "m.onnx", model, {})
    assert not list(tmp_path.iterdir())
