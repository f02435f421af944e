"""Stage `register`: the exported model in MLflow's registry, with a model card."""

import logging
import shutil

import onnx

from srgan.config.project import Project, registered_name
from srgan.config.schema import Params
from srgan.data.manifest import read_manifest
from srgan.evaluation.evaluate import read_table
from srgan.evaluation.model_card import model_card
from srgan.export.onnx import exported_models
from srgan.stages import report, start
from srgan.tracking import registry
from srgan.tracking.training_record import current_training
from srgan.utils.files import read_json, require, sha256, write_json, write_text

log = logging.getLogger(__name__)


def run(project: Project, params: Params) -> None:
    """Register the exported model with MLflow, with its model card.

    ``reports/registration.json`` and ``reports/MODEL_CARD.md`` are its outs.

    Args:
        project: the files.
        params: the whole configuration.

    Raises:
        SrganError: the model has no scores or was replaced, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    training = current_training(project, params)
    path = exported_models(project, params, training.scale)["fp32"]
    table = read_table(require(project.scores, "evaluate"))
    if not training.has_page():  # DVC may have restored the scores from its cache, or from another revision
        report.run(project, params)
        training = current_training(project, params)
    exported, manifest = read_json(project.export_record, made_by="export"), read_manifest(project.prepared)
    name = registered_name(params, training.scale)
    tags = {"srgan.key": training.key, "sr.objective": "gan", "sr.train_data_sha256": training.data_sha256}
    tags[registry.TEST_TAG] = manifest["test_sha256"]
    tags[registry.DIFFERENCE_TAG] = str(max(exported["max_difference"].values()))
    described = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    project.check_export(path, exported)
    card = model_card(described, manifest, read_json(project.statistics, made_by="evaluate"), exported)
    write_text(project.model_card, card)
    scores = table[table["model"] == "onnx-fp32"]
    version = registry.register(path, project.generator, training, name, params.register.alias, tags, scores, card)
    # Neither version nor run id: both depend on the server, and an out must follow from its dependencies alone.
    record = {"model": name, "alias": params.register.alias, "key": training.key, "file": path.name, "sha256": sha256(path)}
    write_json(project.registration, record)
    log.info("%s version %d has the alias %s. See it with: make mlflow", name, version["version"], version["alias"])
    if change := start.moved(project, params):
        log.info("pretrain.pretrained: %s", change)
    if training.checkpoints != project.checkpoints:  # an experiment is complete
        shutil.rmtree(training.checkpoints, ignore_errors=True)
