"""Files whose values and places count: GeoTIFF and DICOM. Here they are recognised, and go to the module that upscales them."""

import contextlib
import functools
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tifffile

from srgan.images.write import Options
from srgan.inference.levels import HONEST
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.utils.files import copy_dates

Kind = Literal["geotiff", "dicom"]

DICOM_SUFFIXES, TIFF_SUFFIXES = (".dcm", ".dicom"), (".tif", ".tiff")
NAMES: dict[Kind, str] = {"geotiff": "GeoTIFF", "dicom": "DICOM"}
SUFFIXES: dict[Kind, str] = {"geotiff": ".tif", "dicom": ".dcm"}  # of results
PACKAGES: dict[Kind, str] = {"geotiff": "rasterio", "dicom": "pydicom"}
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# ModelPixelScale, ModelTiepoint, ModelTransformation and GeoKeyDirectory (OGC 19-008r4, 7.1 and 7.2).
GEO_TAGS = (33550, 33922, 34264, 34735)

log = logging.getLogger(__name__)


def kind_of(source: Path) -> Kind | None:
    """Return the kind of a file: DICOM by its suffix or its header, GeoTIFF by its tags or its world file. None for photographs."""
    if not source.is_file():
        return None
    head = b""
    with contextlib.suppress(OSError), source.open("rb") as file:
        head = file.read(132)
    if source.suffix.lower() in DICOM_SUFFIXES or head[128:] == b"DICM":
        return "dicom"
    return "geotiff" if head.startswith(TIFF_HEADS) and _has_georeference(source) else None


def _has_georeference(source: Path) -> bool:
    with contextlib.suppress(Exception), tifffile.TiffFile(source) as tiff:  # of a damaged file the decoder of photographs reports it
        return any(tag in tiff.pages.first.tags for tag in GEO_TAGS) or source.with_suffix(".tfw").is_file()
    return False


def suffix_of(source: Path) -> str:
    """Return the suffix of a result without a name: ``.png``, but a GeoTIFF and a DICOM file keep their kind."""
    kind = kind_of(source)
    return SUFFIXES[kind] if kind else ".png"


def kept_kind(source: Path, target: Path) -> Kind | None:
    """Return the kind that a result keeps. A GeoTIFF that becomes another format loses its georeference and is a photograph.

    Raises:
        SrganError: a DICOM file would become another format.
    """
    kind = kind_of(source)
    if kind == "dicom" and target.suffix.lower() not in DICOM_SUFFIXES:
        raise SrganError(f"{target}: the result of a DICOM file is a DICOM file. Name it {target.with_suffix('.dcm')}")
    if kind == "geotiff" and target.suffix.lower() not in TIFF_SUFFIXES:
        log.warning("%s: not in the result: the georeference, which only .tif holds", source)
        return None
    return kind


def pixels_of(kind: Kind, source: Path) -> int:
    """Return the number of pixels of a file by its header, those of all frames for DICOM.

    Raises:
        SrganError: the header is damaged, or the package for the kind is missing.
    """
    _require(kind, source)
    try:
        if kind == "geotiff":
            with tifffile.TiffFile(source) as tiff:
                return tiff.pages.first.imagewidth * tiff.pages.first.imagelength
        from pydicom import dcmread  # optional

        header = dcmread(source, stop_before_pixels=True)
        return int(header.get("Rows") or 0) * int(header.get("Columns") or 0) * int(header.get("NumberOfFrames") or 1)
    except Exception as error:  # the readers raise many kinds for damaged files
        raise SrganError(f"{source}: a damaged {NAMES[kind]} file. Replace or remove it") from error


def _require(kind: Kind, source: Path) -> None:
    package = PACKAGES[kind]
    if importlib.util.find_spec(package) is None:
        other = ". Or write another format, without the georeference: -o result.png" if kind == "geotiff" else ""
        raise SrganError(f"{source}: needs the package {package}. Install it with: pip install 'srgan[{kind}]'{other}")


def upscale_scientific(
    kind: Kind,
    upscaler: Upscaler,
    source: Path,
    target: Path,
    options: Options = Options(),  # noqa: B008 (it is immutable)
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Upscale a GeoTIFF or a DICOM file, see `srgan.inference.geotiff` and `srgan.inference.dicom`.

    Args:
        kind: of the file, see `kind_of`.
        upscaler: the model.
        source: the file.
        target: the file of the same kind to write.
        options: how the result is written.
        on_tile: gets the number of finished tiles and of all tiles.

    Returns:
        Width and height of the result.

    Raises:
        SrganError: the package for the kind is missing, another size than that of the model is wanted, or the file does not fit.
    """
    _require(kind, source)
    if upscaler.adds_colour:
        raise SrganError(f"{source}: {upscaler.path.name} adds colors, which no sensor has measured. Use another model")
    if options.size or options.outscale not in (None, upscaler.scale):
        later = ". Then resize the result with gdalwarp -tr" if kind == "geotiff" else ""
        raise SrganError(f"{source}: a {NAMES[kind]} file gets the scale of the model, x{upscaler.scale}. Leave out other sizes{later}")
    _warn_once()
    # The packages are optional, so these modules are imported late.
    if kind == "geotiff":
        from srgan.inference.geotiff import upscale_geotiff as upscale
    else:
        from srgan.inference.dicom import upscale_dicom as upscale
    size = upscale(upscaler, source, target, options, on_tile)
    if options.keep_dates:
        copy_dates(source, target)
    return size


@functools.cache
def _warn_once() -> None:
    log.warning("%s", HONEST)
