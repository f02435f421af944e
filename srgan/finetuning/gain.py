"""The gain of a fine-tuning: paired differences to the start on held-out images, and the decision to keep it."""

from dataclasses import dataclass

import pandas as pd

from srgan.config.delivery import Promote
from srgan.evaluation import statistics
from srgan.evaluation.rules import Check, check_gain, check_losses
from srgan.metrics.registry import METRICS
from srgan.tasks import Task

START, TUNED = "pretrained", "gan"  # models in the tables, as in those of the pipeline


@dataclass(frozen=True)
class Verdict:
    """The decision about a fine-tuned model.

    Attributes:
        checks: the conditions.
        gains: metric -> mean, and lower and upper end of the 95 % interval. More is better in each of them.
        images: number of held-out images.
        made: phrase about how they are held out.
    """

    checks: tuple[Check, ...]
    gains: dict[str, tuple[float, float | None, float | None]]
    images: int
    made: str

    @property
    def kept(self) -> bool:
        """True if the model passes all conditions."""
        return all(check.passed for check in self.checks)

    @property
    def gain(self) -> str:
        """The gains in words."""
        parts = []
        for name, (mean, low, high) in self.gains.items():
            metric = METRICS[name]
            unit = f" {metric.unit}" if metric.unit else ""
            interval = "" if low is None or high is None else f" ({metric.text(low, sign=True)} to {metric.text(high, sign=True)})"
            parts.append(f"{metric.label} {metric.text(mean, sign=True)}{unit}{interval}")
        return f"{', '.join(parts)} on {self.images} images ({self.made}). More is better in each, with 95 % intervals"

    @property
    def reason(self) -> str:
        """The failed conditions in words, empty if there are none."""
        return "; ".join(f"{check.name}: {check.found}, required: {check.wanted}" for check in self.checks if not check.passed)


def judge(table: pd.DataFrame, rules: Promote, task: Task, made: str) -> Verdict:
    """Decide whether a fine-tuned model is better than its start.

    LPIPS, or PSNR where LPIPS is not available, has to be better with the whole interval. PSNR and artifacts may not get worse than the
    rules of a promotion allow.

    Args:
        table: scores of both models on held-out images, see `srgan.evaluation.evaluate.evaluate`.
        rules: limits of the losses.
        task: of the models.
        made: how the images are held out.
    """
    rows = {model: table[table["model"] == model].set_index(["set", "image"])[list(METRICS)] for model in (START, TUNED)}
    ours, theirs = rows[TUNED], rows[START].loc[rows[TUNED].index]
    main = rules.metric if ours[rules.metric].notna().all() else task.psnr
    shown = list(dict.fromkeys([main, task.psnr]))
    turned = {name: METRICS[name].higher_is_better for name in shown}
    gains = statistics.intervals(pd.DataFrame({name: turned[name](ours[name]) - turned[name](theirs[name]) for name in shown}))
    checks = (check_gain(ours, theirs, main), *check_losses(ours, theirs, "start", rules, task))
    return Verdict(checks, gains, len(ours), made)
