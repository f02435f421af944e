"""Train, score and ship image super-resolution GANs.

The names below are the public API. Each is imported at its first use, so `import srgan` takes a few milliseconds.

Use an exported model:
    `Upscaler` upscales arrays, `upscale_file` upscales a file with its metadata.
Work with networks:
    `build_generator`, `build_discriminator`, `load_generator`, `save_generator`, `export_onnx`.
Measure:
    `evaluate` scores models on pairs of images (`Pair`). `psnr_ssim_y` compares two arrays.
Work with images:
    `read_image`, `write_png`, `bicubic_downscale`, `bicubic_upscale`.
Work with the pipeline:
    `Project` names the files, `load_params` reads ``params.yaml``.

Errors that a user can correct are of the class `SrganError`.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from srgan.config.project import Project as Project
    from srgan.config.schema import load as load_params  # noqa: F401
    from srgan.data.manifest import Pair as Pair
    from srgan.degradations.bicubic import bicubic_downscale as bicubic_downscale
    from srgan.degradations.bicubic import bicubic_upscale as bicubic_upscale
    from srgan.evaluation.evaluate import evaluate as evaluate
    from srgan.export.onnx import export_onnx as export_onnx
    from srgan.images.png import write_png as write_png
    from srgan.images.read import read_image as read_image
    from srgan.inference.photo import upscale_file as upscale_file
    from srgan.inference.upscaler import Upscaler as Upscaler
    from srgan.metrics.psnr_ssim import psnr_ssim_y as psnr_ssim_y
    from srgan.models.checkpoints import load_generator as load_generator
    from srgan.models.checkpoints import save_generator as save_generator
    from srgan.models.registry import build_discriminator as build_discriminator
    from srgan.models.registry import build_generator as build_generator
    from srgan.utils.errors import SrganError as SrganError

_MODULES = {  # the module of each name, and the name there if it differs
    "Pair": "srgan.data.manifest",
    "Project": "srgan.config.project",
    "SrganError": "srgan.utils.errors",
    "Upscaler": "srgan.inference.upscaler",
    "bicubic_downscale": "srgan.degradations.bicubic",
    "bicubic_upscale": "srgan.degradations.bicubic",
    "build_discriminator": "srgan.models.registry",
    "build_generator": "srgan.models.registry",
    "evaluate": "srgan.evaluation.evaluate",
    "export_onnx": "srgan.export.onnx",
    "load_generator": "srgan.models.checkpoints",
    "load_params": "srgan.config.schema:load",
    "psnr_ssim_y": "srgan.metrics.psnr_ssim",
    "read_image": "srgan.images.read",
    "save_generator": "srgan.models.checkpoints",
    "upscale_file": "srgan.inference.photo",
    "write_png": "srgan.images.png",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'srgan' has no attribute '{name}'")
    module, _, attribute = _MODULES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
