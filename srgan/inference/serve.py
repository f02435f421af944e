"""The registered model as a service: the bytes of image files in, those of the enlarged ones out.

MLflow runs this file where the model is served, with this package beside it: ``mlflow models serve -m models:/srgan-x4@champion``.

Environment variables limit what a stranger's request can cost:

====================================  ===================================================================  =======
SRGAN_SERVICE_PIXELS                  of an image; checked before it is decoded                            25000000
SRGAN_SERVICE_REQUESTS                that are worked on at once; others are answered with status 429      2
MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT seconds; the work ends with the answer, between two tiles            60
====================================  ===================================================================  =======
"""

import logging
import os
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_EXHAUSTED
from PIL import Image

from srgan.images.formats import FORMATS_READ
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}  # of others: .png
PIXELS, REQUESTS = "SRGAN_SERVICE_PIXELS", "SRGAN_SERVICE_REQUESTS"

log = logging.getLogger(__name__)


class Refused(MlflowException):
    """An answer that is one sentence: MLflow would put the request's data in front of it."""

    @property
    def message(self) -> str:  # type: ignore[override]
        """The sentence."""
        return str(self.args[0])

    @message.setter
    def message(self, _: str) -> None:
        pass


class Images(mlflow.pyfunc.PythonModel):
    """A table with the column `image`, the bytes of files, to one of the same form; format and metadata stay, as for `srgan upscale`."""

    def load_context(self, context: Any) -> None:
        """Load the `.onnx` file."""
        self.upscaler = Upscaler(context.artifacts["model"])
        self.pixels = _limit(PIXELS, 25_000_000)
        self.requests = _limit(REQUESTS, 2)
        self.free = threading.BoundedSemaphore(self.requests)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Enlarge each image.

        Raises:
            Refused: an image cannot be read or is too large, the time is over, or too many requests are worked on.
        """
        end = time.monotonic() + MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()
        if not self.free.acquire(blocking=False):
            raise Refused(f"{self.requests} requests are worked on; try again later", error_code=RESOURCE_EXHAUSTED)
        try:
            return pd.DataFrame({"image": [self._enlarged(content, end) for content in model_input["image"]]})
        except SrganError as error:
            raise Refused(str(error), error_code=INVALID_PARAMETER_VALUE) from error
        except Exception as error:
            log.exception("an image could not be enlarged")
            raise Refused("the image could not be enlarged; the server's log says why", error_code=INTERNAL_ERROR) from error
        finally:
            self.free.release()

    def _enlarged(self, content: bytes, end: float) -> bytes:
        suffix = ".png"
        try:
            with Image.open(BytesIO(content), formats=FORMATS_READ) as image:
                suffix, (width, height) = SUFFIXES.get(image.format or "", ".png"), image.size
        except Image.UnidentifiedImageError:
            width = height = 0  # `upscale_file` says what it is
        except Image.DecompressionBombError as error:
            raise SrganError(f"the image: more pixels than the {self.pixels:,} that this service takes ({PIXELS})") from error
        if width * height > self.pixels:
            raise SrganError(f"the image: {width}x{height} pixels; this service takes {self.pixels:,} pixels at most ({PIXELS})")

        def in_time(done: int, total: int) -> None:
            if time.monotonic() > end:
                raise SrganError(f"the image: the time of a request is over after {done} of {total} tiles; send a smaller image")

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / f"enlarged{suffix}"
            try:
                upscale_file(self.upscaler, BytesIO(content), target, told=in_time)
            except SrganError as error:  # no paths of this machine
                raise SrganError(str(error).replace(str(target), target.name)) from error
            return target.read_bytes()


def _limit(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise SrganError(f"{name}={text}: needs a whole number of at least 1")
    return int(text)


mlflow.models.set_model(Images())
