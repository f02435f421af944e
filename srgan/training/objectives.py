"""The objective of a training stage: the one place where losses are computed, for training and for validation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from srgan.losses.adversarial import AdversarialLoss
from srgan.losses.base import LossInputs, LossOptions
from srgan.losses.pixel import L1, PixelLoss
from srgan.losses.registry import LOSSES, build_loss
from srgan.models.discriminators import Output, with_condition
from srgan.models.luma import as_rgb
from srgan.models.vgg import Vgg19
from srgan.training.compilation import compiled


class Objective(nn.Module):
    """Map SR, HR and LR images to the named losses of a stage, and to their weighted sum.

    The divergence check and the validation need a distance between pixels. If no loss of the list is one, L1 joins with weight 0: it is
    logged and not minimized.

    Args:
        losses: the items of ``losses`` in ``params.yaml``.
        device_type: such as ``cpu``.
        dtype: in which the discriminator and pretrained networks compute. The losses themselves are float32.
        trained: False for random weights in pretrained networks, to measure time and memory.
        condition: whether the discriminator is conditional and sees the LR image, too.
    """

    def __init__(
        self, losses: Sequence[LossOptions], device_type: str, dtype: torch.dtype, trained: bool = True, condition: bool = False
    ) -> None:
        super().__init__()
        self.device_type, self.dtype, self.condition = device_type, dtype, condition
        used = [options for options in losses if options.weight or not LOSSES[options.name].pretrained]  # weight 0 loads no network
        modules = {options.name: build_loss(options, trained) for options in used}
        self.weights = {options.name: options.weight for options in used}
        self.pixel = next((name for name, module in modules.items() if isinstance(module, PixelLoss)), L1.name)
        if self.pixel not in modules:
            modules |= {self.pixel: L1.factory()}
            self.weights |= {self.pixel: 0.0}
        self.losses = nn.ModuleDict(modules)
        for network in self.losses.modules():
            if isinstance(network, Vgg19):
                network.compute_in(dtype)
        self.needs_average = any(LOSSES[name].needs_average and weight for name, weight in self.weights.items())
        # Weights of other networks than those that the options are made for: they change the results.
        self.substitutes = sorted(file for module in modules.values() if (file := getattr(module, "substitute", "")))
        self.compiled: dict[str, Callable[[LossInputs], Tensor]] = {}  # for the steps. Validation has images of all sizes
        self.adversarial = next((module for module in modules.values() if isinstance(module, AdversarialLoss)), None)

    def compile_networks(self, on: bool) -> None:
        """Choose whether the networks of perceptual losses run as compiled code in a step."""
        pretrained = {name: loss for name, loss in self.losses.items() if LOSSES[name].pretrained}
        self.compiled = {name: compiled(loss) for name, loss in pretrained.items()} if on else {}

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """Return a context in which networks compute in `dtype`."""
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=enabled and self.dtype is not torch.float32)

    def compare(
        self,
        sr_image: Tensor,
        hr_image: Tensor,
        lr_image: Tensor,
        discriminator: Callable[[Tensor], Output] | None = None,
        mean: Callable[[Tensor], Tensor] = torch.mean,
        averaged: Callable[[Tensor], Tensor] | None = None,
    ) -> LossInputs:
        """Return the inputs of the losses: the images, and the output of the discriminator for them.

        Losses and discriminators see gray images as three equal channels, so all of them compare gray images, too.

        Args:
            sr_image: `(N, 3, H, W)` in 0..1, or `(N, 1, H, W)` gray.
            hr_image: of the same shape, float32.
            lr_image: `(N, 3, H / scale, W / scale)` float32, or with one channel.
            discriminator: None in a stage without one.
            mean: over the batches of all processes.
            averaged: the generator with the averaged weights. None in validation, where `sr_image` is its output.
        """
        averaged_image = None
        if averaged is not None and self.needs_average:
            with torch.no_grad(), self.autocast():
                averaged_image = as_rgb(averaged(lr_image))
        sr_image, hr_image, lr_image = map(as_rgb, (sr_image, hr_image, lr_image))
        if discriminator is None:
            return LossInputs(sr_image, hr_image, lr_image, mean=mean, averaged_image=averaged_image)
        real_input, fake_input = (with_condition(image, lr_image) if self.condition else image for image in (hr_image, sr_image))
        with self.autocast():
            real = discriminator(real_input)
            fake = discriminator(fake_input)
        return LossInputs(sr_image, hr_image, lr_image, fake, real, mean, averaged_image)

    def gradient_penalty(self, image: Tensor, lr_image: Tensor, discriminator: Callable[[Tensor], Output]) -> Tensor:
        """Return the squared norm of the discriminator's gradient at each image, averaged over the batch, in float32.

        Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, section 4.1. The output of an image is the mean of its logits.

        Args:
            image: `(N, 3, H, W)` in 0..1. No gradient flows into it.
            lr_image: `(N, 3, H / scale, W / scale)`.
            discriminator: with second derivatives.
        """
        image = image.detach().float().requires_grad_()
        with torch.autocast(self.device_type, enabled=False):  # second derivatives leave the range of half precision
            logits, _ = discriminator(with_condition(image, lr_image) if self.condition else image)
            (gradient,) = torch.autograd.grad(logits.flatten(1).mean(1).sum(), image, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()

    def terms(self, inputs: LossInputs) -> dict[str, Tensor]:
        """Return each loss of the generator by name, without its weight. Compiled code runs where gradients are recorded."""
        terms = {}
        for name, loss in self.losses.items():
            if self.weights[name] or name == self.pixel:
                with self.autocast(bool(LOSSES[name].pretrained)):
                    terms[name] = (self.compiled.get(name, loss) if torch.is_grad_enabled() else loss)(inputs)
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor | None:
        """Return the weighted sum that the generator minimizes. None if all weights are 0."""
        weighted = [self.weights[name] * term for name, term in terms.items() if self.weights[name]]
        return torch.stack(weighted).sum() if weighted else None

    @torch.no_grad()
    def validate(
        self, sr_image: Tensor, hr_image: Tensor, lr_image: Tensor, discriminator: Callable[[Tensor], Output] | None = None
    ) -> tuple[float, float]:
        """Return the weighted sum and the pixel loss of images. See `compare` for the arguments."""
        terms = self.terms(self.compare(sr_image, hr_image, lr_image, discriminator))
        total = self.total(terms)
        return 0.0 if total is None else total.item(), terms[self.pixel].item()
