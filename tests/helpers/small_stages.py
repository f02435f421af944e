"""Trainers of small stages on random pixels, for tests of single steps."""

import json
import tempfile
from typing import Any

from srgan.config import profiles, schema
from srgan.config.schema import Params
from srgan.losses.registry import LOSSES
from srgan.training.trainer import Trainer
from srgan.tuning import estimate
from tests.models.test_networks import SCALES, SMALL

GAN = [{"name": "l1"}, {"name": "relativistic", "weight": 0.02}]


def params(stage: str, precision: str = "bf16", label: str = "compact", **options: Any) -> Params:
    """Parameters of a stage with a network of `SMALL`, and with gradient clipping and color jitter."""
    model, scale = {"name": label.split("-")[0], **SMALL[label]}, SCALES.get(label, (4,))[-1]
    stages = {stage: {"precision": precision, "batch_size": 2, "patch_size": 16 * scale, "grad_clip": 1.0, "color_jitter": 0.1, **options}}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"model": model, "prepare": {"scale": scale}, **stages}, file)
        file.flush()
        return schema.load(file.name, warn=False)


def everything(pretrained: tuple[str, ...]) -> dict[str, Any]:
    """Options with all losses and all methods of stabilization in one stage."""
    adversarial = [name for name, loss in LOSSES.items() if loss.trains_discriminator]
    losses = [{"name": name} for name in LOSSES if name not in adversarial[1:] and LOSSES[name].pretrained in pretrained]
    stabilization = {"pause_above": 0.9, "noise": 0.1, "augment_target": 0.6, "r1": 1.0, "r2": 1.0, "penalty_every": 2}
    discriminator = {"name": "patch", "features": 4, "condition": True}
    return {"losses": losses, "stabilization": stabilization, "discriminator": discriminator, "cutmix": 0.5, "gradient_accumulation": 2}


def profile(name: str, stage: str, depth: int) -> Params:
    """The stage of a profile in bf16 with a generator of this depth. Few channels and small patches need as many kernels as large ones."""
    found = profiles.load(name)
    options = getattr(found, stage)
    small = {"precision": "bf16", "batch_size": 2, "patch_size": 32}
    if stage == "train":
        small["discriminator"] = options.discriminator.model_copy(update={"features": 4})
    model = found.model.model_copy(update={"depth": depth, "features": 8})
    return found.model_copy(update={"model": model, stage: options.model_copy(update=small)})


def make_trainer(params: Params, stage: str) -> Trainer:
    """Return a trainer after the step in which the optimizers make their state."""
    trainer = estimate._trainer(params, stage)
    trainer.step(1)
    return trainer
