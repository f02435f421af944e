"""Stage `train`: the generator, trained against a discriminator, in ``models/generator.safetensors``."""

import logging
from collections.abc import Callable

import torch

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.models.checkpoints import load_discriminator, load_generator
from srgan.models.registry import create_discriminator
from srgan.stages import start
from srgan.stages.fit import Networks, accept_edits, fit
from srgan.tracking.training_record import current_training
from srgan.training import lineage
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

log = logging.getLogger(__name__)


def run(project: Project, params: Params, unedited: Callable[..., None] = accept_edits, tracked: bool = True) -> None:
    """Train the GAN (generator and discriminator).

    Args:
        project: the files.
        params: the whole configuration.
        unedited: `srgan.config.recorded.refuse_edits`, called before the stage ends well.
        tracked: send the values to MLflow.

    Raises:
        SrganError: the pre-trained generator was trained with other parameters or data.
    """
    options = params.train
    generator, known = load_generator(project.pretrained, made_by="pretrain")
    training = current_training(project, params, "train")
    if known.get("sr.train_run") != training.pretraining_key:  # the key would name parameters that the first stage was not trained with
        raise SrganError(f"{project.pretrained}: trained with other parameters or data than params.yaml now names. Run: dvc repro train")
    torch.manual_seed(options.seed)
    discriminator = create_discriminator(options.discriminator)
    networks = Networks(generator, discriminator, tuple(lineage.read(known)))
    metadata = {"sr.objective": "gan", "sr.train_run": training.key} | lineage.loss_weights(known, [])
    metadata |= {key: known[key] for key in lineage.INHERITED if key in known}
    if options.discriminator.pretrained != start.SCRATCH:
        path = project.resolve(options.discriminator.pretrained)
        load_discriminator(path, discriminator)
        log.info("train: the discriminator starts from %s", path)
        metadata |= lineage.started(known, "discriminator", path.name, sha256(path), "all weights copied")
    fit(project, params, "train", training, networks, metadata, unedited, tracked)
