"""The registry of degradations. A new degradation is one file and one line here."""

from typing import Any

from srgan.degradations import (
    blur,
    chroma_shift,
    codec,
    combine,
    fading,
    grain,
    grayscale,
    jpeg,
    noise,
    posterize,
    resize,
    scratches,
    sharpen,
    webp,
)
from srgan.degradations.base import Degradation

DEGRADATIONS: dict[str, Degradation] = {
    degradation.name: degradation
    for degradation in (
        blur.BLUR,
        resize.RESIZE,
        resize.DOWNSCALE,
        noise.NOISE,
        grain.GRAIN,
        sharpen.SHARPEN,
        chroma_shift.CHROMA_SHIFT,
        posterize.POSTERIZE,
        grayscale.GRAYSCALE,
        fading.FADING,
        scratches.SCRATCHES,
        jpeg.JPEG,
        webp.WEBP,
        codec.CODEC,
        combine.SEQUENCE,
        combine.SHUFFLE,
        combine.ONE_OF,
    )
}


def degradations_table() -> str:
    """Return a Markdown table of the degradations with the defaults of their options, for the docs."""
    lines = ["| `name` | step | options | two draws |", "|---|---|---|---|"]
    for degradation in DEGRADATIONS.values():
        fields = {key: field.default for key, field in degradation.config.model_fields.items() if key not in ("name", "probability")}
        options = "<br>".join(f"`{key}`{_default(value)}" for key, value in fields.items())
        example = f"![{degradation.name}](images/degradations/{degradation.name}.webp)" if degradation.draw else ""
        needs = f" Needs `pip install {degradation.package}`." if degradation.package else ""
        notes = needs + (" Made by `prepare` before the training." if degradation.ahead else "")
        lines.append(f"| `{degradation.name}` | {degradation.description}{notes} | {options} | {example} |")
    return "\n".join(lines)


def _default(value: Any) -> str:
    match value:
        case (low, high):
            return f" {low:g} to {high:g}" if low < high else f" {low:g}"
        case dict():
            return " " + ", ".join(value)
        case bool() | int() | float() | str():
            return f" {str(value).lower()}"
    return ""
