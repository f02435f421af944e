"""Upscale the GeoTIFF or DICOM file of a job with its georeference or its geometry."""

from srgan.demo.messages import without_paths
from srgan.inference.levels import HONEST
from srgan.inference.scientific import NAMES, SUFFIXES, TIFF_SUFFIXES, Kind, kind_of, pixels_of, upscale_scientific
from srgan.service.limits import Refused, megapixels
from srgan.service.model import Loaded
from srgan.service.work import OnTile, Order, Result, Stop

MEDIA_TYPES: dict[Kind, str] = {"geotiff": "image/tiff", "dicom": "application/dicom"}


def kept_kind(order: Order) -> Kind | None:
    """Return the kind that the result of an order keeps. A GeoTIFF that becomes another format is a photograph.

    Raises:
        Refused: a DICOM file would become another format.
    """
    kind = kind_of(order.source)
    if kind == "dicom" and order.suffix:
        raise Refused(422, "the result of a DICOM file is a DICOM file. Choose the format of the file itself")
    return None if kind == "geotiff" and order.suffix not in (None, *TIFF_SUFFIXES) else kind


def upscale(kind: Kind, loaded: Loaded, order: Order, stop: Stop, on_tile: OnTile) -> Result:
    """Upscale a file. The result is next to it.

    Raises:
        Refused: the file is too large, damaged or cannot be upscaled, or a package is missing.
        Cancelled: the client has gone.
    """
    stop.begin()
    target = order.source.with_name(f"result{SUFFIXES[kind]}")

    def checked(done: int, total: int) -> None:
        stop.check(done, total)
        on_tile(done, total)

    with without_paths(order.source, target, f"the {NAMES[kind]} file") as warnings:
        pixels = pixels_of(kind, order.source)
        if pixels > order.pixels:
            raise Refused(413, f"the {NAMES[kind]} file has {megapixels(pixels)}, and at most {megapixels(order.pixels)} are taken")
        width, height = upscale_scientific(kind, loaded.upscaler, order.source, target, order.options, checked)
    before = width // loaded.upscaler.scale, height // loaded.upscaler.scale
    return Result(target, MEDIA_TYPES[kind], (width, height), [HONEST, *warnings], loaded, before)
