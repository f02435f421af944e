"""Small DICOM and GeoTIFF files."""

import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ORIGIN, PIXEL = (500_000.0, 5_500_000.0), 10.0  # of `scene_of`, in meters
UTM32 = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632)  # the keys of EPSG:32632


def slice_of(path, pixels, interpretation="MONOCHROME2", bits=12, **elements):
    """Write a slice of a scanner: pixels `([frames,] H, W[, 3])`."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = (generate_uid(entropy_srcs=[text]) for text in "abc")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.ImageType, dataset.PatientName = ["ORIGINAL", "PRIMARY", "AXIAL"], "Test^Case"
    dataset.PixelSpacing, dataset.ImagePositionPatient = [0.5, 0.75], [10, 20, 30]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    dataset.set_pixel_data(pixels, interpretation, bits, generate_instance_uid=False)
    for key, value in elements.items():
        setattr(dataset, key, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def scene_of(path, pixels):
    """Write a GeoTIFF in UTM zone 32: pixels `(H, W)` or `(H, W, 3)`."""
    tags = [(33550, "d", 3, (PIXEL, PIXEL, 0.0)), (33922, "d", 6, (0.0, 0.0, 0.0, *ORIGIN, 0.0)), (34735, "H", len(UTM32), UTM32)]
    tifffile.imwrite(path, pixels, extratags=[(*tag, True) for tag in tags], metadata=None)
    return path
