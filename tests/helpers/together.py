"""Trains a little, alone or as one of several processes.

`python -m tests.helpers.together steps FOLDER` takes `STEPS` steps of each kind and writes the results to `RANK.json`.
`python -m tests.helpers.together fit FOLDER [STOP [SIGNAL]]` trains with checkpoints until the parameters' last step or a signal, and
writes the weights to `weights.pt`.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from srgan.config import schema
from srgan.data.manifest import Pair
from srgan.data.packed_store import Store
from srgan.data.sampler import PatchSampler
from srgan.distributed import process_group
from srgan.models.registry import build_discriminator, build_generator
from srgan.training.checkpoint import Checkpoints, SharedCheckpoints
from srgan.training.logger import SilentLog, TrainingLog
from srgan.training.trainer import Trainer
from tests.helpers.project import write_params

STEPS = 20
RELATIVISTIC = {"network": "compact", "opponent": "patch", "adversarial": "relativistic"}
BATCH_NORM = {"network": "srresnet", "opponent": "vgg", "adversarial": "vanilla"}
IN_PARTS = {
    "network": "rrdb",
    "opponent": "unet",
    "adversarial": "hinge",
    "accumulate": 2,
    "recompute": True,
    "freeze": ["conv_first"],
    "rate": 0.5,
}
RECIPE = RELATIVISTIC | {"store": "recipe"}
HELD_BACK = {"pause_above": 0.51, "r1": 10.0, "r2": 10.0, "penalty_every": 2, "noise": 0.1, "augment_target": 0.1}
STABILIZED = {"network": "compact", "opponent": "unet", "adversarial": "hinge", "stabilization": HELD_BACK, "losses": [{"name": "ldl"}]}
KINDS = {"relativistic": RELATIVISTIC, "batch norm": BATCH_NORM, "in parts": IN_PARTS, "random recipe": RECIPE, "stabilized": STABILIZED}

GENERATORS = {
    "compact": {"features": 8, "depth": 1},
    "srresnet": {"features": 4, "depth": 1, "upsampling": "pixelshuffle"},
    "rrdb": {"features": 4, "growth": 4, "depth": 1},
}


def train(folder: Path, batch: int, kind: dict[str, Any]) -> tuple[list[dict[str, float]], list[torch.Tensor]]:
    """The figures of each of `STEPS` GAN steps, and the weights afterwards."""
    name = str(kind["network"])
    changes = {
        "train.steps": STEPS,
        "train.batch_size": batch,
        "train.gradient_accumulation": kind.get("accumulate", 1),
        "runtime.train.activation_checkpointing": kind.get("recompute", False),
        "train.losses": [
            {"name": "l1"},
            {"name": "feature_matching", "weight": 0.5},
            {"name": kind["adversarial"], "weight": 0.02},
            *kind.get("losses", []),
        ],
        **{f"train.stabilization.{key}": value for key, value in kind.get("stabilization", {}).items()},
        "train.grad_clip": 1.0,
        "train.freeze": kind.get("freeze", []),
        "train.first_layer_rate": kind.get("rate", 1.0),
        "train.learning_rate": 1e-4,
        "train.discriminator.learning_rate": 1e-4,
        "model": {"name": name, **GENERATORS[name]},
    }
    params = schema.load(write_params(folder, changes))
    options = params.train
    torch.manual_seed(0)
    generator = build_generator(name, scale=4, **GENERATORS[name])
    discriminator = build_discriminator(str(kind["opponent"]), features=4)
    store = Store(folder / str(kind.get("store", "")))
    crops = PatchSampler(store, batch, options.patch_size, options.seed, process_group.rank(), process_group.size())
    subject = Trainer(options, params.runtime.train, generator, discriminator, crops, [])
    if subject.stabilizer:
        subject.stabilizer.accuracy.fill_(0.9)  # the discriminator pauses and the augmentation grows
    rows = []
    for step in range(1, STEPS + 1):
        subject.step(step)
        rows.append({key: value.item() for key, value in subject.running_sums.items()})
        subject.running_sums.clear()
    return rows, [*subject.ema.module.state_dict().values(), *subject.discriminator.state_dict().values()]


def steps(folder: Path) -> None:
    """Each kind, with a batch of 2 in each process."""
    result = {}
    own = folder / str(process_group.rank())
    own.mkdir()
    for name in ("train", "recipe"):
        (own / name).symlink_to(folder / name)
    for name, kind in KINDS.items():
        rows, weights = train(own, 2, kind)
        result[name] = {"rows": rows, "weights": [value.double().sum().item() for value in weights]}
    (folder / f"{process_group.rank()}.json").write_text(json.dumps(result))


def fit(folder: Path, stop_after: int = 0, number: int = signal.SIGTERM) -> torch.nn.Module:
    """The first stage of a tiny network. It receives a signal at a step, unless that is 0."""
    params = schema.load(folder / "params.yaml")
    options = params.pretrain
    torch.manual_seed(0)
    generator = build_generator("compact", scale=4, features=8, depth=1)
    crops = PatchSampler(Store(folder), options.batch_size, options.patch_size, options.seed, process_group.rank(), process_group.size())
    pair = Pair("own", "v", folder / "hr.png", folder / "lr.png")
    subject = Trainer(options, params.runtime.pretrain, generator, None, crops, [pair])
    step = subject.step
    # To one of them alone: the others are to stop at the same step.
    subject.step = lambda current: (
        os.kill(os.getpid(), number) if current == stop_after and process_group.rank() == 0 else None,
        step(current),
    )
    if process_group.rank():
        return subject.fit(SilentLog(), SharedCheckpoints(None))
    log = TrainingLog(folder / "losses.csv", options.steps, "pretrain", folder / "pictures")
    with Checkpoints(folder / "checkpoints", "s", params.runtime.pretrain.checkpoint_every) as own:
        trained = subject.fit(log, SharedCheckpoints(own))
        torch.save(trained.state_dict(), folder / "weights.pt")
        return trained


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    action, folder, *rest = sys.argv[1:]
    with process_group.initialized():
        if action == "steps":
            steps(Path(folder))
        else:
            fit(Path(folder), *map(int, rest))


if __name__ == "__main__":
    main()
