"""The training loop of both stages: pixels alone, then with a discriminator. Read it top to bottom."""

import math
import signal
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from srgan.config.training import MultiStep, Optimization, Pretrain, StageRuntime, Train
from srgan.data.manifest import Pair
from srgan.data.sampler import PatchSampler, choose_sampler
from srgan.distributed import process_group
from srgan.distributed.device import pick_device, pick_precision
from srgan.losses.adversarial import accuracy, adversarial_loss, discriminator_loss, feature_matching_loss
from srgan.losses.pixel import pixel_loss, total_variation
from srgan.metrics.metric import Scorer
from srgan.training import diagnostics
from srgan.training.checkpoint import Checkpoints, SharedCheckpoints
from srgan.training.logger import Row, SilentLog, TrainingLog
from srgan.training.optimization import Learner
from srgan.training.validation import Scores, Validation
from srgan.utils.errors import SrganError

REHEARSED = 2  # validation images, the largest, that are scored before the first step


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C arrived; the checkpoint is written."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


def learning_rate(step: int, options: Optimization, peak: float) -> float:
    """The rate of a step in 1..steps, a function of nothing else: linear warm-up, then as `options.schedule` says."""
    schedule = options.schedule
    warm = min(1.0, step / schedule.warmup) if schedule.warmup else 1.0
    if schedule.name == "cosine":
        progress = (step - 1) / max(options.steps - 1, 1)
        return peak * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
    if isinstance(schedule, MultiStep):
        return peak * warm * schedule.factor ** bisect_left(schedule.milestones, step)
    return peak * warm


class Trainer:
    """Trains a generator; with `Train` options against a discriminator, with `Pretrain` options on pixels alone.

    Args:
        options: the stage's section of ``params.yaml``.
        runtime: how the stage runs, its section below ``runtime``.
        generator: trained in place.
        discriminator: the opponent; None in the first stage.
        crops: step -> batch of HR and LR crops.
        validation: whole images, scored every `validate_every` steps.
        perceptual: distance of SR and HR batches, see `srgan.losses.perceptual`; None if the discriminator's features are compared.
        scorers: metrics of the validation, see `srgan.metrics.registry.open_metrics`. By default those that need no weights.
    """

    def __init__(
        self,
        options: Pretrain | Train,
        runtime: StageRuntime,
        generator: nn.Module,
        discriminator: nn.Module | None,
        crops: PatchSampler,
        validation: list[Pair],
        perceptual: nn.Module | None = None,
        scorers: Mapping[str, Scorer] | None = None,
    ) -> None:
        self.options, self.runtime, self.crops, self.pairs = options, runtime, crops, validation
        self.gan = options if isinstance(options, Train) else None
        self.device = pick_device()
        self.dtype = pick_precision(options.precision, self.device)
        # In float32 on a CPU generators alone are up to a fifth faster in NCHW, discriminators slower (docs/speed.md).
        plain = self.device.type == "cpu" and self.dtype is torch.float32 and not self.gan
        self.format = torch.contiguous_format if plain else torch.channels_last
        self.batches = choose_sampler(crops, self.device)
        self.validation = Validation(crops.store.scale, self.device, scorers)
        self.perceptual = self._place(perceptual) if perceptual else None
        self.generator = process_group.synchronise_statistics(self._place(generator).train())
        if runtime.activation_checkpointing:
            self.generator.activation_checkpointing = True
        # The statistics of batch normalisation are averaged as well: those of the last batches fit other weights.
        self.ema = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True)
        self.learners = {
            "generator": Learner(self.generator, options.learning_rate, options.gradient_accumulation, self.dtype, compiled=options.compile)
        }
        self.discriminator = None
        if self.gan:
            assert discriminator is not None
            self.discriminator = process_group.synchronise_statistics(self._place(discriminator).train())
            # Not compiled: two losses go back through it, which compiled code does not allow.
            self.learners["discriminator"] = Learner(
                self.discriminator, self.gan.discriminator.learning_rate, options.gradient_accumulation, self.dtype
            )
        # How far it has come; all of it is in the checkpoint.
        self.rows: list[Row] = []  # of the losses
        self.scores: list[Row] = []  # of the validation; the first is of the state before the first step
        self.sums: dict[str, Tensor] = {}  # of the figures since the last row, on the device
        self.window = 0  # steps since the last row
        self.level = torch.tensor(0.0, device=self.device)  # running mean of the pixel loss
        self.diverged = torch.tensor(0, device=self.device)  # the first step that has diverged; 0: none
        self.rate_factor, self.rollbacks = 1.0, 0
        self.best: dict[str, Any] | None = None  # step, merit and weights
        self.world = process_group.size()  # processes of the steps so far
        self.continues = False  # whether the state that was loaded is one of another run, from which this one goes on
        # A validation that is not finished: its step, a function that waits for its scores, and the weights that are scored.
        self.pending: tuple[int, Callable[[], Scores], dict[str, Tensor]] | None = None

    def _place(self, model: nn.Module) -> nn.Module:
        return model.to(self.device, memory_format=self.format)

    # -- one step -------------------------------------------------------------------------------------------------------

    def batch(self, step: int, jitter: float) -> tuple[Tensor, Tensor]:
        """HR and LR crops of a step, `(N, 3, H, W)` float32 in 0..1; their colours scaled at random by up to `jitter`."""
        hr_image, lr_image = (
            torch.as_tensor(pixels, device=self.device).permute(0, 3, 1, 2).to(torch.float32, memory_format=self.format).div_(255)
            for pixels in self.batches(step)
        )
        if jitter:  # linear, so HR and LR still belong together
            gains = torch.from_numpy(self.crops.color_gains(step, jitter)).to(self.device, non_blocking=True)[:, :, None, None]
            hr_image, lr_image = hr_image * gains, lr_image * gains
        return hr_image, lr_image

    def step(self, step: int) -> None:
        """One update of every network. The figures to log stay on the device, in `sums`."""
        torch.backends.cudnn.benchmark = True
        figures: dict[str, Tensor] = {}
        for learner in self.learners.values():
            learner.start(learning_rate(step, self.options, learner.peak) * self.rate_factor)
        parts = self.options.gradient_accumulation
        batch = self.batch(step, self.options.color_jitter)
        for part, (hr_image, lr_image) in enumerate(zip(*(images.chunk(parts) for images in batch), strict=True), 1):
            with ExitStack() as stack:
                for learner in self.learners.values():
                    stack.enter_context(learner.part(last=part == parts))
                with self._autocast():
                    sr_image = self.learners["generator"].run(lr_image)
                learn = self._learn_gan if self.gan else self._learn_pixels
                for key, value in learn(sr_image, hr_image).items():
                    figures[key] = figures.get(key, 0) + value.detach() / parts
        for name, learner in self.learners.items():
            figures[f"gradient_{name}"] = learner.finish(self.options.grad_clip)
        self.ema.update_parameters(self.generator)
        figures = process_group.average(figures)
        self._look(step, figures)
        self.seen = sr_image.detach(), hr_image
        for key, value in figures.items():
            self.sums[key] = self.sums.get(key, 0) + value
        self.window += 1

    def _learn_pixels(self, sr_image: Tensor, hr_image: Tensor) -> dict[str, Tensor]:
        assert isinstance(self.options, Pretrain)
        loss = pixel_loss(self.options.losses.pixel, sr_image, hr_image)
        self.learners["generator"].learn(loss)
        return {"loss_pixel": loss}

    def _learn_gan(self, sr_image: Tensor, hr_image: Tensor) -> dict[str, Tensor]:
        """Both gradients from one pass through both networks: each loss goes to the weights of its own network alone."""
        assert self.gan
        weights, learner, mean = self.gan.losses, self.learners["discriminator"], process_group.batch_mean
        with self._autocast():
            real_logits, real_features = learner.run(hr_image)
            fake_logits, fake_features = learner.run(sr_image)
        name = weights.adversarial.name
        loss_d = discriminator_loss(name, real_logits, fake_logits, mean)
        learner.learn(loss_d, keep_graph=True)

        figures = {"loss_pixel": pixel_loss(weights.pixel.name, sr_image, hr_image)}
        terms = [(weights.pixel.weight, figures["loss_pixel"])]
        if weights.perceptual.weight:
            if self.perceptual:
                figures["loss_perceptual"] = self._perceive(sr_image, hr_image)
            else:
                real_features = [feature.detach() for feature in real_features]
                figures["loss_perceptual"] = feature_matching_loss(fake_features, real_features)
            terms.append((weights.perceptual.weight, figures["loss_perceptual"]))
        if weights.adversarial.weight:
            figures["loss_adversarial"] = adversarial_loss(name, real_logits.detach(), fake_logits, mean)
            terms.append((weights.adversarial.weight, figures["loss_adversarial"]))
        if weights.tv:
            figures["loss_tv"] = total_variation(sr_image)
            terms.append((weights.tv, figures["loss_tv"]))
        wanted = [weight * loss for weight, loss in terms if weight]
        if wanted:
            self.learners["generator"].learn(torch.stack(wanted).sum())
        real_accuracy, fake_accuracy = accuracy(name, real_logits.detach(), fake_logits.detach(), mean)
        return figures | {"loss_discriminator": loss_d, "real_accuracy": real_accuracy, "fake_accuracy": fake_accuracy}

    def _perceive(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        assert self.perceptual
        with self._autocast():
            return self.perceptual(sr_image, hr_image)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32)

    def _look(self, step: int, figures: dict[str, Tensor]) -> None:
        """Note, on the device, whether the step has diverged: a figure is not finite, or the pixel loss far above its mean."""
        checked = list(figures.values())
        loss = figures["loss_pixel"]
        bad = ~torch.isfinite(torch.stack(checked)).all()
        if step > diagnostics.SETTLED:
            bad |= (self.level > 0) & (loss > diagnostics.EXPLODES * self.level)
        self.diverged = torch.where(bad & (self.diverged == 0), step, self.diverged)
        mean = self.level + (loss - self.level) * max(1 / step, 1 - diagnostics.MEMORY)  # at first the plain mean of all steps
        self.level = torch.where(self.level == 0, loss, mean)

    def _diverged(self, step: int) -> int:
        """The first step that has diverged, or 0. Waits for the device."""
        # Halved so often, float16's scaler has skipped one update after the other.
        if any(learner.scaler.is_enabled() and learner.scaler.get_scale() < 1 for learner in self.learners.values()):
            return int(self.diverged) or step
        return int(self.diverged)

    # -- the run --------------------------------------------------------------------------------------------------------

    def fit(
        self,
        log: TrainingLog | SilentLog,
        checkpoints: Checkpoints | SharedCheckpoints,
        verify: Callable[[bool], None] = lambda wait: None,
    ) -> nn.Module:
        """Train to the last step, from the newest checkpoint if there is one.

        The caller ends with `Checkpoints.finish()`, once the result is safe.

        Args:
            log: of this process.
            checkpoints: of all processes.
            verify: raises if the training pixels are known to be damaged; told to wait, it knows for certain. It is told so before each
                checkpoint: none holds what was learned from damaged pixels.

        Returns:
            The generator with the averaged weights that did best on the validation images, on the CPU, in evaluation mode.

        Raises:
            SrganError: the training diverged more often than `runtime.rollbacks` allows, or the memory is too small.
            Interrupted: SIGTERM or Ctrl-C; a checkpoint is written first.
        """
        every, step = self.runtime, checkpoints.resume(self.load_state_dict)
        with _stop_signals() as stopped, _advice_on_memory(self.options):
            if not step and not self.scores:  # a set-up that cannot validate or write fails now, not hours later
                self.score(sorted(self.pairs, key=lambda pair: pair.hr.stat().st_size)[-REHEARSED:])()
                checkpoints.save(0, self.state_dict())
            elif self.continues:  # a diverging run goes back to it
                checkpoints.save(step, self.state_dict())
            log.start(step, self.rows, self.scores)
            self._note_world(step, log)
            try:
                while True:
                    validation = step % every.validate_every == 0 or step == self.options.steps
                    if validation and not (self.scores and self.scores[-1]["step"] == step):
                        self._validate(step, log)
                    if step == self.options.steps:
                        break
                    step += 1
                    self.step(step)
                    log.step(step)
                    last, stop = step == self.options.steps, process_group.largest(stopped())
                    row, save = step % every.log_every == 0 or last, step % every.checkpoint_every == 0 or last or stop
                    if row or save or step % every.validate_every == 0:
                        if diverged := self._diverged(step):  # the only wait for the device
                            step = self._roll_back(diverged, log, checkpoints)
                            if stop:
                                raise Interrupted(stop)
                            continue
                        self._settle(log)
                        verify(save)
                        if row:
                            log.add(self._row(step))
                        if save:  # before the validation of this step, which would hold it up; who resumes here validates first
                            process_group.check_equal(self.generator.state_dict())
                            checkpoints.save(step, self.state_dict())
                            process_group.largest(0)  # nobody goes on, or away, before the file is there
                        if stop and not last:
                            raise Interrupted(stop)
                self._settle(log)
            finally:
                log.close()
        assert self.best
        self.ema.module.load_state_dict(self.best["weights"])
        log.result(self.best["step"], self._merit_name())
        return self.ema.module.cpu().to(memory_format=torch.contiguous_format).eval()

    def _note_world(self, step: int, log: TrainingLog | SilentLog) -> None:
        """Say so if the processes are not as many as those that wrote the checkpoint."""
        if step and self.world != process_group.size():
            batch = self.options.batch_size
            log.warn(
                f"the checkpoint of step {step} was written by {self.world} processes, now there are {process_group.size()}: from here on "
                f"a step has {process_group.size() * batch} crops, not {self.world * batch}, drawn by seed, step, rank and their number"
            )
        self.world = process_group.size()

    def _row(self, step: int) -> Row:
        """The means of the losses since the last row, and what the images of this step look like."""
        figures = {key: value / self.window for key, value in self.sums.items()}
        figures |= diagnostics.picture_figures(*self.seen, self.crops.store.scale)
        rate = learning_rate(step, self.options, self.options.learning_rate) * self.rate_factor
        row: Row = {"step": step, "learning_rate": round(rate, 9)}
        row |= {key: round(value, 6) for key, value in zip(figures, torch.stack(list(figures.values())).tolist(), strict=True)}
        self.sums, self.window = {}, 0
        self.rows.append(row)
        return row

    def _roll_back(self, step: int, log: TrainingLog | SilentLog, checkpoints: Checkpoints | SharedCheckpoints) -> int:
        """Go back to the last good checkpoint before `step`, which diverged, with half the learning rate. Returns its step."""
        rollbacks, factor = self.rollbacks + 1, self.rate_factor / 2
        advice = (
            "in params.yaml lower learning_rate, set grad_clip to a few times the usual gradient_generator of the CSV, or precision to fp32"
        )
        if rollbacks > self.runtime.rollbacks:
            raise SrganError(
                f"the training diverged at step {step} (a loss is not finite, or the pixel loss over {diagnostics.EXPLODES:.0f} times "
                f"its mean), also after going back {self.rollbacks} times, at last with {self.rate_factor:g} of the learning rate; {advice}"
            )
        self._settle(log)
        # A loss shows what the update before did: the state just before the bad step may be spoilt already.
        back = checkpoints.go_back(step - 1, self.load_state_dict)
        self.rollbacks, self.rate_factor = rollbacks, factor
        checkpoints.save(back, self.state_dict())  # killed now, it goes on with the lower rate
        log.warn(
            f"diverged at step {step}: back to the checkpoint of step {back}, with {factor:g} of the learning rate "
            f"({rollbacks} of at most {self.runtime.rollbacks} times); if that happens again, {advice}"
        )
        log.start(back, self.rows, self.scores)
        return back

    # -- validation -----------------------------------------------------------------------------------------------------

    def _validate(self, step: int, log: TrainingLog | SilentLog) -> None:
        """Begin to score the averaged weights; beside a GPU's training, `_settle` ends it."""
        weights = {key: value.detach().clone() for key, value in self.ema.module.state_dict().items()}
        self.pending = step, self.score(self.pairs), weights
        if not self.validation.threads or step in (0, self.options.steps) or self._judged_anew():
            self._settle(log)

    def _settle(self, log: TrainingLog | SilentLog) -> None:
        """End the validation, if one is pending: keep the weights if they are the best so far, show pictures."""
        if self.pending is None:
            return
        (step, wait, weights), self.pending = self.pending, None
        scores, strips = wait()
        row: Row = {"step": step} | scores
        self.scores.append(row)
        merit = self._merit(row)
        # The state before the first step is no result of this one.
        if step and (self.best is None or merit > self._best_merit()):
            self.best = {"step": step, "merit": list(merit), "weights": {key: value.cpu() for key, value in weights.items()}}
        log.add_scores(row, strips)

    def _judged_anew(self) -> bool:
        """Whether the best weights so far are worth what today's discriminator says."""
        return self.gan is not None and "lpips" not in self.validation.scorers

    def _best_merit(self) -> tuple[float, float]:
        """What the best weights so far are worth; measured anew where the loss decides, as the discriminator has learnt since."""
        assert self.best
        if not self._judged_anew():
            return tuple(self.best["merit"])
        model = self.ema.module
        current = {key: value.clone() for key, value in model.state_dict().items()}
        model.load_state_dict(self.best["weights"])
        scores, _ = self.score(self.pairs)()
        model.load_state_dict(current)
        return self._merit(scores)

    def _merit_name(self) -> str:
        return "PSNR" if not self.gan else "LPIPS" if "lpips" in self.validation.scorers else "loss"

    def _merit(self, row: Row) -> tuple[float, float]:
        """What the best has most of: PSNR in the first stage; in the second low LPIPS (or loss) among those whose PSNR is in bounds."""
        psnr = row["val_psnr_y"]
        if not self.gan:
            return 1.0, psnr
        if psnr < self.scores[0]["val_psnr_y"] - self.gan.psnr_guard:
            return 0.0, psnr
        return 1.0, -row["val_lpips" if "lpips" in self.validation.scorers else "val_loss"]

    @torch.no_grad()
    def score(self, pairs: list[Pair]) -> Callable[[], Scores]:
        """Scores of the averaged weights on whole images, and pictures, by a function that waits for them.

        `val_loss` is the generator's, with the discriminator of the moment. `gap` is the pixel loss on these images divided by that on
        crops of training images: it grows when the network memorises those.
        """
        model = self.ema.module.eval()
        torch.backends.cudnn.benchmark = False  # which is for crops of one size; step() has it on
        hr_crops, lr_crops = self.batch(0, jitter=0)  # steps count from 1: always the same crops
        known = process_group.mean_of_all(pixel_loss(self._pixel_name(), model(lr_crops), hr_crops)).item()
        wait = self.validation.begin(pairs, model, self._validation_loss)

        def finished() -> Scores:
            means, strips = wait()
            means["gap"] = means.pop("val_pixel") / max(known, 1e-9)
            return {key: round(value, 6) for key, value in means.items()}, strips

        return finished

    def _pixel_name(self) -> str:
        return self.gan.losses.pixel.name if self.gan else self.options.losses.pixel  # type: ignore[union-attr,return-value]

    def _validation_loss(self, sr_image: Tensor, hr_image: Tensor) -> tuple[float, float]:
        """The generator's whole loss for one image, and the pixel loss alone."""
        pixel = pixel_loss(self._pixel_name(), sr_image, hr_image)
        if not self.gan:
            return pixel.item(), pixel.item()
        assert self.discriminator
        weights = self.gan.losses
        self.discriminator.eval()
        (real_logits, real_features), (fake_logits, fake_features) = self.discriminator(hr_image), self.discriminator(sr_image)
        self.discriminator.train()
        loss = weights.pixel.weight * pixel + weights.tv * total_variation(sr_image)
        loss = loss + weights.adversarial.weight * adversarial_loss(weights.adversarial.name, real_logits, fake_logits)
        if weights.perceptual.weight:
            distance = self._perceive(sr_image, hr_image) if self.perceptual else feature_matching_loss(fake_features, real_features)
            loss = loss + weights.perceptual.weight * distance
        return loss.item(), pixel.item()

    # -- everything a resumed run needs ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Networks, averaged weights, optimisers, scalers, random state, history, best. Crops and rates are functions of the step."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminator": self.discriminator.state_dict() if self.discriminator else None,
            "learners": {name: learner.state_dict() for name, learner in self.learners.items()},
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "rows": self.rows,
            "scores": self.scores,
            "sums": self.sums,
            "window": self.window,
            "level": self.level,
            "rate_factor": self.rate_factor,
            "rollbacks": self.rollbacks,
            "best": self.best,
            "world": self.world,
            "judged": self._judged(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        if self.discriminator:
            self.discriminator.load_state_dict(state["discriminator"])
        for name, learner in self.learners.items():
            learner.load_state_dict(state["learners"][name])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        self.rows, self.scores, self.window = state["rows"], state["scores"], state["window"]
        self.sums = {key: value.to(self.device) for key, value in state["sums"].items()}
        self.level, self.diverged = state["level"].to(self.device), torch.tensor(0, device=self.device)
        self.rate_factor, self.rollbacks, self.best = state["rate_factor"], state["rollbacks"], state["best"]
        self.world, self.pending = state.get("world", 1), None  # checkpoints of one process once did not say so
        self.continues = state.get("continues", False)
        if self.continues:
            self.rate_factor, self.rollbacks = 1.0, 0
            self.sums, self.window, self.level = {}, 0, torch.zeros_like(self.level)  # other options may give other figures
            if state["judged"] != self._judged():
                self.best = None

    def _judged(self) -> list[str | float]:
        """By what the best weights are chosen."""
        return [self._merit_name(), self.gan.psnr_guard if self.gan else 0.0]


@contextmanager
def _advice_on_memory(options: Optimization) -> Iterator[None]:
    """An error that says which key to change where the device's memory, or the machine's, is too small."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = ("out of memory", "can't allocate memory", "not enough memory")
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in known):
            raise
        raise SrganError(
            f"out of memory with {options.batch_size // options.gradient_accumulation} crops of {options.patch_size}x{options.patch_size} "
            f"at a time: in params.yaml raise gradient_accumulation (is {options.gradient_accumulation}), or lower batch_size or "
            "patch_size; if it happens in a validation, leave the largest images out of the data"
        ) from error


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
