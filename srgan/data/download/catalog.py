"""The catalogue of data sets and network weights, read from ``catalog.yaml``, and the addresses of their files."""

import importlib.util
import os
import urllib.parse
from collections.abc import Collection
from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from srgan.utils.addresses import without_secrets
from srgan.utils.cache import expand_home
from srgan.utils.files import sha256

Split = Literal["train", "test"]
QUOTED = ("http://", "https://", "file://")
_STRICT = ConfigDict(extra="forbid")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML is built with libyaml


@dataclass(frozen=True, config=_STRICT)
class File:
    """An archive or an image."""

    urls: tuple[str, ...]  # addresses of the same bytes, tried in order. ``package:NAME/...`` is a file of an installed package
    size: int = 0  # bytes, 0 if unknown
    sha256: str = ""  # or its first digits, empty if unknown
    path: str = ""  # below the data set's folder. Default: the last part of the first address
    licence: str = ""  # default: the licence of the data set
    group: str = ""  # images of one scene share a group and stay in the same part of a split
    # Layer -> factor that gives its features the magnitude of those of the first file. Empty for the weights of the first file.
    factors: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """`path`, or the last part of the first address."""
        return self.path or PurePosixPath(urllib.parse.unquote(self.urls[0].split("?")[0])).name

    @property
    def local(self) -> Path | None:
        """The path of a file on this machine, None for an address of another machine."""
        return local_path(self.urls[0])

    def provides(self, layers: Collection[str]) -> bool:
        """Return True if a loss on these layers has the magnitude that it has with the first file."""
        return not self.factors or set(layers) <= set(self.factors)

    def matches(self, path: Path) -> bool:
        """Return True if a file has the published SHA-256, or none is published."""
        return not self.sha256 or sha256(path).startswith(self.sha256)


@dataclass(frozen=True, config=_STRICT)
class Source:
    """Files that together hold one split of a data set."""

    files: tuple[File, ...]
    inside: tuple[str, ...] = ("*",)  # patterns of the images' paths in an archive. ``*`` matches ``/`` too
    images: str = ""  # published digest of the images (see `datasets.digest_of`), for files without SHA-256
    label: str = ""  # default: the first address

    @property
    def place(self) -> str:
        """The label for messages, without passwords."""
        return self.label or without_secrets(self.files[0].urls[0]) + (" and others" if len(self.files) > 1 else "")

    @property
    def verified(self) -> bool:
        """True if published digests cover all images."""
        return bool(self.images) or all(file.sha256 for file in self.files)


@dataclass(frozen=True, config=_STRICT)
class DataSet:
    """A named set of images."""

    name: str
    title: str
    licence: str  # the publishers' terms in short
    citation: str = ""
    homepage: str = ""
    counts: dict[Split, int] = Field(default_factory=dict)  # images of each split. Empty for the user's own sets
    sources: dict[Split, tuple[Source, ...]] = Field(default_factory=dict)  # tried in order
    folders: dict[Split, tuple[str, ...]] = Field(default_factory=dict)  # subfolders of a mirror's ``datasets/NAME/``
    folder: Path | None = None  # the user's own folder of images
    hr: str = ""  # its subfolder of HR images, if the user names one
    lr: str = ""  # its subfolder of LR images
    packages: str = ""  # the installed packages that ship the images
    reference: bool = True  # False for images without originals, which are inputs themselves


@dataclass(frozen=True, config=_STRICT)
class Weights:
    """Pre-trained weights of a network for a loss or a metric. Any of the files is enough."""

    name: str
    title: str
    licence: str
    files: tuple[File, ...]


CATALOG: dict[str, Any] = yaml.load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"), Loader=_LOADER)
DATA_SETS = {name: DataSet(name=name, **values) for name, values in CATALOG["data_sets"].items()}
WEIGHTS = {name: Weights(name=name, **values) for name, values in CATALOG["weights"].items()}


def local_path(address: str) -> Path | None:
    """Return the path behind a path, ``file://`` or ``package:NAME/...``. Return None for an address of another machine."""
    if address.startswith("package:"):
        name, _, inner = address.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(name)
        return Path((spec and spec.origin) or name).parent / inner
    if address.startswith("file://"):
        return Path(os.fsdecode(urllib.parse.unquote_to_bytes(urllib.parse.urlparse(address).path)))
    return None if "://" in address else Path(address)


def mirror() -> str:
    """Return ``SRGAN_MIRROR`` as an address, which is tried first, or an empty text. It may contain a password."""
    place = os.environ.get("SRGAN_MIRROR", "")
    return place.rstrip("/") if "://" in place or not place else expand_home(place).resolve().as_uri()


def in_mirror(name: str) -> str:
    """Return the address of a file of the mirror. Only web servers and ``file://`` expect quoted names."""
    place = mirror()
    return f"{place}/{urllib.parse.quote(os.fsencode(name)) if place.startswith(QUOTED) else name}"
