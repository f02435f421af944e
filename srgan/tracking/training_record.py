"""The record of a training: its parameters, its data and its files, as MLflow and the reports need them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srgan.config import profiles
from srgan.config.project import Project
from srgan.config.schema import Params, flatten, identity, to_dict
from srgan.data.manifest import read_manifest
from srgan.models.weights_file import read_metadata
from srgan.utils.errors import SrganError
from srgan.utils.files import digest, read_json_or_none, require, sha256


@dataclass(frozen=True)
class TrainingRecord:
    """Identify a training and name the files that it wrote.

    Attributes:
        project: the project that trained.
        name: title of the MLflow run.
        params: flat, all of data, prepare, model, pretrain and train, to show and to compare.
        identity: options of model, pretrain and train that differ from their defaults. The weights depend on them.
        scale: upscaling factor.
        data_name: names of the training sets.
        data_sha256: digest of the training images.
        losses: training stage -> CSV of its losses. Until a training has ended, only the stages of this training are listed.
        folders: training stage -> folder of its checkpoints, with ``pictures/step-N.png`` for each validation.
        scores: ``metrics.json``, or None.
        statistics: ``statistics.json``, or None.
        artifacts: files and folders to upload.
        cost: ``speed.json``, or None.
        profile: the profile of the parameters, or the closest one.
        loss_weights: name and SHA-256 of files of weights that replace those of the losses, known while a stage trains.
    """

    project: Project
    name: str
    params: dict[str, Any]
    identity: dict[str, Any]
    scale: int
    data_name: str
    data_sha256: str
    losses: dict[str, Path]
    folders: dict[str, Path]
    scores: Path | None = None
    statistics: Path | None = None
    artifacts: tuple[Path, ...] = ()
    cost: Path | None = None
    profile: str = ""
    loss_weights: str = ""

    @property
    def key(self) -> str:
        """Digest of the parameters and the data. Equal trainings share a run."""
        # Not the sections `data` and `prepare`: the digest of the data stands for them. prepare.max_unreadable does not change it.
        return digest([self.identity, self.data_sha256])[:16]

    @property
    def pretraining_key(self) -> str:
        """Key of the first stage, which no parameter of the second stage changes."""
        return replace(self, identity={name: options for name, options in self.identity.items() if name != "train"}).key

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints. In an experiment's temporary copy it is one of the working copy, so that a killed run resumes."""
        lasting = self.project.working_copy
        return self.project.checkpoints if lasting == self.project else lasting.checkpoints / "experiments" / self.key

    @property
    def page_identity(self) -> dict[str, str]:
        """Identity of ``report.html``. The page and the costs are no outs of DVC, which keeps those of another training in place."""
        return {"training": self.key, "scores": sha256(require(self.project.scores, "evaluate"))}

    def has_page(self) -> bool:
        """Return True if the page and the costs belong to this training and its scores."""
        measured = read_json_or_none(self.project.costs)
        complete = isinstance(measured, dict) and self.project.report.is_file() and self.project.scores.is_file()
        return complete and self.page_identity.items() <= measured.items()

    def machine(self, stage: str) -> Path:
        """Return the CSV of the system metrics of a stage."""
        return self.folders[stage] / f"machine-{self.key}.csv"


def current_training(project: Project, params: Params, stage: str | None = None) -> TrainingRecord:
    """Return the record of the training that the parameters describe.

    Args:
        project: the files.
        params: the whole configuration.
        stage: the training stage at work, or None after all stages. Then the generator must be the one of these parameters.

    Raises:
        SrganError: no data is prepared, or the generator was trained with other parameters or data.
    """
    manifest = read_manifest(project.prepared)
    kept = flatten({
        "data": {"train": params.data.names("train")},
        "prepare": to_dict(params.prepare),
        "model": to_dict(params.model),
        "pretrain": to_dict(params.pretrain),
        "train": to_dict(params.train),
    })  # fmt: skip
    training = TrainingRecord(
        project,
        name=f"{params.export.name}-{params.model.name}-x{manifest['scale']}",
        params=kept,
        identity={name: identity(getattr(params, name)) for name in ("model", "pretrain", "train")},
        scale=manifest["scale"],
        data_name="+".join(params.data.names("train")),
        data_sha256=manifest["train_sha256"],
        losses={name: path for name, path in project.losses.items() if stage != "pretrain" or name == stage},
        folders={},
        profile=profiles.closest(params),
    )
    folders = {name: training.checkpoints / name for name in project.losses if stage in (None, "train", name)}
    training = replace(training, folders=folders)
    if stage is not None:
        return training
    if read_metadata(project.generator, made_by="train").get("sr.train_run") != training.key:
        raise SrganError(
            f"{project.generator}: trained with other parameters or data than params.yaml now names. Run: dvc repro "
            "(if that runs nothing, params.yaml was edited while it trained: dvc repro -f train)"
        )
    artifacts: tuple[Path, ...] = (project.scores, project.comparison, project.pictures, project.export_record)
    training = replace(training, scores=project.metrics, statistics=project.statistics, artifacts=artifacts)
    if training.has_page():
        training = replace(training, cost=project.costs, artifacts=(*artifacts, project.report))
    return training
