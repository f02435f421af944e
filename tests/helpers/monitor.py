"""Rows of a service's log."""

from typing import Any


def row(at: float, **values: Any) -> dict[str, Any]:
    """A measured result."""
    described = {"kind": "request", "role": "champion", "model": "m.onnx", "alias": "", "version": "", "sha256": "a" * 64}
    sizes = {"width": 80, "height": 64, "result_width": 320, "result_height": 256, "format": "png", "seconds": 0.5, "observed": 1}
    figures = {"quality": 100, "noise": 1.0, "blur": 0.4, "subsampling": "", "consistency": 40.0, "niqe": 5.0}
    return {"at": at} | described | sizes | figures | values
