"""``params.yaml`` as typed objects.

Every key is required and no other is allowed, so the file always shows the whole configuration. A wrong key or value is an
error that names the line, the key and the nearest valid name.
"""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any, Literal

from srgan.config import yaml
from srgan.config.yaml import InvalidValue, nearest
from srgan.utils.addresses import without_secrets

Precision = Literal["auto", "fp32", "bf16", "fp16"]

# Folders whose files DVC deletes before the stage that writes them.
OUTS = ("data/raw", "data/prepared", "models", "reports")


def _check(condition: bool, key: str, message: str) -> None:
    if not condition:
        raise InvalidValue(key, message)


@dataclasses.dataclass(frozen=True)
class OwnSet:
    """A data set of the user's, where its path alone does not say enough."""

    folder: str  # or a zip or tar archive, or the address of one
    name: str = ""  # of the set; empty: the last part of `folder`
    hr: str = ""  # folder of the HR images, inside of `folder`; . for all images; empty: found by its name, see `srgan.data.layouts`
    lr: str = ""  # folder of the LR images; empty: found by its name, or none if `hr` is given

    def __post_init__(self) -> None:
        usual = re.fullmatch(r"\w[\w.-]*", self.name) is not None
        _check(not self.name or usual, "name", "may hold letters, digits, '_', '.' and '-' only, and begins with a letter or digit")
        _check(not self.lr or bool(self.hr), "lr", "needs hr beside it, the folder of the HR images")
        for key in ("hr", "lr"):
            parts = getattr(self, key).split("/")
            _check(parts[0] != "" or parts == [""], key, "is a path inside of folder, so it does not begin with '/'")
            _check(".." not in parts, key, "is a path inside of folder, without '..'")
        _check(not self.hr or self.hr != self.lr, "lr", "is the same folder as hr")


@dataclasses.dataclass(frozen=True)
class Data:
    """Which data sets are fetched: names of the catalogue (``srgan data list``), folders, archives, addresses."""

    train: tuple[str | OwnSet, ...]  # learned from; a set's own test images stay out
    test: tuple[str | OwnSet, ...]  # scored, never trained on

    def __post_init__(self) -> None:
        _check(len(self.train) > 0, "train", "needs at least one data set")
        for key in ("train", "test"):
            _check(len(set(getattr(self, key))) == len(getattr(self, key)), key, "names a data set twice")

    def names(self, split: Literal["train", "test"]) -> list[str]:
        """The sets of a split as they may be shown: the names that the user gave, or the places, without passwords and tokens."""
        entries = self.train if split == "train" else self.test
        return [without_secrets((entry.name or entry.folder) if isinstance(entry, OwnSet) else entry) for entry in entries]


@dataclasses.dataclass(frozen=True)
class Prepare:
    """How raw images become HR/LR pairs."""

    scale: int  # HR size / LR size
    kernel: Literal["matlab", "pillow"]  # of the bicubic that makes LR images
    validation: float  # share of the training images kept for validation; at least one image
    test: float  # share of the training images held out and scored, beside data.test; 0: none
    seed: int  # of the split
    max_bad: int  # images that may be unreadable or too small; they are listed and skipped

    def __post_init__(self) -> None:
        _check(2 <= self.scale <= 8, "scale", "must lie between 2 and 8")
        _check(0 < self.validation < 1, "validation", "must lie between 0 and 1")
        _check(0 <= self.test < 1, "test", "must be at least 0 and below 1")
        _check(self.validation + self.test < 1, "test", "leaves nothing to train on, with validation")
        _check(self.seed >= 0, "seed", "must not be negative")
        _check(self.max_bad >= 0, "max_bad", "must not be negative")


@dataclasses.dataclass(frozen=True)
class CompactModel:
    """A plain stack of convolutions, see `srgan.models.compact`."""

    name: Literal["compact"]
    features: int  # channels of the body
    depth: int  # convolutions of the body

    def __post_init__(self) -> None:
        _check(self.features >= 1, "features", "must be at least 1")
        _check(self.depth >= 0, "depth", "must not be negative")


@dataclasses.dataclass(frozen=True)
class SRResNetModel:
    """SRGAN's generator, see `srgan.models.srresnet`."""

    name: Literal["srresnet"]
    features: int  # channels; 64 in the paper
    depth: int  # residual blocks; 16 in the paper
    upsampling: Literal["pixelshuffle", "nearest", "transposed"]

    def __post_init__(self) -> None:
        _check(self.features >= 1, "features", "must be at least 1")
        _check(self.depth >= 1, "depth", "must be at least 1")


@dataclasses.dataclass(frozen=True)
class RRDBModel:
    """ESRGAN's generator, see `srgan.models.rrdb`."""

    name: Literal["rrdb"]
    features: int  # channels; 64 in the paper
    growth: int  # channels that each convolution of a dense block adds; 32 in the paper
    depth: int  # blocks; 23 in the paper

    def __post_init__(self) -> None:
        for key in ("features", "growth", "depth"):
            _check(getattr(self, key) >= 1, key, "must be at least 1")


@dataclasses.dataclass(frozen=True)
class SRCNNModel:
    """Three convolutions on the bicubic enlargement, see `srgan.models.srcnn`."""

    name: Literal["srcnn"]
    features: int  # channels after the first convolution; 64 in the paper

    def __post_init__(self) -> None:
        _check(self.features >= 1, "features", "must be at least 1")


Model = CompactModel | SRResNetModel | RRDBModel | SRCNNModel


@dataclasses.dataclass(frozen=True)
class Constant:
    """One learning rate for all steps."""

    name: Literal["constant"]
    warmup: int  # steps over which it rises from 0


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Half a cosine, down to 1 % at the last step."""

    name: Literal["cosine"]
    warmup: int  # steps over which it rises from 0


@dataclasses.dataclass(frozen=True)
class MultiStep:
    """Multiplied by `factor` after each of the milestones."""

    name: Literal["multistep"]
    warmup: int  # steps over which it rises from 0
    milestones: tuple[int, ...]  # steps
    factor: float

    def __post_init__(self) -> None:
        _check(all(step >= 1 for step in self.milestones), "milestones", "must be steps of at least 1")
        _check(list(self.milestones) == sorted(set(self.milestones)), "milestones", "must rise")
        _check(0 < self.factor <= 1, "factor", "must lie above 0 and at most at 1")


Schedule = Constant | Cosine | MultiStep


@dataclasses.dataclass(frozen=True)
class Optimization:
    """What both training stages have in common."""

    steps: int
    batch: int  # crops per step
    accumulate: int  # parts that a batch is worked through in, one after the other: more take less memory
    patch: int  # side of an HR crop, pixels
    color_jitter: float  # each colour of a crop is scaled by a random factor between 1 minus this and 1; 0: off
    learning_rate: float
    schedule: Schedule
    clip: float  # largest norm of a gradient; 0: any
    ema: float  # decay of the averaged weights, which are the ones that ship; 0: no averaging
    precision: Precision
    compile: bool  # torch.compile the generator: slow to start, faster on some GPUs
    recompute: bool  # rrdb's blocks in the backward pass, instead of keeping what they computed: less memory, a third more time
    nproc_per_node: int  # processes that train together, one for each GPU; each works on a batch
    rollbacks: int  # times that a diverging run goes back to its checkpoint, each with half the learning rate, before it stops
    log_every: int  # steps
    validate_every: int  # steps
    checkpoint_every: int  # steps
    lpips: bool  # score LPIPS (AlexNet) at each validation, where its weights can be had
    seed: int  # of the initial weights and of the crops
    # none, or a state of another run that this one goes on from, as RUN@STEP; `srgan pretrain --continue` writes it
    continue_from: str = dataclasses.field(default="none", kw_only=True)

    def __post_init__(self) -> None:
        valid = re.fullmatch(r"none|[0-9a-f]{12}@[0-9]{1,9}", self.continue_from) is not None
        _check(valid, "continue_from", "must be none, or RUN@STEP as --continue writes it")
        for key in ("steps", "batch", "accumulate", "patch", "nproc_per_node", "log_every", "validate_every", "checkpoint_every"):
            _check(getattr(self, key) >= 1, key, "must be at least 1")
        _check(self.batch % self.accumulate == 0, "accumulate", f"must divide the batch of {self.batch}")
        _check(0 <= self.seed < 2**32, "seed", "must lie between 0 and 4294967295")
        _check(self.learning_rate > 0, "learning_rate", "must be above 0")
        _check(0 <= self.color_jitter < 1, "color_jitter", "must be at least 0 and below 1")
        _check(0 <= self.schedule.warmup <= self.steps, "schedule.warmup", "must lie between 0 and steps")
        _check(self.clip >= 0, "clip", "must not be negative")
        _check(0 <= self.ema < 1, "ema", "must be at least 0 and below 1")
        _check(self.rollbacks >= 0, "rollbacks", "must not be negative")


PixelLoss = Literal["l1", "mse", "charbonnier"]


@dataclasses.dataclass(frozen=True)
class PretrainLosses:
    """Losses of the first stage."""

    pixel: PixelLoss


@dataclasses.dataclass(frozen=True)
class Pretrain(Optimization):
    """First stage: pixels only."""

    start: str  # scratch, or a file of weights to start from: .safetensors, or a .pth of the community
    losses: PretrainLosses

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(
            self.start == "scratch" or not _is_out(self.start),
            "start",
            "the pipeline writes this file, and DVC deletes it before the stage runs. Copy it to another folder and name the copy, or "
            "go on with the training itself: srgan pretrain --continue. If the file is gone already: dvc checkout",
        )


def _is_out(file: str) -> bool:
    """Whether a file, or what it links to, lies where the pipeline writes."""
    outs = [Path(out).resolve() for out in OUTS]
    path = Path(file)
    for _ in range(40):  # links that lead in a circle
        path = path.parent.resolve() / path.name  # not itself: it may be a link of DVC's into its cache
        if any(path.is_relative_to(out) for out in outs):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


@dataclasses.dataclass(frozen=True)
class PatchDiscriminator:
    """Judges each patch, see `srgan.models.discriminators`."""

    name: Literal["patch"]
    features: int  # channels of its first layer
    depth: int  # layers that halve the resolution
    learning_rate: float

    def __post_init__(self) -> None:
        _check(self.features >= 1, "features", "must be at least 1")
        _check(self.depth >= 1, "depth", "must be at least 1")
        _check(self.learning_rate > 0, "learning_rate", "must be above 0")


@dataclasses.dataclass(frozen=True)
class WholeDiscriminator:
    """Judges the image (``vgg``, SRGAN's) or each pixel (``unet``, Real-ESRGAN's), see `srgan.models.discriminators`."""

    name: Literal["vgg", "unet"]
    features: int  # channels of its first layer
    learning_rate: float

    def __post_init__(self) -> None:
        _check(self.features >= 1, "features", "must be at least 1")
        _check(self.learning_rate > 0, "learning_rate", "must be above 0")


Discriminator = PatchDiscriminator | WholeDiscriminator


@dataclasses.dataclass(frozen=True)
class WeightedPixelLoss:
    """Distance of the pixels."""

    name: PixelLoss
    weight: float

    def __post_init__(self) -> None:
        _check(self.weight >= 0, "weight", "must not be negative")


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """What the discriminator says, see `srgan.losses.adversarial.discriminator_loss`."""

    name: Literal["vanilla", "relativistic", "lsgan", "hinge"]
    weight: float

    def __post_init__(self) -> None:
        _check(self.weight >= 0, "weight", "must not be negative")


@dataclasses.dataclass(frozen=True)
class DiscriminatorFeatures:
    """Perceptual loss on the discriminator's own features: needs no downloaded weights."""

    network: Literal["discriminator"]
    weight: float

    def __post_init__(self) -> None:
        _check(self.weight >= 0, "weight", "must not be negative")


@dataclasses.dataclass(frozen=True)
class LpipsFeatures:
    """Perceptual loss by LPIPS on AlexNet or SqueezeNet. A network that is trained on should not be the one that scores (AlexNet)."""

    network: Literal["lpips-squeeze", "lpips-alex"]
    weight: float

    def __post_init__(self) -> None:
        _check(self.weight >= 0, "weight", "must not be negative")


@dataclasses.dataclass(frozen=True)
class VggFeatures:
    """Perceptual loss on VGG19."""

    network: Literal["vgg19"]
    layers: dict[str, float]  # name -> weight: conv5_4 is before its ReLU, relu5_4 (or vgg54) after it
    distance: Literal["l1", "mse"]
    weight: float

    def __post_init__(self) -> None:
        _check(self.weight >= 0, "weight", "must not be negative")
        _check(len(self.layers) > 0, "layers", "needs a layer, such as {conv5_4: 1.0}")
        blocks = ((1, 2), (2, 2), (3, 4), (4, 4), (5, 4))  # of VGG19: number, convolutions
        valid = [
            f"{kind}{b}{'' if kind == 'vgg' else '_'}{c}" for kind in ("conv", "relu", "vgg") for b, n in blocks for c in range(1, n + 1)
        ]
        for name, weight in self.layers.items():
            if name not in valid:
                raise InvalidValue("layers", f"'{name}' does not exist in vgg19{nearest(name, valid)}")
            _check(weight >= 0, f"layers.{name}", "must not be negative")


Perceptual = DiscriminatorFeatures | LpipsFeatures | VggFeatures


@dataclasses.dataclass(frozen=True)
class TrainLosses:
    """The generator's losses in the second stage, with their weights; 0 turns one off."""

    pixel: WeightedPixelLoss
    perceptual: Perceptual
    adversarial: AdversarialLoss
    tv: float  # weight of the total variation

    def __post_init__(self) -> None:
        _check(self.tv >= 0, "tv", "must not be negative")


@dataclasses.dataclass(frozen=True)
class Train(Optimization):
    """Second stage: a discriminator, and what keeps the generator near the photograph."""

    losses: TrainLosses
    discriminator: Discriminator
    psnr_guard: float  # dB of validation PSNR-Y that the best weights may have lost since the pre-training

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.psnr_guard >= 0, "psnr_guard", "must not be negative")
        smallest = 2**self.discriminator.depth if isinstance(self.discriminator, PatchDiscriminator) else 16
        _check(
            self.patch >= smallest, "patch", f"must be at least {smallest} pixels for this discriminator, which halves it again and again"
        )


@dataclasses.dataclass(frozen=True)
class Export:
    """The ONNX file."""

    name: str  # part of the file's name: {scale}x-{name}-{arch}-fp32.onnx
    license: str  # of the weights, written into the file
    plain: bool  # the graph as the network is written: the same results, slower
    fp16: bool  # a file in float16 too, for GPUs
    int8: bool  # a file in int8 too
    int8_max_drop_db: float  # PSNR-Y that it may lose; above, it is not written

    def __post_init__(self) -> None:
        _check(re.fullmatch(r"[A-Za-z0-9_.]+", self.name) is not None, "name", "may hold letters, digits, '_' and '.' only")
        _check(self.int8_max_drop_db >= 0, "int8_max_drop_db", "must be at least 0")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """The scores."""

    lpips: tuple[Literal["alex", "vgg", "squeeze"], ...]  # networks to score LPIPS with, where their weights can be had


@dataclasses.dataclass(frozen=True)
class Register:
    """The entry in the model registry."""

    name: str  # the registered model is {name}-x{scale}
    alias: str  # given to the new version

    def __post_init__(self) -> None:
        for key in ("name", "alias"):
            _check(re.fullmatch(r"[A-Za-z0-9_.-]+", getattr(self, key)) is not None, key, "may hold letters, digits, '_', '.' and '-' only")
        reserved = self.alias == "latest" or re.fullmatch(r"[vV]\d+", self.alias) is not None
        _check(not reserved, "alias", "'latest' and 'v1', 'v2', ... are MLflow's own; take another, such as challenger")


@dataclasses.dataclass(frozen=True)
class Promote:
    """When a challenger becomes the champion."""

    metric: Literal["lpips", "lpips_vgg", "lpips_squeeze", "psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"]  # has to be better
    max_psnr_y_drop: float  # dB that the mean may be below the champion's
    max_color_shift_rise: float  # levels above the champion's
    max_checkerboard_rise: float
    max_time_ratio: float  # seconds per megapixel / the champion's
    max_size_ratio: float  # bytes of the file / the champion's

    def __post_init__(self) -> None:
        for key in ("max_psnr_y_drop", "max_color_shift_rise", "max_checkerboard_rise", "max_time_ratio", "max_size_ratio"):
            _check(getattr(self, key) >= 0, key, "must be at least 0")


@dataclasses.dataclass(frozen=True)
class Params:
    """The whole of ``params.yaml``."""

    data: Data
    prepare: Prepare
    model: Model
    pretrain: Pretrain
    train: Train
    export: Export
    evaluate: Evaluate
    register: Register
    promote: Promote

    def __post_init__(self) -> None:
        _check(len(self.data.test) > 0 or self.prepare.test > 0, "data.test", "needs a data set, or prepare.test a share above 0")
        if isinstance(self.model, SRResNetModel | RRDBModel):
            _check(self.prepare.scale in (2, 3, 4, 8), "prepare.scale", f"must be 2, 3, 4 or 8 for {self.model.name}")
        for stage in ("pretrain", "train"):
            options = getattr(self, stage)
            _check(not options.recompute or isinstance(self.model, RRDBModel), f"{stage}.recompute", "is for model.name: rrdb")
            patch = options.patch
            _check(patch % self.prepare.scale == 0, f"{stage}.patch", f"must be a multiple of prepare.scale ({self.prepare.scale})")


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        SrganError: the file is missing, is not YAML, or holds an unknown, missing or ill-typed key.
    """
    return yaml.load(Params, path, "run this in the project's folder, or name the file with --params")


def to_dict(params: Any) -> dict[str, Any]:
    """Nested plain dictionaries, for JSON and digests."""
    return dataclasses.asdict(params)


def _item(value: Any) -> str:
    if isinstance(value, dict):  # an `OwnSet`
        return "{" + ", ".join(f"{key}: {inner}" for key, inner in value.items() if inner) + "}"
    return str(value)


def flatten(params: Any) -> dict[str, Any]:
    """``{"train.losses.pixel": 1.0, ...}``, to show and to compare; of `Params` or nested dictionaries. Addresses lose their secrets."""

    def walk(value: Any, prefix: str) -> typing.Iterator[tuple[str, Any]]:
        for key, inner in value.items():
            if isinstance(inner, dict):
                yield from walk(inner, f"{prefix}{key}.")
            else:
                shown = ", ".join(map(_item, inner)) if isinstance(inner, list | tuple) else inner
                yield prefix + key, without_secrets(shown) if isinstance(shown, str) else shown

    return dict(walk(params if isinstance(params, dict) else to_dict(params), ""))
