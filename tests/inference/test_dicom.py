"""DICOM files, upscaled and opened again with pydicom."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless, generate_uid

from srgan.images.write import Options
from srgan.inference import batch, scientific
from srgan.inference.dicom import MARK
from srgan.inference.scientific import kept_kind, kind_of, suffix_of, upscale_scientific
from srgan.utils.errors import SrganError
from tests.helpers.scientific import slice_of
from tests.helpers.smooth import smooth_upscaler

ACROSS, DOWN = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 30))


@pytest.fixture(scope="module", params=[1, 3])
def model(request, tmp_path_factory):
    return smooth_upscaler(tmp_path_factory.mktemp("models"), request.param)


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    return smooth_upscaler(tmp_path_factory.mktemp("models"), 1)


def upscaled(model, source, target):
    width, height = upscale_scientific("dicom", model, source, target)
    result = pydicom.dcmread(target)
    assert (result.Columns, result.Rows) == (width, height)
    return result


def means(image):
    return image.astype(float).reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2).mean((1, 3))


def test_a_real_slice_keeps_its_values_and_its_place(model, tmp_path):
    source = tmp_path / "ct.dcm"
    source.write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    before, result = pydicom.dcmread(source), upscaled(model, source, tmp_path / "big.dcm")
    assert result.pixel_array.dtype == before.pixel_array.dtype == np.int16
    assert np.abs(means(result.pixel_array) - before.pixel_array)[3:-3, 3:-3].mean() < 25  # of a range of 2063
    assert [float(value) for value in result.PixelSpacing] == [float(value) / 2 for value in before.PixelSpacing]
    assert (result.RescaleSlope, result.RescaleIntercept, result.PatientID) == (
        before.RescaleSlope,
        before.RescaleIntercept,
        before.PatientID,
    )


def test_the_result_says_that_it_is_derived_and_not_for_diagnosis(gray, tmp_path):
    source = slice_of(tmp_path / "a.dcm", (ACROSS * 4095).astype(np.uint16), SeriesDescription="Thorax " * 9)
    before, result = pydicom.dcmread(source), upscaled(gray, source, tmp_path / "b.dcm")
    assert list(result.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", MARK]
    assert result.DerivationDescription.startswith("NOT FOR DIAGNOSIS. Upscaled x2")
    assert "no diagnostic device" in result.DerivationDescription
    assert gray.sha256[:16] in result.DerivationDescription
    assert result.SeriesDescription.endswith("x2 NOT FOR DIAGNOSIS")
    assert len(result.SeriesDescription) <= 64
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert result.DerivationCodeSequence[0].CodeMeaning == "Spatial resampling"
    assert result.ContributingEquipmentSequence[0].Manufacturer == "srgan"
    for key in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert result[key].value != before[key].value
    assert result.StudyInstanceUID == before.StudyInstanceUID
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    again = upscaled(gray, source, tmp_path / "c.dcm")
    assert (tmp_path / "b.dcm").read_bytes() == (tmp_path / "c.dcm").read_bytes()
    assert again.SOPInstanceUID == result.SOPInstanceUID


def test_the_position_is_that_of_the_first_new_pixel(gray, tmp_path):
    source = slice_of(tmp_path / "a.dcm", (ACROSS * 4095).astype(np.uint16))
    result = upscaled(gray, source, tmp_path / "b.dcm")
    assert [float(value) for value in result.PixelSpacing] == [0.25, 0.375]
    # A quarter of the former pixel towards the corner: 0.75 mm along x, 0.5 mm along -z.
    assert [float(value) for value in result.ImagePositionPatient] == pytest.approx([10 - 0.75 / 4, 20, 30 + 0.5 / 4])


def test_frames_keep_shared_and_own_places(gray, tmp_path):
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = [1, 2], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    frames = []
    for number in range(2):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, number]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    pixels = np.stack([ACROSS * 1000, DOWN * 4095]).astype(np.uint16)
    more = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}
    result = upscaled(gray, slice_of(tmp_path / "a.dcm", pixels, **more), tmp_path / "b.dcm")
    assert result.NumberOfFrames == 2
    for before, after in zip(pixels, result.pixel_array, strict=True):
        assert np.abs(means(after) - before)[3:-3, 3:-3].max() < 60
    assert list(result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing) == [0.5, 1]
    for number, frame in enumerate(result.PerFrameFunctionalGroupsSequence):
        assert [float(value) for value in frame.PlanePositionSequence[0].ImagePositionPatient] == [-0.5, -0.25, number]


def test_padding_stays_padding_and_is_not_seen(gray, tmp_path):
    pixels = (1000 + 200 * ACROSS).astype(np.int16)
    pixels[:10, :10] = -2000
    source = slice_of(tmp_path / "a.dcm", pixels, bits=16)
    dataset = pydicom.dcmread(source)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.save_as(source)
    result = upscaled(gray, source, tmp_path / "b.dcm").pixel_array
    gone = (pixels == -2000).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(result == -2000, gone)
    assert result[~gone].min() > 990


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_files_become_uncompressed(gray, tmp_path, syntax):
    pixels = (ACROSS * 255).astype(np.uint8)
    source = slice_of(tmp_path / "a.dcm", pixels, bits=8)
    dataset = pydicom.dcmread(source)
    if syntax == RLELossless:
        dataset.compress(syntax)
        dataset.save_as(source)
        result = upscaled(gray, source, tmp_path / "b.dcm")
        assert result.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert np.abs(means(result.pixel_array) - pixels)[3:-3, 3:-3].max() < 3
        return
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate([b"no codestream"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(source)
    with pytest.raises(SrganError, match=r"a\.dcm: its pixels cannot be read .* pip install pylibjpeg"):
        upscaled(gray, source, tmp_path / "b.dcm")


def test_colours_stay_colours(model, tmp_path):
    pixels = np.dstack([ACROSS * 255, DOWN * 255, 255 - ACROSS * 255]).astype(np.uint8)
    result = upscaled(model, slice_of(tmp_path / "a.dcm", pixels, "RGB", 8), tmp_path / "b.dcm")
    assert result.PhotometricInterpretation == "RGB"
    small = result.pixel_array.astype(float).reshape(30, 2, 40, 2, 3).mean((1, 3))
    assert np.abs(small - pixels)[3:-3, 3:-3].max() < 5


def test_what_has_places_in_former_pixels_is_left_out(gray, tmp_path, caplog):
    source = slice_of(tmp_path / "a.dcm", (ACROSS * 4095).astype(np.uint16))
    dataset = pydicom.dcmread(source)
    dataset.add_new(0x60000010, "US", 30)
    dataset.add_new(0x60003000, "OW", b"\0" * 150)
    dataset.add_new(0x00181602, "IS", "3")  # ShutterLeftVerticalEdge
    dataset.SequenceOfUltrasoundRegions = [Dataset()]
    dataset.add_new("SmallestImagePixelValue", "US", 0)
    dataset.add_new("LargestImagePixelValue", "US", 4095)
    dataset.save_as(source)
    result = upscaled(gray, source, tmp_path / "b.dcm")
    assert not any(tag in result for tag in (0x60000010, 0x60003000, 0x00181602, "SequenceOfUltrasoundRegions"))
    assert "not in the result: Shutter Left Vertical Edge; Overlay Rows; Overlay Data; Sequence of Ultrasound Regions" in caplog.text
    assert result.LargestImagePixelValue == result.pixel_array.max()


def test_what_is_no_slice_is_a_plain_error(gray, tmp_path):
    pixels = (ACROSS * 255).astype(np.uint8)
    cases = {"not a DICOM file with its header": b"no DICOM", "without pixels": None, "PALETTE COLOR with 8 bits": pixels}
    for message, content in cases.items():
        source = tmp_path / "a.dcm"
        if isinstance(content, bytes):
            source.write_bytes(content)
        else:
            dataset = pydicom.dcmread(slice_of(source, pixels, bits=8))
            if content is None:
                del dataset.PixelData
            else:
                dataset.PhotometricInterpretation = "PALETTE COLOR"
            dataset.save_as(source)
        with pytest.raises(SrganError, match=message):
            upscaled(gray, source, tmp_path / "b.dcm")
        assert not (tmp_path / "b.dcm").exists()
    with pytest.raises(SrganError, match=r"a DICOM file gets the scale of the model, x2\. Leave out other sizes"):
        upscale_scientific("dicom", gray, slice_of(source, pixels, bits=8), tmp_path / "b.dcm", Options(outscale=3))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_slice_is_a_plain_error(gray, tmp_path, share):
    source = slice_of(tmp_path / "a.dcm", (ACROSS * 4095).astype(np.uint16))
    content = source.read_bytes()
    source.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SrganError, match=r"a\.dcm: "):
        upscaled(gray, source, tmp_path / "b.dcm")


def test_a_file_without_suffix_is_recognised_and_other_formats_are_refused(tmp_path):
    source = slice_of(tmp_path / "IM0001", (ACROSS * 4095).astype(np.uint16))
    assert (kind_of(source), suffix_of(source)) == ("dicom", ".dcm")
    with pytest.raises(SrganError, match=r"the result of a DICOM file is a DICOM file\. Name it .*x\.dcm"):
        kept_kind(source, tmp_path / "x.png")


def test_a_missing_package_is_named_with_its_command(gray, tmp_path, monkeypatch):
    monkeypatch.setitem(scientific.PACKAGES, "dicom", "no_such_package")
    source = slice_of(tmp_path / "a.dcm", (ACROSS * 4095).astype(np.uint16))
    with pytest.raises(SrganError, match=r"a\.dcm: needs the package no_such_package\. Install it with: pip install 'srgan\[dicom\]'$"):
        upscale_scientific("dicom", gray, source, tmp_path / "b.dcm")


def test_a_series_in_a_folder_stays_a_series(gray, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for number in range(2):
        dataset = pydicom.dcmread(slice_of(raw / f"{number}.dcm", (ACROSS * 4095).astype(np.uint16)))
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        dataset.save_as(raw / f"{number}.dcm")
    (raw / "2.dcm").write_bytes(b"damaged")
    failures = batch.run(gray, batch.plan([str(raw)], str(out)), Options())
    assert len(failures) == 1
    assert "2.dcm: not a DICOM file" in failures[0]
    results = [pydicom.dcmread(out / f"{number}.dcm") for number in range(2)]
    assert results[0].SeriesInstanceUID == results[1].SeriesInstanceUID
    assert results[0].SOPInstanceUID != results[1].SOPInstanceUID
