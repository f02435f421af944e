"""A comparison of several trainings on one page: ``srgan compare``."""

import logging
import re
import tempfile
from functools import partial
from pathlib import Path

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.manifest import pairs, read_manifest
from srgan.distributed.device import pick_device
from srgan.evaluation import evaluate, examples
from srgan.evaluation.report import write_report
from srgan.evaluation.statistics import model_statistics, summarise, text_table
from srgan.inference.upscaler import Upscaler
from srgan.metrics.registry import open_metrics, select_metrics
from srgan.tasks import task_of_manifest
from srgan.tracking import find_run
from srgan.tracking.training_record import current_training
from srgan.utils import git
from srgan.utils.errors import SrganError

log = logging.getLogger(__name__)


def compare(project: Project, params: Params, names: list[str], page: Path, chosen: str | None = None) -> None:
    """Score the models of several runs on the prepared test images and write a page that compares them.

    Args:
        project: the files.
        params: the configuration here.
        names: the runs, see `srgan.tracking.find_run.find`.
        page: the file to write.
        chosen: score on this test set alone. Default: all test images.

    Raises:
        SrganError: a run is not found, its scale differs, or no test images are prepared.
    """
    manifest = read_manifest(project.prepared)
    scale, task = manifest["scale"], task_of_manifest(manifest)
    if find_run.WORKSPACE in names:
        current_training(project, params)  # an error if its model was not trained with params.yaml
    test = [pair for pair in pairs(project.prepared, "test") if chosen in (None, pair.set)]
    if not test:
        sets = ", ".join(dict.fromkeys(pair.set for pair in pairs(project.prepared, "test")))
        raise SrganError(f"no test images of '{chosen}' are prepared, only of {sets}. Add the set to data.test in params.yaml")
    with tempfile.TemporaryDirectory() as folder:
        models: dict[str, evaluate.Upscale] = {task.baseline: partial(task.baseline_image, scale=scale)}
        found = {}
        for number, name in enumerate(names):
            label = re.sub(r"[^\w.@-]+", "-", name).strip("-") or str(number)
            label = f"{label}-{number}" if label in models or label == "original" else label
            found[label] = find_run.find(project, name, Path(folder) / str(number))
            upscaler = Upscaler(found[label].model, threads=1)
            if upscaler.scale != scale:
                raise SrganError(f"{name}: its scale is {upscaler.scale}, the images are prepared for {scale}. Set prepare.scale")
            models[label] = upscaler.upscale
            log.info("%s: %s", label, found[label].origin)
        scorers = open_metrics(
            select_metrics(params.evaluate.lpips, params.evaluate.niqe), "the comparison is made without it", pick_device()
        )
        table = evaluate.evaluate(test, models, scale, scorers, pick_device())
        *_, main = models
        shown = examples.select_examples(table, main, task=task)
        pictures = Path(folder) / "pictures"
        drawn = [pair for pair in test if (pair.set, pair.name) in shown]
        examples.write_examples(pictures, Path(folder) / "comparison.png", drawn, models, table, pick_device(), task)
        first = next(iter(found))
        statistics = model_statistics(table, (task.baseline, first) if len(found) > 1 else (task.baseline,))
        origin = {label: run.origin for label, run in found.items()}
        origin |= {"compared at revision": git.revision(project.root) or "none", "scored on": manifest["test_sha256"][:16]}
        histories = {label: run.history for label, run in found.items()}
        write_report(page, f"Comparison of {', '.join(found)}", main, table, statistics, pictures, histories, manifest, origin, [])
    log.info("\n%s\n\nReport: %s", text_table(summarise(table)), page)
