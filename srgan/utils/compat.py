"""Import this module before torchvision.

Package indexes combine a CPU build of torch with a CUDA build of torchvision. ``import torchvision`` then fails with ``operator
torchvision::nms does not exist``, because the compiled library needs CUDA and is skipped. This project does not call the missing
operators. Their declaration is enough for the import.
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
    for library in Path(spec.origin).parent.glob("_C*.pyd" if os.name == "nt" else "_C*.so"):  # _C_stable since 0.29
        try:
            torch.ops.load_library(str(library))
        except (OSError, RuntimeError):
            return False
        return True
    return False


if not _loadable():
    _library = torch.library.Library("torchvision", "DEF")  # the declarations live as long as this object
    for _schema in _SCHEMAS.values():
        _library.define(_schema)
