"""Exported models in float16 and int8. A file is kept only if its loss of PSNR is small."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from srgan.data.manifest import Pair
from srgan.images.alpha import from_unit_range
from srgan.images.read import as_rgb
from srgan.inference.upscaler import Upscaler
from srgan.metrics.psnr_ssim import psnr_ssim_y
from srgan.utils.files import sha256

FP16_MAX_DROP = 0.05  # dB
MAX_IMAGES = 8  # images on which the loss is measured

log = logging.getLogger(__name__)


def write_fp16(path: Path, full: Path, pairs: list[Pair]) -> dict[str, Any]:
    """Write the float32 file `full` in float16, with float32 input and output, for GPUs. Return the record of `_accept_or_delete`."""
    model = OnnxModel(convert_float_to_float16(onnx.load(full), keep_io_types=True))
    model.topological_sort()  # the conversion puts new nodes after the nodes that read them
    onnx.save_model(_described(model.model, "fp16"), path)
    return _accept_or_delete(path, full, pairs, FP16_MAX_DROP)


def write_int8(path: Path, full: Path, pairs: list[Pair], crops: Iterable[np.ndarray], max_drop: float) -> dict[str, Any]:
    """Write the float32 file `full` in int8 (QDQ). The first and last convolution and all other operations stay in float32.

    Args:
        path: the new file.
        full: the float32 file.
        pairs: images on which the loss is measured.
        crops: `(h, w, 3)` uint8 patches of LR training images, for calibration. All activations for all patches are held in memory.
        max_drop: allowed loss of PSNR-Y in dB.

    Returns:
        The record of `_accept_or_delete`.
    """
    nodes = [node for node in onnx.load(full).graph.node if node.op_type == "Conv"]
    # Convolutions with groups before the first plain one only move pixels (`srgan.models.layers.unshuffle`).
    first = next((number for number, node in enumerate(nodes) if _groups(node) == 1), 0)
    logging.getLogger("root").addFilter(_no_advice)  # onnxruntime recommends a pre-processing that the exporter has already done
    try:
        quantize_static(
            full,
            path,
            _Crops(crops),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[node.name for node in (*nodes[: first + 1], nodes[-1])],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.getLogger("root").removeFilter(_no_advice)
    onnx.save_model(_described(onnx.load(path), "int8"), path)
    return _accept_or_delete(path, full, pairs, max_drop)


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


class _Crops(CalibrationDataReader):
    def __init__(self, crops: Iterable[np.ndarray]) -> None:
        self.inputs: Iterator[dict[str, np.ndarray]] = (
            {"input": np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32) / 255} for crop in crops
        )

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        """Return the next input, None after the last."""
        return next(self.inputs, None)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()


def _described(proto: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    del proto.graph.value_info[:]
    metadata = {entry.key: entry.value for entry in proto.metadata_props if entry.key.startswith("sr.")}
    onnx.helper.set_model_props(proto, dict(sorted((metadata | {"sr.precision": precision}).items())))
    proto.producer_name, proto.graph.doc_string, proto.doc_string = "srgan", "", ""
    return proto


def _accept_or_delete(path: Path, full: Path, pairs: list[Pair], max_drop: float) -> dict[str, Any]:
    """Compare a file with the float32 file, and delete it if its PSNR-Y is too low.

    Returns:
        A record with `file`, `psnr_y` and `psnr_y_fp32` (means over `images` validation images in dB), `psnr_y_change` and `written`. A
        written file also has `bytes` and `sha256`.
    """
    onnx.checker.check_model(path, full_check=True)
    chosen = [pairs[int(index)] for index in np.linspace(0, len(pairs) - 1, min(MAX_IMAGES, len(pairs))).round()]
    ours, theirs = _psnr_y(path, chosen), _psnr_y(full, chosen)
    change = ours - theirs
    record = {"file": path.name, "psnr_y": round(ours, 4), "psnr_y_fp32": round(theirs, 4), "psnr_y_change": round(change, 4)}
    record |= {"images": len(chosen), "written": bool(change >= -max_drop)}
    if record["written"]:
        log.info("%s: %+.3f dB against float32", path.name, change)
        return record | {"bytes": path.stat().st_size, "sha256": sha256(path)}
    log.warning("%s: %+.3f dB against float32, a loss of at most %.3f dB is allowed: not written", path.name, change, max_drop)
    path.unlink()
    return record


def _psnr_y(path: Path, pairs: list[Pair]) -> float:
    """Return the mean over the pairs in dB, 0 if a result is not finite."""
    upscaler, found = Upscaler(path, provider="cpu"), []
    for pair in pairs:
        hr_image, lr_image = pair.read()
        lr_image = lr_image.transpose(2, 0, 1)[None].astype(np.float32) / 255
        sr_image = upscaler.run(lr_image)[0].transpose(1, 2, 0)
        if not np.isfinite(sr_image).all():
            return 0.0
        rounded = from_unit_range(np.clip(sr_image, 0, 1), np.uint8)
        found.append(psnr_ssim_y(rounded, as_rgb(hr_image), upscaler.scale)[0])
    return float(np.mean(found))
