"""The decision about a fine-tuned model."""

import numpy as np
import pandas as pd
import pytest

from srgan.config.delivery import Promote
from srgan.finetuning.gain import START, TUNED, judge
from srgan.metrics.registry import METRICS
from srgan.tasks import SUPER_RESOLUTION


def table(lpips, psnr=0.1, hatch=0.0):
    """Scores of both models on five images, whose start has LPIPS 0.3 and 28 dB."""
    rows = []
    for number, better in enumerate(lpips):
        same = {"set": "s", "image": str(number)} | dict.fromkeys(METRICS, 0.0) | {"lpips": 0.3, "psnr_y": 28.0}
        rows.append(same | {"model": START})
        rows.append(same | {"model": TUNED, "lpips": 0.3 - better, "psnr_y": 28.0 + psnr, "hatch": hatch})
    return pd.DataFrame(rows[::-1])


def decide(*arguments, **more):
    return judge(table(*arguments, **more), Promote(), SUPER_RESOLUTION, "held out")


def test_a_certain_gain_is_kept_with_its_interval():
    verdict = decide([0.01, 0.02, 0.03, 0.02, 0.01])
    assert verdict.kept
    mean, low, high = verdict.gains["lpips"]
    assert low < mean < high
    assert mean == pytest.approx(0.018)
    assert verdict.gains["psnr_y"][0] == pytest.approx(0.1)
    assert verdict.gain.startswith("LPIPS +0.0180 (+0.0")
    assert "PSNR-Y +0.10 dB (+0.10 to +0.10) on 5 images (held out)" in verdict.gain


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"lpips": [0.05, -0.04, 0.01, -0.03, 0.02]}, "lpips: better by 0.0020"),  # not certain
        ({"lpips": [0.0] * 5}, "lpips: better by 0.0000"),  # the start itself
        ({"lpips": [-0.01] * 5}, "lpips: better by -0.0100"),
        ({"lpips": [0.02] * 5, "psnr": -0.6}, "psnr_y: PSNR-Y 27.400, the start has 28.000, required: at most 0.5 worse"),
        ({"lpips": [0.02] * 5, "hatch": 0.4}, "hatch: hatch 0.400"),
    ],
)
def test_a_loss_is_refused_with_its_numbers(scores, reason):
    verdict = decide(**scores)
    assert not verdict.kept
    assert reason in verdict.reason


def test_without_lpips_psnr_decides():
    scores = table([0.0] * 5, psnr=0.2).assign(lpips=np.nan)
    verdict = judge(scores, Promote(), SUPER_RESOLUTION, "held out")
    assert verdict.kept
    assert list(verdict.gains) == ["psnr_y"]
