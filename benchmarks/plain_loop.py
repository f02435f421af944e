"""The plain training loop that `benchmarks/train.py` compares with, and the networks of both sides."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from srgan.config import profiles
from srgan.config.training import Pretrain, Train
from srgan.distributed.device import pick_device
from srgan.losses.base import LossInputs
from srgan.losses.registry import build_loss
from srgan.models.registry import create_discriminator, create_generator
from srgan.models.srresnet import SRResNet

PROFILES = {"srgan": "srgan-div2k", "esrgan": "esrgan-df2k", "compact": "compact-realtime"}
SUBIMAGE = 480  # pixels of the side of the PNG files


def options_of(name: str, stage: str, batch: int, precision: str = "auto") -> Pretrain | Train:
    """Return the stage's options of the profile with this batch size and precision."""
    options = getattr(profiles.load(PROFILES[name]), stage)
    return options.model_copy(update={"batch_size": batch, "gradient_accumulation": 1, "precision": precision})


def networks(name: str, options: Pretrain | Train) -> tuple[nn.Module, nn.Module | None, nn.Module | None]:
    """Return the generator. Add the discriminator and the perceptual loss in the GAN stage. All weights are random."""
    torch.manual_seed(0)
    generator = create_generator(profiles.load(PROFILES[name]).model, scale=4)
    if not isinstance(options, Train):
        return generator, None, None
    return generator, create_discriminator(options.discriminator), build_loss(options.losses[1], trained=False)


class SubImages(torch.utils.data.Dataset):
    """Random patches of the PNG files with flips and quarter turns."""

    def __init__(self, folder: Path, patch: int) -> None:
        self.paths, self.patch = sorted((folder / "png").glob("*-hr.png")), patch

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng(index)
        path = self.paths[random.integers(len(self.paths))]
        hr_image, lr_image = (np.asarray(Image.open(str(path).replace("-hr", kind))) for kind in ("-hr", "-lr"))
        top, left = random.integers((SUBIMAGE - self.patch) // 4, size=2)
        small = self.patch // 4
        lr_crop = lr_image[top : top + small, left : left + small]
        hr_crop = hr_image[4 * top : 4 * top + self.patch, 4 * left : 4 * left + self.patch]
        flip, turn = random.integers(2), random.integers(4)
        return tuple(  # type: ignore[return-value]
            torch.from_numpy(np.ascontiguousarray(np.rot90(crop[:, ::-1] if flip else crop, turn).transpose(2, 0, 1))).float() / 255
            for crop in (hr_crop, lr_crop)
        )


class PlainLoop:
    """A training loop without the techniques of `docs/speed.md`."""

    def __init__(self, name: str, stage: str, batch: int, folder: Path, loading: bool) -> None:
        options = self.options = options_of(name, stage, batch)
        self.device = pick_device()
        generator, discriminator, perceptual = networks(name, options)
        if isinstance(generator, SRResNet):
            generator.optimize_graph = False
        self.generator = generator.to(self.device).train()
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=1e-4, betas=(0.9, 0.99))
        if discriminator and perceptual:
            self.discriminator, self.perceptual = discriminator.to(self.device).train(), perceptual.to(self.device)
            self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.batches = self._batches(SubImages(folder, options.patch_size), batch, loading)

    def _batches(self, images: SubImages, batch: int, loading: bool) -> Iterator[tuple[Tensor, Tensor]]:
        if not loading:
            fixed = [torch.stack(crops).to(self.device) for crops in zip(*(images[n] for n in range(batch)), strict=True)]
            while True:
                yield fixed[0], fixed[1]
        pinned = self.device.type == "cuda"
        workers = min(8, os.cpu_count() or 1)
        for hr_image, lr_image in torch.utils.data.DataLoader(images, batch, num_workers=workers, pin_memory=pinned):
            yield hr_image.to(self.device, non_blocking=True), lr_image.to(self.device, non_blocking=True)

    def step(self) -> None:
        """Run the next step."""
        hr_image, lr_image = next(self.batches)
        options, logged = self.options, {}
        self.optimizer.zero_grad()
        sr_image = self.generator(lr_image)
        if isinstance(options, Pretrain):
            loss = {"mse": functional.mse_loss, "l1": functional.l1_loss}[options.losses[0].name](sr_image, hr_image)
            loss.backward()
            self.optimizer.step()
            logged["loss"] = loss.item()
        else:
            self.discriminator.requires_grad_(False)
            pixel = functional.l1_loss(sr_image, hr_image)
            perceptual = self.perceptual(LossInputs(sr_image, hr_image, lr_image))
            logits, _ = self.discriminator(sr_image)
            if options.losses[2].name == "relativistic":
                real = self.discriminator(hr_image)[0].detach()
                adversarial = (_bce(real - logits.mean(), 0) + _bce(logits - real.mean(), 1)) / 2
            else:
                adversarial = _bce(logits, 1)
            weights = [loss.weight for loss in options.losses]  # pixel, perceptual and adversarial loss in all profiles
            loss = weights[0] * pixel + weights[1] * perceptual + weights[2] * adversarial
            loss.backward()
            self.optimizer.step()
            self.discriminator.requires_grad_(True)
            self.optimizer_d.zero_grad()
            if options.losses[2].name == "relativistic":
                fake = self.discriminator(sr_image.detach())[0]
                real = self.discriminator(hr_image)[0]
                loss_d = (_bce(real - fake.mean(), 1) + _bce(fake - real.mean(), 0)) / 2
            else:
                loss_d = (_bce(self.discriminator(hr_image)[0], 1) + _bce(self.discriminator(sr_image.detach())[0], 0)) / 2
            loss_d.backward()
            self.optimizer_d.step()
            logged |= {"pixel": pixel.item(), "perceptual": perceptual.item(), "adversarial": adversarial.item(), "d": loss_d.item()}
        for averaged, weight in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            averaged.data.mul_(0.999).add_(weight.data, alpha=0.001)


def _bce(logits: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
