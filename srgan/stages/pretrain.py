"""Stage `pretrain`: the generator, trained on pixels, in ``models/pretrained.safetensors``."""

import logging
from collections.abc import Callable

import torch

from srgan.config.delivery import UNSPECIFIED
from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.packed_store import open_store
from srgan.models.checkpoints import load_pretrained, new_generator, save_generator
from srgan.models.network import Generator
from srgan.models.weights_file import header, is_foreign
from srgan.stages import start
from srgan.stages.fit import Networks, accept_edits, fit
from srgan.starters import catalogue
from srgan.tracking.training_record import TrainingRecord, current_training
from srgan.training import lineage
from srgan.utils.files import sha256

log = logging.getLogger(__name__)


def run(project: Project, params: Params, unedited: Callable[..., None] = accept_edits, tracked: bool = True) -> None:
    """Train the generator with pixel losses.

    Args:
        project: the files.
        params: the whole configuration.
        unedited: `srgan.config.recorded.refuse_edits`, called before the stage ends well.
        tracked: send the values to MLflow.
    """
    generator, metadata, training = _begin(project, params)
    fit(project, params, "pretrain", training, Networks(generator), metadata, unedited, tracked)


def adopt(project: Project, params: Params) -> None:
    """Write the weights of ``pretrain.pretrained`` as the result of the stage, without a training. The GAN stage then starts from them.

    Args:
        project: the files.
        params: the whole configuration.
    """
    generator, metadata, training = _begin(project, params)
    project.models.mkdir(parents=True, exist_ok=True)
    save_generator(project.pretrained, generator, metadata | {"sr.train_data_sha256": training.data_sha256})


def _begin(project: Project, params: Params) -> tuple[Generator, dict[str, str], TrainingRecord]:
    """Return the generator before the training, the metadata of its weights and the record of the training."""
    options = params.pretrain
    torch.manual_seed(options.seed)
    store = open_store(project.prepared, params.runtime.store)  # has the recipe of the data, which params.yaml may no longer name
    path = None if options.pretrained == start.SCRATCH else start.locate(project, options.pretrained)
    generator = new_generator(params.model, store.scale, store.recipe.keeps_luma, path, store.channels)
    training = current_training(project, params, "pretrain")
    metadata = {"sr.objective": "psnr", "sr.train_run": training.pretraining_key}
    if path:
        done = load_pretrained(path, generator)
        log.info("pretrain: starts from %s: %s", options.pretrained, done)
        theirs = header(path)
        if is_foreign(theirs) and UNSPECIFIED in (params.export.origin, params.export.origin_license):
            log.warning("pretrain: %s is of a third party. Name it in export.origin and export.origin_license", options.pretrained)
        name, license = start.name_of(options.pretrained), theirs.get("sr.license", "")
        metadata |= lineage.started({}, "generator", name, sha256(path), str(done), license)
        if catalogue.has(options.pretrained):
            metadata |= {"sr.origin": f"the starter {name}", "sr.origin_license": license}
    return generator, metadata, training
