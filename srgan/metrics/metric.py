"""The types behind every metric: the images that are scored and the description of a metric."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from srgan.images.read import as_rgb

Input = Literal["sr", "hr", "lr", "before"]
Scorer = Callable[["Sample"], float]


@dataclass(frozen=True, eq=False)
class Sample:
    """An upscaled image with its ground truth and its input, all uint8.

    Metrics are defined for 8 bits. PSNR and SSIM use `deep` where it is given.

    Attributes:
        sr_image: `(scale * H, scale * W, 3)`.
        hr_image: ground truth in the size of `sr_image`, `(..., 3)` or greyscale without the last axis. None if there is none.
        lr_image: input of the network, `(H, W, 3)`. None if it is unknown.
        scale: HR size / LR size.
        grey_input: the input is the greyscale version of the original, and no more is changed.
        before: the frame before it in a clip. None for the first frame and for images.
        deep: `sr_image` and `hr_image` as uint16, of a training with 16 bits.
    """

    sr_image: np.ndarray
    hr_image: np.ndarray | None = None
    lr_image: np.ndarray | None = None
    scale: int = 1
    grey_input: bool = False
    before: "Sample | None" = None
    deep: tuple[np.ndarray, np.ndarray] | None = None
    _results: dict[Callable[["Sample"], Any], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def hr_rgb(self) -> np.ndarray:
        """The ground truth with three channels."""
        assert self.hr_image is not None
        return as_rgb(self.hr_image)

    @property
    def deepest(self) -> tuple[np.ndarray, np.ndarray]:
        """The image and its ground truth with all bits that are known."""
        assert self.hr_image is not None
        return self.deep or (self.sr_image, self.hr_image)

    def once(self, function: Callable[["Sample"], Any]) -> Any:
        """Return `function(self)`, computed once for all metrics that share it."""
        if function not in self._results:
            self._results[function] = function(self)
        return self._results[function]

    def has(self, needs: tuple[Input, ...]) -> bool:
        """Return True if the images that a metric needs are there."""
        images = {"sr": self.sr_image, "hr": self.hr_image, "lr": self.lr_image, "before": self.before}
        return all(images[need] is not None for need in needs)


@dataclass(frozen=True)
class Metric:
    """A metric of image quality with all that tables, reports, rules and docs need.

    Attributes:
        name: column of ``metrics.csv``, key of ``metrics.json`` and part of the name in MLflow.
        label: heading of its column in tables.
        description: definition for the docs.
        better: ``higher``, ``lower``, or ``one`` if the best value is 1.
        digits: decimals in tables.
        unit: of the value or empty.
        needs: images that it compares. A metric without ``hr`` needs no ground truth. One with ``before`` needs frames of a clip.
        score: the function of a metric that needs no weights.
        load: return the function of a metric that needs weights with its weights on the device. Raises `WeightsUnavailable`.
        lpips_network: network of an LPIPS metric. Such a metric is scored if ``evaluate.lpips`` names the network.
        niqe_parameters: parameters of a NIQE metric. Such a metric is scored if ``evaluate.niqe`` names them.
        validation: score it at each validation of a training.
        in_cards: show it next to each image of a report.
        rank: place among the metrics that sum up a model and rank its images, from 1. 0 leaves it out.
    """

    name: str
    label: str
    description: str
    better: Literal["higher", "lower", "one"]
    digits: int
    unit: str = ""
    needs: tuple[Input, ...] = ("sr", "hr")
    score: Scorer | None = None
    load: Callable[[torch.device], Scorer] | None = None
    lpips_network: str | None = None
    niqe_parameters: str | None = None
    validation: bool = False
    in_cards: bool = False
    rank: int = 0

    @property
    def title(self) -> str:
        """The label, with the unit if there is one."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def higher_is_better(self, value: Any) -> Any:
        """Return a value, an array or a table of values turned so that higher is better."""
        return value if self.better == "higher" else -value if self.better == "lower" else -abs(value - 1)

    def text(self, value: float, sign: bool = False) -> str:
        """Return the value with the digits of the metric, with a plus sign on request."""
        return f"{value:{'+' if sign else ''}.{self.digits}f}"
