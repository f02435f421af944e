"""Sections ``pretrain``, ``train`` and ``runtime``: the two training stages."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from srgan.config.base import Component, Section, option, refuse, section
from srgan.config.choice import component, entries, one_of
from srgan.config.networks import Discriminator
from srgan.config.optimizers import Optimizer, ScheduleFree
from srgan.config.stabilization import Stabilization
from srgan.config.stepwise import Stepwise, by_step

SCHEDULE = "constant, cosine (half a cosine down to 1 %), multistep or wsd (warm-up, constant, decay to 1 %)"
OUTS = ("data/raw", "data/prepared", "models", "reports")  # DVC deletes the files in them before the stage that writes them
REGISTERED = re.compile(r"models:/([^/@#]+)(?:@([^/@#]+)|/(\d+))(?:#([0-9a-f]{12}))?")  # name, alias, version, digest of the weights
REGISTRY = "srgan.losses.registry:LOSSES"
WARMUP = "steps over which the learning rate rises from 0"


class Constant(Component):
    """One learning rate for all steps."""

    FLOW: ClassVar[bool] = True
    warmup: int = option(0, WARMUP, ge=0)


class Cosine(Component):
    """Half a cosine, down to 1 % at the last step."""

    FLOW: ClassVar[bool] = True
    warmup: int = option(0, WARMUP, ge=0)


class MultiStep(Component):
    """The learning rate is multiplied by `factor` after each milestone."""

    FLOW: ClassVar[bool] = True
    warmup: int = option(0, WARMUP, ge=0)
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = option(..., "steps, rising", min_length=1)
    factor: float = option(0.5, "factor at each milestone", gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> "MultiStep":
        if list(self.milestones) != sorted(set(self.milestones)):
            refuse("milestones", "must rise")
        return self


class WarmupStableDecay(Component):
    """One learning rate, which falls to 1 % over the last steps (Hägele et al. 2024)."""

    FLOW: ClassVar[bool] = True
    warmup: int = option(0, WARMUP, ge=0)
    decay: float = option(0.2, "share of the steps over which the learning rate falls at the end", gt=0, le=1)


Schedule = Annotated[
    Constant | Cosine | MultiStep | WarmupStableDecay,
    one_of(constant=Constant, cosine=Cosine, multistep=MultiStep, wsd=WarmupStableDecay),
]
LOSSES = "losses of the generator with name, weight and options"
Losses = tuple[Annotated[Component, component(REGISTRY)], ...]


class Optimization(Section):
    """The options that both training stages share, and that change what is learned."""

    steps: int = option(3000, "training steps", ge=1)
    batch_size: int = option(8, "patches per step and process", ge=1)
    gradient_accumulation: int = option(1, "gradient accumulation steps. More steps use less memory", ge=1)
    patch_size: Stepwise = option(96, "side of an HR patch in pixels, or sides with the first step of each: {0: 64, 10000: 96}")
    color_jitter: float = option(0.0, "each colour of a patch is scaled by a random factor between 1 minus this and 1", ge=0, lt=1)
    cutmix: float = option(0.0, "probability that a rectangle of a patch shows another place (CutMix), for small data sets", ge=0, le=1)
    cutblur: float = option(0.0, "probability that a rectangle of the input shows the original (CutBlur), at scale 1", ge=0, le=1)
    window: int = option(
        0, "shards of 1 GiB that the patches of a step come from, for a store larger than the disk or the GPU's memory. 0 means all", ge=0
    )
    learning_rate: float = option(1.0e-3, "learning rate of the generator", gt=0)
    freeze: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (), "layers of the generator that keep their weights, by name, or [all but tail]. Empty trains all"
    )
    first_layer_rate: float = option(
        1.0, "learning rate of the first layer relative to that of the last. The rates of the layers between them are between", gt=0, le=1
    )
    optimizer: Optimizer = option({"name": "adam"}, "optimizer of the generator: adam, adamw, schedule_free or muon")
    anchor: float = option(
        0.0, "pull of the weights towards those at the start (L2-SP), times the learning rate in a step, such as 10. 0 turns it off", ge=0
    )
    schedule: Schedule = option({"name": "cosine", "warmup": 50}, "learning-rate scheduler: " + SCHEDULE)
    grad_clip: float = option(0.0, "gradient clipping: largest norm of a gradient. 0 turns it off", ge=0)
    ema: float = option(0.995, "decay of the exponential moving average of the weights, which is exported. 0 turns it off", ge=0, lt=1)
    ema_switch_every: int = option(
        0, "steps between two copies of the averaged weights into the trained network (Switch EMA). 0 turns it off", ge=0
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "auto (bf16 if the hardware supports it, else fp16 on a GPU with tensor cores, else fp32), fp32, bf16 or fp16"
    )
    patience: int = option(
        0, "steps without a better validation after which the stage ends. Then its start may be the result too. 0 turns it off", ge=0
    )
    lpips: bool = option(False, "measure LPIPS at each validation if the weights of AlexNet are available")
    seed: int = option(0, "seed of the initial weights and of the patches", ge=0, lt=2**32)
    continue_from: str = option("none", "none or the state to continue from, as `srgan pretrain --continue` writes it")
    losses: Losses = option(({"name": "l1"},), LOSSES, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Optimization":
        if not re.fullmatch(r"none|[0-9a-f]{12}@[0-9]{1,9}", self.continue_from):
            refuse("continue_from", "must be none, or RUN@STEP as --continue writes it")
        if self.batch_size % self.gradient_accumulation:
            refuse("gradient_accumulation", f"must divide the batch size of {self.batch_size}")
        if max(by_step(self.patch_size)) > self.steps:
            refuse("patch_size", f"has a size that begins after the {self.steps} steps of the stage")
        if self.schedule.warmup > self.steps:
            refuse("schedule.warmup", f"must be at most the {self.steps} steps of the stage")
        if isinstance(self.schedule, WarmupStableDecay) and self.schedule.warmup > self.steps * (1 - self.schedule.decay):
            refuse("schedule.decay", f"leaves fewer steps before the decay than the warm-up of {self.schedule.warmup} takes")
        if isinstance(self.optimizer, ScheduleFree):
            if not isinstance(self.schedule, Constant):
                refuse("schedule", "must be constant for schedule_free, which averages the weights instead: {name: constant, warmup: 50}")
            if self.first_layer_rate != 1:
                refuse("first_layer_rate", "must be 1 for schedule_free, which averages all layers alike")
            if self.anchor:
                refuse("anchor", "does not fit schedule_free, whose weights are averages. Set it to 0 or choose adam")
            if self.ema_switch_every:
                refuse("ema_switch_every", "does not fit schedule_free, which averages the weights itself. Set it to 0")
        if self.ema_switch_every and not self.ema:
            refuse("ema_switch_every", "needs an average of the weights. Set ema above 0")
        names = [loss.name for loss in self.losses]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            refuse("losses", f"has {twice} twice")
        return self

    @property
    def patch_sizes(self) -> list[int]:
        """Return the sides of all HR patches in pixels, the smallest first."""
        return sorted(by_step(self.patch_size).values())


class Pretrain(Optimization):
    """The pixel stage: the generator learns from pixel losses alone."""

    pretrained: str = option(
        "scratch",
        "scratch, a file of weights to start from (.safetensors or .pth), models:/NAME@ALIAS or the name of a starter",
        min_length=1,
    )

    @model_validator(mode="after")
    def _check_losses(self) -> "Pretrain":
        unfit = {entry.name for entry in entries(REGISTRY) if entry.needs_discriminator}
        if name := next((loss.name for loss in self.losses if loss.name in unfit), ""):
            refuse("losses", f"cannot have {name}, which needs a discriminator. Use it in train.losses")
        return self

    @model_validator(mode="after")
    def _check_pretrained(self, info: ValidationInfo) -> "Pretrain":
        if self.pretrained.startswith("models:/") and not REGISTERED.fullmatch(self.pretrained):
            refuse("pretrained", "must be models:/NAME@ALIAS or models:/NAME/VERSION. A stage writes the digest behind it")
        if self.pretrained != "scratch" and _is_out(self.pretrained, (info.context or {}).get("root", Path())):
            refuse(
                "pretrained",
                "the pipeline writes this file, and DVC deletes it before the stage runs. Copy it to another folder and name the copy, or "
                "continue the training itself: srgan pretrain --continue. If the file is gone already: dvc checkout",
            )
        return self


def _is_out(file: str, root: Path, folders: tuple[str, ...] = OUTS) -> bool:
    """Return True if a file, or the target of its links, is in a folder that the pipeline of the project in `root` writes."""
    outs = [(root / out).resolve() for out in folders]
    path = root / file
    for _ in range(40):  # links may form a circle
        path = path.parent.resolve() / path.name  # not the file itself: DVC may have linked it into its cache
        if any(path.is_relative_to(out) for out in outs):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


class Train(Optimization):
    """The GAN stage: the generator learns against a discriminator."""

    steps: int = option(400, "training steps", ge=1)
    batch_size: int = option(16, "patches per step and process", ge=1)
    learning_rate: float = option(2.0e-4, "learning rate of the generator", gt=0)
    ema: float = option(0.99, "decay of the exponential moving average of the weights, which is exported. 0 turns it off", ge=0, lt=1)
    lpips: bool = option(True, "choose the best weights by LPIPS, or by the loss if the weights of AlexNet are not available")
    losses: Losses = option(
        ({"name": "l1"}, {"name": "feature_matching", "weight": 0.5}, {"name": "relativistic", "weight": 0.02}), LOSSES, min_length=1
    )
    discriminator: Discriminator = option({"name": "patch"}, "discriminator")
    stabilization: Stabilization = section(Stabilization, "methods that hold back the discriminator. All are off by default")
    psnr_guard: float = option(
        2.5,
        "PSNR-Y in dB that the best weights may lose against the pixel stage in validation. Not for a network that keeps the luma",
        ge=0,
    )
    hatch_guard: float = option(
        0.2, "levels of 255 that the hatch of the best weights may rise above the pixel stage's in validation", ge=0
    )

    @model_validator(mode="after")
    def _check_discriminator(self, info: ValidationInfo) -> "Train":
        start = self.discriminator.pretrained
        if start != "scratch" and _is_out(start, (info.context or {}).get("root", Path()), (*OUTS, "checkpoints")):
            refuse("discriminator.pretrained", "a training replaces this file. Copy it to another folder and name the copy")
        return self

    @model_validator(mode="after")
    def _check_patch(self) -> "Train":
        adversarial = [entry.name for entry in entries(REGISTRY) if entry.trains_discriminator]
        if sum(loss.name in adversarial for loss in self.losses) != 1:
            refuse("losses", f"needs exactly one adversarial loss, which trains the discriminator: {', '.join(adversarial)}")
        if self.patch_sizes[0] < self.discriminator.smallest_patch:
            refuse("patch_size", f"must be at least {self.discriminator.smallest_patch} pixels for this discriminator")
        one_pixel = self.discriminator.batch_norm and self.patch_sizes[0] == self.discriminator.smallest_patch  # in the last layer
        if one_pixel and self.batch_size == self.gradient_accumulation:
            refuse(
                "patch_size",
                f"must be above {self.discriminator.smallest_patch} pixels for {self.discriminator.name} with one patch at a time "
                "(batch_size / gradient_accumulation): batch normalization needs two values per channel",
            )
        for penalty in ("r1", "r2"):
            if getattr(self.stabilization, penalty) and self.discriminator.batch_norm:
                refuse(f"stabilization.{penalty}", f"is not for {self.discriminator.name}: its batch normalization mixes the images")
        return self


class StageRuntime(Section):
    """The execution of a training stage. No option here changes results, so a change repeats no stage."""

    log_every: int = option(100, "steps between two lines of the log", ge=1)
    validate_every: int = option(500, "steps between two validations", ge=1)
    checkpoint_every: int = option(1000, "steps between two checkpoints", ge=1)
    rollbacks: int = option(3, "number of returns of a diverging run to a checkpoint with half the learning rate", ge=0)
    nproc_per_node: int = option(1, "processes that train together: one per GPU", ge=1)
    sync_batch_norm: bool = option(
        True, "processes share the statistics of batch normalization. false is faster and learns other weights than one process"
    )
    deterministic: bool = option(False, "a GPU computes the same bits in each run, which is slower. A CPU always does so")
    activation_checkpointing: bool = option(False, "recompute activations of rrdb in the backward pass: less memory and a third more time")
    compile: Literal["auto", "on", "off"] = option(
        "auto", "auto (torch.compile the networks of a step where it pays: long stages on one CUDA GPU), on or off"
    )
    cuda_graph: Literal["auto", "off"] = option(
        "auto", "auto (start the kernels of a step on one CUDA GPU as one graph, if its first steps equal usual ones) or off"
    )

    @field_validator("compile", "cuda_graph", mode="before")
    @classmethod
    def _read_bool(cls, value: Any, info: ValidationInfo) -> Any:
        """Accept the booleans that these options were once."""
        return {True: "on" if info.field_name == "compile" else "auto", False: "off"}[value] if isinstance(value, bool) else value


class GanRuntime(StageRuntime):
    """The execution of the GAN stage, which is shorter and logs more often."""

    log_every: int = option(25, "steps between two lines of the log", ge=1)
    validate_every: int = option(400, "steps between two validations", ge=1)
    checkpoint_every: int = option(200, "steps between two checkpoints", ge=1)


class PrepareRuntime(Section):
    """The execution of the stage `prepare`."""

    engine: Literal["local", "ray"] = option("local", "local (processes of this machine) or ray (all machines of a Ray cluster)")
    address: str = option("", "address of the Ray cluster, such as auto. Empty uses RAY_ADDRESS, or starts Ray on this machine")


class Runtime(Section):
    """The execution of the stages."""

    prepare: PrepareRuntime = section(PrepareRuntime, "the preparation of the images")
    pretrain: StageRuntime = section(StageRuntime, "the pixel stage")
    train: GanRuntime = section(GanRuntime, "the GAN stage")
    store: str = option(
        "", "address of a copy of data/prepared/train that the stages stream, such as s3://bucket/train. Empty uses the folder"
    )
