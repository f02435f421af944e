"""``MODEL_CARD.md``: what a registered model is, what it is good for, and where it fails."""

import json
import re
from collections import Counter
from typing import Any

from srgan.metrics.registry import FIGURES
from srgan.training import lineage

SHOWN = ("psnr_y", "ssim_y", "lpips", "color_shift", "checkerboard")


def escaped(text: str) -> str:
    """Text for a line or a table cell of Markdown, where it is shown as it is: no markup, no HTML, no line breaks."""
    return re.sub(r"([\\`*\[\]<>|&~]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def model_card(metadata: dict[str, str], manifest: dict[str, Any], statistics: dict[str, Any], exported: dict[str, Any]) -> str:
    """The card, as Markdown.

    Args:
        metadata: the `sr.*` entries of the `.onnx` file.
        manifest: of the prepared data.
        statistics: of the scores (`srgan.evaluation.evaluate.statistics`).
        exported: ``reports/export.json``.
    """
    arch, config = metadata["sr.arch"], json.loads(metadata["sr.arch_config"])
    gan = metadata.get("sr.objective") == "gan"
    own_lr = sorted({image["set"] for image in manifest["images"] if image["part"] == "train" and image.get("own_lr")})
    lines = [
        f"# {escaped(metadata['sr.name'])}: super-resolution x{metadata['sr.scale']}",
        "",
        f"A network that enlarges photographs {metadata['sr.scale']} times: `{arch}` "
        f"({', '.join(f'{key} {value}' for key, value in config.items())}), "
        + ("trained on pixels, then as a GAN." if gan else "trained on pixels."),
        "",
        f"- Licence of the weights: {escaped(metadata['sr.license'])}",
        f"- File: `{exported['file']}`, {exported['bytes'] / 1e6:.1f} MB, SHA-256 `{exported['sha256']}`",
        f"- Training: the run tagged `srgan.key = {metadata['sr.train_run']}`, data `{metadata['sr.train_data_sha256'][:16]}`",
        *(f"- Continued: {sentence}" for sentence in lineage.sentences(metadata)),
        *(
            f"- {precision}: {record['psnr_y_change']:+.3f} dB PSNR-Y against float32{'' if record['written'] else ', not written'}"
            for precision, record in exported.get("reduced", {}).items()
        ),
        "",
        "## Intended use",
        "",
        "Photographs that are sharp but too small: for screens, for print, as a step before other editing.",
        "",
        "## Limits",
        "",
        *(
            ["- **It invents detail.** What it adds looks likely, and need not have been there: not for evidence, medicine or measurement."]
            if gan
            else []
        ),
        f"- It has learned from images that were made small by {manifest['kernel']} bicubic interpolation"
        + (f", and from the LR images that {escaped(', '.join(own_lr))} came with" if own_lr else "")
        + f". Noise, blur and JPEG blocks {'that these do not show ' if own_lr else ''}it has never seen; it enlarges them too.",
        f"- It enlarges by {metadata['sr.scale']} only, in sRGB.",
        "- It has seen the data below and little else: faces, text and other subjects that are rare there come out worst.",
        "",
        "## Data",
        "",
        "| part | set | images | licences |",
        "|---|---|---|---|",
    ]
    groups = Counter((image["part"], image["set"]) for image in manifest["images"])
    for (part, name), count in sorted(groups.items(), key=lambda item: (("train", "validation", "test").index(item[0][0]), item[0][1])):
        terms = {str(image.get("licence")) for image in manifest["images"] if (image["part"], image["set"]) == (part, name)}
        lines.append(f"| {part} | {escaped(name)} | {count} | {escaped('; '.join(sorted(terms)))} |")
    lines += ["", "## Scores", "", "Means over the test images, with 95 % intervals (bootstrap).", ""]
    for name, models in statistics.items():
        figures = [figure for figure in SHOWN if figure in models["gan"]["figures"]]
        lines += [f"| {escaped(name)} | {' | '.join(FIGURES[figure].title for figure in figures)} |", "|---" * (len(figures) + 1) + "|"]
        for model in ("bicubic", "pretrained", "gan"):
            cells = [_cell(figure, models[model]["figures"][figure]) for figure in figures]
            lines.append(f"| {model} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Worst cases", ""]
    for name, models in statistics.items():
        for figure in ("lpips", "psnr_y"):
            if worst := models["gan"]["figures"].get(figure, {}).get("worst"):
                lines.append(f"- {escaped(name)}, by {FIGURES[figure].label}: {escaped(', '.join(worst))}")
    return "\n".join(lines) + "\n"


def _cell(figure: str, found: dict[str, Any]) -> str:
    digits = FIGURES[figure].digits
    interval = "" if found["low"] is None else f" ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
    return f"{found['mean']:.{digits}f}{interval}"
