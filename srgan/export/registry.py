"""The registry of export formats. A new format is one file and one line here."""

from srgan.export.base import Format
from srgan.export.ncnn import NCNN, NCNN_FP16
from srgan.export.onnx import ONNX
from srgan.export.quantize import ONNX_FP16, ONNX_FP16IO, ONNX_INT8
from srgan.export.web import WEB
from srgan.export.weights import PTH, SAFETENSORS
from srgan.utils.errors import SrganError

FORMATS: dict[str, Format] = {
    made.name: made
    for made in (
        ONNX,
        ONNX_FP16,
        ONNX_FP16IO,
        ONNX_INT8,
        SAFETENSORS,
        PTH,
        NCNN,
        NCNN_FP16,
        WEB,
    )
}


def select_formats(names: str) -> list[Format]:
    """Return the formats of a comma-separated list without repetitions.

    Raises:
        SrganError: a name is unknown, or there is none.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise SrganError(f"'{unknown[0]}' is not an export format. Use some of: {', '.join(FORMATS)}")
    if not wanted:
        raise SrganError(f"--to names no format. Use some of: {', '.join(FORMATS)}")
    return [FORMATS[name] for name in wanted]


def formats_table() -> str:
    """Return the table of the docs: a row for each format."""
    lines = ["| `--to` | files | for |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{made.name}` | {made.description} | {made.consumers} |" for made in FORMATS.values())])
