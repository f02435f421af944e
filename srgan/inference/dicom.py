"""Upscale a DICOM file. It needs the extra ``dicom`` (pydicom).

==========================  =======================================================================================
pixels                      the stored values, from the smallest to the largest valid one. Frames one after the other
padding value               each such pixel becomes `scale` x `scale` pixels, and the model does not see it
pixel spacing, position     smaller spacing. The position is that of the new first pixel
UIDs                        a new instance in a new series. Equal inputs and models give equal UIDs
ImageType                   ``DERIVED`` and ``SECONDARY``, with ``SUPER_RESOLUTION`` as its last value
DerivationDescription       the model, and that the result is not for diagnosis
overlays, regions, icons    left out, as their places are those of the former pixels. So are signatures
transfer syntax             without compression: the same one, or Explicit VR Little Endian for a compressed file
==========================  =======================================================================================
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from srgan import __version__
from srgan.images.write import Options
from srgan.inference.levels import HONEST, Levels, upscale_values
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
# Elements with places in pixels, and signatures of the former content.
LEFT_OUT = (
    "SequenceOfUltrasoundRegions",
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
OVERLAYS, CURVES, SHUTTERS = range(0x6000, 0x6020), range(0x5000, 0x5020), range(0x00181600, 0x00181624)
MARK = "SUPER_RESOLUTION"  # last value of ImageType
MAX_TEXT, MAX_SERIES = 1024, 64  # characters of DerivationDescription and SeriesDescription

log = logging.getLogger(__name__)


def upscale_dicom(
    upscaler: Upscaler, source: Path, target: Path, options: Options, on_tile: Callable[[int, int], None] = lambda done, total: None
) -> tuple[int, int]:
    """Upscale the pixels of a DICOM file by the rules of the table above.

    Memory holds all frames of the result.

    Args:
        upscaler: the model.
        source: the file.
        target: the DICOM file to write. It is replaced as a whole or not at all.
        options: have no effect. The model is always named.
        on_tile: gets the number of finished tiles and of all tiles.

    Returns:
        Width and height of the result.

    Raises:
        SrganError: the file is no DICOM file, has no pixels, or pixels that are not supported.
    """
    dataset, pixels = _read(source)
    frames = pixels if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels[None]
    result = _upscale(upscaler, dataset, frames, on_tile)
    _mark(dataset, upscaler)
    _scale_geometry(dataset, upscaler.scale)
    _remove_places(dataset, source)
    interpretation = "RGB" if result.ndim == 4 else dataset.PhotometricInterpretation
    dataset.set_pixel_data(result if len(result) > 1 else result[0], interpretation, dataset.BitsStored, generate_instance_uid=False)
    if "SmallestImagePixelValue" in dataset and "LargestImagePixelValue" in dataset:
        dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = int(result.min()), int(result.max())
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with atomic_file(target) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return result.shape[2], result.shape[1]


def _read(source: Path) -> tuple[Dataset, np.ndarray]:
    """Return the file and its pixels: `([frames,] H, W[, 3])`."""
    try:
        dataset = pydicom.dcmread(source)
    except InvalidDicomError as error:
        raise SrganError(f"{source}: not a DICOM file with its header. Export it again as DICOM part 10") from error
    except Exception as error:  # damaged elements raise any kind of error
        raise SrganError(f"{source}: a damaged DICOM file ({error}). Replace or remove it") from error
    if "PixelData" not in dataset:
        raise SrganError(f"{source}: a DICOM file without pixels of whole numbers. Remove it from the inputs")
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        raise SrganError(f"{source}: Explicit VR Big Endian, a retired syntax, is not supported. Convert it to Little Endian")
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR" or dataset.get("BitsAllocated") not in (8, 16):
        kind = f"{dataset.get('PhotometricInterpretation')} with {dataset.get('BitsAllocated')} bits"
        raise SrganError(f"{source}: pixels of {kind} are not supported. Convert them to grayscale or RGB of 8 or 16 bits")
    try:
        return dataset, pixel_array(dataset)
    except Exception as error:  # decoders of several packages
        reason = " ".join(str(error).split())[:200]
        advice = "For a compressed file install a decoder: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        raise SrganError(f"{source}: its pixels cannot be read ({reason}). {advice}") from error


def _upscale(upscaler: Upscaler, dataset: Dataset, frames: np.ndarray, on_tile: Callable[[int, int], None]) -> np.ndarray:
    """Return the upscaled frames, `(frames, H, W[, 3])`."""
    scale, done = upscaler.scale, 0
    total = len(frames) * upscaler.tile_count(frames[0])

    def finish_tile() -> None:
        nonlocal done
        done += 1
        on_tile(done, max(total, done))

    on_tile(0, total)
    valid = _valid(dataset, frames)
    padding = None if valid.all() else float(dataset.PixelPaddingValue)
    levels = Levels.of(frames, valid if frames.ndim == 3 else valid[..., None])
    result = np.empty((len(frames), scale * frames.shape[1], scale * frames.shape[2], *frames.shape[3:]), frames.dtype)
    for number, frame in enumerate(frames):
        for top, strip in upscale_values(upscaler, frame, valid[number], levels, finish_tile, padding):
            result[number, top : top + len(strip)] = strip
    return result


def _valid(dataset: Dataset, frames: np.ndarray) -> np.ndarray:
    """Return which pixels are part of the image, `(frames, H, W)`. The others have a padding value (PS3.3 C.7.5.1.1.2)."""
    if frames.ndim == 4 or "PixelPaddingValue" not in dataset:
        return np.ones(frames.shape[:3], bool)
    first = dataset.PixelPaddingValue
    low, high = sorted((first, dataset.get("PixelPaddingRangeLimit", first)))
    return (frames < low) | (frames > high)


def _mark(dataset: Dataset, upscaler: Upscaler) -> None:
    """Describe the file as a derived image of a new series (PS3.3 C.7.6.1.1.2 and C.7.6.1.1.3)."""
    model = f"{upscaler.path.name} (sha256 {upscaler.sha256[:16]})"
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = _coded(codes.DCM.SourceImageForImageProcessingOperation)
    dataset.SourceImageSequence = Sequence([source])
    former = [*dataset.get("ImageType", [])] if not isinstance(dataset.get("ImageType"), str) else [dataset.ImageType]
    rest = [value for value in former[2:] if value != MARK] or ["OTHER"]
    dataset.ImageType = ["DERIVED", "SECONDARY", *rest, MARK]
    dataset.DerivationDescription = f"NOT FOR DIAGNOSIS. Upscaled x{upscaler.scale} by srgan {__version__}, model {model}. {HONEST}"[
        :MAX_TEXT
    ]
    dataset.DerivationCodeSequence = _coded(codes.DCM.SpatialResampling)
    mark = f" x{upscaler.scale} NOT FOR DIAGNOSIS"
    dataset.SeriesDescription = (str(dataset.get("SeriesDescription") or "")[: MAX_SERIES - len(mark)] + mark).strip()
    equipment = Dataset()
    equipment.Manufacturer, equipment.ManufacturerModelName, equipment.SoftwareVersions = "srgan", upscaler.path.name[:64], __version__
    equipment.PurposeOfReferenceCodeSequence = _coded(codes.DCM.ModifyingEquipment)
    dataset.ContributingEquipmentSequence = Sequence([*dataset.get("ContributingEquipmentSequence", []), equipment])
    # Of equal inputs the results are equal, so their UIDs may be. The slices of a series stay together.
    for key in ("SOPInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, key, generate_uid(entropy_srcs=[str(dataset.get(key, "")), upscaler.sha256, __version__]))


def _coded(code: Any) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return Sequence([item])


def _scale_geometry(dataset: Dataset, scale: int) -> None:
    """Set the spacing of the new pixels and the place of the first one (PS3.3 C.7.6.2.1.1)."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    for group in [dataset, *dataset.get("SharedFunctionalGroupsSequence", []), *dataset.get("PerFrameFunctionalGroupsSequence", [])]:
        measures, place = _first(group, "PixelMeasuresSequence") or group, _first(group, "PlanePositionSequence") or group
        spacing = measures.get("PixelSpacing") or (_first(shared, "PixelMeasuresSequence") or Dataset()).get("PixelSpacing")
        plane = _first(group, "PlaneOrientationSequence") or _first(shared, "PlaneOrientationSequence") or group
        if spacing and plane.get("ImageOrientationPatient") and place.get("ImagePositionPatient"):
            # The shared groups come first, so per-frame groups without a spacing of their own see the new one.
            size = np.array([float(value) for value in spacing]) * (scale if measures.get("PixelSpacing") is None else 1)
            along = np.array([float(value) for value in plane.ImageOrientationPatient]).reshape(2, 3)
            shift = (1 / scale - 1) / 2 * (size[1] * along[0] + size[0] * along[1])
            moved = np.array([float(value) for value in place.ImagePositionPatient]) + shift
            place.ImagePositionPatient = [_decimal(value) for value in moved]
        for holder in {id(each): each for each in (group, measures)}.values():
            for key in SPACINGS:
                if holder.get(key):
                    setattr(holder, key, [_decimal(float(value) / scale) for value in holder[key].value])


def _first(dataset: Dataset | None, key: str) -> Dataset | None:
    """Return the only item of a sequence, None if there is none."""
    items = dataset.get(key) if dataset is not None else None
    return items[0] if items else None


def _decimal(value: float) -> str:
    """Return a number as a decimal string of at most 16 characters (PS3.5, 6.2)."""
    return next(text for digits in range(15, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)


def _remove_places(dataset: Dataset, source: Path) -> None:
    """Remove the elements that hold places in the former pixels."""
    gone = [element for element in dataset if element.tag in SHUTTERS or element.tag.group in OVERLAYS or element.tag.group in CURVES]
    gone += [dataset[key] for key in LEFT_OUT if key in dataset]
    for element in gone:
        del dataset[element.tag]
    if names := list(dict.fromkeys(element.name for element in gone)):
        log.warning("%s: not in the result: %s", source, "; ".join(names[:8]))
