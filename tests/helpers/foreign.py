"""Weights of other projects: small networks of spandrel, built in this process."""

import importlib
from pathlib import Path

import torch
from torch import Tensor

import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)

SIZES = {
    "SAFMN": {"dim": 16, "n_blocks": 1, "upscaling_factor": 2},
    "OmniSR": {"num_feat": 16, "res_num": 1, "block_num": 1, "up_scale": 2},
    "FDAT": {"scale": 2, "embed_dim": 16, "num_groups": 1, "depth_per_group": 1, "num_heads": 2},
    "MoSR": {"upscale": 2, "n_block": 1, "dim": 8},
    "ESRGAN": {"in_nc": 3, "num_filters": 8, "num_blocks": 1, "scale": 4, "plus": True},  # not the variant of rrdb
    "NAFNet": {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]},  # not the variant of nafnet
    "DnCNN": {"nc": 8, "nb": 4},
}


def foreign(kind: str, **changes: object) -> dict[str, Tensor]:
    """Return the weights of a small network of an architecture, the same at each call. `changes` are other sizes."""
    architecture = importlib.import_module(f"spandrel.architectures.{kind}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(architecture, kind)(**SIZES[kind] | changes).state_dict()


def foreign_file(path: Path, kind: str, **changes: object) -> Path:
    """Write such weights as a third party does."""
    torch.save({"params_ema": foreign(kind, **changes)}, path)
    return path
