"""Exported models in float16 and int8. A file is kept only if its loss of PSNR is small."""

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from srgan.config.delivery import Export
from srgan.data.manifest import Pair
from srgan.export.base import Format, Source, deliver
from srgan.export.onnx import float32_file
from srgan.export.samples import sample_crops, sample_pairs
from srgan.images.alpha import from_unit_range
from srgan.images.read import as_rgb
from srgan.inference.upscaler import Upscaler
from srgan.metrics.metric import Metric, Sample
from srgan.metrics.psnr_ssim import MAX_PSNR, PSNR_RGB, PSNR_Y
from srgan.models.registry import NETWORKS
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

FP16_MAX_DROP = 0.05  # dB
MAX_IMAGES = 8  # images on which the loss is measured

log = logging.getLogger(__name__)


def write_fp16(path: Path, full: Path, pairs: list[Pair], metric: Metric = PSNR_Y, float32_io: bool = True) -> dict[str, Any]:
    """Write the float32 file `full` in float16, for GPUs.

    Args:
        path: the new file.
        full: the float32 file.
        pairs: images on which the loss is measured.
        metric: PSNR that may lose `FP16_MAX_DROP`.
        float32_io: keep float32 for input and output. Otherwise both are float16, which saves the copies in video filters.

    Returns:
        The record of `_accept_or_delete`.
    """
    proto = onnx.load(full)
    keeps_luma = any((entry.key, entry.value) == ("sr.keep_luma", "1") for entry in proto.metadata_props)
    exact = _after_convolutions(proto.graph) if keeps_luma else []  # in float16 the luma would be off by up to 0.1 levels
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.WARNING)  # it recommends names of nodes
    model = OnnxModel(convert_float_to_float16(proto, keep_io_types=float32_io, node_block_list=exact))
    _remove_round_trips(model.model.graph)
    model.topological_sort()  # the conversion puts new nodes after the nodes that read them
    onnx.save_model(_described(model.model, "fp16" if float32_io else "fp16io"), path)
    return _accept_or_delete(path, full, pairs, FP16_MAX_DROP, metric)


def write_int8(
    path: Path, full: Path, pairs: list[Pair], crops: Iterable[np.ndarray], max_drop: float, metric: Metric = PSNR_Y
) -> dict[str, Any]:
    """Write the float32 file `full` in int8 (QDQ). The first and last convolution and all other operations stay in float32.

    Args:
        path: the new file.
        full: the float32 file.
        pairs: images on which the loss is measured.
        crops: `(h, w, channels)` uint8 patches of LR training images, for calibration. All activations for all patches are held in memory.
        max_drop: allowed loss in dB.
        metric: PSNR that may lose it.

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
    return _accept_or_delete(path, full, pairs, max_drop, metric)


def _after_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that no convolution depends on."""
    needed: set[str] = set()
    names = []
    for node in reversed(graph.node):
        if node.op_type == "Conv" or needed.intersection(node.output):
            needed.update(node.input)
        else:
            names.append(node.name)
    return names


def _remove_round_trips(graph: onnx.GraphProto) -> None:
    """Let float32 nodes read float32 tensors, which the conversion casts to float16 and back."""
    halved = {node.output[0]: node.input[0] for node in graph.node if _cast_to(node) == onnx.TensorProto.FLOAT16}
    restored: set[str] = set()
    for node in [node for node in graph.node if _cast_to(node) == onnx.TensorProto.FLOAT]:
        if node.output[0] in restored:  # the conversion casts a tensor once for each node that reads it
            graph.node.remove(node)
            continue
        restored.add(node.output[0])
        node.input[0] = halved.get(node.input[0], node.input[0])
    read = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.output[0] in halved and node.output[0] not in read]:
        graph.node.remove(node)


def _cast_to(node: onnx.NodeProto) -> int | None:
    return node.attribute[0].i if node.op_type == "Cast" else None


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


def _accept_or_delete(path: Path, full: Path, pairs: list[Pair], max_drop: float, metric: Metric) -> dict[str, Any]:
    """Compare a file with the float32 file, and delete it if its PSNR is too low.

    Returns:
        A record with `file`, `METRIC` and `METRIC_fp32` (means over `images` validation images in dB), `METRIC_change` and `written`, where
        METRIC is the name of the metric. A written file also has `bytes` and `sha256`.
    """
    onnx.checker.check_model(path, full_check=True)
    chosen = [pairs[int(index)] for index in np.linspace(0, len(pairs) - 1, min(MAX_IMAGES, len(pairs))).round()]
    ours, theirs = _psnr(path, chosen, metric), _psnr(full, chosen, metric)
    change, name = ours - theirs, metric.name
    record = {"file": path.name, name: round(ours, 4), f"{name}_fp32": round(theirs, 4), f"{name}_change": round(change, 4)}
    record |= {"images": len(chosen), "written": bool(change >= -max_drop)}
    if record["written"]:
        log.info("%s: %+.3f dB %s against float32", path.name, change, metric.label)
        return record | {"bytes": path.stat().st_size, "sha256": sha256(path)}
    text = "%s: %+.3f dB %s against float32, a loss of at most %.3f dB is allowed: not written"
    log.warning(text, path.name, change, metric.label, max_drop)
    path.unlink()
    return record


def _psnr(path: Path, pairs: list[Pair], metric: Metric) -> float:
    """Return the mean over the pairs in dB, 0 if a result is not finite. An image counts with at most `MAX_PSNR`."""
    upscaler, found = Upscaler(path, provider="cpu"), []
    for pair in pairs:
        hr_image, lr_image = pair.read()
        lr_image = lr_image[..., : upscaler.channels].transpose(2, 0, 1)[None].astype(np.float32) / 255  # grey has equal channels
        sr_image = np.broadcast_to(upscaler.run(lr_image)[0], (3, *np.multiply(lr_image.shape[2:], upscaler.scale))).transpose(1, 2, 0)
        if not np.isfinite(sr_image).all():
            return 0.0
        rounded = from_unit_range(np.clip(sr_image, 0, 1), np.uint8)
        assert metric.score
        found.append(min(metric.score(Sample(rounded, as_rgb(hr_image), scale=upscaler.scale)), MAX_PSNR))
    return float(np.mean(found))


def _write_fp16(source: Source, folder: Path, float32_io: bool = True) -> list[Path]:
    if not NETWORKS[source.arch].supports_half(source.generator):
        raise SrganError(f"float16 is not supported by {source.arch}")
    path = source.scratch / f"{source.stem}-{'fp16' if float32_io else 'fp16io'}.onnx"
    record = write_fp16(path, float32_file(source), sample_pairs(source), _metric(source), float32_io)
    return [deliver(_accepted(path, record, FP16_MAX_DROP), folder)]


def _write_int8(source: Source, folder: Path) -> list[Path]:
    path, max_drop = source.scratch / f"{source.stem}-int8.onnx", Export().int8_max_drop_db
    record = write_int8(path, float32_file(source), sample_pairs(source), sample_crops(source), max_drop, _metric(source))
    return [deliver(_accepted(path, record, max_drop), folder)]


def _metric(source: Source) -> Metric:
    return PSNR_RGB if source.generator.keep_luma else PSNR_Y


def _accepted(path: Path, record: dict[str, Any], max_drop: float) -> Path:
    """Return the path, or raise `SrganError` with the loss of a file that was not written."""
    if not record["written"]:
        change = next(value for key, value in record.items() if key.endswith("_change"))
        raise SrganError(f"{path.name}: {change:+.3f} dB against float32, a loss of at most {max_drop:g} dB is allowed")
    return path


ONNX_FP16 = Format("onnx-fp16", _write_fp16, "`.onnx` in float16, float32 input and output", "ONNX Runtime on GPUs, `srgan upscale`")
ONNX_FP16IO = Format(
    "onnx-fp16io",
    partial(_write_fp16, float32_io=False),
    "`.onnx` in float16, float16 input and output",
    "chaiNNer, VapourSynth with TensorRT",
)
ONNX_INT8 = Format("onnx-int8", _write_int8, "`.onnx` in int8, calibrated on photographs of scikit-image", "CPUs and NPUs")
