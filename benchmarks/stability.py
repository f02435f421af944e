"""Test the stability of the GAN stage: ``python benchmarks/stability.py`` after ``dvc repro prepare pretrain`` (15 minutes on two cores).

Each adversarial loss trains 2,000 steps from the pre-trained network with the learning rates of ``params.yaml``. The batches are
small, which is the harder case. The last lines are ``value NAME VALUE``: the number of rollbacks and the pixel loss of the last 100
steps divided by that of the first 100 steps. A value near 1 is stable.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

from srgan.config import schema
from srgan.config.training import Constant, StageRuntime, Train
from srgan.data.manifest import pairs
from srgan.data.packed_store import Store
from srgan.data.sampler import PatchSampler
from srgan.losses.registry import LOSSES as REGISTRY
from srgan.models.checkpoints import load_generator
from srgan.models.registry import create_discriminator
from srgan.training.checkpoint import Checkpoints
from srgan.training.logger import TrainingLog
from srgan.training.trainer import Trainer

PREPARED, PRETRAINED = Path("data/prepared"), Path("models/pretrained.safetensors")
LOSSES = [loss.name for loss in REGISTRY.values() if loss.trains_discriminator]


def train(options: Train, runtime: StageRuntime, folder: Path) -> Trainer:
    """Run the GAN stage and return its trainer."""
    torch.manual_seed(options.seed)
    generator, _ = load_generator(PRETRAINED, made_by="pretrain")
    discriminator = create_discriminator(options.discriminator)
    crops = PatchSampler(Store(PREPARED), options.batch_size, options.patch_size, options.seed)
    trainer = Trainer(options, runtime, generator, discriminator, crops, pairs(PREPARED, "validation")[:2])
    with Checkpoints(folder, "benchmark", runtime.checkpoint_every) as checkpoints:
        trainer.fit(TrainingLog(folder / "train.csv", options.steps, folder.name, folder / "pictures"), checkpoints)
    return trainer


def main() -> None:
    """Train with each loss and print the values last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=64)
    given = parser.parse_args()
    base = schema.load().train
    small = {"steps": given.steps, "batch_size": given.batch, "gradient_accumulation": 1, "patch_size": given.patch}
    runtime = StageRuntime(log_every=20, validate_every=given.steps, checkpoint_every=max(given.steps // 4, 1))
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in LOSSES:
            others = [loss for loss in base.losses if not REGISTRY[loss.name].trains_discriminator]
            losses = (*others, REGISTRY[name].config(name=name))
            schedule = Constant(name="constant", warmup=min(base.schedule.warmup, given.steps))  # full learning rate until the last step
            options = base.model_copy(update=small | {"schedule": schedule, "losses": losses})
            trainer = train(options, runtime, Path(folder) / name)
            pixel = [row[f"loss_{trainer.objective.pixel}"] for row in trainer.history]
            drift = statistics.mean(pixel[-5:]) / statistics.mean(pixel[:5])
            start, end = trainer.scores[0]["val_psnr_y"], trainer.scores[-1]["val_psnr_y"]
            print(f"{name}: pixel loss {pixel[0]:.4f} -> {pixel[-1]:.4f}, at most {max(pixel):.4f}; validation {start:.2f} -> {end:.2f} dB")
            lines += [f"value rollbacks_{name} {trainer.rollbacks}", f"value drift_{name} {drift:.2f}"]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
