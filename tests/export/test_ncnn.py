import sys

import numpy as np
import pytest
import torch

from srgan.export import ncnn
from srgan.models.registry import NETWORKS, build_generator
from srgan.utils.errors import SrganError
from tests.export.test_onnx import SMALL

runtime = pytest.importorskip("ncnn")
pytest.importorskip("pnnx")

# Networks in whose form ncnn lacks operations.
LACKING = [("swinir", {}, "torch.index_select"), ("realplksr", {"upsampling": "dysample"}, "torch.arange")]
SUBJECTS = [
    pytest.param(name, config, marks=[] if name == "compact" else pytest.mark.slow, id=name)
    for name, config in SMALL.items()
    if name != "swinir"
]
SUBJECTS += [
    pytest.param("compact", SMALL["compact"] | {"scale": 1, "unshuffle": 2}, marks=pytest.mark.slow, id="compact-unshuffle"),
    pytest.param("srresnet", SMALL["srresnet"] | {"upsampling": "nearest"}, marks=pytest.mark.slow, id="srresnet-nearest"),
    pytest.param("srresnet", SMALL["srresnet"] | {"upsampling": "transposed"}, marks=pytest.mark.slow, id="srresnet-transposed"),
    pytest.param("realplksr", SMALL["realplksr"] | {"normalization": "group"}, marks=pytest.mark.slow, id="realplksr-group"),
    pytest.param("nafnet", SMALL["nafnet"] | {"unshuffle": 2}, marks=pytest.mark.slow, id="nafnet-unshuffle"),
    pytest.param("span", SMALL["span"] | {"norm": True}, marks=pytest.mark.slow, id="span-norm"),
]


def network(name, **config):
    """Return a network whose every layer changes the result. Some begin with weights of zero."""
    torch.manual_seed(0)
    scale = config.pop("scale", max(scale for scale in NETWORKS[name].scales if scale <= 2))
    model = build_generator(name, scale=scale, **config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any() or parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def run(param, image):
    """Run a model as a program does that knows the names of its blobs only, with the options of ncnn by default."""
    net = runtime.Net()
    net.opt.num_threads = 1
    assert net.load_param(str(param)) == 0
    assert net.load_model(str(param.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    assert extractor.input("data", runtime.Mat(np.ascontiguousarray(image))) == 0
    status, result = extractor.extract("output")
    assert status == 0
    return np.array(result)


@pytest.mark.parametrize(("name", "config"), SUBJECTS)
def test_ncnn_and_torch_agree_at_any_size(tmp_path, name, config):
    model = network(name, **config)
    assert ncnn.export_ncnn(tmp_path / "m.param", model) < 1e-4
    assert {path.name for path in tmp_path.iterdir()} == {"m.param", "m.bin"}
    first, last = (line.split() for line in np.array((tmp_path / "m.param").read_text().splitlines())[[2, -1]])
    assert (first[0], first[4], last[4 + int(last[2])]) == ("Input", "data", "output")
    for height, width in ((1, 1), (5, 64), (40, 3)):
        image = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            expected = model(image)[0].numpy()
        actual = run(tmp_path / "m.param", image[0].numpy())
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() < ncnn.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config", "operation"), LACKING)
def test_networks_that_ncnn_cannot_run_are_refused_with_the_operation(tmp_path, name, config, operation):
    with pytest.raises(SrganError, match=rf"no operation .*{operation}.* for {name}"):
        ncnn.export_ncnn(tmp_path / "m.param", network(name, **SMALL[name] | config))


def test_an_operation_that_ncnn_lacks_is_named(tmp_path):
    model = build_generator("compact", scale=1, features=4, depth=0).eval()
    model.keep_luma = True
    with pytest.raises(SrganError, match=r"no operation torch\.gt, torch\.where for compact with keep_luma.*--to onnx"):
        ncnn.export_ncnn(tmp_path / "m.param", model)
    assert not list(tmp_path.iterdir())


def test_weights_in_float16_take_half_the_space(tmp_path):
    model = network("compact", features=16, depth=1)
    worst = ncnn.export_ncnn(tmp_path / "m.param", model, half=True)
    assert 1e-5 < worst < ncnn.TOLERANCE
    size = (tmp_path / "m.bin").stat().st_size
    assert size < 0.6 * sum(4 * parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
def test_weights_in_float16_that_differ_too_much_are_not_written(tmp_path, monkeypatch):
    model = network("compact", features=16, depth=1)
    monkeypatch.setattr(ncnn, "TOLERANCE", 1e-6)
    with pytest.raises(SrganError, match=r"m\.param: ncnn differs from torch by .*Use the format ncnn, which stores float32"):
        ncnn.export_ncnn(tmp_path / "m.param", model, half=True)
    assert not list(tmp_path.iterdir())


def test_the_error_without_the_packages_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pnnx", None)
    with pytest.raises(SrganError, match=r"pip install 'srgan\[ncnn\]'"):
        ncnn.export_ncnn(tmp_path / "m.param", network("compact", features=4, depth=0))


@pytest.mark.parametrize(("name", "scale"), [("4x-photo-compact", 4), ("2x-photo-span", 2), ("4x-compact64x10", 1), ("photo", 4)])
def test_the_scale_in_a_name_is_the_one_that_upscayl_reads(name, scale):
    assert ncnn.scale_in_name(name) == scale
