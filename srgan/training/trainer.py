"""The training loop of both stages: pixels alone, then with a discriminator. Read it top to bottom."""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from srgan import losses, metrics, models
from srgan.data.crops import Crops, ResidentCrops
from srgan.data.images import read_image, read_rgb
from srgan.data.manifest import Pair
from srgan.errors import SrganError
from srgan.params import Optimization, Pretrain, Train
from srgan.training.checkpoint import Checkpoints
from srgan.training.device import pick_device, pick_precision
from srgan.training.log import Row, TrainingLog

BETAS = (0.9, 0.99)  # Adam's, as in ESRGAN's released training code


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C arrived; the checkpoint is written."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


def learning_rate(step: int, options: Optimization, peak: float) -> float:
    """The rate of a step in 1..steps, a function of nothing else: linear warm-up, then constant or half a cosine down to 1 % of `peak`."""
    warm = min(1.0, step / options.warmup) if options.warmup else 1.0
    if options.schedule == "constant":
        return peak * warm
    progress = (step - 1) / max(options.steps - 1, 1)
    return peak * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def columns(options: Pretrain | Train) -> list[str]:
    """The header of the CSV of the stage's losses."""
    gan = ["loss_adversarial", "loss_feature_matching", "loss_discriminator", "real_accuracy", "fake_accuracy"]
    return ["step", "learning_rate", "loss_pixel", *(gan if isinstance(options, Train) else [])]


class Trainer:
    """Trains a generator; with `Train` options against a discriminator, with `Pretrain` options on pixels alone.

    Args:
        options: the stage's part of ``params.yaml``.
        generator: trained in place.
        discriminator: the opponent; None in the first stage.
        crops: step -> batch of HR and LR crops.
        validation: whole images, scored every `validate_every` steps.
    """

    def __init__(
        self,
        options: Pretrain | Train,
        generator: nn.Module,
        discriminator: nn.Module | None,
        crops: Crops,
        validation: list[Pair],
    ) -> None:
        self.options, self.crops, self.validation = options, crops, validation
        self.device = pick_device()
        self.dtype = pick_precision(options.precision, self.device)
        self.resident = ResidentCrops(crops, self.device) if ResidentCrops.fits(crops.store, self.device) else None
        self.generator = self._place(generator)
        self.ema = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(options.ema))
        self.optimizer = self._adam(self.generator, options.learning_rate)
        self.discriminator = None
        if discriminator is not None and isinstance(options, Train):
            self.discriminator = self._place(discriminator)
            self.optimizer_d = self._adam(self.discriminator, options.discriminator.learning_rate)

    def _place(self, model: nn.Module) -> nn.Module:
        return model.to(self.device, memory_format=torch.channels_last).train()

    def _adam(self, model: nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(model.parameters(), lr=rate, betas=BETAS, fused=True)

    # -- one step -------------------------------------------------------------------------------------------------------

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """HR and LR crops of a step, `(N, 3, H, W)` float32 in 0..1, channels last."""
        hr_image, lr_image = (
            torch.as_tensor(pixels, device=self.device).permute(0, 3, 1, 2).float().div_(255)
            for pixels in (self.resident or self.crops)(step)
        )
        if self.options.color_jitter:  # linear, so HR and LR still belong together
            gains = torch.from_numpy(self.crops.gains(step, self.options.color_jitter)).to(self.device)[:, :, None, None]
            hr_image, lr_image = hr_image * gains, lr_image * gains
        return hr_image, lr_image

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of every network. Returns the figures to log, still on the device."""
        hr_image, lr_image = self.batch(step)
        self._set_rate(self.optimizer, learning_rate(step, self.options, self.options.learning_rate))
        with self._autocast():
            sr_image = self.generator(lr_image)
        if isinstance(self.options, Train):
            figures = self._gan_step(self.options, sr_image, hr_image, step)
        else:
            loss = losses.pixel_loss(self.options.losses.pixel, sr_image, hr_image)
            figures = {"loss_pixel": loss.detach()}
            self._update(self.optimizer, loss)
        self.ema.update_parameters(self.generator)
        return figures

    def _gan_step(self, options: Train, sr_image: Tensor, hr_image: Tensor, step: int) -> dict[str, Tensor]:
        assert self.discriminator is not None
        # The discriminator learns first, from the same SR images that the generator is then judged on.
        self._set_rate(self.optimizer_d, learning_rate(step, options, options.discriminator.learning_rate))
        self.discriminator.requires_grad_(True)
        with self._autocast():
            real_logits, _ = self.discriminator(hr_image)
            fake_logits, _ = self.discriminator(sr_image.detach())
        loss_d = losses.discriminator_loss(real_logits, fake_logits)
        figures = {
            "loss_discriminator": loss_d.detach(),
            "real_accuracy": (real_logits > fake_logits.mean()).float().mean(),
            "fake_accuracy": (fake_logits < real_logits.mean()).float().mean(),
        }
        self._update(self.optimizer_d, loss_d)

        self.discriminator.requires_grad_(False)
        with self._autocast():
            fake_logits, fake_features = self.discriminator(sr_image)
            with torch.no_grad():
                real_logits, real_features = self.discriminator(hr_image)
        weights = options.losses
        loss_pixel = losses.pixel_loss("l1", sr_image, hr_image)
        loss_adversarial = losses.adversarial_loss(real_logits, fake_logits)
        loss_features = losses.feature_matching_loss(fake_features, real_features)
        self._update(
            self.optimizer,
            weights.pixel * loss_pixel + weights.adversarial * loss_adversarial + weights.feature_matching * loss_features,
        )
        return figures | {
            "loss_pixel": loss_pixel.detach(),
            "loss_adversarial": loss_adversarial.detach(),
            "loss_feature_matching": loss_features.detach(),
        }

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    @staticmethod
    def _set_rate(optimizer: torch.optim.Adam, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate

    @staticmethod
    def _update(optimizer: torch.optim.Adam, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    # -- the run --------------------------------------------------------------------------------------------------------

    def fit(self, log: TrainingLog, checkpoints: Checkpoints) -> nn.Module:
        """Train to the last step, from the newest checkpoint if there is one.

        The caller ends with `checkpoints.finish()`, once the result is safe.

        Returns:
            The generator with averaged weights, on the CPU, in evaluation mode.

        Raises:
            SrganError: a loss is no longer a finite number.
            Interrupted: SIGTERM or Ctrl-C; a checkpoint is written first.
        """
        rows: list[Row] = []
        scores: list[Row] = []
        sums: dict[str, Tensor] = {}  # of the figures since the last row, on the device
        window = 0  # steps since the last row

        def save(step: int) -> None:
            progress = {"rows": rows, "scores": scores, "sums": {key: value.cpu() for key, value in sums.items()}, "window": window}
            checkpoints.save(step, self.state_dict() | progress)

        def restore(state: dict[str, Any]) -> None:
            nonlocal window
            self.load_state_dict(state)
            rows.extend(state["rows"])
            scores.extend(state["scores"])
            sums.update({key: value.to(self.device) for key, value in state["sums"].items()})
            window = state["window"]

        done = checkpoints.resume(restore)
        if not done:  # a set-up that cannot validate or write fails now, not hours later
            self.validate()
            save(0)
        log.start(done, rows, scores)
        every = self.options
        try:
            with _stop_signals() as stopped:
                for step in range(done + 1, self.options.steps + 1):
                    for key, value in self.step(step).items():
                        sums[key] = sums[key] + value if key in sums else value
                    window += 1
                    log.step(step)
                    last = step == self.options.steps
                    if step % every.log_every == 0 or last:
                        log.add(self._row(step, sums, window))
                        sums.clear()
                        window = 0
                    if step % every.validate_every == 0 or last:
                        log.add_scores({"step": step} | self.validate())
                    stop = stopped()
                    if step % every.checkpoint_every == 0 or last or stop:
                        save(step)
                    if stop and not last:
                        raise Interrupted(stop)
        finally:
            log.close()
        return self.ema.module.cpu().to(memory_format=torch.contiguous_format).eval()

    def _row(self, step: int, sums: dict[str, Tensor], window: int) -> Row:
        figures = {key: float(value) / window for key, value in sums.items()}  # the only wait for the device
        if not all(map(math.isfinite, figures.values())):
            raise SrganError(
                f"step {step}: a loss is not finite ({figures}); lower learning_rate, or set precision to fp32, in params.yaml"
            )
        rate = learning_rate(step, self.options, self.options.learning_rate)
        return {"step": step, "learning_rate": round(rate, 9)} | {key: round(value, 6) for key, value in figures.items()}

    def validate(self) -> dict[str, float]:
        """Mean PSNR and SSIM on Y of the averaged weights, on whole images."""
        model = self.ema.module.eval()
        scores = []
        for pair in self.validation:
            sr_image = models.enlarge(model, read_rgb(pair.lr))
            scores.append(metrics.psnr_ssim_y(sr_image, read_image(pair.hr), border=self.crops.store.scale))
        psnr, ssim = np.mean(scores, axis=0)
        return {"val_psnr_y": round(float(psnr), 6), "val_ssim_y": round(float(ssim), 6)}

    # -- everything a resumed run needs ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Networks, averaged weights and optimisers. Crops and rates are functions of the step; nothing else is random."""
        state = {"generator": self.generator.state_dict(), "ema": self.ema.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.discriminator is not None:
            state |= {"discriminator": self.discriminator.state_dict(), "optimizer_d": self.optimizer_d.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.optimizer_d.load_state_dict(state["optimizer_d"])


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Within the block, SIGTERM and SIGINT are noted, not obeyed: the step ends first. Yields the number of the one that came, or 0."""
    seen = 0

    def note(signum: int, _: object) -> None:
        nonlocal seen
        seen = signum

    if threading.current_thread() is not threading.main_thread():
        yield lambda: seen
        return
    former = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: seen
    finally:
        for number, handler in former.items():
            # A flow signals the whole group and `dvc` goes with it, which brings another SIGTERM: it must not kill the process while
            # it says goodbye.
            signal.signal(number, signal.SIG_IGN if number == seen == signal.SIGTERM else handler)
