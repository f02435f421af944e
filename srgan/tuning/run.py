"""Run a study: workers, trials, and the page."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from optuna.trial import TrialState

from srgan.config.project import Project
from srgan.tracking import optional
from srgan.tuning import page, results
from srgan.tuning.lock import try_lock
from srgan.tuning.study import BASE, Study
from srgan.tuning.study_file import load_study
from srgan.tuning.trial import Stopped, Worker
from srgan.utils import files, machine
from srgan.utils.errors import SrganError

MAX_FAILURES = 3  # trials in a row that fail: then the study file is wrong
WAIT_SECONDS = 1.0

log = logging.getLogger(__name__)


def tune(path: Path, project: Project, workers: int = 1) -> Study:
    """Run the trials of a study. The same command continues a study that was killed, or helps one on another machine.

    Args:
        path: the study file.
        project: the project. The study is its folder ``studies/NAME``.
        workers: trials at the same time on this machine.

    Returns:
        The study, with its page ``study.html``.

    Raises:
        SrganError: the file is not valid, the first trial failed, or `MAX_FAILURES` trials in a row.
    """
    study = Study(project, load_study(path, project))
    stop = Event()
    run, environment = _mlflow(study)
    if workers > 1:
        environment |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, machine.cores() // workers)))}
    Worker(study, stop, environment=environment).prepare()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for done in as_completed([pool.submit(_work, Worker(study, stop, run, environment)) for _ in range(workers)]):
                done.result()
        except Stopped as error:
            stop.set()
            raise SrganError("a training was stopped. The same command continues the study") from error
        except BaseException:  # Ctrl-C and SIGTERM too
            stop.set()
            raise
    with study.locked():
        if study.is_complete():
            results.compare(study)
            written = page.write(study)
            log.info("study %s: %s", study.definition.name, written)
            if run:
                optional.load("study_run").finish(project, run, results.metrics(study), written)
    return study


def _work(worker: Worker) -> None:
    """Run trials until none is left."""
    study, failures = worker.study, 0
    while not worker.stop.is_set():
        with ExitStack() as held:
            claimed = study.claim(held)
            if claimed:
                failures = failures + 1 if worker.trial(claimed) == TrialState.FAIL else 0
        if not claimed:
            _require_base(study)
            if study.reference() is not None or study.is_complete():
                return
            worker.stop.wait(WAIT_SECONDS)  # for the first validation of the base parameters, with which the guards compare
            continue
        if failures >= MAX_FAILURES:
            raise SrganError(f"{failures} trials in a row failed, the last one: {study.trials()[claimed.number].user_attrs['error']}")
        _require_base(study)
        with try_lock(study.root / "page.lock") as free:
            if free is not None:
                page.write(study)


def _require_base(study: Study) -> None:
    """Require that the first trial has not failed: without it there is nothing to compare with."""
    trials = study.trials()
    if trials and trials[BASE].state == TrialState.FAIL:
        raise SrganError(f"the base parameters failed: {trials[BASE].user_attrs['error']}. Correct the cause and remove {study.root}")


def _mlflow(study: Study) -> tuple[str, dict[str, str]]:
    """Return the id of the study's MLflow run and the variable by which trials find the store. Without MLflow both are empty."""
    try:
        study_run = optional.load("study_run")
        params = {
            name: str(value) for name, value in files.read_json(study.root / "study.json", made_by="tune")["options"]["space"].items()
        }
        uri, run = study_run.open_run(study.project, study.definition.name, files.digest(study.definition.identity)[:16], params)
    except ImportError as error:
        log.warning("MLflow is not installed (%s), so the trials are not recorded there", error)
        return "", {}
    except SrganError as error:
        log.warning("%s. The trials are not recorded there", error)
        return "", {}
    return run, {"MLFLOW_TRACKING_URI": uri}
