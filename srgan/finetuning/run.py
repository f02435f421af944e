"""Run a fine-tuning: trainings, gain, decision, export and registration. The same command continues one that was killed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from srgan.config import render
from srgan.config.project import Project
from srgan.data.manifest import PARTS, Part, read_manifest
from srgan.data.prepare import prepare
from srgan.finetuning import images as choice
from srgan.finetuning import result
from srgan.finetuning.gain import judge
from srgan.finetuning.options import Request, identity, open_start, parameters, recipe_of
from srgan.finetuning.result import Result
from srgan.stages import pretrain, train
from srgan.tasks import task_of_manifest
from srgan.tracking import optional
from srgan.training.checkpoint import FINAL
from srgan.utils import files, machine
from srgan.utils.errors import SrganError

FOLDER, RECORD = "finetuned", "finetune.json"
MANY = 50  # images, above which the pipeline learns more

log = logging.getLogger(__name__)


def finetune(project: Project, request: Request) -> Result:
    """Train a model on few images, and keep it if held-out images show a gain.

    Args:
        project: the project that the user works in. The result is in its folder ``finetuned/NAME``.
        request: what the user asks for.

    Raises:
        SrganError: the start or the images cannot be used, or the folder has another fine-tuning.
    """
    request = request.named()
    own = Project(project.root / FOLDER / request.name)
    own.root.mkdir(parents=True, exist_ok=True)
    try:
        with files.one_at_a_time(own.root / "lock", timeout=0), _store_of(project):
            return _Finetuning(project, own, request).run()
    except TimeoutError as error:
        raise SrganError(f"{own.root}: another process works on this fine-tuning. Wait for it, or choose another --name") from error


@contextmanager
def _store_of(project: Project) -> Iterator[None]:
    """Let the trainings in other folders use the MLflow store of the project."""
    former = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        os.environ["MLFLOW_TRACKING_URI"] = optional.load("store").tracking_uri(project)
    except ImportError:  # the trainings say so
        yield
        return
    try:
        yield
    finally:
        if former is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = former


class _Finetuning:
    def __init__(self, project: Project, own: Project, request: Request) -> None:
        self.own, self.request = own, request
        known = files.read_json_or_none(own.root / RECORD)
        pinned = known["address"] if known and known["given"] == request.start else request.start  # an alias may have moved
        self.start = open_start(project, pinned)
        self.images = choice.select(Project(own.root / "images"), parameters(project, request, self.start, "bicubic"), bool(request.test))
        recipe, origin = recipe_of(project, request, self.start, self.images.paired)
        self.params = parameters(project, request, self.start, recipe)
        self._record(known)
        count = len(self.images.train)
        log.info("%d images to learn from, start %s, recipe: %s", count, self.start.shown, origin)
        if count > MANY:
            log.info("with more than %d images the pipeline may learn more: srgan profile use finetune", MANY)

    def _record(self, known: Any) -> None:
        """Write what a new fine-tuning depends on, or compare it with that of the existing one."""
        wanted = identity(self.request, self.start, self.images.digests)
        different = [key for key, value in wanted.items() if known and known["identity"].get(key) != value]
        if different:
            raise SrganError(
                f"{self.own.root}: has another fine-tuning (different: {', '.join(different)}). Choose another --name or remove the folder"
            )
        files.write_json(self.own.root / RECORD, {"given": self.request.start, "address": self.start.address, "identity": wanted})

    def run(self) -> Result:
        """Measure the gain, decide, and write the model."""
        if self.images.test:
            table, made = self._train(self.own, []), f"not learned from, of {self.images.test[0]['set']}"
        else:
            table, made = self._cross_validate()
        verdict = judge(table, self.params.promote, self._task(), made)
        if not self.images.test and verdict.kept:
            self._train(self.own, [])
            verdict = result.require_change(self.own, verdict)
        params = choice.with_split(self.images, [], self.params)
        return result.finish(self.own, params, self.start, verdict, table)

    def _task(self) -> Any:
        return task_of_manifest(read_manifest((self.own if self.images.test else self._fold(0)).prepared))

    def _fold(self, number: int) -> Project:
        return Project(self.own.root / "folds" / str(number + 1))

    def _cross_validate(self) -> tuple[pd.DataFrame, str]:
        """Return the scores of each image by a model that did not learn from it."""
        parts = choice.folds(self.images.train)
        tables = []
        for number, held_out in enumerate(parts):
            log.info("fold %d of %d: %d images are held out", number + 1, len(parts), len(held_out))
            tables.append(self._train(self._fold(number), held_out))
        return pd.concat(tables, ignore_index=True), f"cross-validation in {len(parts)} folds"

    def _train(self, project: Project, held_out: list[choice.Record]) -> pd.DataFrame | None:
        """Train in a folder, unless that is done. Return the scores of its test images, or None without such images."""
        params = choice.with_split(self.images, held_out, self.params)
        parts: tuple[Part, ...] = PARTS if held_out or self.images.test else PARTS[:2]
        if not (project.prepared / "manifest.json").is_file():
            choice.place(project, self.images, held_out)
            files.write_text(project.params, render.render(params, f"Fine-tuning {self.request.name}"))
            prepare(project.raw, project.prepared, params.prepare, machine.processes(), parts=parts)
        if not ((project.checkpoints / "train" / FINAL).is_file() and project.generator.is_file()):
            pretrain.adopt(project, params)
            train.run(project, params, tracked=project == self.own)
        return result.score(project, params) if parts == PARTS else None
