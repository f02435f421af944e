"""Runtimes for exported models: ONNX Runtime on a GPU or the CPU, and OpenVINO."""

import contextlib
import ctypes
import functools
import io
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from srgan.inference.providers import PROVIDERS
from srgan.models.weights_file import SUFFIXES
from srgan.utils import cuda_driver, machine
from srgan.utils.cache import cache_folder
from srgan.utils.errors import SrganError

# Names of the types in the two runtimes.
TYPES: dict[str, type[np.floating]] = {
    "tensor(float)": np.float32,
    "<Type: 'float32'>": np.float32,
    "tensor(float16)": np.float16,
    "<Type: 'float16'>": np.float16,
}

UNKNOWN_GPU_MEMORY = 4e9  # bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """A loaded model: its function, its provider, the metadata of the file and a function that frees memory."""

    run: Callable[[np.ndarray], np.ndarray]
    provider: str
    metadata: dict[str, str]
    release: Callable[[], object] = lambda: None


def open_model(path: Path, provider: str, strict: bool, threads: int) -> Engine:
    """Load a model.

    Args:
        path: an `.onnx` file, or weights, which PyTorch computes (`srgan.inference.weights`).
        provider: a name in `PROVIDERS`. ``auto`` is CUDA where it works, else the CPU.
        strict: raise an error if `provider` does not work. Otherwise the next best is used.
        threads: threads for one image on the CPU. 0 is one for each core.

    Raises:
        SrganError: the file is no readable model, its input or output differs from the contract, or `strict` is set and `provider`
            does not work.
    """
    if provider not in PROVIDERS:
        raise SrganError(f"unknown provider '{provider}'. Use one of {', '.join(PROVIDERS)}")
    if path.suffix in SUFFIXES:
        from srgan.inference import weights

        return weights.open_with_torch(path, provider, strict)
    if provider == "openvino":
        try:
            return _open_openvino(path, threads)
        except ImportError as error:
            fall_back(provider, f"{error}; install it with: pip install openvino", strict)
    wanted, missing = _execution_providers(provider)
    if missing:
        fall_back(provider, missing, strict)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or (machine.cores() if machine.quota() else 0)  # ONNX Runtime ignores the quota
    try:
        session = onnxruntime.InferenceSession(path, options, providers=wanted)
        metadata = session.get_modelmeta().custom_metadata_map  # it raises if a text in the file is not UTF-8
        inputs, outputs = {port.name: port.type for port in session.get_inputs()}, {port.name for port in session.get_outputs()}
    except Exception as error:  # ONNX Runtime's own classes share no public base
        raise SrganError(f"{path}: not a model that ONNX Runtime can load ({_first_line(error)})") from error
    _check_ports(path, inputs, outputs)
    works = session.get_providers()[0]
    if provider == "auto" and len(wanted) > 1 and works == "CPUExecutionProvider":
        _warn_of_unused_gpu(f"ONNX Runtime chose {works}")
    if provider in ("cuda", "tensorrt") and not missing and not works.lower().startswith(provider):
        fall_back(provider, f"ONNX Runtime chose {works}", strict)

    dtype, channels = TYPES[inputs["input"]], session.get_inputs()[0].shape[1]
    run = _in_float32(lambda tensor: session.run(["output"], {"input": tensor})[0], dtype)

    def release() -> None:
        shrinking = onnxruntime.RunOptions()
        shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        session.run(["output"], {"input": np.zeros((1, channels, 1, 1), dtype)}, shrinking)

    return Engine(run, works, metadata, release) if works == "CPUExecutionProvider" else Engine(run, works, metadata)


def _check_ports(path: Path, inputs: dict[str, str], outputs: set[str]) -> None:
    """Check the names of inputs and outputs and the types of the inputs."""
    if list(inputs) != ["input"] or "output" not in outputs or inputs["input"] not in TYPES:
        found = f"inputs {', '.join(f'{name} {kind}' for name, kind in inputs.items())}, outputs {', '.join(sorted(outputs))}"
        raise SrganError(
            f"{path}: not a model of contract 1: it has {found}. Expected: float32 tensors called input and output, or float16 ones"
        )


def _in_float32(run: Callable[[np.ndarray], np.ndarray], dtype: type[np.floating]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function with float32 input and output for a model whose input and output are of `dtype`."""
    return run if dtype is np.float32 else lambda tensor: run(tensor.astype(dtype)).astype(np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def fall_back(provider: str, reason: str, strict: bool) -> None:
    """Log that the next best provider is used, or raise an error if `strict` is set."""
    if strict:
        raise SrganError(f"provider {provider} does not work here: {reason}")
    log.warning("provider %s does not work here (%s); the next best is used", provider, reason)


def _execution_providers(provider: str) -> tuple[list[Any], str]:
    """Return the execution providers for ONNX Runtime, and the reason if `provider` is not among them.

    Without the CUDA driver and libraries, ONNX Runtime prints pages of errors. They are therefore searched first.
    """
    windows = sys.platform == "win32"
    wanted: list[Any] = ["CPUExecutionProvider"]
    missing = ""
    if provider in ("auto", "cuda", "tensorrt"):
        missing = _lacks("CUDAExecutionProvider", cuda_driver.LIBRARY)
        if not missing:
            missing = _missing_cuda_libraries() if cuda_driver.sees_gpu() else "the driver finds no GPU"
            if missing and provider == "auto" and cuda_driver.sees_gpu():
                _warn_of_unused_gpu(missing)
        if not missing:
            # The default tries all algorithms for each new size.
            wanted.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
    if provider == "tensorrt":
        missing = missing or _lacks("TensorrtExecutionProvider", "nvinfer_10.dll" if windows else "libnvinfer.so.10")
        if not missing:
            folder = cache_folder() / "tensorrt"
            wanted.insert(0, ("TensorrtExecutionProvider", {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)}))
    return wanted, "" if provider == "auto" else missing


def _missing_cuda_libraries() -> str:
    """Load the CUDA libraries, those of torch if it has them. Return those that are missing."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # programs read the standard output of `srgan`
        onnxruntime.preload_dlls()
    # It searches several folders. A name without a folder was in none of them.
    tried = re.findall(r"^Failed to load ([^\s:]+):", printed.getvalue(), re.MULTILINE)
    missing = [name for name in tried if Path(name).name == name]
    return f"ONNX Runtime does not find {', '.join(missing)}" if missing else ""


@functools.cache
def _warn_of_unused_gpu(reason: str) -> None:
    log.warning("the GPU is not used (%s); the CPU is used. Its driver supports CUDA up to %s", reason, cuda_driver.cuda_version() or "?")


def _lacks(name: str, library: str) -> str:
    if name not in onnxruntime.get_available_providers():
        return f"this build of ONNX Runtime has no {name}"
    with contextlib.suppress(OSError):
        ctypes.CDLL(library)
        return ""
    return f"{library} cannot be loaded"


def _open_openvino(path: Path, threads: int) -> Engine:
    import onnx
    import openvino

    # The contract requires float32, also on a CPU with bfloat16.
    config = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    try:
        metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        compiled = openvino.Core().compile_model(path, "CPU", config)
    except Exception as error:  # as above
        raise SrganError(f"{path}: not a model that OpenVINO can load ({_first_line(error)})") from error
    inputs = {port.any_name: str(port.element_type) for port in compiled.inputs}
    _check_ports(path, inputs, {port.any_name for port in compiled.outputs})
    run = _in_float32(lambda tensor: next(iter(compiled.create_infer_request().infer([tensor]).values())), TYPES[inputs["input"]])
    return Engine(run, "OpenVINO", metadata)  # each call has its own request, because threads may share the model


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of a runtime reports a lack of memory. Each runtime has its own classes."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in ("out of memory", "alloc", "cuda failure 2", "find an engine"))


def free_on_gpu() -> float:
    """Return the free memory in bytes of the GPU that this process uses, 4 GB if the driver does not answer."""
    free = cuda_driver.free_memory()
    return UNKNOWN_GPU_MEMORY if free is None else free
