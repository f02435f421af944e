"""A folder with all that a published model needs: its files, a model card, examples and the entry for OpenModelDB."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.manifest import FILE
from srgan.export import checkpoints, openmodeldb
from srgan.images.png import write_png
from srgan.images.read import read_rgb
from srgan.inference.torch_upscale import upscale
from srgan.models.network import Generator
from srgan.models.registry import architecture_of
from srgan.tasks import task_of
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json_or_none, sha256, write_text

CARD = "README.md"
UNKNOWN = ("", "unknown", "unspecified")  # licences that are none

log = logging.getLogger(__name__)


def publish(
    weights: Path, folder: Path, details: openmodeldb.Details, formats: str, name: str = "", images: tuple[Path, ...] = (), card: str = ""
) -> Path:
    """Write a model and its description into a folder.

    Args:
        weights: as for `srgan.export.checkpoints.export_checkpoint`.
        folder: gets the files of the formats, ``README.md``, the pictures and ``ID.json``. It is made if it is missing.
        details: authors, license, address and so on. An empty license is that of `weights`.
        formats: as for `srgan.export.checkpoints.convert`.
        name: of the model. By default the name of `weights`.
        images: inputs of examples. Each is copied and upscaled.
        card: text of a model card. A short one replaces an empty one and the card of another training.

    Returns:
        The entry for OpenModelDB, a JSON file.

    Raises:
        SrganError: a fact is missing, the entry breaks a rule of the database, or a file cannot be read or written.
    """
    generator, metadata = checkpoints.open_weights(weights, name, details.license, details.url)
    license = metadata["sr.license"]
    details = replace(details, license="" if license in UNKNOWN else license)
    required = {"--author ID": details.authors, "--license SPDX": details.license, "--url ADDRESS": details.url}
    if missing := [option for option, value in required.items() if not value]:
        raise SrganError(f"a published model needs {', '.join(missing)}. See: srgan publish --help")
    identifier = openmodeldb.model_id(generator.scale, metadata["sr.name"])
    # Rules are checked before the conversion, which takes a while. The files are not known yet.
    _refuse(identifier, openmodeldb.entry(generator, identifier, details, [], []) | {"resources": [_SOME_FILE]})
    files = checkpoints.convert(weights, formats, folder, name, details.license, details.url)
    pairs = [_example(generator, metadata, image, folder) for image in images]
    found = openmodeldb.entry(generator, identifier, details, files, pairs)
    _refuse(identifier, found)
    path = folder / f"{identifier}.json"
    write_text(path, json.dumps(found, indent=4, ensure_ascii=False) + "\n")
    head = card.rstrip() if metadata.get("sr.train_run", "?") in card else _short_card(found, generator)
    write_text(folder / CARD, "\n".join([head, *_listing(files, pairs)]) + "\n")
    if left_out := [file.name for file in files if file.suffix not in openmodeldb.RESOURCES]:
        log.info("%d files have no type in OpenModelDB and are not in %s: %s", len(left_out), path.name, ", ".join(left_out))
    if found["architecture"] not in openmodeldb.KNOWN_ARCHITECTURES:
        log.info("OpenModelDB may lack the architecture '%s'. Add it to its data/architectures.json", found["architecture"])
    log.info("%s: upload the other files to %s, then add this one to data/models of OpenModelDB", path, details.url)
    return path


def training_of(project: Project, params: Params) -> tuple[tuple[str, object], ...]:
    """Return the properties of the database that follow from the parameters and the prepared data of the pipeline."""
    manifest = read_json_or_none(project.prepared / FILE)
    images = [image for image in manifest["images"] if image["part"] == "train"] if isinstance(manifest, dict) else []
    found = {
        "trainingIterations": params.pretrain.steps + params.train.steps,
        "trainingBatchSize": params.train.batch_size,
        "trainingHRSize": params.train.patch_sizes[-1],
        "dataset": ", ".join(sorted({image["set"] for image in images})) or None,
        "datasetSize": len(images) or None,
    }
    return tuple((key, value) for key, value in found.items() if value)


_SOME_FILE = {"platform": "onnx", "type": "onnx", "size": 1, "sha256": "0" * 64, "urls": ["https://example.com/file"]}


def _refuse(identifier: str, found: dict[str, object]) -> None:
    if broken := openmodeldb.problems(identifier, found):
        raise SrganError("\n  ".join(["the entry breaks rules of OpenModelDB:", *broken]))


def _example(generator: Generator, metadata: dict[str, str], image: Path, folder: Path) -> tuple[Path, Path]:
    """Write the input and the result of an example as PNG, and return their paths."""
    lr_image = read_rgb(image)
    if generator.keep_luma and "sr.hints" not in metadata:
        lr_image = cv2.cvtColor(cv2.cvtColor(lr_image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    paths = folder / f"{image.stem}-input.png", folder / f"{image.stem}-result.png"
    for path, pixels in zip(paths, (lr_image, upscale(generator, lr_image)), strict=True):
        write_png(path, pixels)
    return paths


def _short_card(found: dict[str, object], generator: Generator) -> str:
    arch, options = architecture_of(generator)
    author = found["author"]
    facts = {
        "Task": task_of(generator.scale, generator.keep_luma).heading(generator.scale),
        "Network": f"`{arch}` ({', '.join(f'{key} {value}' for key, value in options.items())})",
        "Authors": ", ".join(author) if isinstance(author, list) else author,
        "License": found["license"],
        "Training data": found.get("dataset"),
        "Fine-tuned from": found.get("pretrainedModelG"),
    }
    lines = [f"# {found['name']}", "", str(found["description"]), "", *(f"- {key}: {value}" for key, value in facts.items() if value)]
    return "\n".join(lines)


def _listing(files: list[Path], pairs: list[tuple[Path, Path]]) -> list[str]:
    """Return the lines of a card with the files and the examples."""
    lines = ["", "## Files", "", "| file | bytes | SHA-256 |", "|---|---|---|"]
    lines += [f"| `{path.name}` | {path.stat().st_size:,} | `{sha256(path)}` |" for path in files]
    if pairs:
        lines += ["", "## Examples", "", "| input | result |", "|---|---|"]
        lines += [f"| ![input]({lr_image.name}) | ![result]({sr_image.name}) |" for lr_image, sr_image in pairs]
    return lines
