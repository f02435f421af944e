"""Write a starter from a finished project: its weights in float16 and its card."""

import csv
import logging
import math
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from srgan.config.delivery import UNSPECIFIED
from srgan.config.profiles import closest
from srgan.config.project import TRAINING_STAGES, Project
from srgan.config.schema import Params
from srgan.data.download.datasets import digest_of
from srgan.data.manifest import Pair, pairs, read_manifest, recipe_of
from srgan.inference.torch_upscale import upscale
from srgan.metrics.metric import Metric, Sample
from srgan.metrics.psnr_ssim import MAX_PSNR
from srgan.metrics.registry import METRICS, ranking
from srgan.models.checkpoints import load_generator, save_generator
from srgan.models.network import Generator
from srgan.models.registry import architecture_of, parameter_count
from srgan.starters import catalogue, default
from srgan.starters.card import Card, Scores, TrainingSet, card_json
from srgan.tasks import Task, task_of_manifest
from srgan.training import lineage
from srgan.utils.csv_table import validation_csv
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, copy, read_json, require, sha256, write_text

MAX_CHANGE = 0.02  # dB of PSNR that float16 may change on a test set
RESERVED = (default.OWN, "scratch", "workspace")  # words of `srgan models use`, `pretrain.pretrained` and `srgan compare`

log = logging.getLogger(__name__)


def make(project: Project, params: Params, name: str, folder: Path, purpose: str, not_better: tuple[str, ...] = ()) -> Path:
    """Write a starter from the finished training of a project.

    Args:
        project: the files, after the stage `evaluate`.
        params: the parameters of the training.
        name: of the starter.
        folder: gets ``NAME.safetensors`` and ``NAME.json``. It is made if it is missing.
        purpose: one sentence for the card.
        not_better: sentences of the card about models that are better. Losses against the baseline and the pixel stage are added.

    Returns:
        The card.

    Raises:
        SrganError: the name or the licence is unfit, the file is too large, float16 changes the scores, or the reports are of another
            training.
    """
    if not catalogue.NAME.fullmatch(name) or name in RESERVED:
        raise SrganError(
            f"'{name}': not a name for a starter. Use small letters, digits and single hyphens, and none of {', '.join(RESERVED)}"
        )
    if params.export.license == UNSPECIFIED:
        raise SrganError("export.license in params.yaml is unspecified. Name the licence of the weights, which follows from the images")
    manifest, scores = read_manifest(project.prepared), read_json(project.metrics, made_by="evaluate")
    task = task_of_manifest(manifest)
    generator, metadata = load_generator(project.generator, made_by="train")
    weights, path = catalogue.files(name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        half = Path(scratch) / weights.name
        save_generator(half, generator, metadata | {"sr.license": params.export.license, "sr.recipe": recipe_of(manifest)}, half=True)
        size = half.stat().st_size
        if size > catalogue.MAX_BYTES:
            raise SrganError(f"{name}: {size:,} bytes in float16, at most {catalogue.MAX_BYTES:,} are allowed. Train a smaller network")
        changes = _changes(project, generator, load_generator(half)[0], scores, METRICS[task.psnr])
        card = _card(project, params, manifest, scores, half, purpose, changes, (*_losses(scores, task), *not_better))
        path.unlink(missing_ok=True)  # without a card, new weights with an old card are no starter
        with atomic_file(weights) as temporary:
            copy(half, temporary)
    write_text(path, card_json(card))
    log.info("%s: %.2f MB; %s: its card", weights, size / 1e6, path)
    return path


def _changes(project: Project, full: Generator, half: Generator, scores: Scores, metric: Metric) -> dict[str, float]:
    """Return the change of PSNR in dB on each test set that has originals, against the scores of the report.

    Raises:
        SrganError: a change is too large.
    """
    test = [pair for pair in pairs(project.prepared, "test") if pair.hr]
    found = _psnr(half, test, metric)
    if not found:
        raise SrganError("no test image has an original, so float16 cannot be checked. Add a set to data.test, such as set5")
    changes = {name: value - _recorded(project, scores, name, metric) for name, value in found.items()}
    name = max(changes, key=lambda name: abs(changes[name]))
    if abs(changes[name]) > MAX_CHANGE:
        change = f"{name}: {metric.label} {changes[name]:+.3f} dB"
        exact = _psnr(full, [pair for pair in test if pair.set == name], metric)[name]
        if abs(exact - _recorded(project, scores, name, metric)) > MAX_CHANGE:
            raise SrganError(f"{project.metrics}: not the scores of {project.generator} ({change}). Score it with: dvc repro evaluate")
        raise SrganError(f"float16 changes the results ({change}), at most {MAX_CHANGE} dB are allowed. The network needs float32")
    return {name: round(change, 4) for name, change in changes.items()}


def _recorded(project: Project, scores: Scores, name: str, metric: Metric) -> float:
    try:
        return min(float(scores[name]["gan"][metric.name]), MAX_PSNR)  # type: ignore[arg-type]
    except (KeyError, TypeError) as error:
        raise SrganError(
            f"{project.metrics}: has no {metric.name} of the model gan on {name}. Score it with: dvc repro evaluate"
        ) from error


def _psnr(generator: Generator, test: list[Pair], metric: Metric) -> dict[str, float]:
    """Return the mean of each set in dB."""
    assert metric.score
    found = defaultdict[str, list[float]](list)
    for pair in test:
        hr_image, lr_image = pair.read()
        found[pair.set].append(metric.score(Sample(upscale(generator, lr_image), hr_image, scale=generator.scale)))
    return {name: min(math.fsum(values) / len(values), MAX_PSNR) for name, values in found.items()}


def _losses(scores: Scores, task: Task) -> tuple[str, ...]:
    """Return a sentence for each set, metric of the ranking and model of the same project that is better."""
    sentences = []
    for set_name, models in scores.items():
        for metric in map(METRICS.__getitem__, ranking(task)):
            for rival in (task.baseline, "pretrained"):
                ours, theirs = models["gan"].get(metric.name), models[rival].get(metric.name)
                if ours is not None and theirs is not None and metric.higher_is_better(ours) < metric.higher_is_better(theirs):
                    sentences.append(f"{metric.label} on {set_name}: {metric.text(ours)}, {rival} has {metric.text(theirs)}")
    return tuple(sentences)


def _card(
    project: Project,
    params: Params,
    manifest: dict[str, Any],
    scores: Scores,
    weights: Path,
    purpose: str,
    changes: dict[str, float],
    not_better: tuple[str, ...],
) -> Card:
    generator, metadata = load_generator(weights)
    network, options = architecture_of(generator)
    return Card(
        purpose=purpose,
        licence=params.export.license,
        scale=generator.scale,
        network=network,
        options=options,
        parameters=parameter_count(generator),
        bytes=weights.stat().st_size,
        sha256=sha256(weights),
        recipe=recipe_of(manifest),
        data=_training_sets(manifest),
        train_sha256=manifest["train_sha256"],
        profile=closest(params),
        params_sha256=sha256(project.params),
        training=metadata["sr.train_run"],
        steps={stage: getattr(params, stage).steps for stage in TRAINING_STAGES},
        started_from=tuple(lineage.starts(metadata)),
        scores=scores,
        float16=changes,
        validation={stage: _columns(validation_csv(project.losses[stage]), stage) for stage in TRAINING_STAGES},
        not_better=not_better,
    )


def _training_sets(manifest: dict[str, Any]) -> tuple[TrainingSet, ...]:
    images = [image for image in manifest["images"] if image["part"] == "train"]
    sets = {name: [image for image in images if image["set"] == name] for name in sorted({image["set"] for image in images})}
    return tuple(
        TrainingSet(
            set=name,
            images=len(found),
            sha256=digest_of([image["source_sha256"] for image in found]),
            licences=tuple(sorted({str(image.get("licence")) for image in found})),
        )
        for name, found in sets.items()
    )


def _columns(path: Path, stage: str) -> dict[str, list[int | float | None]]:
    """Return a table of validations by column."""
    with require(path, stage).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {column: [_number(row[column]) for row in rows] for column in (rows[0] if rows else ())}


def _number(text: str) -> int | float | None:
    """Return a number of a table, None if it is missing or not finite."""
    if text.isdecimal():
        return int(text)
    value = float(text or "nan")
    return value if math.isfinite(value) else None
