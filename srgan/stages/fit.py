"""Code that the stages `pretrain` and `train` share: data, checkpoints and tracking around the trainer."""

import logging
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srgan import __version__
from srgan.config.project import Project
from srgan.config.schema import Params, flatten, identity, to_dict
from srgan.config.training import Pretrain, StageRuntime, Train
from srgan.data.manifest import images_of, pairs
from srgan.data.packed_store import Verification, open_store
from srgan.data.sampler import PatchSampler
from srgan.degradations.recipe import Recipe
from srgan.distributed import launch, process_group
from srgan.distributed.device import pick_device
from srgan.metrics.color import CIEDE2000
from srgan.metrics.metric import Scorer
from srgan.metrics.registry import METRICS, open_metrics, select_metrics
from srgan.models.checkpoints import save_generator
from srgan.models.network import Generator
from srgan.models.registry import parameter_count
from srgan.stages import start
from srgan.tracking import optional
from srgan.tracking.training_record import TrainingRecord, current_training
from srgan.training import continuation, lineage
from srgan.training.checkpoint import Checkpoints, SharedCheckpoints
from srgan.training.logger import SilentLog, TrainingLog
from srgan.training.trainer import Trainer
from srgan.utils.errors import SrganError
from srgan.utils.files import digest, require, sha256

log = logging.getLogger(__name__)


def accept_edits(advice: str = "") -> None:
    """Check nothing: a stage called from Python has no parameter file that a user may edit."""


@dataclass
class Networks:
    """Networks of one training stage.

    Attributes:
        generator: the network to train.
        discriminator: its opponent, or None in the first stage.
        earlier: lineage of the weights that the stage starts from.
    """

    generator: Generator
    discriminator: nn.Module | None = None
    earlier: tuple[dict[str, Any], ...] = ()


def fit(
    project: Project,
    params: Params,
    stage: str,
    training: TrainingRecord,
    networks: Networks,
    metadata: dict[str, str],
    unedited: Callable[..., None],
    tracked: bool = True,
) -> None:
    """Train the generator and write its weights.

    Args:
        project: the files.
        params: the whole configuration.
        stage: ``pretrain`` or ``train``.
        training: record of the training.
        networks: what is trained.
        metadata: for the header of the weights.
        unedited: `srgan.config.recorded.refuse_edits`, called before the stage ends well.
        tracked: send the values to MLflow if it is installed.
    """
    options: Pretrain | Train = getattr(params, stage)
    runtime: StageRuntime = getattr(params.runtime, stage)
    about = describe_run(project, params, stage, training)
    launch.exit_with_parent()
    with process_group.initialized(), ExitStack() as locked:
        out = project.pretrained if stage == "pretrain" else project.generator
        out.parent.mkdir(parents=True, exist_ok=True)
        store = open_store(project.prepared, params.runtime.store)
        patches = options.batch_size, options.patch_size, options.seed, process_group.rank(), process_group.size()
        sampler = PatchSampler(store, *patches, options.cutmix, options.window)
        scorers = _open_scorers(options, networks.generator.keep_luma)
        validation = pairs(project.prepared, "validation")
        trainer = Trainer(options, runtime, networks.generator, networks.discriminator, sampler, validation, scorers)
        substitutes = trainer.objective.substitutes
        if any(each != substitutes for each in process_group.all_gather([substitutes])):
            raise SrganError("the machines have different weights for the losses. Put the same files on all of them, or set SRGAN_MIRROR")
        log.info(
            "%s: %s parameters on %s, %s, %d training images%s",
            stage,
            f"{parameter_count(networks.generator):,}",
            trainer.device,
            str(trainer.dtype).removeprefix("torch."),
            len(sampler.eligible_images),
            f", {process_group.size()} processes" if process_group.size() > 1 else "",
        )
        # A checkpoint resumes only in a run that equals its own in all of these.
        machine = [__version__, torch.__version__, trainer.device.type, str(trainer.dtype), "lpips" in scorers, *substitutes]
        learned = [identity(params.model), networks.generator.scale, identity(options)]
        signature = digest([learned, about["inputs"], machine])
        if process_group.rank():
            trainer.fit(SilentLog(), SharedCheckpoints(None))
            return
        checkpoints = locked.enter_context(
            Checkpoints(
                training.folders[stage],
                signature,
                runtime.checkpoint_every,
                about,
                options.continue_from,
                partial(continuation.check, about=about, stage=stage),
                project.working_copy.checkpoints / stage,
            )
        )
        metadata |= lineage.loss_weights(metadata, substitutes)
        training = replace(training, loss_weights=metadata.get(lineage.LOSS_WEIGHTS, ""))
        with optional.live(training, stage) if tracked else nullcontext():
            pictures, adds_colour = training.folders[stage] / "pictures", store.recipe.removes_colour
            logger = TrainingLog(project.losses[stage], options.steps, stage, pictures, adds_colour)
            trained = trainer.fit(logger, SharedCheckpoints(checkpoints), Verification(store).check)
            metadata |= lineage.metadata([*networks.earlier, *checkpoints.about["lineage"]])
            metadata |= {"sr.train_data_sha256": training.data_sha256} | _colour_metadata(store.recipe)
            save_generator(out, trained, metadata)
        unedited("; the checkpoint is kept: with the old values that takes seconds")
        checkpoints.finish()  # last, so that a process that is killed before need not train again


def _open_scorers(options: Pretrain | Train, keeps_luma: bool) -> dict[str, Scorer]:
    """Return the metrics of the validation that all machines of the training have."""
    otherwise = "the best weights are chosen by the validation loss" if isinstance(options, Train) else "the validation goes without"
    metrics = select_metrics(["alex"] if options.lpips else [], validation=True)
    if keeps_luma:
        metrics.append(CIEDE2000)
    scorers = open_metrics(metrics, otherwise, pick_device())
    found = process_group.all_gather([set(scorers)])
    for name in [name for name in scorers if not all(name in names for names in found)]:
        log.warning("%s is unavailable on other machines; %s", METRICS[name].label, otherwise)
        del scorers[name]
    return scorers


def _colour_metadata(recipe: Recipe) -> dict[str, str]:
    """Return the `sr.*` entries of a model that colourizes."""
    if not recipe.removes_colour:
        return {}
    return {"sr.color_out": "RGB"} | ({"sr.hints": "1"} if recipe.gives_hints else {})


def describe_run(project: Project, params: Params, stage: str, training: TrainingRecord) -> dict[str, Any]:
    """Return the identity of a run of a training stage, for runs that continue from its states."""
    options = flatten({"model": to_dict(params.model), **to_dict(getattr(params, stage))})
    options.pop("continue_from", None)
    if stage == "train":
        starts = [sha256(require(project.pretrained, "pretrain"))]
        if params.train.discriminator.pretrained != start.SCRATCH:
            starts.append(sha256(project.resolve(params.train.discriminator.pretrained)))
    else:
        value = params.pretrain.pretrained
        starts = ["" if value == start.SCRATCH else sha256(start.locate(project, value))]
    images = images_of(project.prepared, "validation")
    validated = [[image["set"], image["name"], image["source_sha256"], image["lr_sha256"]] for image in images]
    store = open_store(project.prepared, params.runtime.store)
    return {"options": options, "inputs": [store.sha256, validated, *starts], "training": training.key, "lineage": []}


def continue_from(project: Project, params: Params, path: Path, stage: str, state: str) -> str:
    """Write the state that a stage continues from into the parameter file.

    Args:
        project: the files.
        params: the whole configuration.
        path: the parameter file.
        stage: ``pretrain`` or ``train``.
        state: name of the state, or empty for the last one.

    Returns:
        The changes, for the user.

    Raises:
        SrganError: there is no such state, or it is of another network or of other data.
    """
    about = describe_run(project, params, stage, current_training(project, params, stage))
    return continuation.write(path, project.checkpoints / stage, about, state)
