"""The registry of metrics. A new metric is one object in its own file and one line here."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence

import torch

from srgan.data.download.weights import WeightsUnavailable
from srgan.metrics.artifacts import CHECKERBOARD, COLOR_SHIFT, SHARPNESS
from srgan.metrics.color import CIEDE2000, COLORFULNESS
from srgan.metrics.consistency import CONSISTENCY, INPUT_COLOR_SHIFT
from srgan.metrics.flicker import FLICKER, TLPIPS, TOF, WARPING_ERROR
from srgan.metrics.hatch import HATCH
from srgan.metrics.lpips import LPIPS_ALEX, LPIPS_SQUEEZE, LPIPS_VGG
from srgan.metrics.metric import Metric, Sample, Scorer
from srgan.metrics.niqe import NIQE, NIQE_PUBLISHED
from srgan.metrics.psnr_ssim import PSNR_RGB, PSNR_Y, SSIM_RGB, SSIM_Y
from srgan.tasks import SUPER_RESOLUTION, Task

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        PSNR_Y,
        SSIM_Y,
        PSNR_RGB,
        SSIM_RGB,
        LPIPS_ALEX,
        LPIPS_VGG,
        LPIPS_SQUEEZE,
        COLOR_SHIFT,
        CHECKERBOARD,
        HATCH,
        SHARPNESS,
        CIEDE2000,
        COLORFULNESS,
        CONSISTENCY,
        INPUT_COLOR_SHIFT,
        NIQE,
        NIQE_PUBLISHED,
    )
}

# Of clips, as means over their frames.
CLIP_METRICS: dict[str, Metric] = {metric.name: metric for metric in (PSNR_Y, SSIM_Y, LPIPS_ALEX, WARPING_ERROR, FLICKER, TOF, TLPIPS)}

CPU = torch.device("cpu")

log = logging.getLogger(__name__)


def ranking(task: Task = SUPER_RESOLUTION) -> list[str]:
    """Return the names of the metrics that sum up a model and rank its images, the most important first."""
    ranked = [metric.name for metric in sorted(METRICS.values(), key=lambda metric: metric.rank) if metric.rank]
    return [task.metric if name == SUPER_RESOLUTION.metric else name for name in ranked]


def caption(values: Mapping[str, float], task: Task) -> str:
    """Return the scores of an image for a comparison image, such as ``28.54 dB  LPIPS 0.347``.

    Args:
        values: by the name of the metric.
        task: whose metric comes first. Without a finite value PSNR-Y or NIQE stands for it.
    """
    found = {name: METRICS[name].text(value) for name, value in values.items() if name in METRICS and math.isfinite(value)}
    first = [name for name in (task.metric, PSNR_Y.name, NIQE.name) if name in found][:1]
    parts = [f"{found[name]} dB" if name == PSNR_Y.name else f"{METRICS[name].label} {found[name]}" for name in first]
    return "  ".join([*parts, *([f"LPIPS {values['lpips']:.3f}"] if "lpips" in found else [])])


def metrics_table(metrics: Mapping[str, Metric] = METRICS) -> str:
    """Return a Markdown table of metrics for the docs."""
    lines = ["| metric | definition | better |", "|---|---|---|"]
    better = {"higher": "higher", "lower": "lower", "one": "near 1"}
    lines += [f"| `{metric.name}` | {metric.description} | {better[metric.better]} |" for metric in metrics.values()]
    return "\n".join(lines)


def select_metrics(lpips: Sequence[str] = (), niqe: Sequence[str] = ("own",), validation: bool = False) -> list[Metric]:
    """Return the metrics to score.

    Args:
        lpips: networks on which LPIPS is scored.
        niqe: parameters with which NIQE is scored.
        validation: only the metrics of a training's validation.
    """
    chosen = [metric for metric in METRICS.values() if metric.lpips_network in (None, *lpips) and metric.niqe_parameters in (None, *niqe)]
    return [metric for metric in chosen if metric.validation] if validation else chosen


def open_metrics(metrics: Iterable[Metric], otherwise: str = "it is left out", device: torch.device = CPU) -> dict[str, Scorer]:
    """Return the functions of metrics by name. A metric without weights is left out, with a warning.

    Args:
        metrics: see `select_metrics`.
        otherwise: consequence of a missing metric, for the warning.
        device: where metrics with weights compute.
    """
    found: dict[str, Scorer] = {}
    for metric in metrics:
        try:
            scorer = metric.load(device) if metric.load else metric.score
        except WeightsUnavailable as error:
            log.warning("%s is unavailable: %s; %s", metric.label, error, otherwise)
            continue
        assert scorer is not None, f"the metric {metric.name} has neither score nor load"
        found[metric.name] = scorer
    return found


def score(sample: Sample, scorers: Mapping[str, Scorer]) -> dict[str, float]:
    """Return the value of each metric whose images the sample has.

    Args:
        sample: images to score.
        scorers: see `open_metrics`.
    """
    known = METRICS | CLIP_METRICS
    return {name: scorer(sample) for name, scorer in scorers.items() if sample.has(known[name].needs)}
