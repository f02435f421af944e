"""The decision about the champion: made by scores, recorded, and rolled back."""

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
from srgan.distributed.device import pick_device
from srgan.evaluation import evaluate
from srgan.evaluation.model_card import escaped
from srgan.evaluation.rules import Check, check_gain, check_losses
from srgan.export.onnx import TOLERANCE
from srgan.inference import benchmark
from srgan.inference.upscaler import Upscaler
from srgan.metrics.registry import METRICS, open_metrics, select_metrics
from srgan.tasks import SUPER_RESOLUTION, Task, baseline_in, task_of_manifest
from srgan.tracking import champions, preference, registry
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json_or_none, write_text

CHALLENGER, CHAMPION = "challenger", "champion"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """A decision and its reason.

    Attributes:
        model: name of the registered model.
        challenger: version of the challenger.
        champion: version of the champion before the decision, or None.
        verdict: ``promoted``, ``held`` (the champion stays), or ``nothing to decide`` (the challenger is the champion).
        reason: one sentence.
        checks: all conditions.
        dry: True if nothing was changed.
        note: a sentence if the challenger is not the model of this working copy, else empty.
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
    """Make the challenger the champion if it passes all rules (section ``promote`` of params.yaml).

    Both models are scored on the prepared test images. Registered scores of the same images are reused. The decision is written to
    ``reports/promotion.md`` and to the tags of the version.

    Args:
        project: the files.
        params: the whole configuration.
        dry: decide, but change nothing.
        force: a reason to promote even if a rule fails. It is recorded.
        own: refuse a challenger that is not the model of this working copy. Default: a warning.

    Raises:
        SrganError: there is no challenger, it is not the model of this working copy (`own`), MLflow refuses, or another promotion was
            faster. Nothing was changed.
        Unreachable: MLflow does not answer. Nothing was changed.
    """
    manifest = read_manifest(project.prepared)
    name = registered_name(params, manifest["scale"])
    challenger, champion = registry.version(project, name, CHALLENGER), registry.version(project, name, CHAMPION)
    if challenger is None:
        raise SrganError(f"{name}: no version has the alias {CHALLENGER}. Register one with: dvc repro register")
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
    checks = check_rules(table, cost, challenger.tags, params.promote, task_of_manifest(manifest))
    if champion and params.promote.preference_min:
        checks.append(check_preference(challenger.tags, champion.tags.get(registry.DIGEST_TAG), params.promote.preference_min))
    checks += check_trial(challenger.tags)
    failed = [check for check in checks if not check.passed]
    if force:
        verdict, reason = "promoted", f"forced: {force}" + (f" (against: {', '.join(check.name for check in failed)})" if failed else "")
    elif failed:
        verdict, reason = "held", "; ".join(f"{check.name}: {check.found}, required: {check.wanted}" for check in failed)
    else:
        verdict = "promoted"
        reason = (
            "better than the champion by every rule"
            if champion
            else f"the first champion: better than {_in_words(baseline_in(table['model']))} by every rule"
        )
    decision = Decision(name, *numbers, verdict, reason, tuple(checks), dry, note)
    if not dry:
        if verdict == "promoted":
            champions.set_champion(project, name, challenger.version, numbers[1])
        registry.tag(project, name, challenger.version, decision_tags(decision))
    write_text(project.promotion, page(decision, table))
    return decision


def _in_words(baseline: str) -> str:
    return "the input" if baseline == "input" else baseline


def _foreign(project: Project, name: str, challenger: Any) -> str:
    """Return a sentence if the challenger is not the exported model of this working copy, else an empty text."""
    exported = read_json_or_none(project.export_record)
    known = challenger.tags.get(registry.DIGEST_TAG)
    if not isinstance(exported, dict) or not known or exported.get("sha256") == known:
        return ""
    return (
        f"{name}: the challenger, version {challenger.version}, is not the model of this working copy "
        f"({project.export_record}: {exported.get('file')}); make that the challenger with: dvc repro register"
    )


def rollback(project: Project, params: Params, reason: str) -> tuple[str | None, str]:
    """Make the previous champion the champion again.

    Args:
        project: the files.
        params: the whole configuration.
        reason: recorded with the version that is rolled back.

    Returns:
        The version that was the champion, or None, and the version that is the champion now.

    Raises:
        SrganError: there is no previous champion, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    name = registered_name(params, read_manifest(project.prepared)["scale"])
    former, restored = champions.restore_previous(project, name)
    if former:
        registry.tag(project, name, former, {"srgan.decision": "rolled back", "srgan.decision.reason": reason or "no reason given"})
    return former, restored


def check_rules(
    table: pd.DataFrame, cost: dict[str, dict[str, Any]], tags: dict[str, str], rules: Promote, task: Task = SUPER_RESOLUTION
) -> list[Check]:
    """Return the conditions in order of importance.

    Args:
        table: scores for each image, with the models `challenger`, the baseline and, if there is one, `champion`.
        cost: time and size of both files, see `srgan.inference.benchmark.measure`.
        tags: tags of the challenger's version.
        rules: limits of the parameters.
        task: of the models.
    """
    by_model = {str(model): rows.set_index(["set", "image"])[list(METRICS)] for model, rows in table.groupby("model")}
    ours = by_model[CHALLENGER]
    role = CHAMPION if CHAMPION in by_model else baseline_in(by_model)
    theirs = by_model[role].loc[ours.index]
    checks = []
    if role == CHAMPION:
        checks.append(check_gain(ours, theirs, rules.metric))
    checks += check_losses(ours, theirs, role, rules, task)
    parity = tags.get(registry.DIFFERENCE_TAG)
    found = f"differs by {float(parity):.1e}" if parity else "never measured"
    wanted = f"the file differs from PyTorch by less than {TOLERANCE:g}"
    checks.append(Check("onnx_parity", wanted, found, bool(parity and float(parity) < TOLERANCE)))
    if role == CHAMPION:
        for name, limit, title in (
            ("seconds_per_megapixel", rules.max_time_ratio, "time per megapixel"),
            ("megabytes", rules.max_size_ratio, "size"),
        ):
            ratio = cost[CHALLENGER][name] / cost[CHAMPION][name]
            found = f"{title} {cost[CHALLENGER][name]:.3g} against {cost[CHAMPION][name]:.3g}, {ratio:.2f} times"
            checks.append(Check(name, f"at most {limit:g} times the champion's", found, ratio <= limit))
    return checks


def check_trial(tags: dict[str, str]) -> list[Check]:
    """Return a failed condition if a service rolled the version with these tags back."""
    verdict = tags.get(registry.TRIAL_TAG)
    return [Check("trial", "no service rolled the version back", verdict, False)] if verdict else []


def check_preference(tags: dict[str, str], champion: str | None, least: float) -> Check:
    """Return the condition about the last blind study of challenger and champion.

    Args:
        tags: tags of the challenger's version.
        champion: digest of the champion's file.
        least: share that the lower end of the 95 % interval must reach.
    """
    wanted = f"the 95 % interval of the share that people prefer begins at {least:g} or above"
    found = preference.result_against(tags, champion)
    if found is None:
        return Check("preference", wanted, "no blind study of both models; see docs/study.md", False)
    of_study = f"preferred in {found['share']:.0%} of {found['answers']} answers on {found['images']} images"
    if found["low"] is None:
        return Check("preference", wanted, f"{of_study}, which give no interval", False)
    return Check("preference", wanted, f"{of_study} ({found['low']:.0%} to {found['high']:.0%})", found["low"] >= least)


def _scores(project: Project, params: Params, manifest: dict[str, Any], contenders: dict[str, Any], files: dict[str, Path]) -> pd.DataFrame:
    """Return the scores of the contenders and of the baseline for each image."""
    needed = params.promote.metric
    tables, unscored = [], {}
    test = [pair for pair in pairs(project.prepared, "test") if pair.hr]
    if not test:
        raise SrganError("the rules of a promotion need test images with originals. Add a set to data.test in params.yaml")
    images = {(pair.set, pair.name) for pair in test}
    for role, found in contenders.items():
        known = registry.scores(project, found, manifest["test_sha256"])
        if known is not None:  # sets without originals do not count
            known = known[[image in images for image in zip(known["set"], known["image"], strict=True)]]
            known = known if len(known) == len(images) else None  # the scores of other images
        if known is None or known[[needed, "hatch"]].isna().any(axis=None):  # former versions measured no hatch
            upscaler = Upscaler(files[role], provider="auto", threads=1)
            if upscaler.scale != manifest["scale"]:
                raise SrganError(
                    f"version {found.version} has scale {upscaler.scale}, the images have {manifest['scale']}. Set prepare.scale"
                )
            unscored[role] = upscaler.upscale
        else:
            tables.append(known.assign(model=role))
    log.info("test images %s: %s", manifest["test_sha256"][:16], f"scoring {', '.join(unscored)}" if unscored else "registered scores")
    scorers = (
        open_metrics(select_metrics(params.evaluate.lpips, params.evaluate.niqe), "the decision is made without it", pick_device())
        if unscored
        else None
    )
    task = task_of_manifest(manifest)
    models: dict[str, evaluate.Upscale] = {task.baseline: partial(task.baseline_image, scale=manifest["scale"])}
    tables.append(evaluate.evaluate(test, models | unscored, manifest["scale"], scorers, pick_device()))
    return pd.concat(tables, ignore_index=True)


# -- records --------------------------------------------------------------------------------------------------------------


def decision_tags(decision: Decision) -> dict[str, str]:
    """Return the tags that record a decision with its version."""
    return {
        "srgan.decision": decision.verdict,
        "srgan.decision.reason": decision.reason[:4000],
        "srgan.decision.checks": json.dumps([asdict(check) for check in decision.checks])[:4900],
        "srgan.decision.champion_before": str(decision.champion or "none"),
        "srgan.decision.at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def page(decision: Decision, table: pd.DataFrame) -> str:
    """Return the decision as a page of Markdown."""
    against = f"version {decision.champion}" if decision.champion else f"none yet, {_in_words(baseline_in(table['model']))} takes its place"
    lines = [
        f"# {decision.model}: version {decision.challenger} {'would be ' if decision.dry else ''}{decision.verdict}",
        "",
        f"{escaped(decision.reason[:1].upper() + decision.reason[1:])}.",
        "",
        *([f"**{escaped(decision.note)}.**", ""] if decision.note else []),
        f"Challenger: version {decision.challenger}. Champion: {against}. {time.strftime('%Y-%m-%d %H:%M')}.",
        "",
        "| condition | required | found | |",
        "|---|---|---|---|",
        *(
            f"| {escaped(check.name)} | {escaped(check.wanted)} | {escaped(check.found)} | {'passed' if check.passed else '**failed**'} |"
            for check in decision.checks
        ),
        "",
        "Means over the images:",
        "",
    ]
    metrics = [name for name in METRICS if table[name].notna().any()]
    lines += [f"| set | model | {' | '.join(METRICS[name].title for name in metrics)} |", "|---" * (2 + len(metrics)) + "|"]
    means = table.groupby(["set", "model"], sort=False)[metrics].mean()
    for (set_name, model), row in means.iterrows():
        lines.append(f"| {escaped(set_name)} | {escaped(model)} | {' | '.join(f'{METRICS[name].text(row[name])}' for name in metrics)} |")
    return "\n".join(lines) + "\n"
