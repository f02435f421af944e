"""Which registered model is the champion: decided by scores, written down, and taken back."""

import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from srgan.config.delivery import Promote
from srgan.config.project import Project, registered_name
from srgan.config.schema import Params
from srgan.data.manifest import pairs, read_manifest
from srgan.degradations.bicubic import bicubic_upscale
from srgan.distributed.device import pick_device
from srgan.evaluation import evaluate, statistics
from srgan.evaluation.model_card import escaped
from srgan.export.onnx import TOLERANCE
from srgan.inference import benchmark
from srgan.inference.upscaler import Upscaler
from srgan.metrics.registry import METRICS, open_metrics, select_metrics
from srgan.tracking import champions, registry
from srgan.utils.errors import SrganError
from srgan.utils.files import read_state, write_text

CHALLENGER, CHAMPION = "challenger", "champion"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One of the conditions of a promotion, with the numbers behind it."""

    name: str
    wanted: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Decision:
    """What was decided, and why.

    Attributes:
        model: name of the registered model.
        challenger: its version.
        champion: version of the champion before; None if there was none.
        verdict: ``promoted``, ``held`` (the champion stays), or ``nothing to decide`` (the challenger is the champion).
        reason: in a sentence.
        checks: all conditions.
        dry: nothing was changed.
        note: that the challenger is not the model of this working copy; empty if it is, or if there is none here.
    """

    model: str
    challenger: str
    champion: str | None
    verdict: str
    reason: str
    checks: tuple[Check, ...] = ()
    dry: bool = False
    note: str = ""


def promote(project: Project, params: Params, dry: bool = False, force: str = "", own: bool = False) -> Decision:
    """Make the challenger the champion, if it is better and breaks no rule (``promote`` in params.yaml).

    Both are scored on the test images that are prepared here. Scores that were registered with a model count if they are of the same
    images; otherwise its file is scored anew. What was decided is written to ``reports/promotion.md`` and to the version's tags.

    Args:
        project: the files.
        params: the whole configuration.
        dry: decide, but change nothing.
        force: a reason to promote whatever the scores say; it is written down.
        own: refuse a challenger that is not the model of this working copy, instead of a warning.

    Raises:
        SrganError: there is no challenger, it is not `own`, MLflow refuses or cannot be reached, or another promotion came first; nothing
            has changed then.
    """
    manifest = read_manifest(project.prepared)
    name = registered_name(params, manifest["scale"])
    challenger, champion = registry.version(project, name, CHALLENGER), registry.version(project, name, CHAMPION)
    if challenger is None:
        raise SrganError(f"{name}: no version has the alias {CHALLENGER}; one gets it by: dvc repro register")
    numbers = (challenger.version, champion.version if champion else None)
    note = _foreign(project, name, challenger)
    if note and own:
        raise SrganError(note)
    if note:
        log.warning(note)
    if champion and champion.version == challenger.version:
        if not dry:
            champions.adopt_alias(project, name)
        return Decision(name, *numbers, "nothing to decide", f"version {champion.version} is the champion already", dry=dry, note=note)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {CHALLENGER: challenger} | ({CHAMPION: champion} if champion else {})
        files = {
            role: registry.download(project, f"models:/{name}/{found.version}", Path(folder) / role) for role, found in contenders.items()
        }
        table = _scores(project, params, manifest, contenders, files)
        cost = {role: benchmark.measure(path) for role, path in files.items()}
    checks = judge(table, cost, challenger.tags, params.promote)
    broken = [check for check in checks if not check.passed]
    if force:
        verdict, reason = "promoted", f"forced: {force}" + (f" (against: {', '.join(check.name for check in broken)})" if broken else "")
    elif broken:
        verdict, reason = "held", "; ".join(f"{check.name}: {check.found}, wanted is {check.wanted}" for check in broken)
    else:
        verdict = "promoted"
        reason = "better than the champion by every rule" if champion else "the first champion: better than bicubic by every rule"
    decision = Decision(name, *numbers, verdict, reason, tuple(checks), dry, note)
    if not dry:
        if verdict == "promoted":
            champions.set_champion(project, name, challenger.version, numbers[1])
        registry.tag(project, name, challenger.version, decision_tags(decision))
    write_text(project.promotion, page(decision, table))
    return decision


def _foreign(project: Project, name: str, challenger: Any) -> str:
    """A sentence if the challenger is another model than the one that was exported in this working copy."""
    exported = read_state(project.export_record)
    known = challenger.tags.get(registry.DIGEST_TAG)
    if not isinstance(exported, dict) or not known or exported.get("sha256") == known:
        return ""
    return (
        f"{name}: the challenger, version {challenger.version}, is not the model of this working copy "
        f"({project.export_record}: {exported.get('file')}); make that the challenger with: dvc repro register"
    )


def rollback(project: Project, params: Params, reason: str) -> tuple[str | None, str]:
    """Make the champion before this one the champion again.

    Returns:
        The versions that were (None: there was none) and are the champion.

    Raises:
        SrganError: there is none to go back to, or MLflow refuses or cannot be reached.
    """
    name = registered_name(params, read_manifest(project.prepared)["scale"])
    former, restored = champions.restore_previous(project, name)
    if former:
        registry.tag(project, name, former, {"srgan.decision": "rolled back", "srgan.decision.reason": reason or "no reason given"})
    return former, restored


def judge(table: pd.DataFrame, cost: dict[str, dict[str, Any]], tags: dict[str, str], rules: Promote) -> list[Check]:
    """The conditions, in order of importance.

    Args:
        table: scores per image, with the models `challenger`, `bicubic` and, if there is one, `champion`.
        cost: what both files take, as `srgan.inference.benchmark.measure` tells it.
        tags: of the challenger's version.
        rules: from the parameters.
    """
    by_model = {str(model): rows.set_index(["set", "image"])[list(METRICS)] for model, rows in table.groupby("model")}
    ours = by_model[CHALLENGER]
    role = CHAMPION if CHAMPION in by_model else "bicubic"
    theirs = by_model[role].loc[ours.index]
    checks = []
    if role == CHAMPION:
        checks.append(_primary(ours, theirs, rules.metric))
    for figure, limit in (
        ("psnr_y", rules.max_psnr_y_drop),
        ("color_shift", rules.max_color_shift_rise),
        ("checkerboard", rules.max_checkerboard_rise),
    ):
        better = METRICS[figure].higher_is_better
        worse = float((better(theirs[figure]) - better(ours[figure])).mean())
        told = f"{METRICS[figure].label} {ours[figure].mean():.3f} against the {role}'s {theirs[figure].mean():.3f}"
        checks.append(Check(figure, f"at most {limit:g} worse", told, worse <= limit))
    parity = tags.get(registry.DIFFERENCE_TAG)
    told = f"differs by {float(parity):.1e}" if parity else "never measured"
    wanted = f"the file differs from PyTorch by less than {TOLERANCE:g}"
    checks.append(Check("onnx_parity", wanted, told, bool(parity and float(parity) < TOLERANCE)))
    if role == CHAMPION:
        for figure, limit, title in (
            ("seconds_per_megapixel", rules.max_time_ratio, "time per megapixel"),
            ("megabytes", rules.max_size_ratio, "size"),
        ):
            ratio = cost[CHALLENGER][figure] / cost[CHAMPION][figure]
            told = f"{title} {cost[CHALLENGER][figure]:.3g} against {cost[CHAMPION][figure]:.3g}, {ratio:.2f} times"
            checks.append(Check(figure, f"at most {limit:g} times the champion's", told, ratio <= limit))
    return checks


def _primary(ours: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> Check:
    wanted = "better, with its 95 % interval over the images"
    better = METRICS[metric].higher_is_better
    gain = pd.DataFrame({metric: better(ours[metric]) - better(theirs[metric])})
    if gain[metric].isna().any():
        return Check(metric, wanted, "could not be had for every image; see promote.metric in params.yaml", False)
    mean, low, high = statistics.intervals(gain)[metric]
    if low is None:
        return Check(metric, wanted, f"better by {mean:.4f} on one image, of which there is no interval", False)
    wins = int((gain[metric] > 0).sum())
    return Check(metric, wanted, f"better by {mean:.4f} ({low:.4f} to {high:.4f}), on {wins} of {len(gain)} images", low > 0)


def _scores(project: Project, params: Params, manifest: dict[str, Any], contenders: dict[str, Any], files: dict[str, Path]) -> pd.DataFrame:
    """A table of the contenders and bicubic, per image."""
    needed = params.promote.metric
    tables, anew = [], {}
    for role, found in contenders.items():
        known = registry.scores(project, found, manifest["test_sha256"])
        if known is None or known[needed].isna().any():
            upscaler = Upscaler(files[role], provider="auto", threads=1)
            if upscaler.scale != manifest["scale"]:
                raise SrganError(
                    f"version {found.version} enlarges by {upscaler.scale}, the images here are prepared for {manifest['scale']}"
                )
            anew[role] = upscaler.upscale
        else:
            tables.append(known.assign(model=role))
    log.info("scored on %s: %s", manifest["test_sha256"][:16], f"{', '.join(anew)} anew" if anew else "as registered")
    scorers = open_metrics(select_metrics(params.evaluate.lpips), "the decision is made without it", pick_device()) if anew else None
    models: dict[str, evaluate.Upscale] = {"bicubic": partial(bicubic_upscale, scale=manifest["scale"])}
    tables.append(evaluate.evaluate(pairs(project.prepared, "test"), models | anew, manifest["scale"], scorers, pick_device()))
    return pd.concat(tables, ignore_index=True)


# -- what is written down --------------------------------------------------------------------------------------------------


def decision_tags(decision: Decision) -> dict[str, str]:
    """For the version in the registry."""
    return {
        "srgan.decision": decision.verdict,
        "srgan.decision.reason": decision.reason[:4000],
        "srgan.decision.checks": json.dumps([asdict(check) for check in decision.checks])[:4900],
        "srgan.decision.champion_before": str(decision.champion or "none"),
        "srgan.decision.at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def page(decision: Decision, table: pd.DataFrame) -> str:
    """The decision as Markdown."""
    against = f"version {decision.champion}" if decision.champion else "no champion yet, so against bicubic"
    lines = [
        f"# {decision.model}: version {decision.challenger} {'would be ' if decision.dry else ''}{decision.verdict}",
        "",
        f"{escaped(decision.reason[:1].upper() + decision.reason[1:])}.",
        "",
        *([f"**{escaped(decision.note)}.**", ""] if decision.note else []),
        f"Challenger: version {decision.challenger}. Champion: {against}. {time.strftime('%Y-%m-%d %H:%M')}.",
        "",
        "| condition | wanted | found | |",
        "|---|---|---|---|",
        *(
            f"| {escaped(check.name)} | {escaped(check.wanted)} | {escaped(check.found)} | {'holds' if check.passed else '**broken**'} |"
            for check in decision.checks
        ),
        "",
        "Means over the images:",
        "",
    ]
    figures = [name for name in METRICS if table[name].notna().any()]
    lines += [f"| set | model | {' | '.join(METRICS[name].title for name in figures)} |", "|---" * (2 + len(figures)) + "|"]
    means = table.groupby(["set", "model"], sort=False)[figures].mean()
    for (set_name, model), row in means.iterrows():
        lines.append(f"| {escaped(set_name)} | {escaped(model)} | {' | '.join(f'{METRICS[name].text(row[name])}' for name in figures)} |")
    return "\n".join(lines) + "\n"
