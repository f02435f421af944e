"""The comparison of a challenger with the champion on the images of a service.

Both upscale the same images, so differences are paired. As in `srgan promote`, a figure may rise by an allowance. The challenger is
rolled back if the whole interval of the mean rise is above it.

Looking again after each image would find a breach by chance sooner or later. There is a look at 5, 10, 20, 40 and so on images, and look
k has the level `ALPHA` / (k (k + 1)) for all figures together. The sum over all looks is `ALPHA`.
"""

from collections.abc import Sequence

import pandas as pd

from srgan.config.delivery import Promote
from srgan.evaluation.statistics import intervals
from srgan.metrics.registry import METRICS
from srgan.monitoring.figures import Figures

FIRST_LOOK = 5  # images
ALPHA = 0.05  # probability that a challenger without a breach is ever rolled back

Pair = dict[str, Figures]  # of `champion` and `challenger`


def allowances(rules: Promote) -> dict[str, float]:
    """Return how much a figure may rise, by the rules of a promotion."""
    return {
        "input_color_shift": rules.max_color_shift_rise,
        "checkerboard": rules.max_checkerboard_rise,
        "hatch": rules.max_hatch_rise,
    }


def look_number(pairs: int) -> int | None:
    """Return the number of the look that is due at a number of images, from 1, or None."""
    number, rest = divmod(pairs, FIRST_LOOK)
    return number.bit_length() if number and not rest and number & (number - 1) == 0 else None  # a power of two


def rises(pairs: Sequence[Pair], level: float = 0.95) -> dict[str, tuple[float, float | None, float | None]]:
    """Return the mean rise of each figure from champion to challenger, with its interval. Images without the figure are left out."""
    tables = {role: pd.DataFrame([pair[role] for pair in pairs]).astype(float) for role in ("champion", "challenger")}
    difference = tables["challenger"] - tables["champion"]
    measured = [difference[[name]].dropna() for name in difference]
    return {name: found for column in measured if len(column) for name, found in intervals(column, level).items()}


def breach(pairs: Sequence[Pair], rules: Promote) -> str:
    """Return the reason to roll a challenger back, or an empty text. It is looked for at certain numbers of images only.

    Args:
        pairs: figures of all images that both models upscaled, in their order.
        rules: of a promotion.
    """
    number = look_number(len(pairs))
    if number is None:
        return ""
    allowed = allowances(rules)
    found = rises(pairs, 1 - ALPHA / (number * (number + 1)) / len(allowed))
    for name, most in allowed.items():
        mean, low, high = found.get(name, (0.0, None, None))
        if low is not None and high is not None and low > most:
            title = METRICS[name].title
            return f"{title}: {mean:.2f} above the champion ({low:.2f} to {high:.2f}) on {len(pairs)} images, allowed are {most:g}"
    return ""
