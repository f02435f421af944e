"""Serve the registered model: image files in, image files out that are upscaled, restored or colorized.

MLflow runs this file with this package to serve the model: ``mlflow models serve -m models:/srgan-x4@champion``.

Environment variables limit the cost of a request:

====================================  ===================================================================  =======
SRGAN_SERVICE_PIXELS                  pixels of an image, checked before it is decoded                     25000000
SRGAN_SERVICE_REQUESTS                at the same time. Others get status 429                              2
MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT seconds. The work stops between two tiles                            60
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

from srgan.images.read import peek
from srgan.images.suffixes import SUFFIXES_BY_FORMAT
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError

PIXELS, REQUESTS = "SRGAN_SERVICE_PIXELS", "SRGAN_SERVICE_REQUESTS"

log = logging.getLogger(__name__)


class Refused(MlflowException):
    """An error whose message is one sentence. MLflow would put the data of the request before it."""

    @property
    def message(self) -> str:  # type: ignore[override]
        """The sentence."""
        return str(self.args[0])

    @message.setter
    def message(self, _: str) -> None:
        pass


class Images(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """Run the model on a table of image files, whose bytes are in the column `image`, as `srgan upscale` does."""

    def load_context(self, context: Any) -> None:
        """Load the `.onnx` file."""
        self.upscaler = Upscaler(context.artifacts["model"])
        self.pixels = _limit(PIXELS, 25_000_000)
        self.requests = _limit(REQUESTS, 2)
        self.free = threading.BoundedSemaphore(self.requests)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Upscale each image.

        Raises:
            Refused: an image is unreadable or too large, the time is over, or too many requests are running.
        """
        end = time.monotonic() + MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()
        if not self.free.acquire(blocking=False):
            raise Refused(f"{self.requests} requests are running. Try again later", error_code=RESOURCE_EXHAUSTED)
        try:
            return pd.DataFrame({"image": [self._upscaled(content, end) for content in model_input["image"]]})
        except SrganError as error:
            raise Refused(str(error), error_code=INVALID_PARAMETER_VALUE) from error
        except Exception as error:
            log.exception("an image failed")
            raise Refused("the image failed. The log of the server has the reason", error_code=INTERNAL_ERROR) from error
        finally:
            self.free.release()

    def _upscaled(self, content: bytes, end: float) -> bytes:
        suffix = ".png"
        try:
            kind, (width, height) = peek(BytesIO(content))
            suffix = SUFFIXES_BY_FORMAT.get(kind, ".png")
        except Image.UnidentifiedImageError:
            width = height = 0  # `upscale_file` reports it
        except Image.DecompressionBombError as error:
            raise SrganError(f"the image: more pixels than this service takes ({self.pixels:,}; {PIXELS})") from error
        if width * height > self.pixels:
            raise SrganError(f"the image: {width}x{height} pixels. This service takes {self.pixels:,} pixels at most ({PIXELS})")

        def in_time(done: int, total: int) -> None:
            if time.monotonic() > end:
                raise SrganError(f"the image: the time of a request is over after {done} of {total} tiles. Send a smaller image")

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / f"result{suffix}"
            try:
                upscale_file(self.upscaler, BytesIO(content), target, on_tile=in_time)
            except SrganError as error:  # no paths of this machine
                raise SrganError(str(error).replace(str(target), target.name)) from error
            return target.read_bytes()


def _limit(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise SrganError(f"{name}={text}: needs a whole number of at least 1")
    return int(text)


mlflow.models.set_model(Images())
