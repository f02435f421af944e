"""One trial: a training in a project of its own, which is judged at each validation."""

import logging
import shutil
import time
from dataclasses import dataclass, field
from subprocess import Popen
from threading import Event
from typing import Any

from optuna.trial import TrialState
from pydantic import ValidationError

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.models.weights_file import read_metadata
from srgan.tracking.training_record import current_training
from srgan.training.checkpoint import FINAL
from srgan.tuning import child
from srgan.tuning.judge import Score, judge, read_rows
from srgan.tuning.lock import lock
from srgan.tuning.study import BASE, Claimed, Study
from srgan.utils import files
from srgan.utils.csv_table import validation_csv
from srgan.utils.errors import SrganError

POLL_SECONDS = 0.3
STOP_SECONDS = 120  # in which a stopped training writes its checkpoint
INTERRUPTED = (130, 143)  # exit codes

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The study was stopped. The trial continues with the next one."""


class Pruned(Exception):
    """The trial is behind others."""


@dataclass
class Worker:
    """Runs trials of a study, one after the other.

    Attributes:
        study: the study.
        stop: set to end the work.
        run: id of the study's MLflow run, or empty.
        environment: variables of the child processes.
    """

    study: Study
    stop: Event = field(default_factory=Event)
    run: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def trial(self, claimed: Claimed) -> TrialState:
        """Run a trial to its end. Return how it ended.

        Raises:
            Stopped: the study was stopped.
        """
        study, project = self.study, self.study.trial_project(claimed.number)
        shown = ", ".join(f"{name} {value}" for name, value in study.changes(claimed.number).items())
        log.info("trial %d: %s", claimed.number, shown or "the base parameters")
        try:
            params = self._params(claimed)
            score = self._train(claimed, project, params)
        except Pruned:
            study.finish(claimed, TrialState.PRUNED, **_costs(project))
            log.info("trial %d: pruned", claimed.number)
            return TrialState.PRUNED
        except (SrganError, ValidationError) as error:
            text = str(error) if isinstance(error, SrganError) else f"not valid together: {error.errors()[0]['msg']}"
            study.finish(claimed, TrialState.FAIL, error=text, **_costs(project))
            log.warning("trial %d: failed: %s", claimed.number, text)
            return TrialState.FAIL
        values = [score.value]
        if study.definition.options.cost:
            values.append(self._speed(claimed, project))
        about = {"refused": score.refused, "row": score.row}
        study.finish(claimed, TrialState.COMPLETE, values, **about, **_costs(project))
        log.info("trial %d: %s", claimed.number, score.refused or ", ".join(f"{value:.4f}" for value in values))
        return TrialState.COMPLETE

    def _params(self, claimed: Claimed) -> Params:
        """Return the parameters of a trial. With a time limit the speed on this machine determines the steps."""
        study, project = self.study, self.study.trial_project(claimed.number)
        params = study.params_of(claimed.number)
        seconds, stage = study.definition.options.seconds, study.definition.options.stage
        study.begin(project, params)
        if not seconds:
            return params
        if not (project.root / child.RATE).is_file():
            self._run("rate", project, claimed.lock)
        rate = files.read_json(project.root / child.RATE, made_by="rate")[stage]
        if not rate:
            raise SrganError("the speed of this training could not be measured")
        params = study.params_of(claimed.number, steps=max(1, round(rate * seconds)))
        study.begin(project, params)
        return params

    def _train(self, claimed: Claimed, project: Project, params: Params) -> Score:
        """Run the training stages. Return the score."""
        study, stage = self.study, self.study.definition.options.stage
        if stage == "train":
            self._pretrain(project, params)
        seen = 0
        follow = not _is_complete(project, stage)
        process = child.start(stage, project, claimed.lock, self.environment, self.run) if follow else None
        try:
            while True:
                code = process.poll() if process else 0
                rows = read_rows(project.losses[stage])
                if rows and claimed.number == BASE:
                    study.set_reference(rows[0])
                for number in range(max(seen, 1), len(rows)):
                    score = judge(study.definition, params, rows[: number + 1], study.reference() or rows[0])
                    behind = study.report(claimed, number, score.value)
                    if behind and number < study.definition.options.validations:  # by the number alone, not by the pace of this loop
                        raise Pruned
                seen = len(rows)
                if code is not None:
                    break
                self._check()
                time.sleep(POLL_SECONDS)
            self._require_success(stage, project, code)
        finally:
            if process:
                _end(process)
        if seen < 2:
            raise SrganError(f"{validation_csv(project.losses[stage])}: no validation after the first step")
        return judge(study.definition, params, rows, study.reference() or rows[0])

    def _pretrain(self, project: Project, params: Params) -> None:
        """Bring the weights of the pixel stage into the project. Trials with the same options of it share one training."""
        if project.pretrained.is_file():
            return
        key = current_training(project, params, "train").pretraining_key
        shared = self.study.pretrained(key)
        with lock(shared.root / "lock", self._check) as held:
            if not _is_complete(shared, "pretrain"):
                self.study.begin(shared, params)
                log.info("pixel stage %s: trains in %s", key, shared.root)
                self._run("pretrain", shared, held)
            read_metadata(shared.pretrained, made_by="pretrain")
        project.reports.mkdir(exist_ok=True)
        project.models.mkdir(exist_ok=True)
        losses = shared.losses["pretrain"]
        for source in (losses, validation_csv(losses), validation_csv(losses).with_suffix(".png")):
            if source.is_file():
                shutil.copyfile(source, project.reports / source.name)
        with files.atomic_file(project.pretrained) as temporary:
            shutil.copyfile(shared.pretrained, temporary)

    def prepare(self) -> None:
        """Bring the data of the study to its folder, once for all trials."""
        study = self.study
        with lock(study.data.root / "lock", self._check) as held:
            if (study.data.prepared / "manifest.json").is_file() or study.copy_prepared():
                return
            study.begin_data()
            for stage in ("download", "prepare"):
                log.info("data: %s", stage)
                self._run(stage, study.data, held)

    def _speed(self, claimed: Claimed, project: Project) -> float:
        if not (project.root / child.SPEED).is_file():
            self._run("speed", project, claimed.lock)
        return float(files.read_json(project.root / child.SPEED, made_by="speed")["seconds_per_megapixel"])

    def _run(self, command: str, project: Project, held: int) -> None:
        """Run a command to its end."""
        process = child.start(command, project, held, self.environment)
        try:
            while (code := process.poll()) is None:
                self._check()
                time.sleep(POLL_SECONDS)
        finally:
            _end(process)
        self._require_success(command, project, code)

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def _require_success(self, command: str, project: Project, code: int) -> None:
        if code in INTERRUPTED:
            raise Stopped
        if code:
            path = project.root / child.LOG
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
            last = lines[-1].removeprefix("error: ") if lines else "no output"
            raise SrganError(f"{command}: {f'ended by signal {-code}' if code < 0 else last} (log: {path})")


def _is_complete(project: Project, stage: str) -> bool:
    return (project.checkpoints / stage / FINAL).is_file()


def _end(process: "Popen[bytes]") -> None:
    """End a training. It writes a checkpoint first."""
    if process.poll() is None:
        process.terminate()
        process.wait(STOP_SECONDS)


def _costs(project: Project) -> dict[str, Any]:
    """Return the seconds of a folder, on the clock and on the processors. A process that was killed has none."""
    found = [files.read_json_or_none(path) or {} for path in sorted((project.root / child.COSTS).glob("*.json"))]
    return {name: round(sum(each.get(name, 0.0) for each in found), 1) for name in ("seconds", "processor_seconds")}


def pixel_stage_costs(study: Study) -> dict[str, float]:
    """Return the seconds of the pixel stages that trials share."""
    found = [_costs(Project(path)) for path in sorted((study.root / "pretrained").glob("*"))]
    return {name: sum(each[name] for each in found) for name in ("seconds", "processor_seconds")}
