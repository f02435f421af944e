"""Choice of the device, of the precision and of kernels whose results repeat bit for bit."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator

import torch
from torch import nn

from srgan.utils import cuda_driver
from srgan.utils.errors import SrganError

TENSOR_CORES = (7, 0)  # compute capability of the first GPUs with them
WITHOUT_TENSOR_CORES = "GTX 16"  # later GPUs that have none

log = logging.getLogger(__name__)


def pick_device() -> torch.device:
    """Return CUDA if available, otherwise Apple's MPS, otherwise the CPU. Warn once of a GPU that PyTorch cannot use."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    _warn_of_unused_gpu()
    return torch.device("cpu")


@functools.cache
def _warn_of_unused_gpu() -> None:
    if not cuda_driver.sees_gpu():
        return
    built, driver = torch.version.cuda, cuda_driver.cuda_version()
    advice = "The command nvidia-smi shows the state of the driver. A new driver works after a restart"
    if driver and not built:
        advice = f"Install a PyTorch for CUDA {driver} or older"
    elif driver and built and _major(driver) < _major(built):
        advice = f"Install a newer driver, or a PyTorch for CUDA {driver} or older"
    log.warning(
        "the GPU is not used and everything runs on the CPU: PyTorch %s is built %s, and the driver supports CUDA up to %s. %s",
        torch.__version__,
        f"for CUDA {built}" if built else "without CUDA",
        driver or "an unknown version",
        advice,
    )


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def pick_precision(wanted: str, device: torch.device, half: bool = True) -> torch.dtype:
    """Return the data type in which convolutions compute.

    Args:
        wanted: `fp32`, `bf16`, `fp16`, or `auto`: bf16 where the hardware supports it, else fp16 on a GPU with tensor cores, else float32.
        device: where the training runs.
        half: whether the network is accurate enough in fp16.
    """
    if wanted == "fp32":
        return torch.float32
    if wanted in ("bf16", "fp16"):
        if device.type == "mps":
            raise SrganError(f"precision: {wanted} is not supported on MPS devices. Set it to auto or fp32 in params.yaml")
        return torch.bfloat16 if wanted == "bf16" else torch.float16
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        return torch.float16 if half and _has_tensor_cores(device) else torch.float32
    # Without these instructions a CPU computes bf16 far more slowly than float32.
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32


def _has_tensor_cores(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= TENSOR_CORES and WITHOUT_TENSOR_CORES not in torch.cuda.get_device_name(device)


def pick_memory_format(device: torch.device, dtype: torch.dtype, generator: nn.Module, alone: bool) -> torch.memory_format:
    """Return the order of the pixels and channels in memory.

    In float32 on a CPU a generator alone is up to a fifth faster in NCHW, a discriminator slower (docs/speed.md).

    Args:
        device: where the training runs.
        dtype: of the convolutions.
        generator: one with ``channels_last = False`` is slower in NHWC everywhere.
        alone: whether it trains without a discriminator.
    """
    nchw = device.type == "cpu" and dtype is torch.float32 and alone
    return torch.contiguous_format if nchw or not getattr(generator, "channels_last", True) else torch.channels_last


@contextlib.contextmanager
def deterministic_kernels(device: torch.device, wanted: bool) -> Iterator[None]:
    """Let a GPU compute the same bits in each run, within the block. On a CPU it does so anyway.

    Args:
        device: where the training runs.
        wanted: ``runtime.STAGE.deterministic``.

    Raises:
        SrganError: an operation of the training has no such kernel.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS shares buffers between streams
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        cause = str(error).partition(", but you set")[0]
        raise SrganError(f"deterministic: {cause}. Set it to false below runtime in params.yaml") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
