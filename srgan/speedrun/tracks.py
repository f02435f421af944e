"""The tracks of the board. A new track is one entry of `TRACKS` and a profile ``speedrun-NAME``."""

from dataclasses import dataclass
from typing import Literal

Model = Literal["pretrained", "gan"]


@dataclass(frozen=True)
class DataDigests:
    """Digests of the prepared pixels, see `srgan.speedrun.data.digests`."""

    train: str
    validation: str
    test: str


@dataclass(frozen=True)
class Score:
    """A figure of the board: the mean of a metric over a test set."""

    set: str
    metric: str  # a name in `srgan.metrics.registry.METRICS`
    model: Model


@dataclass(frozen=True)
class Reference:
    """A result from before the board. It has no folder and no rank."""

    name: str
    scores: dict[tuple[str, str, Model], float]  # (set, metric, model) -> value
    minutes: float
    weights: int
    flops: float  # per megapixel of the result
    link: str  # relative to the board


@dataclass(frozen=True)
class Track:
    """A competition: the best quality after a fixed time of training.

    Attributes:
        name: of the track. Its profile is ``speedrun-NAME``.
        title: heading of its table.
        seconds: limit for all training stages together, with their validations.
        device: type of the device that trains.
        cores: limit for the cores and threads of this process, or None.
        stages: training stages in their order.
        data: the only data of the track.
        columns: figures of the table. The first one ranks the records.
        least: least value of a figure that a record needs, or None.
        goal: sentence about the bar of the track.
        references: results from before the board.
    """

    name: str
    title: str
    seconds: float
    device: Literal["cpu", "cuda"]
    cores: int | None
    stages: tuple[Literal["pretrain", "train"], ...]
    data: DataDigests
    columns: tuple[Score, ...]
    least: tuple[Score, float] | None = None
    goal: str = ""
    references: tuple[Reference, ...] = ()

    @property
    def profile(self) -> str:
        """Name of the profile with the default parameters."""
        return f"speedrun-{self.name}"

    @property
    def model(self) -> Model:
        """The model that the last stage trains."""
        return "gan" if "train" in self.stages else "pretrained"


# BSDS500 (train and test) and T91 without copies of test images at x4. Set5 and Set14 are the test.
BSDS_T91 = DataDigests(
    train="3b39bd015bd8b1aab0f4b4b4a4708dd4cedf81d982a20a9835d0e1fa724a3589",
    validation="0b26a79ba5a0c881e3cf1f80a0b5ec35f116d28c2ba3303cdae73d44a31aba9a",
    test="72d6021de7205634dbfa5ebaf5f48109d4f69cc469707c69068958578a584e0c",
)
PIXEL = (Score("set5", "psnr_y", "pretrained"), Score("set14", "psnr_y", "pretrained"))
GAN = (
    Score("set5", "lpips", "gan"),
    Score("set14", "lpips", "gan"),
    Score("set5", "psnr_y", "gan"),
    Score("set14", "psnr_y", "gan"),
)
GAN_LEAST = Score("set5", "psnr_y", "gan"), 28.8
BEFORE: dict[tuple[str, str, Model], float] = {
    ("set5", "psnr_y", "pretrained"): 31.25,
    ("set14", "psnr_y", "pretrained"): 27.92,
    ("set5", "lpips", "gan"): 0.107,
    ("set14", "lpips", "gan"): 0.175,
    ("set5", "psnr_y", "gan"): 29.28,
    ("set14", "psnr_y", "gan"): 26.54,
}

TRACKS: dict[str, Track] = {
    track.name: track
    for track in (
        Track(
            "cpu-pixel",
            "Two cores, 28 minutes, pixel stage",
            28 * 60,
            "cpu",
            2,
            ("pretrain",),
            BSDS_T91,
            PIXEL,
            goal="The bar is 31.45 dB on Set5 and 28.05 dB on Set14. The goal is 31.6 dB on Set5.",
            references=(Reference("cpu-30min, first stage", BEFORE, 28, 399_472, 49.8e9, "cpu-30min"),),
        ),
        Track(
            "cpu-gan",
            "Two cores, 45 minutes, both stages",
            45 * 60,
            "cpu",
            2,
            ("pretrain", "train"),
            BSDS_T91,
            GAN,
            GAN_LEAST,
            goal="The bar is an LPIPS of 0.100 on Set5 without a hatch.",
            references=(Reference("cpu-30min", BEFORE, 45, 399_472, 49.8e9, "cpu-30min"),),
        ),
        Track(
            "gpu",
            "One GPU, 15 minutes, both stages",
            15 * 60,
            "cuda",
            None,
            ("pretrain", "train"),
            BSDS_T91,
            (*GAN, *PIXEL),
            GAN_LEAST,
        ),
    )
}
