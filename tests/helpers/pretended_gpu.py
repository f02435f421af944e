"""Training steps on a CUDA device that does not exist.

PyTorch without CUDA gets a device without kernels (`pretended_gpu.cpp`). Its tensors have shapes, types and a device, and no values. So a
step of the trainer runs as on a GPU, with autocast and autograd. A read of a value and tensors on different devices are errors.

`python -m tests.helpers.pretended_gpu LIBRARY` reads cases as JSON and writes what their steps did. It is a process of its own, because
the device stays in the process that loads it.
"""

import ctypes
import gc
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

SOURCE = Path(__file__).with_suffix(".cpp")
LIBRARIES = ("c10", "torch_cpu")

Case = dict[str, Any]  # arguments of `small_stages.params`, or ``profile`` and ``stage``. ``fault`` is one of `FAULTS`


def torch_folder() -> Path:
    """Return the folder of PyTorch without importing it."""
    found = importlib.util.find_spec("torch")
    assert found and found.origin
    return Path(found.origin).parent


def build(cache: Path) -> Path:
    """Return the compiled device for this PyTorch. It is compiled once for each version.

    Raises:
        RuntimeError: this machine cannot pretend a device, with the reason.
    """
    import torch

    from srgan.utils.files import atomic_file

    if torch.version.cuda or torch.version.hip:
        raise RuntimeError("this PyTorch is built for a GPU and has a device of its own")
    compiler = shutil.which("g++")
    if not compiler or sys.platform != "linux":
        raise RuntimeError("the pretended GPU needs g++ on Linux")
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    library = cache / f"pretended_gpu-{key}.so"
    if not library.exists():
        folder = torch_folder()
        with atomic_file(library) as path:
            command = [compiler, "-x", "c++", str(SOURCE), "-std=c++20", "-O0", "-shared", "-fPIC", "-o", str(path)]
            command += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}", f"-I{folder / 'include'}"]
            command += [f"-L{folder / 'lib'}", *(f"-l{name}" for name in LIBRARIES)]
            subprocess.run(command, check=True, capture_output=True, text=True)
    return library


def run(library: Path, cases: list[Case]) -> list[dict[str, Any]]:
    """Return the result of `record` for each case, or its ``error``."""
    command = [sys.executable, "-m", "tests.helpers.pretended_gpu", str(library)]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def load(library: Path) -> Any:
    """Add the device to this process. PyTorch must not be imported yet, because it looks for CUDA once.

    Returns:
        The kernels for tensors without values that PyTorch lacks. They are registered as long as the object exists.
    """
    assert "torch" not in sys.modules
    for name in LIBRARIES:
        ctypes.CDLL(str(torch_folder() / "lib" / f"lib{name}.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    import torch

    kernels = torch.library.Library("aten", "IMPL", "Meta")
    kernels.impl("_fused_adam_.tensor_lr", lambda *_, **__: None)
    return kernels


def device() -> ExitStack:
    """Return a context in which trainers choose the device and all tensors are without values."""
    import torch
    from torch import nn
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch.utils import _foreach_utils

    from srgan.data.sampler import GpuPatchSampler
    from srgan.training import cuda_graph, trainer

    context = ExitStack()
    for place, name, substitute in (
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
        (_foreach_utils, "_foreach_supported_types", [FakeTensor]),
        (nn.init, "trunc_normal_", lambda tensor, *_, **__: tensor),  # it reads values when a network is made
        (nn.Module, "_apply", _apply),
        (trainer, "pick_device", lambda: torch.device("cuda", 0)),
        (GpuPatchSampler, "fits", lambda *_: True),
        (cuda_graph, "CudaGraphs", lambda: mock.Mock(run=lambda function: function())),  # the steps before a capture
    ):
        context.enter_context(mock.patch.object(place, name, substitute))
    # A tensor has its mode as an attribute. Its copy has the same one.
    context.enter_context(mock.patch.object(FakeTensorMode, "__deepcopy__", lambda mode, _: mode, create=True))
    context.enter_context(FakeTensorMode(allow_non_fake_inputs=False))
    return context


def _apply(module: Any, function: Any, recurse: bool = True) -> Any:
    """Replace the tensors of a module, where PyTorch would swap them, which tensors without values do not allow."""
    import torch
    from torch import nn

    for child in module.children():
        _apply(child, function)
    with torch.no_grad():
        for key, value in module._parameters.items():
            module._parameters[key] = None if value is None else nn.Parameter(function(value), value.requires_grad)
        for key, value in module._buffers.items():
            module._buffers[key] = None if value is None else function(value)
    return module


FAULTS = {  # of a step, given the pixel loss
    "read": lambda loss: loss.item(),
    "branch": lambda loss: loss if loss > 0 else -loss,
    "copy": lambda loss: loss.to("cpu"),
    "upload": lambda loss: loss + loss.new_tensor([1.0, 2.0]),
    "mismatch": lambda loss: loss + loss.new_zeros(2, device="cpu"),
}


def record(case: Case) -> dict[str, Any]:
    """Return what the second step of a case did, see `tests.helpers.operators.Record`."""
    from srgan.config import profiles
    from srgan.training.diagnostics import DivergenceCheck
    from tests.helpers import small_stages
    from tests.helpers.operators import Record

    case = dict(case)
    stage, fault = case["stage"], FAULTS.get(case.pop("fault", ""))
    params = profiles.load(case["profile"]) if "profile" in case else small_stages.params(**case)
    if "profile" in case:
        params = params.model_copy(update={stage: getattr(params, stage).model_copy(update={"precision": "bf16"})})
    with device():
        trainer = small_stages.make_trainer(params, stage)
        update = DivergenceCheck.update

        def faulty(check: DivergenceCheck, values: Any, pixel_loss: Any) -> None:
            assert fault
            fault(pixel_loss)
            update(check, values, pixel_loss)

        recorded = Record(trainer.objective.parameters(), "cuda")
        with mock.patch.object(DivergenceCheck, "update", faulty if fault else update), recorded as step:
            trainer.step(2)
        with Record(device="cuda") as patches:
            trainer.batch(2, trainer.options.color_jitter)
        with Record(device="cuda") as average:
            trainer.ema.update()
    weights = [weight for network in trainer.networks.values() for weight in network.parameters]
    return {
        "devices": sorted({str(weight.device) for weight in weights}),
        "convolutions": sorted(step.convolutions),
        "count": step.count - patches.count,  # of the update, which a CUDA graph contains
        "operators": step.operators.most_common(),
        "waits": step.waits,
        "frozen_casts": step.frozen_casts,
        "average": average.count,
    }


def main() -> None:
    kernels = load(Path(sys.argv[1]))
    gc.disable()  # it would end the process: PyTorch expects no cycles of tensors without values that C++ holds, too
    results = []
    for case in json.load(sys.stdin):
        try:
            results.append(record(case))
        except Exception:  # a test shows it
            results.append({"error": traceback.format_exc()})
    print(json.dumps(results), flush=True)
    assert kernels
    os._exit(0)  # without the collection at the end of a process


if __name__ == "__main__":
    main()
