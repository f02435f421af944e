import logging
from types import SimpleNamespace

import pytest
import torch

from srgan.distributed import device as subject
from srgan.distributed.device import deterministic_kernels, pick_device, pick_precision
from srgan.utils.errors import SrganError
from tests.helpers import stub_driver
from tests.helpers.project import ROOT

CUDA = torch.device("cuda")


@pytest.fixture
def warnings(monkeypatch, caplog):
    """Return the warnings of a process that has not looked for a GPU yet and whose PyTorch finds none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    subject._warn_of_unused_gpu.cache_clear()
    yield caplog
    subject._warn_of_unused_gpu.cache_clear()


@pytest.mark.parametrize(
    ("built", "driver", "expected"),
    [
        (
            "13.0",
            12040,
            "is built for CUDA 13.0, and the driver supports CUDA up to 12.4. Install a newer driver, or a PyTorch for CUDA 12.4",
        ),
        (None, 13000, "is built without CUDA, and the driver supports CUDA up to 13.0. Install a PyTorch for CUDA 13.0"),
        ("12.6", 12040, "is built for CUDA 12.6, and the driver supports CUDA up to 12.4. The command nvidia-smi shows the state"),
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_reported_once_with_both_versions(tmp_path, monkeypatch, warnings, built, driver, expected):
    stub_driver.use(monkeypatch, stub_driver.write(tmp_path, driver))
    monkeypatch.setattr(torch.version, "cuda", built)
    for _ in range(2):
        assert pick_device().type == "cpu"
    (record,) = warnings.records
    assert record.levelno == logging.WARNING
    assert f"the GPU is not used and everything runs on the CPU: PyTorch {torch.__version__} {expected}" in record.getMessage()


def test_a_machine_without_a_gpu_or_with_a_hidden_one_gets_no_warning(tmp_path, monkeypatch, warnings):
    stub_driver.use(monkeypatch, stub_driver.write(tmp_path, result=100))
    assert pick_device().type == "cpu"
    assert not warnings.records


@pytest.mark.parametrize(
    ("name", "capability", "bf16", "half", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", (9, 0), True, True, torch.bfloat16),
        ("Tesla T4", (7, 5), False, True, torch.float16),
        ("Tesla V100-SXM2-16GB", (7, 0), False, True, torch.float16),
        ("NVIDIA GeForce RTX 2080 Ti", (7, 5), False, True, torch.float16),
        ("Tesla T4", (7, 5), False, False, torch.float32),  # the network needs the range of float32
        ("NVIDIA GeForce GTX 1660 Ti", (7, 5), False, True, torch.float32),  # no tensor cores
        ("Tesla P100-PCIE-16GB", (6, 0), False, True, torch.float32),
    ],
)
def test_automatic_precision_uses_the_tensor_cores(monkeypatch, name, capability, bf16, half, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert pick_precision("auto", CUDA, half) is expected


def test_deterministic_kernels_are_those_of_a_gpu_within_the_block(monkeypatch):
    monkeypatch.setattr(subject.os, "environ", {})
    for device, wanted, expected in ((CUDA, True, True), (CUDA, False, False), (torch.device("cpu"), True, False)):
        with deterministic_kernels(device, wanted):
            assert torch.are_deterministic_algorithms_enabled() is expected
        assert not torch.are_deterministic_algorithms_enabled()
    assert subject.os.environ == {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def test_an_operation_without_a_deterministic_kernel_is_named(monkeypatch):
    monkeypatch.setattr(subject.os, "environ", {})
    message = "reflection_pad2d_backward_cuda does not have a deterministic implementation, but you set 'torch.use_determ"
    advice = r"^deterministic: reflection_pad2d_backward_cuda does not .* Set it to false below runtime"
    with pytest.raises(SrganError, match=advice), deterministic_kernels(CUDA, True):
        raise RuntimeError(message)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="something else"), deterministic_kernels(CUDA, True):
        raise RuntimeError("something else")


def test_the_tests_run_on_the_cpu_unless_a_gpu_is_asked_for(monkeypatch, request):
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    if not request.config.getoption("gpu"):
        assert not torch.cuda.is_available()
    for shown, expected in ((False, ""), (True, "1")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        conftest.pytest_configure(SimpleNamespace(getoption=lambda _, shown=shown: shown))
        assert subject.os.environ["CUDA_VISIBLE_DEVICES"] == expected
