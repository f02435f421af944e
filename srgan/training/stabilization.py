"""Methods that keep the discriminator from running ahead of the generator: pause, gradient penalty, noise and augmentation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from srgan.config.stabilization import Stabilization
from srgan.data.sampler import PatchSampler
from srgan.losses.base import LossInputs
from srgan.models.discriminators import Output
from srgan.training.augmentation import DRAWS, augment
from srgan.training.objectives import Objective
from srgan.training.optimization import OptimizedNetwork

AVERAGED_STEPS = 10  # steps over which the accuracy is averaged
LARGEST_PROBABILITY = 0.8  # of the augmentation. Above it generators learn to augment (Karras et al. 2020, section 3.1)
RISE = 0.25  # share of the training in which the probability can rise from 0 to 1

Judge = Callable[[Tensor], Output]


class Stabilizer:
    """The state of the methods, and what they add to a step of the GAN stage.

    Decisions follow from moving averages of the accuracy, which are tensors that stay in place. So no step waits for the device and a CUDA
    graph may contain a step. All random numbers are functions of the seed and the step.

    Args:
        options: which methods are on.
        steps: of the whole training.
        sampler: of the patches. Its seed also gives the random numbers.
        device: of the networks.
    """

    def __init__(self, options: Stabilization, steps: int, sampler: PatchSampler, device: torch.device) -> None:
        self.options, self.steps, self.sampler, self.device = options, steps, sampler, device
        self.accuracy = torch.full((2,), 0.5, device=device)  # on real and on fake images, averaged over steps
        self.probability = torch.tensor(0.0, device=device)  # of each operation of the augmentation

    def draw(self, step: int, side: int) -> tuple[list[Tensor], dict[str, bool]]:
        """Return the random numbers of a step, each with one entry per patch, and ``penalized`` in a step with gradient penalties.

        Args:
            step: of the training.
            side: of the patches in pixels.
        """
        draws = []
        if self.options.augment_target:
            draws.append(torch.from_numpy(self.sampler.uniforms(step, DRAWS)).to(self.device, non_blocking=True))
        if self.options.noise:
            strength = self.options.noise * (1 - step / self.steps)
            draws.append(strength * self.sampler.noise(step, (3, side, side), self.device))
        due = (self.options.r1 or self.options.r2) and step % self.options.penalty_every == 0
        return draws, {"penalized": True} if due else {}

    def judge(self, discriminator: Judge, draws: Sequence[Tensor]) -> Judge:
        """Return the discriminator of changed images. Real and fake images change in the same way.

        Noise: Sønderby et al. 2017, https://arxiv.org/abs/1610.04490, section 3.1.
        """

        def judged(image: Tensor) -> Output:
            left = list(draws)
            if self.options.augment_target:
                image = augment(image, left.pop(0), self.probability)
            if self.options.noise:
                noise = left.pop(0)
                image = torch.cat([image[:, :3] + noise, image[:, 3:]], 1)  # a conditional discriminator sees the input without noise
            return discriminator(image)

        return judged

    def penalties(self, objective: Objective, inputs: LossInputs, judge: Judge, due: bool) -> tuple[dict[str, Tensor], Tensor | float]:
        """Return the gradient penalties to log, and their weighted sum, see `Objective.gradient_penalty`.

        A penalty of every k-th step counts k times (Karras et al. 2020, https://arxiv.org/abs/1912.04958, section 3.1). So the mean over
        the steps is that of a penalty in each step.
        """
        values: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        for name, weight, image in (("r1", self.options.r1, inputs.hr_image), ("r2", self.options.r2, inputs.sr_image)):
            if not weight:
                continue
            values[f"loss_{name}"] = torch.zeros((), device=self.device)
            if due:
                values[f"loss_{name}"] = self.options.penalty_every * objective.gradient_penalty(image, inputs.lr_image, judge)
                total = total + weight / 2 * values[f"loss_{name}"]
        return values, total

    def hold(self, discriminator: OptimizedNetwork) -> dict[str, Tensor]:
        """Set the learning rates of this step to 0 if the discriminator pauses. The averages of its optimizer still follow the gradient.

        Args:
            discriminator: with its learning rates on the device.

        Returns:
            The value to log.
        """
        if not self.options.pauses:
            return {}
        paused = (self.accuracy.mean() > self.options.pause_above).float()
        torch._foreach_mul_(discriminator.rates, 1 - paused)
        return {"discriminator_paused": paused}

    @torch.no_grad()
    def update(self, real_accuracy: Tensor, fake_accuracy: Tensor) -> None:
        """Add the accuracies of a step, which are means over all processes, to the averages."""
        self.accuracy.lerp_(torch.stack([real_accuracy, fake_accuracy]), 1 / AVERAGED_STEPS)
        if not self.options.augment_target:
            return
        # Overfitting is the mean sign of the discriminator for real images (Karras et al. 2020, equation 1): -1 to 1.
        overfitting = 2 * self.accuracy[0] - 1
        change = torch.sign(overfitting - self.options.augment_target) / (RISE * self.steps)
        self.probability.add_(change).clamp_(0, LARGEST_PROBABILITY)

    def values(self) -> dict[str, Tensor]:
        """Return the probability of the augmentation, to log."""
        return {"augmentation": self.probability} if self.options.augment_target else {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state for the checkpoint."""
        return {"accuracy": self.accuracy.clone(), "probability": self.probability.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the result of `state_dict` in place."""
        self.accuracy.copy_(state["accuracy"])
        self.probability.copy_(state["probability"])
