"""The rules by which a model may replace another one: a better main metric, and no loss in the others."""

from dataclasses import dataclass

import pandas as pd

from srgan.config.delivery import Promote
from srgan.evaluation import statistics
from srgan.metrics.psnr_ssim import MAX_PSNR
from srgan.metrics.registry import METRICS
from srgan.tasks import Task


@dataclass(frozen=True)
class Check:
    """One condition of a decision, with its numbers."""

    name: str
    wanted: str
    found: str
    passed: bool


def check_gain(ours: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> Check:
    """Return the condition that a metric is better, with the whole interval over the images.

    Args:
        ours: scores of the new model, with a row for each image and a column for each metric.
        theirs: scores of the other model in the same rows.
        metric: name of the metric.
    """
    wanted = "better, with the whole 95 % interval over the images"
    better = METRICS[metric].higher_is_better
    gain = pd.DataFrame({metric: better(ours[metric]) - better(theirs[metric])})
    if gain[metric].isna().any():
        return Check(metric, wanted, "not available for every image; see promote.metric in params.yaml", False)
    mean, low, high = statistics.intervals(gain)[metric]
    if low is None:
        return Check(metric, wanted, f"better by {mean:.4f} on one image, which gives no interval", False)
    wins = int((gain[metric] > 0).sum())
    return Check(metric, wanted, f"better by {mean:.4f} ({low:.4f} to {high:.4f}), on {wins} of {len(gain)} images", low > 0)


def check_losses(ours: pd.DataFrame, theirs: pd.DataFrame, name: str, rules: Promote, task: Task) -> list[Check]:
    """Return the conditions that the means of PSNR and of the artifacts get no worse than the limits.

    Args:
        ours: scores of the new model, see `check_gain`.
        theirs: scores of the other model.
        name: of the other model, in the conditions.
        rules: the limits.
        task: of the models.
    """
    checks = []
    for metric, limit in (
        (task.psnr, rules.max_psnr_y_drop),
        ("color_shift", rules.max_color_shift_rise),
        ("checkerboard", rules.max_checkerboard_rise),
        ("hatch", rules.max_hatch_rise),
    ):
        better = METRICS[metric].higher_is_better
        highest = MAX_PSNR if metric == task.psnr else None
        worse = float((better(theirs[metric]).clip(upper=highest) - better(ours[metric]).clip(upper=highest)).mean())
        found = f"{METRICS[metric].label} {ours[metric].mean():.3f}, the {name} has {theirs[metric].mean():.3f}"
        checks.append(Check(metric, f"at most {limit:g} worse", found, worse <= limit))
    return checks
