"""Import this before anything that imports torchvision.

A CPU build of torch beside a CUDA build of torchvision (what package indexes give together) fails on ``import torchvision``
with ``operator torchvision::nms does not exist``: torchvision's compiled library needs CUDA, is skipped, and then its operators
are missing. Nothing here calls these operators; declaring them lets the import pass.
"""

import importlib.util
import os
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _loadable() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for library in Path(spec.origin).parent.glob("_C.*" if os.name != "nt" else "_C.pyd"):
        try:
            torch.ops.load_library(str(library))
        except (OSError, RuntimeError):
            return False
        return True
    return False


if not _loadable():
    _library = torch.library.Library("torchvision", "DEF")  # kept: the declarations live as long as this object
    for _schema in _SCHEMAS.values():
        _library.define(_schema)
