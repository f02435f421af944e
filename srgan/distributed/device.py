"""Which device, which precision."""

import torch

from srgan.utils.errors import SrganError


def pick_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type that convolutions compute in.

    Args:
        wanted: `fp32`, `bf16`, `fp16`, or `auto`: bf16 where the hardware multiplies it, float32 elsewhere.
        device: where the training runs.
    """
    if wanted == "fp32":
        return torch.float32
    if wanted in ("bf16", "fp16"):
        if device.type == "mps":
            raise SrganError(f"precision: {wanted} is not for MPS devices; set it to auto or fp32 in params.yaml")
        return torch.bfloat16 if wanted == "bf16" else torch.float16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # Without the instructions, a CPU computes bf16 far more slowly than float32.
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32
