"""The result of a fine-tuning: scores, files, model card and registered version."""

import dataclasses
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import torch
from safetensors.torch import load_file

from srgan.config.project import Project, registered_name
from srgan.config.schema import Params
from srgan.data.manifest import pairs, read_manifest
from srgan.distributed.device import pick_device
from srgan.evaluation.evaluate import Upscale, evaluate, read_table
from srgan.evaluation.model_card import escaped, model_card
from srgan.evaluation.rules import Check
from srgan.evaluation.statistics import model_statistics, summarise
from srgan.finetuning.gain import START, TUNED, Verdict
from srgan.finetuning.options import Start
from srgan.inference.torch_upscale import upscale
from srgan.metrics.registry import open_metrics, select_metrics
from srgan.models.checkpoints import load_generator
from srgan.stages import export
from srgan.tasks import task_of_manifest
from srgan.tracking import optional
from srgan.tracking.training_record import current_training
from srgan.utils import files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """The result of a fine-tuning.

    Attributes:
        project: its folder.
        verdict: the decision.
        model: the exported file, or None if the start stays.
        version: the registered version, such as ``portraits-x4 version 1``, or empty.
    """

    project: Project
    verdict: Verdict
    model: Path | None = None
    version: str = ""


def score(project: Project, params: Params) -> pd.DataFrame:
    """Return the scores of the baseline, the start and the fine-tuned model on the test images. They are computed once."""
    if project.scores.is_file():
        return read_table(project.scores)
    scale, device = params.prepare.scale, pick_device()
    task = task_of_manifest(read_manifest(project.prepared))
    models: dict[str, Upscale] = {task.baseline: partial(task.baseline_image, scale=scale)}
    for name, path in ((START, project.pretrained), (TUNED, project.generator)):
        models[name] = partial(upscale, load_generator(path)[0].to(device))
    scorers = open_metrics(select_metrics(["alex"], niqe=[]), "the gain is measured by PSNR", device)
    table = evaluate(pairs(project.prepared, "test"), models, scale, scorers, device)
    _write_table(project.scores, table)
    return table


def _write_table(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_file(path) as temporary:
        table.to_csv(temporary, index=False)


def require_change(project: Project, verdict: Verdict) -> Verdict:
    """Add the condition that the training with all images did not end with the weights of the start."""
    ours, theirs = (load_file(path) for path in (project.generator, project.pretrained))
    changed = any(not torch.equal(value, theirs[key]) for key, value in ours.items())
    found = "a validation was better than the start" if changed else "no validation was better than the start"
    check = Check("training", "a validation is better than the start", found, changed)
    return dataclasses.replace(verdict, checks=(*verdict.checks, check))


def finish(project: Project, params: Params, start: Start, verdict: Verdict, table: pd.DataFrame) -> Result:
    """Write the exported model, its card and its version, unless the start stays. The MLflow run names the parent and the gain.

    Args:
        project: folder of the fine-tuning.
        params: its parameters.
        start: the weights that it started from.
        verdict: the decision.
        table: scores on held-out images.
    """
    tags = _parent_tags(project, start) | {"srgan.gain": verdict.gain, "srgan.kept": str(verdict.kept)}
    if project.generator.is_file():
        _tag_run(project, params, tags)
    files.write_json(project.root / "result.json", {"kept": verdict.kept, "gain": verdict.gain, "reason": verdict.reason})
    if not verdict.kept:
        return Result(project, verdict)
    _write_table(project.scores, table)
    files.write_json(project.statistics, statistics := model_statistics(table))
    files.write_json(project.metrics, summarise(table))
    export.run(project, params)
    exported, manifest = files.read_json(project.export_record, made_by="export"), read_manifest(project.prepared)
    path = project.exported_model()
    described = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    card = f"{model_card(described, manifest, statistics, exported)}\n## Gain of the fine-tuning\n\n{escaped(verdict.gain)}.\n"
    files.write_text(project.model_card, card)
    return Result(project, verdict, path, _register(project, params, path, tags, table, card))


def _parent_tags(project: Project, start: Start) -> dict[str, str]:
    try:
        return optional.load("parents").tags(project, start.address, start.shown, files.sha256(start.weights))
    except ImportError:
        return {}


def _tag_run(project: Project, params: Params, tags: dict[str, str]) -> None:
    try:
        parents = optional.load("parents")
    except ImportError:
        return
    parents.tag_run(current_training(project, params), tags)


def _register(project: Project, params: Params, path: Path, tags: dict[str, str], table: pd.DataFrame, card: str) -> str:
    """Register the model. Without MLflow there are only the files, and a warning."""
    try:
        registry = optional.load("registry")
    except ImportError as error:
        log.warning("MLflow is not installed (%s), so the model is not registered", error)
        return ""
    training = current_training(project, params)
    exported, manifest = files.read_json(project.export_record, made_by="export"), read_manifest(project.prepared)
    about: dict[str, Any] = {"srgan.key": training.key, "sr.objective": "gan", "sr.train_data_sha256": training.data_sha256}
    about |= {registry.TEST_TAG: manifest["test_sha256"], registry.DIFFERENCE_TAG: str(max(exported["max_difference"].values()))}
    name = registered_name(params, training.scale)
    version = registry.register(
        path, project.generator, training, name, params.register.alias, about | tags, table[table["model"] == TUNED], card
    )
    return f"{name} version {version['version']} with the alias {version['alias']}"
