"""A study on disk: its folder, its trials in Optuna's journal, and the data and pixel stages that trials share."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from srgan.config import render, yaml
from srgan.config.project import Project
from srgan.config.schema import Params, flatten, settings, to_dict
from srgan.data.download.catalog import DATA_SETS
from srgan.tuning import proposals, space
from srgan.tuning.lock import try_lock
from srgan.tuning.study_file import Definition
from srgan.utils import files
from srgan.utils.csv_table import Row
from srgan.utils.errors import SrganError

STUDIES = "studies"
BASE = 0  # number of the trial with the base parameters


class JournalLock:
    """The lock of Optuna's journal. Unlike Optuna's own ones it is released when its holder is killed."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


@dataclass(frozen=True)
class Claimed:
    """A trial that this process runs.

    Attributes:
        number: of the trial.
        id: of the trial in Optuna's journal.
        lock: file descriptor of the lock of its folder.
    """

    number: int
    id: int
    lock: int


class Study:
    """A study in ``studies/NAME`` of a project. Several processes and machines may open it at once.

    Args:
        project: the project.
        definition: the study file. Without one an existing study is read.

    Raises:
        SrganError: the folder holds a study of other settings, or its journal is damaged.
    """

    def __init__(self, project: Project, definition: Definition) -> None:
        self.project, self.definition = project, definition
        self.root = project.root.resolve() / STUDIES / definition.name
        self.root.mkdir(parents=True, exist_ok=True)
        self.base = anchored(definition.base, project)
        with self.locked():
            self._compare()
            self.storage = JournalStorage(JournalFileBackend(str(self.root / "journal.log"), JournalLock(self.root / "journal.lock")))  # type: ignore[arg-type]
            try:
                self.optuna = optuna.create_study(
                    storage=self.storage,
                    study_name=definition.name,
                    directions=proposals.directions(definition),
                    pruner=proposals.pruner(definition),
                    load_if_exists=True,
                )
            except ValueError as error:  # a line that is no JSON
                raise SrganError(f"{self.root / 'journal.log'}: damaged ({error}). Restore it or remove the folder {self.root}") from error

    def _compare(self) -> None:
        """Write the identity of a new study, or compare it with that of the existing one."""
        path, identity = self.root / "study.json", self.definition.identity
        known = files.read_json_or_none(path)
        if known is None:
            files.write_json(path, identity)
        elif files.digest(known := self._of_this_version(known)) != files.digest(identity):
            ours, theirs = (flatten(each) for each in (identity, known))
            names = [name for name in {**ours, **theirs} if str(ours.get(name)) != str(theirs.get(name))]
            different = ", ".join(names[:5]) or "types of values"
            raise SrganError(f"{self.root}: holds a study of other settings ({different}). Choose another name, or remove the folder")

    def _of_this_version(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return the recorded identity with the defaults of options that an older version did not have. They are neutral."""
        try:
            sections = {name: type(getattr(self.base, name)).model_validate_json(json.dumps(of)) for name, of in known["base"].items()}
        except (ValidationError, AttributeError, KeyError):  # an option was renamed, removed or has other limits
            return known
        return known | {"base": {name: to_dict(section) for name, section in sections.items()}}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time change the study."""
        with files.one_at_a_time(self.root / "lock"):
            yield

    @property
    def limit(self) -> int:
        """Return the number of trials."""
        return proposals.limit(self.definition)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by their numbers."""
        return self.optuna.get_trials(deepcopy=False)

    def is_complete(self) -> bool:
        """Return True if all trials have ended."""
        found = self.trials()
        return len(found) >= self.limit and all(trial.state.is_finished() for trial in found)

    # -- folders ----------------------------------------------------------------------------------------------------------------

    def trial_project(self, number: int) -> Project:
        """Return the project of a trial."""
        return Project(self.root / "trials" / f"{number:04}")

    @property
    def data(self) -> Project:
        """Return the project that holds the data of all trials."""
        return Project(self.root / "data")

    def pretrained(self, key: str) -> Project:
        """Return the project of a pixel stage that several trials share."""
        return Project(self.root / "pretrained" / key)

    def begin(self, project: Project, params: Params) -> None:
        """Make the folder of a trial, or of a pixel stage, with its parameters and a link to the data."""
        project.prepared.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(project.params, render.render(params, f"Study {self.definition.name}"))
        if not project.prepared.is_symlink():
            project.prepared.symlink_to(os.path.relpath(self.data.prepared, project.prepared.parent))

    def begin_data(self) -> None:
        """Write the parameters of the project that prepares the data."""
        files.write_text(self.data.params, render.render(self.base, f"Data of the study {self.definition.name}"))

    def copy_prepared(self) -> bool:
        """Take over the prepared data of the project, if DVC recorded them with these parameters. Return whether that worked."""
        if not (self.project.prepared / "manifest.json").is_file() or not _is_recorded(self.project, self.base):
            return False
        with files.atomic_folder(self.data.prepared) as folder:
            shutil.copytree(self.project.prepared, folder, copy_function=_link, dirs_exist_ok=True)
        return True

    # -- the reference of the guards --------------------------------------------------------------------------------------------

    def reference(self) -> Row | None:
        """Return the first validation of the base parameters, or None before it was measured."""
        return files.read_json_or_none(self.root / "reference.json")

    def set_reference(self, row: Row) -> None:
        """Record the first validation of the base parameters."""
        if self.reference() is None:
            files.write_json(self.root / "reference.json", row)

    # -- trials -----------------------------------------------------------------------------------------------------------------

    def claim(self, held: ExitStack) -> Claimed | None:
        """Return a trial to run: one whose process has ended, or a new one. None if other processes run all that are left.

        Args:
            held: where the lock of the trial is released.
        """
        with self.locked():
            history = self.trials()
            for trial in history:
                if trial.state == TrialState.RUNNING and (claimed := self._lock(trial.number, trial._trial_id, held)):
                    return claimed
            if len(history) >= self.limit or (history and self.reference() is None):
                return None
            number = len(history)
            values = proposals.propose(self.definition, history) if history else space.encoded(self.definition.space, self.base) or {}
            distributions: dict[str, BaseDistribution] = {name: self.definition.space[name].distribution for name in values}
            running = optuna.trial.create_trial(state=TrialState.RUNNING, params=values, distributions=distributions)
            self.optuna.add_trial(running)  # one line of the journal: a kill leaves no trial with half its parameters
            return self._lock(number, self.trials()[number]._trial_id, held)

    def _lock(self, number: int, identity: int, held: ExitStack) -> Claimed | None:
        descriptor = held.enter_context(try_lock(self.trial_project(number).root / "lock"))
        return None if descriptor is None else Claimed(number, identity, descriptor)

    def changes(self, number: int) -> space.Values:
        """Return the parameters that a trial changes, by dotted name."""
        return space.decoded(self.definition.space, self.trials()[number].params)

    def params_of(self, number: int, steps: int | None = None) -> Params:
        """Return the parameters of a trial.

        Args:
            number: of the trial.
            steps: of the measured stage. Default: those of the study.
        """
        options, stage = self.definition.options, self.definition.options.stage
        values = self.changes(number) | ({f"{stage}.steps": steps} if steps else {})
        params = Params.model_validate(space.changed(self.base, values))
        every = max(1, getattr(params, stage).steps // options.validations)
        return Params.model_validate(space.changed(params, {f"runtime.{stage}.validate_every": every}))

    def report(self, claimed: Claimed, number: int, value: float) -> bool:
        """Record the value after a validation, counted from 1. Return whether the trial is to be pruned."""
        trial = self.storage.get_trial(claimed.id)
        if number not in trial.intermediate_values:  # else the process that was killed has recorded it
            self.storage.set_trial_intermediate_value(claimed.id, number, value)
        if not self.definition.options.prune or self.definition.options.cost or claimed.number == BASE:
            return False
        return self.optuna.pruner.prune(self.optuna, self.storage.get_trial(claimed.id))

    def finish(self, claimed: Claimed, state: TrialState, values: list[float] | None = None, **about: Any) -> None:
        """Record the end of a trial.

        Args:
            claimed: the trial.
            state: how it ended.
            values: of a complete trial.
            about: further entries of the record.
        """
        for name, value in about.items():
            self.storage.set_trial_user_attr(claimed.id, name, value)
        self.storage.set_trial_state_values(claimed.id, state, values)


def _link(source: str, target: str) -> None:
    """Link a file, or copy it to another file system. Stages replace files as a whole, so that a link keeps the content."""
    try:
        os.link(source, target)
    except OSError:
        files.copy(source, target)


def _is_recorded(project: Project, params: Params) -> bool:
    """Return True if DVC made the data of a project with these parameters."""
    if not project.dvc_lock.is_file():
        return False
    root = yaml.read(project.dvc_lock, "Run: dvc repro prepare")
    stages = yaml.to_plain(root).get("stages", {})
    recorded = settings({
        key: value
        for stage, key in (("download", "data"), ("prepare", "prepare"))
        for value in [stages.get(stage, {}).get("params", {}).get("params.yaml", {}).get(key)]
        if value is not None
    })  # fmt: skip
    wanted = flatten({"data": to_dict(params.data), "prepare": to_dict(params.prepare)})
    return all(recorded.get(name) == value for name, value in wanted.items())


def anchored(params: Params, project: Project) -> Params:
    """Return parameters whose files are found from any folder: relative paths become absolute."""

    def place(value: Any) -> Any:
        if isinstance(value, dict):
            return value | {key: place(value[key]) for key in ("folder", "set") if key in value}
        path = project.root.resolve() / value
        return str(path) if value not in DATA_SETS and path.exists() else value

    values = to_dict(params)
    for split in ("train", "test"):
        values["data"][split] = tuple(place(entry) for entry in values["data"][split])
    for holder in (values["pretrain"], values["train"]["discriminator"]):
        holder["pretrained"] = place(holder["pretrained"])
    return Params.model_validate(yaml.to_plain(values))
