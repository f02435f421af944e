"""Learning-rate schedulers: the learning rate as a function of the step."""

import math
from bisect import bisect_left

from srgan.config.training import MultiStep, Optimization, WarmupStableDecay

FINAL_SHARE = 0.01  # of the highest learning rate, at the last step of a cosine or of a decay


def learning_rate(step: int, options: Optimization, max_lr: float) -> float:
    """Return the learning rate of a step: linear warm-up, then the scheduler of the options.

    Args:
        step: from 1 to `options.steps`.
        options: of the stage.
        max_lr: the highest learning rate of the network.
    """
    schedule = options.schedule
    warmup = min(1.0, step / schedule.warmup) if schedule.warmup else 1.0
    if schedule.name == "cosine":
        progress = (step - 1) / max(options.steps - 1, 1)
        return max_lr * warmup * (FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * progress)) / 2)
    if isinstance(schedule, MultiStep):
        return max_lr * warmup * schedule.factor ** bisect_left(schedule.milestones, step)
    if isinstance(schedule, WarmupStableDecay):
        # The form 1 - sqrt ends in lower losses than a straight line (Hägele et al. 2024, https://arxiv.org/abs/2405.18392).
        steps = max(round(options.steps * schedule.decay), 1)
        progress = max(step - options.steps + steps, 0) / steps
        return max_lr * warmup * (1 - (1 - FINAL_SHARE) * math.sqrt(progress))
    return max_lr * warmup
