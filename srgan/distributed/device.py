"""Choice of the device and of the precision."""

import torch

from srgan.utils.errors import SrganError


def pick_device() -> torch.device:
    """Return CUDA if available, otherwise Apple's MPS, otherwise the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Return the data type in which convolutions compute.

    Args:
        wanted: `fp32`, `bf16`, `fp16`, or `auto` (bf16 where the hardware supports it, otherwise float32).
        device: where the training runs.
    """
    if wanted == "fp32":
        return torch.float32
    if wanted in ("bf16", "fp16"):
        if device.type == "mps":
            raise SrganError(f"precision: {wanted} is not supported on MPS devices. Set it to auto or fp32 in params.yaml")
        return torch.bfloat16 if wanted == "bf16" else torch.float16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # Without these instructions a CPU computes bf16 far more slowly than float32.
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32
