"""The training loop of both stages: pixel losses alone, then with a discriminator. `Trainer.fit` and `Trainer.step` read top to bottom."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from srgan.config.training import Pretrain, StageRuntime, Train
from srgan.data.manifest import Pair
from srgan.data.sampler import PatchSampler, choose_sampler
from srgan.distributed import process_group
from srgan.distributed.device import deterministic_kernels, pick_device, pick_memory_format, pick_precision
from srgan.distributed.signals import Interrupted, stop_signals
from srgan.metrics.metric import Scorer
from srgan.models.registry import supports_half
from srgan.training.checkpoint import Checkpoints, SharedCheckpoints
from srgan.training.compilation import compiles
from srgan.training.cuda_graph import GraphedStep, graphed_step
from srgan.training.diagnostics import DIVERGENCE_RATIO, DivergenceCheck, image_metrics
from srgan.training.ema import MovingAverage
from srgan.training.figures import Figures, RunningSums, figures, mean_of_parts
from srgan.training.gradients import add_gradients
from srgan.training.logger import SilentLog, TrainingLog
from srgan.training.memory import memory_advice
from srgan.training.model_selection import ModelSelection, Weights
from srgan.training.objectives import Objective
from srgan.training.optimization import OptimizedNetwork
from srgan.training.proof import prove
from srgan.training.schedules import learning_rate
from srgan.training.stabilization import Stabilizer
from srgan.training.validation import Scores, Validation
from srgan.utils.csv_table import Row
from srgan.utils.errors import SrganError

REHEARSAL_IMAGES = 2  # the largest validation images, which are scored before the first step

Log = TrainingLog | SilentLog
AnyCheckpoints = Checkpoints | SharedCheckpoints


class Trainer:
    """Trains a generator: against a discriminator with `Train` options, without one with `Pretrain` options.

    Args:
        options: the stage's section of ``params.yaml``.
        runtime: how the stage runs, its section below ``runtime``.
        generator: trained in place.
        discriminator: None in the pixel stage.
        sampler: returns the HR and LR patches of a step.
        validation: whole images, which are scored every `validate_every` steps.
        scorers: metrics of the validation, see `srgan.metrics.registry.open_metrics`. By default those without weights.
        pretrained_losses: False for random weights in the networks of perceptual losses, to measure time and memory.
    """

    def __init__(
        self,
        options: Pretrain | Train,
        runtime: StageRuntime,
        generator: nn.Module,
        discriminator: nn.Module | None,
        sampler: PatchSampler,
        validation: list[Pair],
        scorers: Mapping[str, Scorer] | None = None,
        pretrained_losses: bool = True,
    ) -> None:
        self.options, self.runtime, self.pairs = options, runtime, validation
        self.device = pick_device()
        self.dtype = pick_precision(options.precision, self.device, supports_half(generator))
        self.format = pick_memory_format(self.device, self.dtype, generator, alone=isinstance(options, Pretrain))
        self.sampler, self.batches = sampler, choose_sampler(sampler, self.device)
        self.validation = Validation(sampler.store.scale, self.device, scorers, sampler.store.recipe.removes_colour)
        condition = getattr(discriminator, "condition", False)
        self.objective = self._place(Objective(options.losses, self.device.type, self.dtype, pretrained_losses, condition))
        self.generator = process_group.sync_batch_norm(self._place(generator).train(), runtime.sync_batch_norm)
        if runtime.activation_checkpointing:
            self.generator.activation_checkpointing = True
        self.ema = MovingAverage(self.generator, options.ema, options.ema_switch_every)
        self.graph = graphed_step(self._update, self.device, options, runtime)
        common = options.gradient_accumulation, self.dtype, self.graph is not None
        trained = options.freeze, options.first_layer_rate, options.optimizer, options.anchor
        self.networks = {"generator": OptimizedNetwork(self.generator, options.learning_rate, *common, *trained)}
        self.discriminator, self.stabilizer = None, None
        self.selection = ModelSelection("CIEDE2000" if "ciede2000" in self.validation.scorers else "PSNR")
        if isinstance(options, Train):
            assert discriminator is not None
            self.discriminator = process_group.sync_batch_norm(self._place(discriminator).train(), runtime.sync_batch_norm)
            if options.stabilization.enabled:
                self.stabilizer = Stabilizer(options.stabilization, options.steps, sampler, self.device)
            rates = self.graph is not None or options.stabilization.pauses  # on the device
            self.networks["discriminator"] = OptimizedNetwork(self.discriminator, options.discriminator.learning_rate, *common[:2], rates)
            self.selection = ModelSelection(
                "LPIPS" if "lpips" in self.validation.scorers else "loss",
                options.psnr_guard,
                options.hatch_guard,
                getattr(generator, "keep_luma", False),
            )
        self.selection.patience = options.patience
        self.choose(compiles(self.device, options, runtime), self.graph)
        # The progress. The checkpoint contains all of it.
        self.history: list[Row] = []  # of the losses
        self.scores: list[Row] = []  # of the validations, first that of the state before the first step
        self.running_sums = RunningSums()  # of the figures since the last row
        self.divergence = DivergenceCheck(self.device)
        self.lr_factor, self.rollbacks = 1.0, 0
        self.world_size = process_group.size()  # processes of the steps so far
        self.continues = False  # whether the loaded state is of another run, which this one continues
        # A validation that is not finished: its step, a function that waits for its scores, and the scored weights.
        self.pending_validation: tuple[int, Callable[[], Scores], Weights] | None = None

    def _place(self, model: nn.Module) -> nn.Module:
        return model.to(self.device, memory_format=self.format)

    def choose(self, compiled: bool, graph: GraphedStep[Any] | None) -> None:
        """Choose how the steps run: with compiled networks, and as a CUDA graph. Their results differ by rounding alone."""
        self.compiled, self.graph = compiled, graph
        self.objective.compile_networks(compiled)
        for network in self.networks.values():
            network.compile(compiled)

    # -- the loop -------------------------------------------------------------------------------------------------------

    def fit(self, log: Log, checkpoints: AnyCheckpoints, verify: Callable[[bool], None] = lambda wait: None) -> nn.Module:
        """Train to the last step, from the newest checkpoint if there is one.

        The caller calls `Checkpoints.finish()` when the result is safe.

        Args:
            log: of this process.
            checkpoints: of all processes.
            verify: raises if the training pixels are known to be damaged. With True it waits until it is certain. The loop calls it so
                before each checkpoint, so that no checkpoint contains what was learned from damaged pixels.

        Returns:
            The generator with the averaged weights of the best validation, on the CPU, in evaluation mode.

        Raises:
            SrganError: the training diverged more often than `runtime.rollbacks` allows, or the memory is too small.
            Interrupted: SIGTERM or Ctrl-C arrived. A checkpoint is written first.
        """
        steps, runtime = self.options.steps, self.runtime
        exact = deterministic_kernels(self.device, runtime.deterministic)
        with stop_signals() as stop_signal, memory_advice(self.options), exact:
            step = self._start(log, checkpoints)
            prove(self, step)
            try:
                while True:
                    if (step % runtime.validate_every == 0 or step == steps) and not (self.scores and self.scores[-1]["step"] == step):
                        self._start_validation(step, log)
                    if step == steps or self.selection.is_over(self.scores):
                        break
                    step += 1
                    self.step(step)
                    log.step(step)
                    stop = process_group.all_max(stop_signal())  # all processes stop after the same step
                    last = step == steps
                    log_due = step % runtime.log_every == 0 or last
                    save_due = step % runtime.checkpoint_every == 0 or last or stop
                    if log_due or save_due or step % runtime.validate_every == 0:
                        if diverged := self._diverged_step(step):  # the only wait for the device
                            step = self._roll_back(diverged, log, checkpoints)
                            if stop:
                                raise Interrupted(stop)
                            continue
                        self._finish_validation(log)
                        verify(bool(save_due))
                        if log_due:
                            log.add(self._log_row(step))
                        if save_due:  # before the validation of this step, which a resumed run repeats
                            process_group.require_equal_weights(self.generator.state_dict())
                            checkpoints.save(step, self.state_dict())
                            process_group.all_max(0)  # no process continues or ends before the file exists
                        if stop and not last:
                            raise Interrupted(stop)
                self._finish_validation(log)
            finally:
                log.close()
        best = self.selection.best
        assert best
        self.ema.module.load_state_dict(best["weights"])
        log.result(best["step"], self.selection.criterion)
        return self.ema.module.cpu().to(memory_format=torch.contiguous_format).eval()

    def step(self, step: int) -> None:
        """Update every network once. The figures stay on the device, in `running_sums`."""
        torch.backends.cudnn.benchmark = not self.runtime.deterministic
        for network in self.networks.values():
            network.set_learning_rate(learning_rate(step, self.options, network.max_lr) * self.lr_factor)
        self.divergence.number.fill_(step)
        batch = self.batch(step, self.options.color_jitter, self.options.cutblur)
        draws, exception = self.stabilizer.draw(step, batch[0].shape[-1]) if self.stabilizer else ([], {})
        found, *self.last_batch = (self.graph or self._update)(*batch, *draws, **exception)
        self.ema.finish_step()
        self.running_sums.add(found)

    def _update(self, hr_image: Tensor, lr_image: Tensor, *draws: Tensor, penalized: bool = False) -> tuple[Figures, Tensor, Tensor]:
        """Update every network once with a batch, and return the figures, and SR and HR images.

        Keep the rules of `srgan.training.cuda_graph.GraphedStep`. See `srgan.training.stabilization` for the last two arguments.
        """
        for network in self.networks.values():
            network.zero_grad()
        found: list[dict[str, Tensor]] = []
        parts = self.options.gradient_accumulation
        chunks = (batch.chunk(parts) for batch in (hr_image, lr_image, *draws))
        for part, (hr_part, lr_part, *draws_part) in enumerate(zip(*chunks, strict=True), 1):
            with ExitStack() as contexts:
                for network in self.networks.values():
                    contexts.enter_context(network.accumulate(last=part == parts))
                values, sr_part = add_gradients(
                    self.objective, self.networks, self.ema.module, hr_part, lr_part, self.stabilizer, draws_part, penalized
                )
                found.append(values)
        values = mean_of_parts(found)
        if self.stabilizer:
            values |= self.stabilizer.hold(self.networks["discriminator"])
        for name, network in self.networks.items():
            values[f"gradient_{name}"] = network.finish_step(self.options.grad_clip)
        with self.networks["generator"].evaluated():
            self.ema.update()
        logged = figures(values | (self.stabilizer.values() if self.stabilizer else {}))
        if self.stabilizer:
            self.stabilizer.update(logged["real_accuracy"], logged["fake_accuracy"])
        self.divergence.update(logged.vector, logged[f"loss_{self.objective.pixel}"])
        return logged, sr_part, hr_part

    def batch(self, step: int, jitter: float, cutblur: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the HR and LR patches of a step, see `srgan.data.sampler.PatchSampler.finish`."""
        images = [
            torch.as_tensor(pixels, device=self.device)
            .permute(0, 3, 1, 2)
            .to(torch.float32, memory_format=self.format)
            .div_(self.sampler.store.white)
            for pixels in self.batches(step)
        ]
        hr_image, lr_image = self.sampler.finish(images, step, jitter, cutblur)
        return hr_image, lr_image.to(memory_format=self.format)

    # -- around the loop ------------------------------------------------------------------------------------------------

    def _start(self, log: Log, checkpoints: AnyCheckpoints) -> int:
        """Resume, or prepare the first step. Returns the number of steps that are done."""
        step = checkpoints.resume(self.load_state_dict)
        if not step and not self.scores:  # so a setup that cannot validate or write fails now, not hours later
            self.score(sorted(self.pairs, key=lambda pair: (pair.hr or pair.lr).stat().st_size)[-REHEARSAL_IMAGES:])()
            checkpoints.save(0, self.state_dict())
        elif self.continues:  # a diverging run returns to it
            checkpoints.save(step, self.state_dict())
        log.start(step, self.history, self.scores)
        if step and self.world_size != process_group.size():
            before, now = self.world_size * self.options.batch_size, process_group.size() * self.options.batch_size
            log.warn(
                f"{self.world_size} processes wrote the checkpoint of step {step}, now {process_group.size()} run. A step now has {now} "
                f"patches instead of {before}, and other ones"
            )
        self.world_size = process_group.size()
        return step

    def _log_row(self, step: int) -> Row:
        """Return the means since the last row, and metrics of the images of this step."""
        means, images = self.running_sums.means(), image_metrics(*self.last_batch, self.sampler.store.scale)
        values = torch.cat([means.vector, torch.stack(list(images.values()))]).tolist()
        rate = learning_rate(step, self.options, self.options.learning_rate) * self.lr_factor
        row: Row = {"step": step, "learning_rate": round(rate, 9)}
        row |= {key: round(value, 6) for key, value in zip((*means.names, *images), values, strict=True)}
        self.running_sums.clear()
        self.history.append(row)
        return row

    def _diverged_step(self, step: int) -> int:
        """Return the first step that has diverged, or 0. Waits for the device."""
        overflows = any(network.overflows() for network in self.networks.values())
        return int(self.divergence.step) or (step if overflows else 0)

    def _roll_back(self, step: int, log: Log, checkpoints: AnyCheckpoints) -> int:
        """Return to the last good checkpoint before `step`, which diverged, with half the learning rate. Returns its step."""
        rollbacks, factor = self.rollbacks + 1, self.lr_factor / 2
        advice = "lower learning_rate, raise precision to fp32, or set grad_clip to a few times the usual gradient_generator of the CSV"
        if rollbacks > self.runtime.rollbacks:
            raise SrganError(
                f"the training diverged at step {step} (a loss is not finite, or the pixel loss exceeds {DIVERGENCE_RATIO:.0f} times its "
                f"average), even after {self.rollbacks} rollbacks, the last with {self.lr_factor:g} of the learning rate. Remedy: {advice}"
            )
        self._finish_validation(log)
        # A loss shows the effect of the update before it, so the state just before the diverged step may be damaged already.
        back = checkpoints.go_back(step - 1, self.load_state_dict)
        self.rollbacks, self.lr_factor = rollbacks, factor
        checkpoints.save(back, self.state_dict())  # so a killed run resumes with the lower rate
        log.warn(
            f"diverged at step {step}: back to the checkpoint of step {back}, with {factor:g} of the learning rate "
            f"({rollbacks} of at most {self.runtime.rollbacks} times). If that happens again, {advice}"
        )
        log.start(back, self.history, self.scores)
        return back

    # -- validation -----------------------------------------------------------------------------------------------------

    def _start_validation(self, step: int, log: Log) -> None:
        """Score the averaged weights. On a GPU `_finish_validation` completes this while the training continues."""
        weights = {key: value.detach().clone() for key, value in self.ema.module.state_dict().items()}
        self.pending_validation = step, self.score(self.pairs), weights
        if not self.validation.threads or step in (0, self.options.steps) or self.selection.needs_rescoring:
            self._finish_validation(log)

    def _finish_validation(self, log: Log) -> None:
        """Wait for the pending validation if there is one. Log it, and keep its weights if they are the best so far."""
        if self.pending_validation is None:
            return
        (step, wait, weights), self.pending_validation = self.pending_validation, None
        scores, strips = wait()
        row: Row = {"step": step} | scores
        self.scores.append(row)
        self.selection.offer(row, self.scores[0], weights, self._rescore)
        log.add_scores(row, strips)

    def _rescore(self, weights: Weights) -> Row:
        """Score other weights, with the present discriminator."""
        model = self.ema.module
        current = {key: value.clone() for key, value in model.state_dict().items()}
        model.load_state_dict(weights)
        scores, _ = self.score(self.pairs)()
        model.load_state_dict(current)
        return scores

    @torch.no_grad()
    def score(self, pairs: list[Pair]) -> Callable[[], Scores]:
        """Score the averaged weights on whole images. Returns a function that waits for the scores and the comparison images.

        `val_loss` is the generator's, with the present discriminator. `gap` is the pixel loss on these images divided by that on
        training patches. It grows when the network memorizes the training images.
        """
        model = self.ema.module
        torch.backends.cudnn.benchmark = False  # it needs images of one size, so `step` enables it
        hr_image, lr_image = self.batch(0, jitter=0)  # steps count from 1, so these patches are always the same
        inputs = self.objective.compare(model(lr_image), hr_image, lr_image)
        training_loss = process_group.mean_over_processes(self.objective.losses[self.objective.pixel](inputs)).item()
        if self.discriminator:
            self.discriminator.eval()
        wait = self.validation.begin(pairs, model, lambda *images: self.objective.validate(*images, self.discriminator))
        if self.discriminator:
            self.discriminator.train()

        def finished() -> Scores:
            means, strips = wait()
            means["gap"] = means.pop("val_pixel") / max(training_loss, 1e-9)
            return {key: round(value, 6) for key, value in means.items()}, strips

        return finished

    # -- the state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs. Patches and learning rates are functions of the step."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminator": self.discriminator.state_dict() if self.discriminator else None,
            "learners": {name: network.state_dict() for name, network in self.networks.items()},
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "rows": self.history,
            "scores": self.scores,
            "sums": {name: value.clone() for name, value in self.running_sums.items()},
            "window": self.running_sums.steps,
            "level": self.divergence.loss_ema.clone(),
            "rate_factor": self.lr_factor,
            "rollbacks": self.rollbacks,
            "best": self.selection.best,
            "world": self.world_size,
            "judged": self.selection.identity(),
        } | ({"stabilizer": self.stabilizer.state_dict()} if self.stabilizer else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        if self.graph:
            self.graph.forget()
        self.generator.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        if self.discriminator:
            self.discriminator.load_state_dict(state["discriminator"])
        for name, network in self.networks.items():
            network.load_state_dict(state["learners"][name])
        if self.stabilizer and "stabilizer" in state:  # else this run continues one without it
            self.stabilizer.load_state_dict(state["stabilizer"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        self.history, self.scores = state["rows"], state["scores"]
        self.running_sums.load(state["sums"], state["window"], self.device)
        self.divergence.restore(state["level"])
        self.lr_factor, self.rollbacks, self.selection.best = state["rate_factor"], state["rollbacks"], state["best"]
        self.world_size, self.pending_validation = state.get("world", 1), None  # not in the oldest checkpoints
        self.continues = state.get("continues", False)
        if self.continues:  # other options may give other values
            self.lr_factor, self.rollbacks = 1.0, 0
            self.running_sums.clear()
            self.divergence.restore(torch.zeros_like(state["level"]))
            if state["judged"] != self.selection.identity():
                self.selection.best = None
