"""Metadata of an `.onnx` file (contract 1, docs/onnx.md), checked before use."""

from dataclasses import dataclass
from pathlib import Path

from srgan.inference.tiling import Padding
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json_or_none

CONTRACT = "1"  # of files and of `contract_metadata`
EXPORT = Path("reports", "export.json")  # next to models/: digests of the pipeline's files
TEXTS = ("sr.arch", "sr.name", "sr.precision", "sr.objective", "sr.tool_version", "sr.train_run")  # for the provenance of images
CHANNELS = {"RGB": 3, "Y": 1}  # by `sr.color`
MAX_TEXT_LENGTH = 200
DEFAULT_BYTES_PER_PIXEL = 8192  # of files without `sr.memory_per_pixel`


@dataclass(frozen=True)
class Contract:
    """Entries of a file that the upscaler needs.

    Attributes:
        scale: size of the output / size of the input.
        tile_overlap: input pixels around a pixel that its result depends on, in each direction.
        memory_per_pixel: bytes of activations for each pixel of the input.
        multiple_of: pixels to a multiple of which the model pads its input. Tiles begin at such multiples.
        channels: of its images: 3 for RGB, or 1 for the luma alone.
        padding: the pixels that it adds: the last row and column (``edge``) or the mirrored image (``reflect``).
        adds_colour: the result of a grey image has colours.
        follows_hints: colours in the input are hints for the colours of the result.
    """

    scale: int
    tile_overlap: int
    memory_per_pixel: float
    adds_colour: bool = False
    follows_hints: bool = False
    multiple_of: int = 1
    padding: Padding = "edge"
    channels: int = 3


def read_contract(path: Path, metadata: dict[str, str]) -> Contract:
    """Read the `sr.*` entries of a model file.

    Args:
        path: the file, for messages.
        metadata: its entries.

    Raises:
        SrganError: the file is not of contract 1, or an entry is missing or invalid.
    """
    version = metadata.get("sr.contract")
    if version != CONTRACT:
        raise SrganError(f"{path}: not a model of contract 1 (sr.contract is {version}). Make one with: srgan export CHECKPOINT")

    def number(key: str, least: int, most: int) -> int:
        text = metadata.get(key)
        if text is None or not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
            raise SrganError(
                f"{path}: its entry {key} is {shortened(text)}, expected is a whole number from {least} to {most}; "
                "export the model again: srgan export CHECKPOINT"
            )
        return int(text)

    for key in TEXTS:
        text = metadata.get(key)
        if (text is None and key == "sr.arch") or (text is not None and not (text.isprintable() and len(text) <= MAX_TEXT_LENGTH)):
            raise SrganError(
                f"{path}: its entry {key} is {shortened(text)}, expected are at most {MAX_TEXT_LENGTH} printable characters; "
                "export the model again: srgan export CHECKPOINT"
            )
    needed = number("sr.memory_per_pixel", 1, 10**9) if "sr.memory_per_pixel" in metadata else DEFAULT_BYTES_PER_PIXEL
    colour = metadata.get("sr.color_out") == "RGB", metadata.get("sr.hints") == "1"
    multiple_of = number("sr.multiple_of", 1, 256) if "sr.multiple_of" in metadata else 1
    padding: Padding = "reflect" if metadata.get("sr.padding") == "reflect" else "edge"
    if metadata.get("sr.color", "RGB") not in CHANNELS:
        raise SrganError(f"{path}: its entry sr.color is {shortened(metadata['sr.color'])}, expected is {' or '.join(CHANNELS)}")
    channels = CHANNELS[metadata.get("sr.color", "RGB")]
    scale, overlap = number("sr.scale", 1, 16), number("sr.tile_overlap", 0, 4096)
    return Contract(scale, overlap, needed, *colour, multiple_of=multiple_of, padding=padding, channels=channels)


def shortened(text: str | None) -> str:
    """Return a text of a file for a message."""
    return "missing" if text is None else ascii(text if len(text) <= 40 else text[:40] + "...")


def check_digest(path: Path, digest: str) -> None:
    """Compare a file of ``models/`` or ``models/reduced/`` with its digest in ``reports/export.json``, if there is one.

    Args:
        path: the model file.
        digest: its SHA-256.

    Raises:
        SrganError: they differ.
    """
    folder = path.parent.parent if path.parent.name == "reduced" else path.parent
    if folder.name != "models":
        return
    recorded = read_json_or_none(folder.parent / EXPORT)
    exported = recorded if isinstance(recorded, dict) else {}
    reduced = exported.get("reduced")
    for entry in (exported, *(reduced.values() if isinstance(reduced, dict) else ())):
        if isinstance(entry, dict) and entry.get("file") == path.name and entry.get("sha256") not in (None, digest):
            raise SrganError(
                f"{path}: not the file that was exported: its SHA-256 is {digest[:12]}..., in {EXPORT.as_posix()} it is "
                f"{str(entry['sha256'])[:12]}. It is damaged or was replaced. Restore it with: dvc checkout --force {path.parent}. Or "
                "export it again with: dvc repro --force --single-item export. To use it as it is, copy it to another folder"
            )
