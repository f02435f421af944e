"""Weights without a graph: safetensors and ``.pth`` files, which programs of the community open by the names of the weights."""

import io
from pathlib import Path

import torch

from srgan.export.base import Format, Source
from srgan.models.checkpoints import save_generator
from srgan.utils.files import atomic_file


def _write_safetensors(source: Source, folder: Path) -> list[Path]:
    path = folder / f"{source.stem}.safetensors"
    save_generator(path, source.generator, source.metadata)
    return [path]


def _write_pth(source: Source, folder: Path) -> list[Path]:
    """Write the weights under ``params_ema``, where the programs of Real-ESRGAN look for them."""
    path = folder / f"{source.stem}.pth"
    state = {key: value.detach().cpu().contiguous() for key, value in source.generator.file_state().items()}
    buffer = io.BytesIO()  # a file would contain its own temporary name
    torch.save({"params_ema": state}, buffer)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    return [path]


SAFETENSORS = Format("safetensors", _write_safetensors, "weights and metadata", "spandrel: chaiNNer, ComfyUI, and `srgan` itself")
PTH = Format("pth", _write_pth, "weights for PyTorch", "Real-ESRGAN, BasicSR, traiNNer-redux, older programs")
