"""Entries of OpenModelDB (https://openmodeldb.info), the database of published models.

The rules are those of its repository, https://github.com/OpenModelDB/open-model-database: the ids of ``src/lib/schema-util.ts``, the
properties of ``src/lib/model-props.ts`` and the checks of ``src/lib/validate-model.ts``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from srgan.models.network import Generator
from srgan.models.registry import architecture_of
from srgan.utils.files import sha256

ARCHITECTURES = {"rrdb": "esrgan", "srresnet": "sr-res-net"}  # ids of the database. Other networks have the same name there
KNOWN_ARCHITECTURES = ("compact", "dat", "esrgan", "omnisr", "realplksr", "span", "sr-res-net", "swinir")
SIZES = {"compact": {"features": "nf", "depth": "nc"}, "rrdb": {"features": "nf", "depth": "nb"}}  # options and their units
RESOURCES = {".pth": ("pytorch", "pth"), ".safetensors": ("pytorch", "safetensors"), ".onnx": ("onnx", "onnx")}  # platform, type

MODEL_ID = re.compile(r"\d+x-[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*")
USER_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
TAG_ID = re.compile(r"(?:[a-z0-9]+:)?[a-z0-9]+(?:-[a-z0-9]+|[+])*")
LICENSE = re.compile(r"[A-Za-z0-9.-]+(?: OR [A-Za-z0-9.-]+)*")  # an SPDX expression
DIGEST = re.compile(r"[0-9a-f]{64}")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Details:
    """Facts about a model that its weights do not contain.

    Attributes:
        authors: ids of users of the database, such as ``jane-doe``.
        license: SPDX expression, such as ``CC-BY-4.0``.
        url: address of the folder that will hold the files.
        description: purpose of the model, Markdown.
        tags: ids of tags of the database, such as ``photo``. Default: the tag of the task.
        training: optional properties by the names of the database, such as ``dataset`` or ``trainingIterations``.
    """

    authors: tuple[str, ...]
    license: str
    url: str
    description: str = ""
    tags: tuple[str, ...] = ()
    training: tuple[tuple[str, Any], ...] = ()


def model_id(scale: int, name: str) -> str:
    """Return the id of a model: ``4x-my-net`` for scale 4 and ``My net``'s file name ``my_net``."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")
    return f"{scale}x-{re.sub(rf'^{scale}x-?|-?(?:x{scale}|{scale}x)$', '', plain)}"


def entry(generator: Generator, name: str, details: Details, files: list[Path], images: list[tuple[Path, Path]]) -> dict[str, Any]:
    """Return the entry of a model.

    Args:
        generator: the network.
        name: name of the model for people.
        details: see `Details`.
        files: files of the model. Those of a type that the database does not have, such as ncnn, are left out.
        images: pairs of the input and the result of an example.
    """
    arch, options = architecture_of(generator)
    task = "colorization" if generator.keep_luma else "restoration" if generator.scale == 1 else "general-upscaler"
    purpose = {"general-upscaler": f"Upscales images {generator.scale} times."}.get(task, f"A network for {task} at full size.")
    resources = [
        {"platform": platform, "type": kind, "size": path.stat().st_size, "sha256": sha256(path), "urls": [_url(details, path)]}
        for path in files
        if path.suffix in RESOURCES
        for platform, kind in [RESOURCES[path.suffix]]
    ]
    return {
        "name": name,
        "author": details.authors[0] if len(details.authors) == 1 else list(details.authors),
        "license": details.license,
        "tags": sorted(set(details.tags or (task,))),
        "description": (details.description or purpose).strip(),
        "date": date.today().isoformat(),
        "architecture": str(options.get("architecture", ARCHITECTURES.get(arch, arch))).lower(),  # a network of spandrel names its own
        "size": [f"{options[key]}{unit}" for key, unit in SIZES[arch].items()] if arch in SIZES else None,
        "scale": generator.scale,
        "inputChannels": generator.channels,
        "outputChannels": generator.channels,
        "resources": resources,
        **dict(details.training),
        "images": [{"type": "paired", "LR": _url(details, lr_image), "SR": _url(details, sr_image)} for lr_image, sr_image in images],
    }


def problems(identifier: str, found: dict[str, Any]) -> list[str]:
    """Return a sentence for each rule of the database that an entry breaks.

    Args:
        identifier: id of the model, the name of its file.
        found: the entry.
    """
    rules = {**_REQUIRED, **{key: rule for key, rule in _OPTIONAL.items() if found.get(key) is not None}}
    broken = [f"{key}: {found.get(key)!r} is not {wanted}" for key, (valid, wanted) in rules.items() if not _holds(valid, found.get(key))]
    if not (MODEL_ID.fullmatch(identifier) and identifier.startswith(f"{found.get('scale')}x-")):
        broken.append(f"id: '{identifier}' is not the scale and letters, digits and single hyphens, such as 4x-my-net")
    return broken


def _url(details: Details, path: Path) -> str:
    return f"{details.url.rstrip('/')}/{quote(path.name)}"


def _holds(valid: Callable[[Any], object], value: Any) -> bool:
    try:
        return bool(valid(value))
    except (AttributeError, KeyError, TypeError):  # of another type
        return False


def _is_count(value: Any, least: int = 1, most: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_address(value: Any) -> bool:
    # The database refuses links of Discord, which expire.
    return bool(re.match(r"https?://[^/\s]+/\S+$", value)) and not value.startswith("https://cdn.discordapp.com/")


def _is_resource(value: dict[str, Any]) -> bool:
    kind = (value["platform"], value["type"]) in RESOURCES.values()
    return kind and _is_count(value["size"]) and bool(DIGEST.fullmatch(value["sha256"])) and _all(_is_address)(value["urls"])


def _is_image(value: dict[str, Any]) -> bool:
    keys = {"paired": ("LR", "SR"), "standalone": ("url",)}[value["type"]]
    return "thumbnail" not in value and all(_is_address(value[key]) for key in keys)


def _all(valid: Callable[[Any], object]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list) and bool(values) and all(valid(value) for value in values)


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], object]:
    return lambda value: pattern.fullmatch(value)


_COUNT = (_is_count, "a whole number from 1")
_TEXT = (lambda value: value and value == value.strip(), "a text without spaces at its ends")
_CHANNELS = (lambda value: _is_count(value, 1, 4), "a number of channels from 1 to 4")
_REQUIRED: dict[str, tuple[Callable[[Any], object], str]] = {
    "name": _TEXT,
    "author": (
        lambda value: _all(_matches(USER_ID))(value if isinstance(value, list) else [value]),
        "an id of lower-case letters, digits and single hyphens, such as jane-doe",
    ),
    "license": (_matches(LICENSE), "an SPDX id, such as CC-BY-4.0 or MIT"),
    "tags": (_all(_matches(TAG_ID)), "a list of tags, such as photo, restoration or general-upscaler"),
    "description": _TEXT,
    "date": (_matches(DATE), "a date, such as 2026-11-28"),
    "architecture": _TEXT,
    "scale": (lambda value: _is_count(value, 1, 16), "a scale from 1 to 16"),
    "inputChannels": _CHANNELS,
    "outputChannels": _CHANNELS,
    "resources": (
        _all(_is_resource),
        "a list of .pth, .safetensors or .onnx files with size, SHA-256 and an address below http:// or https:// that does not expire",
    ),
    "images": (lambda values: not values or _all(_is_image)(values), "a list of images with addresses"),
}
_OPTIONAL: dict[str, tuple[Callable[[Any], object], str]] = {
    "size": (_all(lambda value: isinstance(value, str) and value), "a list of texts, such as 64nf"),
    "dataset": _TEXT,
    "datasetSize": _COUNT,
    "trainingIterations": _COUNT,
    "trainingBatchSize": _COUNT,
    "trainingHRSize": _COUNT,
    "trainingOTF": (lambda value: isinstance(value, bool), "true or false"),
    "pretrainedModelG": (_matches(MODEL_ID), "the id of a model, such as 4x-my-net"),
}
