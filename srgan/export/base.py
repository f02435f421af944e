"""The description of export formats, and of the weights that they get."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from srgan.models.network import Generator
from srgan.models.registry import architecture_of
from srgan.utils.files import atomic_file, copy


@dataclass(frozen=True)
class Source:
    """Weights to be exported.

    Attributes:
        generator: the network in evaluation mode.
        metadata: `sr.*` entries for files that can hold them.
        name: part of the file names.
        scratch: folder for temporary files, which the formats of one export share.
        runtime: folder with the npm package onnxruntime-web, for `web`. None downloads it.
    """

    generator: Generator
    metadata: dict[str, str]
    name: str
    scratch: Path
    runtime: Path | None = None

    @property
    def arch(self) -> str:
        """Return the name of the network."""
        return architecture_of(self.generator)[0]

    @property
    def stem(self) -> str:
        """Return the name of the files without precision and suffix, for example ``4x-demo-compact``."""
        return f"{self.generator.scale}x-{self.name}-{self.arch}"


def deliver(path: Path, folder: Path) -> Path:
    """Copy a file from a scratch folder into the folder of the user, as a whole, and return its new path."""
    with atomic_file(folder / path.name) as temporary:
        copy(path, temporary)
    return folder / path.name


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        name: value of ``srgan export --to``.
        write: write the files of a source into a folder and return their paths. It raises `SrganError` if the format does not support
            the network, or if the results of the file differ too much.
        description: contents of the files, for the docs.
        consumers: programs that use the format, for the docs.
    """

    name: str
    write: Callable[[Source, Path], list[Path]]
    description: str
    consumers: str
