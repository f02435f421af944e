"""Stage `evaluate`: scores of all models on the test images, in ``reports/``."""

import logging
import tempfile
from functools import partial
from pathlib import Path

from srgan.config.project import Project, registered_name
from srgan.config.schema import Params
from srgan.data.manifest import pairs, read_manifest
from srgan.distributed.device import pick_device
from srgan.evaluation.evaluate import Upscale, evaluate
from srgan.evaluation.examples import select_examples, write_examples
from srgan.evaluation.statistics import model_statistics, summarise, text_table
from srgan.export.onnx import exported_models
from srgan.inference.torch_upscale import upscale
from srgan.inference.upscaler import Upscaler
from srgan.metrics.registry import open_metrics, select_metrics
from srgan.models.checkpoints import load_generator
from srgan.tasks import task_of_manifest
from srgan.tracking import mlflow_run, registry
from srgan.tracking.training_record import current_training
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, write_json

log = logging.getLogger(__name__)


def run(project: Project, params: Params) -> None:
    """Score the baseline, both generators, the champion and the exported models on the test images.

    Args:
        project: the files.
        params: the whole configuration.
    """
    manifest = read_manifest(project.prepared)
    scale, task = manifest["scale"], task_of_manifest(manifest)
    training = current_training(project, params)
    device = pick_device()
    pretrained, _ = load_generator(project.pretrained, made_by="pretrain")
    gan, _ = load_generator(project.generator, made_by="train")
    shown: dict[str, Upscale] = {
        task.baseline: partial(task.baseline_image, scale=scale),
        "pretrained": partial(upscale, pretrained.to(device)),
        "gan": partial(upscale, gan.to(device)),
    }
    with tempfile.TemporaryDirectory() as folder:
        champion = _champion(project, params, scale, Path(folder))
        if champion:
            shown["champion"] = champion.upscale
        models = exported_models(project, params, scale).items()
        exported = {f"onnx-{precision}": Upscaler(path, threads=1).upscale for precision, path in models}
        advice = "then evaluate again with: dvc repro -sf evaluate; dvc repro"
        scorers = open_metrics(select_metrics(params.evaluate.lpips, params.evaluate.niqe), advice, device)
        test = pairs(project.prepared, "test")
        table = evaluate(test, shown | exported, scale, scorers, device)
        chosen = select_examples(table, "gan", task=task)
        examples = [pair for pair in test if (pair.set, pair.name) in chosen]
        write_examples(project.pictures, project.comparison, examples, shown, table, device, task)
    for path, rows in ((project.scores, table), (project.gan_scores, table[table["model"] == "gan"])):
        with atomic_file(path) as temporary:
            rows.round(4).to_csv(temporary, index=False)
    write_json(project.statistics, model_statistics(table))
    summary = summarise(table)
    write_json(project.metrics, summary)
    log.info("\n%s", text_table(summary))
    mlflow_run.try_sync(training, "FINISHED")


def _champion(project: Project, params: Params, scale: int, folder: Path) -> Upscaler | None:
    """Return the registered champion. An unreachable or damaged one is a warning, as it is no part of the training."""
    try:
        path = registry.find(project, registered_name(params, scale), "champion", folder)
        return Upscaler(path, threads=1) if path else None
    except SrganError as error:
        log.warning("the champion is not scored: %s", error)
        return None
