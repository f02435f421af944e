"""Sections ``export``, ``evaluate``, ``register`` and ``promote``."""

import re
from typing import Annotated, Literal

from pydantic import model_validator

from srgan.config.base import Section, option, refuse
from srgan.config.choice import RegisteredName

FILE_NAME = r"^[A-Za-z0-9_.]+$"
UNSPECIFIED = "unspecified"


class Export(Section):
    """The ONNX file."""

    name: str = option("demo", "part of the file name {scale}x-{name}-{model.name}-fp32.onnx", pattern=FILE_NAME)
    license: str = option(UNSPECIFIED, "license of the weights in the metadata of the file", min_length=1)
    origin: str = option(UNSPECIFIED, "author and address of the weights in pretrain.pretrained if they are of a third party", min_length=1)
    origin_license: str = option(UNSPECIFIED, "license of these weights", min_length=1)
    optimize_graph: bool = option(True, "fold layers for speed with the same results")
    fp16: bool = option(True, "write models/reduced/...-fp16.onnx for GPUs unless it loses more than 0.05 dB")
    int8: bool = option(False, "write models/reduced/...-int8.onnx")
    int8_max_drop_db: float = option(
        0.1, "PSNR-Y (of a colorization PSNR-RGB) in dB that int8 may lose. If it loses more it is not written", ge=0
    )


class Evaluate(Section):
    """The metrics of the test images."""

    lpips: tuple[Literal["alex", "vgg", "squeeze"], ...] = option(
        ("alex", "squeeze"), "networks of LPIPS with available weights: alex, vgg (550 MB to download) or squeeze"
    )
    niqe: tuple[Literal["own", "published"], ...] = option(
        ("own",), "parameters of NIQE: own (of this project's photographs) or published (of its authors, 12 KB to download)"
    )


class Register(Section):
    """The entry in the model registry."""

    name: str = option("srgan", "the registered model is {name}-x{scale}", pattern=r"^[A-Za-z0-9_.-]+$")
    alias: str = option("challenger", "alias of the new version", pattern=r"^[A-Za-z0-9_.-]+$")

    @model_validator(mode="after")
    def _check(self) -> "Register":
        if self.alias == "latest" or re.fullmatch(r"[vV]\d+", self.alias):
            refuse("alias", "is reserved by MLflow ('latest', 'v1', 'v2', ...). Choose another, such as challenger")
        return self


class Promote(Section):
    """The rules of ``srgan promote``: the challenger must be better by the metric, and no worse than these limits allow."""

    metric: Annotated[str, RegisteredName("srgan.metrics.registry:METRICS")] = option(
        "lpips", "metric that must improve with its 95 % interval over the test images"
    )
    max_psnr_y_drop: float = option(0.5, "PSNR-Y (of a colorization PSNR-RGB) in dB that the mean may lose against the champion", ge=0)
    max_color_shift_rise: float = option(0.5, "levels of 255 that the colour shift may rise above the champion's", ge=0)
    max_checkerboard_rise: float = option(1.0, "amount that the checkerboard metric may rise above the champion's", ge=0)
    max_hatch_rise: float = option(0.2, "levels of 255 that the hatch may rise above the champion's", ge=0)
    max_time_ratio: float = option(1.5, "seconds per megapixel, relative to the champion", ge=0)
    max_size_ratio: float = option(2.0, "size of the file, relative to the champion", ge=0)
    preference_min: float = option(
        0.0,
        "share of a blind study's answers that prefer the challenger, at the lower end of the 95 % interval. 0 needs no study",
        ge=0,
        lt=1,
    )
