"""The statistics of a study: strengths by Bradley and Terry, tests for each pair of models, agreement of the raters."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binomtest, norm

BOOTSTRAP_SAMPLES = 999
MIN_PICTURES = 5  # fewer images give no interval
PRIOR = 0.5  # of an equal answer that each model gets, spread over the others: without it a model that always wins has no strength
MAX_STEPS = 100  # of Newton's method, which needs about ten
LEVEL = (2.5, 97.5)  # percentiles of the interval
CHOICES = {"first": 1.0, "equal": 0.5, "second": 0.0}  # score of the first model


def analyse(votes: pd.DataFrame, models: Sequence[str], samples: int = BOOTSTRAP_SAMPLES) -> dict[str, Any]:
    """Return strengths, pairs of models and agreement.

    Intervals are of 95 %. The bootstrap resamples raters and images, because the answers of a rater and those to an image are not
    independent (Owen 2007, "The pigeonhole bootstrap"). One rater is not drawn: then the interval holds for that rater alone.

    Args:
        votes: columns `rater`, `image`, `first`, `second` (labels) and `choice` (a key of `CHOICES`).
        models: labels.
        samples: of the bootstrap. 0 leaves out all intervals.

    Returns:
        ``{"models": [{"model", "strength", "low", "high", "answers", "preferred"}], "pairs": [...], "agreement": {...}}``, the best model
        first. `strength` is a natural logarithm with the mean 0. `preferred` is the share of the model's answers that it won, in which
        an equal answer counts half. See `_pair` for the pairs.
    """
    wins = win_matrices(votes, models, np.ones((1, len(votes))))
    strengths = bradley_terry(wins)[0]
    several = samples and votes["image"].nunique() >= MIN_PICTURES
    drawn = win_matrices(votes, models, bootstrap_weights(votes, samples)) if several else None
    bounds = np.percentile(bradley_terry(drawn), LEVEL, axis=0) if drawn is not None else None
    rows = []
    for at in np.argsort(-strengths, kind="stable"):
        won, lost = wins[0, at].sum(), wins[0, :, at].sum()
        low, high = (None, None) if bounds is None else bounds[:, at].round(4).tolist()
        row = {"model": models[at], "strength": round(float(strengths[at]), 4), "low": low, "high": high, "answers": int(won + lost)}
        rows.append(row | {"preferred": round(float(won / (won + lost)), 4) if won + lost else None})
    ranked = [models.index(row["model"]) for row in rows]
    pairs = [_pair(votes, models, first, second, drawn) for first, second in itertools.combinations(ranked, 2)]
    pairs = [pair for pair in pairs if pair["answers"]]
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_adjusted"] = float(f"{adjusted:.3g}")
    return {"models": rows, "pairs": pairs, "agreement": agreement(votes)}


def win_matrices(votes: pd.DataFrame, models: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Return the weighted number of wins of each model over each other one, `(samples, models, models)`.

    Args:
        votes: see `analyse`.
        models: labels.
        weights: `(samples, answers)`.
    """
    count = len(models)
    number = {label: at for at, label in enumerate(models)}
    first, second = (votes[side].map(number).to_numpy(int) for side in ("first", "second"))
    score = votes["choice"].map(CHOICES).to_numpy(float)
    cells = np.zeros((len(votes), count * count))
    rows = np.arange(len(votes))
    cells[rows, first * count + second] = score
    cells[rows, second * count + first] = 1 - score
    return (weights @ cells).reshape(-1, count, count)


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Return the most likely strengths, `(samples, models)`: natural logarithms with the mean 0.

    The probability that model i is preferred to j is ``1 / (1 + exp(strength[j] - strength[i]))`` (Bradley and Terry 1952). The maximum is
    found by Newton's method.

    Args:
        wins: see `win_matrices`.
    """
    count = wins.shape[-1]
    wins = wins + PRIOR / (2 * (count - 1)) * (1 - np.eye(count))
    games, won = wins + wins.swapaxes(1, 2), wins.sum(axis=2)
    strengths = np.zeros(won.shape)
    for _ in range(MAX_STEPS):
        preferred = expit(strengths[:, :, None] - strengths[:, None, :])
        information = games * preferred * (1 - preferred)
        gradient = won - (games * preferred).sum(axis=2)
        # Only differences of strengths matter. The constant keeps their mean at 0.
        curvature = np.eye(count) * information.sum(axis=2)[:, :, None] - information + 1 / count
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        strengths = strengths + step / np.maximum(longest, 1)  # far from the maximum a whole step may miss it
        if longest.max() < 1e-9:
            break
    return strengths


def bootstrap_weights(votes: pd.DataFrame, samples: int, seed: int = 0) -> np.ndarray:
    """Return how often each answer is drawn, `(samples, answers)`: the product of the draws of its rater and of its image."""
    random, weights = np.random.default_rng(seed), np.ones((samples, len(votes)))
    for column in ("rater", "image"):
        numbers, names = pd.factorize(votes[column])
        if len(names) > 1:
            weights *= random.multinomial(len(names), np.full(len(names), 1 / len(names)), samples)[:, numbers]
    return weights


def _pair(votes: pd.DataFrame, models: Sequence[str], first: int, second: int, drawn: np.ndarray | None) -> dict[str, Any]:
    """Return the direct answers to a pair of models.

    `share` is the share of the first model, in which an equal answer counts half. Its interval is the wider of the bootstrap and of
    Wilson's interval, at each end: few answers that agree vary in no sample. `p` is of the two-sided binomial test without the equal
    answers, `p_adjusted` by Holm for all pairs.
    """
    names = models[first], models[second]
    swapped = (votes["first"] == names[1]) & (votes["second"] == names[0])
    direct = ((votes["first"] == names[0]) & (votes["second"] == names[1])) | swapped
    score = votes["choice"].map(CHOICES).to_numpy(float)
    score = np.where(swapped, 1 - score, score)[direct]
    answers, won, lost = len(score), int((score == 1).sum()), int((score == 0).sum())
    found: dict[str, Any] = {"first": names[0], "second": names[1], "answers": answers, "images": int(votes["image"][direct].nunique())}
    if not answers:
        return found
    share = float(score.mean())
    low = high = None
    if drawn is not None and found["images"] >= MIN_PICTURES:
        low, high = _interval(share, answers, drawn[:, first, second], drawn[:, second, first])
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    counts = {"first_preferred": won, "equal": answers - won - lost, "second_preferred": lost}
    return found | counts | {"share": round(share, 4), "low": low, "high": high, "p": float(f"{p:.3g}")}


def _interval(share: float, answers: int, won: np.ndarray, lost: np.ndarray) -> tuple[float, float]:
    total = won + lost
    bounds = np.percentile(won[total > 0] / total[total > 0], LEVEL)
    z = norm.ppf(LEVEL[1] / 100)
    centre, width = share + z**2 / (2 * answers), z * np.sqrt(share * (1 - share) / answers + z**2 / (4 * answers**2))
    wilson = np.array([centre - width, centre + width]) / (1 + z**2 / answers)
    return round(float(min(bounds[0], wilson[0])), 4), round(float(max(bounds[1], wilson[1])), 4)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the number of tests (Holm 1979)."""
    order = np.argsort(p_values)
    scaled = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted.tolist()


def agreement(votes: pd.DataFrame) -> dict[str, Any]:
    """Return how far the raters agree on the comparisons that several of them answered.

    Returns:
        `comparisons`: with two or more answers. `equal_pairs`: share of pairs of answers that agree. `alpha`: Krippendorff's alpha for
        nominal values, 1 for full agreement and 0 for agreement by chance. Both are None without such comparisons, and `alpha` is None
        if all answers are the same.
    """
    turned = votes["first"] > votes["second"]
    preferred = votes["choice"].where(~turned, votes["choice"].map({"first": "second", "second": "first", "equal": "equal"}))
    unit = [tuple(sorted(pair)) for pair in zip(votes["first"], votes["second"], strict=True)]
    table = pd.DataFrame({"image": votes["image"], "unit": unit, "preferred": preferred})
    counts = pd.crosstab([table["image"], table["unit"]], table["preferred"]).to_numpy(float)
    return alpha(counts)


def alpha(counts: np.ndarray) -> dict[str, Any]:
    """Return the agreement of values, see `agreement`.

    Args:
        counts: how often each unit got each value, `(units, values)` (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").
    """
    counts = counts[counts.sum(axis=1) >= 2] if counts.size else counts
    if not len(counts):
        return {"comparisons": 0, "equal_pairs": None, "alpha": None}
    raters = counts.sum(axis=1)
    observed = float(((counts * (counts - 1)).sum(axis=1) / (raters - 1)).sum())
    totals, all_values = counts.sum(axis=0), counts.sum()
    expected = float((totals * (totals - 1)).sum() / (all_values - 1))
    pairs = (counts * (counts - 1)).sum() / (raters * (raters - 1)).sum()
    found = None if expected == all_values else round(1 - (all_values - observed) / (all_values - expected), 4)
    return {"comparisons": len(counts), "equal_pairs": round(float(pairs), 4), "alpha": found}
