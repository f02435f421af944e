"""The registered model as a service: the bytes of image files in, those of the enlarged ones out.

MLflow runs this file where the model is served, with this package beside it: ``mlflow models serve -m models:/srgan-x4-images@champion``.
"""

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from PIL import Image

from srgan.inference import Upscaler
from srgan.photographs import upscale_file

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}  # of others: .png


class Images(mlflow.pyfunc.PythonModel):
    """A table with the column `image`, the bytes of files, to one of the same form; format and metadata stay, as for `srgan upscale`."""

    def load_context(self, context: Any) -> None:
        """Load the `.onnx` file."""
        self.upscaler = Upscaler(context.artifacts["model"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Enlarge each image."""
        return pd.DataFrame({"image": [self._enlarged(content) for content in model_input["image"]]})

    def _enlarged(self, content: bytes) -> bytes:
        with Image.open(BytesIO(content)) as image:
            suffix = SUFFIXES.get(image.format or "", ".png")
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / f"enlarged{suffix}"
            upscale_file(self.upscaler, BytesIO(content), target)
            return target.read_bytes()


mlflow.models.set_model(Images())
