"""Sources of the pictures of a study: folders of images, models that run on inputs, and originals."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from srgan.config.project import Project
from srgan.data.manifest import FILE, Pair, pairs
from srgan.images.read import as_rgb, read_rgb
from srgan.images.search import find_images
from srgan.inference.upscaler import Upscaler
from srgan.models.weights_file import SUFFIXES
from srgan.study.files import Model
from srgan.tracking import optional
from srgan.utils.errors import SrganError

ORIGINALS = "originals"
LABEL = re.compile(r"[A-Za-z0-9_.-]+")  # MLflow allows these in the name of a metric


class Source(Protocol):
    """Pictures of one model by the names of the images."""

    model: Model

    def names(self) -> set[str]:
        """Return the names of all images."""

    def read(self, name: str) -> np.ndarray:
        """Return the picture of an image, `(H, W, 3)` uint8."""


class FolderSource:
    """Image files of a folder. The name of an image is its path below the folder without the suffix."""

    def __init__(self, folder: str, results: Path) -> None:
        self.model = Model(source=folder, sha256=None)
        self._paths = images_by_name(folder, results)

    def names(self) -> set[str]:
        """Return the names of all images."""
        return set(self._paths)

    def read(self, name: str) -> np.ndarray:
        """Return the picture of an image, `(H, W, 3)` uint8."""
        return read_rgb(self._paths[name])


class OriginalSource:
    """The originals of the prepared test images."""

    def __init__(self, test: Mapping[str, Pair]) -> None:
        self.model = Model(source=ORIGINALS, sha256=None)
        self._pairs = {name: pair for name, pair in test.items() if pair.hr}

    def names(self) -> set[str]:
        """Return the names of all images."""
        return set(self._pairs)

    def read(self, name: str) -> np.ndarray:
        """Return the picture of an image, `(H, W, 3)` uint8."""
        return as_rgb(self._pairs[name].read()[0])


class ModelSource:
    """The results of a model on inputs, which are computed when they are read."""

    def __init__(self, source: str, path: Path, inputs: Mapping[str, Path | Pair]) -> None:
        self._upscaler, self._inputs = Upscaler(path), inputs
        # The digest identifies a file. Its folder is of no concern to those who read the report.
        self.model = Model(source=source if source.startswith("models:/") else path.name, sha256=self._upscaler.sha256)

    def names(self) -> set[str]:
        """Return the names of all images."""
        return set(self._inputs)

    def read(self, name: str) -> np.ndarray:
        """Return the picture of an image, `(H, W, 3)` uint8."""
        found = self._inputs[name]
        return as_rgb(self._upscaler.upscale(found.read_lr() if isinstance(found, Pair) else read_rgb(found)))


def images_by_name(folder: str, results: Path) -> dict[str, Path]:
    """Return the images of a folder by their path below it without the suffix.

    Args:
        folder: the folder.
        results: the folder of the study, whose pictures are no inputs.

    Raises:
        SrganError: there is none, or two have one name.
    """
    if not Path(folder).is_dir():
        raise SrganError(f"{folder}: no such folder of images")
    found: dict[str, Path] = {}
    for path, inside in find_images([folder], results).items():
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise SrganError(f"{path} and {found[name]} have one name. Remove one of them")
        found[name] = path
    return found


def split_label(argument: str) -> tuple[str, str]:
    """Return label and source of an argument such as ``gan=models/gan.onnx``. Without a label it is the name of the file or folder.

    Raises:
        SrganError: the label has other characters than letters, digits, ``_``, ``.`` and ``-``.
    """
    label, equals, source = argument.partition("=")
    if not equals or Path(argument).exists():
        source = argument
        label = re.sub(r"[^\w.-]+", "-", Path(argument).stem if Path(argument).is_file() else Path(argument).name, flags=re.ASCII)
    if not LABEL.fullmatch(label) or not source:
        raise SrganError(f"{argument}: '{label}' cannot be a label. Write LABEL={source or 'SOURCE'} with letters, digits, _ . and -")
    return label, source


def open_sources(arguments: Iterable[str], inputs: str | None, results: Path, project: Project, downloads: Path) -> dict[str, Source]:
    """Return the sources by label.

    Args:
        arguments: ``LABEL=SOURCE``, where a source is a folder, a model file, ``models:/NAME@ALIAS`` or ``originals``.
        inputs: folder of images for the models. Default: the prepared test images of the project.
        results: the folder of the study.
        project: for the registry and the prepared images.
        downloads: folder for models of the registry.

    Raises:
        SrganError: a source is missing, two have one label, or their images have different names.
    """
    named: dict[str, str] = {}
    for argument in arguments:
        label, source = split_label(argument)
        if label in named:
            raise SrganError(f"{argument}: two sources have the label '{label}'. Write another one: LABEL={source}")
        named[label] = source
    if len(named) < 2:
        raise SrganError("a study compares at least two models. Name two or more sources")
    of_model = {label: source for label, source in named.items() if source != ORIGINALS and not Path(source).is_dir()}
    if inputs and ORIGINALS in named.values():
        raise SrganError(f"{ORIGINALS} are those of the prepared test images. With --inputs, name the folder of the originals instead")
    for source in of_model.values():
        if not source.startswith("models:/") and not source.endswith((".onnx", *SUFFIXES)):
            raise SrganError(f"{source}: no folder, model file (.onnx, {', '.join(SUFFIXES)}), models:/NAME@ALIAS or '{ORIGINALS}'")
    test: dict[str, Pair] = {}
    if not inputs and (of_model or ORIGINALS in named.values()):
        test = _prepared_images(project)
    of_inputs: Mapping[str, Path | Pair] = images_by_name(inputs, results) if inputs and of_model else test
    sources: dict[str, Source] = {}
    for number, (label, source) in enumerate(named.items()):
        if label in of_model:
            sources[label] = ModelSource(source, _model_file(source, project, downloads / str(number)), of_inputs)
        else:
            sources[label] = OriginalSource(test) if source == ORIGINALS else FolderSource(source, results)
    _require_equal_names(sources)
    return sources


def _prepared_images(project: Project) -> dict[str, Pair]:
    if not (project.prepared / FILE).exists():
        raise SrganError(
            f"{project.prepared / FILE}: no prepared test images. Name a folder of images with --inputs, or run: dvc repro prepare"
        )
    return {f"{pair.set}/{pair.name}": pair for pair in pairs(project.prepared, "test")}


def _model_file(source: str, project: Project, folder: Path) -> Path:
    if not source.startswith("models:/"):
        return Path(source)
    folder.mkdir(parents=True)
    try:
        registry = optional.load("registry")
    except ImportError as error:
        raise SrganError(f"{source}: needs MLflow ({error}). Install it with: pip install mlflow") from error
    return Path(registry.download(project, source, folder))


def _require_equal_names(sources: Mapping[str, Source]) -> None:
    everything = set().union(*(source.names() for source in sources.values()))
    for label, source in sources.items():
        if missing := sorted(everything - source.names()):
            text = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise SrganError(
                f"{label} ({source.model.source}): has no picture of {text}. Give all sources images of equal names, such as boat.png"
            )
