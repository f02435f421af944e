"""The results of a study: the best trials, the table, the comparison on test images, and the winner for ``params.yaml``."""

import io
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from srgan.config import profiles, renamed, schema, yaml
from srgan.config.project import Project
from srgan.config.render import scalar
from srgan.config.schema import Params
from srgan.data.manifest import pairs, read_manifest
from srgan.distributed.device import pick_device
from srgan.evaluation.evaluate import Upscale, evaluate
from srgan.evaluation.examples import select_examples, write_examples
from srgan.evaluation.statistics import model_statistics
from srgan.inference.torch_upscale import upscale
from srgan.metrics.registry import METRICS, open_metrics
from srgan.models.checkpoints import load_generator
from srgan.tasks import task_of_manifest
from srgan.tuning import space
from srgan.tuning.judge import REFUSED, is_refused
from srgan.tuning.study import BASE, STUDIES, Study
from srgan.tuning.study_file import Definition, StudyFile
from srgan.utils import files
from srgan.utils.errors import SrganError, nearest

SHOWN = 3  # of the best trials, in pictures
EXAMPLES = 6  # images in pictures
METRICS_SCORED = "psnr_y", "ssim_y", "lpips", "hatch"
RESULT = "result.json"


def open_study(name: str, project: Project) -> Study:
    """Return an existing study by its name or folder.

    Raises:
        SrganError: there is no such study.
    """
    folder = project.root / STUDIES
    name = Path(name).name.removesuffix(".yaml")
    known = files.read_json_or_none(folder / name / "study.json")
    if known is None:
        found = sorted(path.parent.name for path in folder.glob("*/study.json"))
        raise SrganError(f"{folder / name}: no study{nearest(name, found) if found else '. Begin one with: srgan tune STUDY.yaml'}")
    options = StudyFile.model_validate(yaml.to_plain(known["options"]))
    base = Params.model_validate(yaml.to_plain(known["base"] | _rest(project)))
    return Study(project, Definition(name, options, base, space.parse(options.space, base)[0]))


def _rest(project: Project) -> dict[str, Any]:
    """Return the sections that a study does not record."""
    values = schema.to_dict(schema.load(project.params))
    return {name: values[name] for name in ("export", "evaluate", "register", "promote", "runtime")}


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the complete trials that no guard refuses, the best first. With two objectives it is the Pareto front, by quality."""
    found = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE and not is_refused(study.definition, trial.values)]
    turn = 1 if study.definition.options.objective == "lpips" else -1
    keys = {trial.number: [turn * trial.values[0], *trial.values[1:]] for trial in found}
    if study.definition.options.cost:
        found = [trial for trial in found if not any(_dominates(keys[other.number], keys[trial.number]) for other in found)]
    return sorted(found, key=lambda trial: (keys[trial.number], trial.number))


def _dominates(one: list[float], other: list[float]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def table(study: Study) -> list[dict[str, Any]]:
    """Return a row for each trial: number, state, values, changed parameters, seconds."""
    best = {trial.number: place for place, trial in enumerate(ranked(study), 1)}
    rows = []
    for trial in study.trials():
        about = trial.user_attrs
        state = "refused" if about.get("refused") else trial.state.name.lower()
        values = _shown(trial, study.definition.options.objective)
        rows.append({
            "number": trial.number,
            "rank": best.get(trial.number, ""),
            "state": state,
            "values": values,
            "params": study.changes(trial.number),
            "note": about.get("refused") or about.get("error", ""),
            "seconds": about.get("seconds", 0.0),
            "processor_seconds": about.get("processor_seconds", 0.0),
        })  # fmt: skip
    return rows


def _shown(trial: FrozenTrial, objective: str) -> list[float]:
    """Return the measured values of a trial: of a refused one the metric itself, of a pruned one that of its last validation."""
    about = trial.user_attrs
    if about.get("refused"):
        return [about["row"][f"val_{objective}"]]
    if trial.values:
        return list(trial.values)
    reported = trial.intermediate_values
    last = [reported[max(reported)]] if reported else []
    return [value for value in last if objective == "psnr_y" or value < REFUSED]


def objectives(study: Study) -> list[str]:
    """Return the titles of the objectives."""
    return [METRICS[study.definition.options.objective].label] + ["s/megapixel"] * study.definition.options.cost


def describe(study: Study) -> str:
    """Return the table of a study for a terminal, the best trials first."""
    rows = sorted(table(study), key=lambda row: (row["rank"] or len(study.trials()) + 1, row["number"]))
    names = list(study.definition.space)
    lines = [["trial", "state", *objectives(study), *names, "s", "CPU s", "note"]]
    for row in rows:
        values = [f"{value:.4f}" for value in row["values"]] + ["-"] * (len(objectives(study)) - len(row["values"]))
        params = [scalar(row["params"][name]) if name in row["params"] else "base" for name in names]
        numbers = [f"{row[key]:.0f}" for key in ("seconds", "processor_seconds")]
        lines.append([str(row["number"]), row["state"], *values, *params, *numbers, row["note"]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, *sentences(study)])


def sentences(study: Study) -> list[str]:
    """Return the comparison of the best trials with the base parameters on the test images."""
    found = files.read_json_or_none(study.root / RESULT) or {}
    name = study.definition.options.objective
    return [
        _sentence(model, set_name, name, values["against"]["base"][name], values["images"])
        for set_name, models in found.get("statistics", {}).items()
        for model, values in models.items()
        if model.startswith("trial") and name in values.get("against", {}).get("base", {})
    ]


def _sentence(model: str, set_name: str, name: str, found: dict[str, Any], images: int) -> str:
    interval = "" if found["low"] is None else f" (95 % interval {found['low']:+.4f} to {found['high']:+.4f})"
    value = f"{METRICS[name].label} {found['difference']:+.4f}{interval}"
    return f"{model} against the base on {set_name}: {value}, better on {found['wins']} of {images} images"


def compare(study: Study) -> None:
    """Score the best trials and the base parameters on the test images, and write pictures of both.

    The test images took no part in the choice, so that the difference is not that of luck with the validation images. Nothing is done if
    the result is there.
    """
    best = [trial.number for trial in ranked(study) if trial.number != BASE][:SHOWN]
    known = files.read_json_or_none(study.root / RESULT)
    if known and known["best"] == best:
        return
    statistics = {}
    test = [pair for pair in pairs(study.data.prepared, "test") if pair.hr]
    if test:
        stage, device = study.definition.options.stage, pick_device()
        generators = {}
        for number in (BASE, *best):
            project = study.trial_project(number)
            weights = project.generator if stage == "train" else project.pretrained
            generators["base" if number == BASE else f"trial {number}"] = load_generator(weights, made_by=stage)[0].eval().to(device)
        scale = study.base.prepare.scale
        task = task_of_manifest(read_manifest(study.data.prepared))
        models: dict[str, Upscale] = {task.baseline: partial(task.baseline_image, scale=scale)}
        models |= {name: partial(upscale, generator) for name, generator in generators.items()}
        scorers = open_metrics([METRICS[name] for name in METRICS_SCORED], device=device)
        scores = evaluate(test, models, scale, scorers, device)
        statistics = model_statistics(scores, ("base",))
        chosen = select_examples(scores, list(models)[-1], EXAMPLES, task)
        examples = [pair for pair in test if (pair.set, pair.name) in chosen]
        write_examples(study.root / "pictures", study.root / "comparison.png", examples, models, scores, device, task)
    files.write_json(study.root / RESULT, {"best": best, "statistics": statistics})


def metrics(study: Study) -> dict[str, float]:
    """Return the figures of a study for MLflow."""
    best = ranked(study)
    values = {"trials": float(len(study.trials()))}
    if best:
        values |= {"best/trial": float(best[0].number), f"best/{study.definition.options.objective}": best[0].values[0]}
    return values


def apply(study: Study, path: Path, number: int | None = None) -> str:
    """Write the parameters of the best trial into a parameter file after a copy. Comments stay.

    Args:
        study: the study.
        path: the parameter file.
        number: another trial, such as one of a Pareto front.

    Returns:
        The changes, for the user.

    Raises:
        SrganError: no trial is complete, or the trial does not exist.
    """
    best = ranked(study)
    if number is None and not best:
        raise SrganError(f"{study.root}: no complete trial. Run the study to its end")
    if number is not None and number not in range(len(study.trials())):
        raise SrganError(f"--trial {number}: the study has the trials 0 to {len(study.trials()) - 1}")
    chosen = best[0].number if number is None else number
    changes = study.changes(chosen)
    if chosen == BASE or not changes:
        return f"trial {chosen} has the base parameters, nothing to apply"
    before = schema.load(path)
    changed = {name: (space.value_of(before, name), value) for name, value in changes.items()}
    different = {name: both for name, both in changed.items() if both[0] != both[1]}
    if not different:
        return f"{path} has the parameters of trial {chosen} already"
    text = _edited(path, changes)
    copy = profiles.backup(path)
    with files.atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        schema.load(temporary, warn=False)
    lines = [f"{path} has the parameters of trial {chosen}:"]
    lines += [f"  {name}: {scalar(yaml.to_plain(old))} -> {scalar(yaml.to_plain(new))}" for name, (old, new) in different.items()]
    return "\n".join([*lines, *([f"the former file is {copy}"] if copy else []), "train with: dvc repro"])


def _edited(path: Path, changes: space.Values) -> str:
    """Return the text of a parameter file with other values."""
    root = yaml.read(path, "")
    for name, value in changes.items():
        node = yaml.editor().load(scalar(yaml.to_plain(value)))
        if not renamed.set_option(root, name, node, tuple(Params.model_fields)):
            raise SrganError(f"{path}: no parameter '{name}'. Write all options with: srgan params update")
    buffer = io.StringIO()
    yaml.editor().dump(root, buffer)
    return buffer.getvalue()
