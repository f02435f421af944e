"""Suffixes of image files. This module imports no decoder, so that the command line can name the formats."""

from typing import Literal

WrittenSuffix = Literal["png", "jpg", "webp", "tif", "avif", "jxl"]  # one name a format
# The format of each suffix that results may have.
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff", ".avif": "avif", ".jxl": "jxl"}
# The suffix of a result in the format of its image, by Pillow's name. Others get .png.
SUFFIXES_BY_FORMAT = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif", "JXL": ".jxl"}
