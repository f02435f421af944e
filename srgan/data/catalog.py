"""What can be fetched: data sets and network weights, with checksums, terms and origin."""

from dataclasses import dataclass
from typing import Literal

from srgan.errors import SrganError
from srgan.params import nearest

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Photo:
    """One image of a data set."""

    file: str
    sha256: str
    split: Split
    licence: str
    group: str = ""  # photographs of one scene share a group, and never part in a split


@dataclass(frozen=True)
class DataSet:
    """A named set of photographs that an installed package carries."""

    name: str
    title: str
    package: str  # the import name of the package
    folder: str  # inside that package
    photos: tuple[Photo, ...]


@dataclass(frozen=True)
class Weights:
    """Pre-trained weights of a scoring network. Any of `files` will do: file name -> SHA-256, or the first digits of it."""

    name: str
    files: dict[str, str]
    url: str
    licence: str


_CC0, _PUBLIC = "CC0-1.0", "public domain"

SAMPLE = DataSet(
    name="sample",
    title="Photographs that ship inside scikit-image",
    package="skimage",
    folder="data",
    # Left out: charts, logos, text and drawings (no photographs), micrographs, and clock_motion (blurred on purpose).
    photos=(
        Photo("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", "test", f"{_PUBLIC} (NASA)"),
        Photo("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", "test", f"{_CC0} (Stefan van der Walt)"),
        Photo("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", "test", f"{_CC0} (Rachel Michetti)"),
        Photo("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf", "train", f"{_CC0} (CC0Textures)"),
        Photo("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a", "train", f"{_CC0} (Lav Varshney)"),
        Photo(
            "coins.png",
            "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
            "train",
            "no known restrictions (Brooklyn Museum)",
        ),
        Photo("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89", "train", _CC0),
        Photo("gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12", "train", f"{_CC0} (CC0Textures)"),
        Photo("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4", "train", f"{_PUBLIC} (NASA)"),
        Photo("moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577", "train", "not stated by scikit-image"),
        Photo(
            "motorcycle_left.png",
            "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
            "train",
            "research (Middlebury Stereo 2014)",
            group="motorcycle",
        ),
        Photo(
            "motorcycle_right.png",
            "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
            "train",
            "research (Middlebury Stereo 2014)",
            group="motorcycle",
        ),
        Photo("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", "train", f"{_CC0} (Häggström)"),
        Photo("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", "train", f"{_PUBLIC} (SpaceX)"),
    ),
)

DATA_SETS = {SAMPLE.name: SAMPLE}

WEIGHTS = {
    "alexnet": Weights(
        name="alexnet",
        files={
            # torchvision's file carries the first digits of its digest in its name.
            "alexnet-owt-7be5be79.pth": "7be5be79",
            "alexnet-features.safetensors": "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        },
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        licence="BSD-3-Clause (torchvision)",
    ),
}


def data_set(name: str) -> DataSet:
    """Look a data set up by name; an unknown one is an error that names the nearest."""
    if name not in DATA_SETS:
        raise SrganError(f"no data set is called '{name}'{nearest(name, tuple(DATA_SETS))}")
    return DATA_SETS[name]
