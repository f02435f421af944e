"""Export of a generator to one `.onnx` file that follows contract 1 (docs/onnx.md)."""

import copy
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript.optimizer
import torch

from srgan import __version__
from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.export.base import Format, Source, deliver
from srgan.inference import weights
from srgan.models.network import Generator
from srgan.models.registry import NETWORKS, architecture_of
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, require, sha256

PRECISIONS = ("fp32", "fp16", "int8")
OPSET, IR_VERSION = 18, 9  # ONNX Runtime 1.17, which chaiNNer pins, does not load IR 10
MAX_FOLDED_ELEMENTS = 1 << 30  # more than any weight has
TOLERANCE = 1e-4  # largest allowed difference from torch, on a range of 0..1
PROBE_SHAPES = ((1, 1, 1), (1, 33, 7), (2, 17, 31), (1, 97, 101))  # batch, height, width


def file_name(scale: int, name: str, arch: str, precision: str = "fp32") -> str:
    """Return the name of an exported file, for example ``4x-demo-compact-fp32.onnx``."""
    return f"{scale}x-{name}-{arch}-{precision}.onnx"


def exported_models(project: Project, params: Params, scale: int) -> dict[str, Path]:
    """Return the exported files that exist, by precision. The float32 file must exist."""
    folders = {precision: project.models if precision == "fp32" else project.reduced for precision in PRECISIONS}
    paths = {name: folder / file_name(scale, params.export.name, params.model.name, name) for name, folder in folders.items()}
    require(paths["fp32"], "export")
    return {precision: path for precision, path in paths.items() if path.is_file()}


def export_onnx(path: Path, model: Generator, metadata: dict[str, str], optimize_graph: bool = True) -> dict[str, Any]:
    """Write `model` as ONNX. The file is compared with torch before it gets its name.

    The optimised graph computes the same function. Batch normalisation is merged into the convolution before it. The last convolution of
    SRResNet runs before the pixel shuffle (`srgan.models.layers.fold_into_subpixel`), with precomputed weights. A PReLU with one slope
    becomes a LeakyReLU, which runtimes fuse with the convolution.

    Args:
        path: the new file.
        model: generator, `(N, channels, H, W)` in 0..1 to `(N, channels, scale * H, scale * W)`.
        metadata: `sr.*` entries, in addition to `srgan.inference.weights.contract_metadata`.
        optimize_graph: False keeps the graph of the network as it is. It is slower, for comparison.

    Returns:
        Size, digest and the largest difference from torch for each of `PROBE_SHAPES`.

    Raises:
        SrganError: the results of the file and of torch differ by more than `TOLERANCE`, or a network of spandrel cannot be exported.

    Example:
        >>> from pathlib import Path
        >>> from srgan import export_onnx, load_generator
        >>> model, metadata = load_generator("generator.safetensors")
        >>> export_onnx(Path("2x-mine-compact-fp32.onnx"), model, metadata)["file"]
        '2x-mine-compact-fp32.onnx'
    """
    arch, config = architecture_of(model)
    try:
        parity = _write_checked(path, model, metadata, optimize_graph)
    except Exception as error:  # the exporter, the checker and the runtime raise exceptions of any kind
        if not NETWORKS[arch].from_weights:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SrganError(
            f"export: {config['architecture']} cannot be written as an .onnx file for images of any size ({reason}). "
            "`srgan upscale --model` and `srgan compare` take the weights themselves"
        ) from error
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "max_difference": parity}


def _write_checked(path: Path, model: Generator, metadata: dict[str, str], optimize_graph: bool) -> dict[str, float]:
    """Write the file. Returns the differences from torch."""
    plain = model.folded()
    proto = _to_proto(plain, optimize_graph)
    if not _sizes(onnx.shape_inference.infer_shapes(_of_size(proto, 64), strict_mode=True, data_prop=True).graph)["output"]:
        _state_size(proto, model.scale)
    known = NETWORKS[architecture_of(plain)[0]].from_weights
    memory = weights.memory_per_pixel(plain) if known else memory_per_pixel(proto)
    proto = _clean(proto, weights.contract_metadata(plain) | {"sr.memory_per_pixel": str(memory)} | metadata)
    with atomic_file(path) as temporary:
        onnx.save_model(proto, temporary, save_as_external_data=False)
        onnx.checker.check_model(temporary, full_check=True)
        return check_parity(temporary, model)


def memory_per_pixel(proto: onnx.ModelProto) -> int:
    """Return the peak memory of the activations, in bytes per pixel of the input.

    An activation takes memory from the node that computes it to the last node that reads it.
    """
    side = 64
    proto = _of_size(proto, side)
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    sizes = _sizes(graph)
    if not all(sizes.get(name) for node in graph.node for name in node.output):  # it computes no quotients and ranges
        graph = onnx.shape_inference.infer_shapes(onnxscript.optimizer.optimize(proto), strict_mode=True, data_prop=True).graph
        sizes = _sizes(graph)
    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    held, most = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value * side**2, 0
    for index, node in enumerate(graph.node):
        held += sum(sizes.get(name, 0) for name in node.output)
        most = max(most, held)
        held -= sum(sizes.get(name, 0) for name in set(node.input) if last_use[name] == index)
    return 4 * most // side**2


def _of_size(proto: onnx.ModelProto, side: int) -> onnx.ModelProto:
    """Return a copy for images of one size, without other sizes."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    axes = proto.graph.input[0].type.tensor_type.shape.dim
    for axis, size in zip(axes, (1, axes[1].dim_value, side, side), strict=True):
        axis.dim_value = size
    del proto.graph.value_info[:]
    for axis in proto.graph.output[0].type.tensor_type.shape.dim:
        axis.Clear()
    return proto


def _sizes(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the number of elements of each value, 0 if it is unknown."""
    return {
        value.name: math.prod(axis.dim_value for axis in value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.output)
    }


def check_parity(path: Path, model: Generator) -> dict[str, float]:
    """Return the largest absolute difference between the file in ONNX Runtime (CPU) and torch, for each of `PROBE_SHAPES`."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = {}
    for batch, height, width in PROBE_SHAPES:
        image = torch.rand(batch, model.channels, height, width, generator=generator)
        with torch.inference_mode():
            expected = model(image).numpy()
        (actual,) = session.run(["output"], {"input": image.numpy()})
        if actual.shape != expected.shape:
            raise SrganError(f"export: ONNX Runtime returns {actual.shape} for {tuple(image.shape)}, torch {expected.shape}")
        differences[f"{batch}x{model.channels}x{height}x{width}"] = float(np.abs(actual - expected).max())
    worst = max(differences.values())
    if not worst < TOLERANCE:
        raise SrganError(f"export: ONNX Runtime differs from torch by {worst:.2g}. At most {TOLERANCE:g} is allowed. No file was written")
    return differences


def float32_file(source: Source) -> Path:
    """Return the float32 file of a source in its scratch folder. The first call writes it."""
    path = source.scratch / f"{source.stem}-fp32.onnx"
    if not path.is_file():
        export_onnx(path, source.generator, source.metadata)
    return path


def _write(source: Source, folder: Path) -> list[Path]:
    return [deliver(float32_file(source), folder)]


def _to_proto(model: Generator, optimize_graph: bool) -> onnx.ModelProto:
    dimensions = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    for chatty in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    model = copy.deepcopy(model).cpu().float().eval()
    model.optimize_graph = optimize_graph
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, model.channels, 17, 31),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=(dimensions,),
            verbose=False,
        )
    assert program is not None
    if not optimize_graph:
        return program.model_proto
    # Computed weights are folded into constants now. By default large ones are computed at every run.
    most = MAX_FOLDED_ELEMENTS
    return _leaky(onnxscript.optimizer.optimize(program.model_proto, input_size_limit=most, output_size_limit=most))


def _leaky(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every PReLU whose slopes are equal by a LeakyReLU."""
    weights = {initializer.name: initializer for initializer in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "PRelu" and node.input[1] in weights:
            slopes = onnx.numpy_helper.to_array(weights[node.input[1]])
            if slopes.min() == slopes.max():
                node.op_type = "LeakyRelu"
                node.attribute.append(onnx.helper.make_attribute("alpha", float(slopes.flat[0])))
                del node.input[1]
    used = {name for node in proto.graph.node for name in node.input}
    for name in weights.keys() - used:
        proto.graph.initializer.remove(weights[name])
    return proto


def _state_size(proto: onnx.ModelProto, scale: int) -> None:
    """Append a reshape to the size of the output, for shape inference that cannot compute the size of a crop or of a grid of samples."""
    graph = proto.graph
    for node in graph.node:
        node.output[:] = ["cropped" if name == "output" else name for name in node.output]
    graph.initializer.append(onnx.helper.make_tensor("size_factors", onnx.TensorProto.INT64, [4], [1, 1, scale, scale]))
    graph.node.extend(
        [
            onnx.helper.make_node("Shape", ["input"], ["input_size"], "input_size"),
            onnx.helper.make_node("Mul", ["input_size", "size_factors"], ["output_size"], "output_size"),
            onnx.helper.make_node("Reshape", ["cropped", "output_size"], ["output"], "state_size"),
        ]
    )


def _clean(proto: onnx.ModelProto, metadata: dict[str, str]) -> onnx.ModelProto:
    """Remove the stack traces and local paths that torch writes into nodes and values, and set names and metadata."""
    proto.ir_version = IR_VERSION
    graph = proto.graph
    del proto.metadata_props[:], proto.functions[:], graph.metadata_props[:], graph.value_info[:]
    graph.name, graph.doc_string, proto.doc_string = metadata["sr.arch"], "", ""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    scale = int(metadata["sr.scale"])
    for value, names in ((graph.input[0], ("batch", None, "height", "width")), (graph.output[0], ("batch", None, "", ""))):
        for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if name:
                axis.dim_param = name
    for axis, name in ((2, "height"), (3, "width")):
        graph.output[0].type.tensor_type.shape.dim[axis].dim_param = f"{scale}*{name}"
    proto.producer_name, proto.producer_version = "srgan", __version__
    onnx.helper.set_model_props(proto, dict(sorted(metadata.items())))
    return proto


ONNX = Format("onnx", _write, "one `.onnx` file of contract 1 in float32", "ONNX Runtime, OpenVINO, browsers, TensorRT, chaiNNer")
