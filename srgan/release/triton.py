"""A model repository for NVIDIA Triton Inference Server."""

from pathlib import Path

import onnx

from srgan.utils.files import atomic_file, copy, write_text

TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.FLOAT16: "TYPE_FP16"}


def write_repository(folder: Path, model: Path) -> None:
    """Write ``NAME/config.pbtxt`` and ``NAME/1/model.onnx``.

    Args:
        folder: of the repository.
        model: an exported `.onnx` file, whose name without suffix becomes that of the model.
    """
    place = folder / model.stem
    (place / "1").mkdir(parents=True)
    with atomic_file(place / "1" / "model.onnx") as temporary:
        copy(model, temporary)
    write_text(place / "config.pbtxt", configuration(model))


def configuration(model: Path) -> str:
    """Return the configuration of an `.onnx` file. Images of a batch have one size, and every size is allowed."""
    graph = onnx.load(model, load_external_data=False).graph
    lines = [f'name: "{model.stem}"', 'backend: "onnxruntime"', "max_batch_size: 0  # the batch is a dimension of the tensors"]
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            tensor = value.type.tensor_type
            sides = ", ".join(str(side.dim_value) if side.HasField("dim_value") else "-1" for side in tensor.shape.dim)
            lines.append(f'{kind} [{{ name: "{value.name}", data_type: {TYPES[tensor.elem_type]}, dims: [{sides}] }}]')
    return "\n".join(lines) + "\n"
