"""The MLflow run of a training, brought up to date from the files that the stages wrote.

Files first, server second: nothing is measured for MLflow alone, so a server that is down costs a warning, and `sync`
makes up for it later. Doing it twice is the same as doing it once.
"""

import contextlib
import csv
import getpass
import logging
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from PIL import Image

from srgan import __version__
from srgan.config.project import Project
from srgan.evaluation.history import TrainingHistory
from srgan.tracking import store
from srgan.tracking.system_metrics import SystemMetrics
from srgan.tracking.training_record import TrainingRecord
from srgan.utils import git
from srgan.utils.addresses import without_secrets
from srgan.utils.csv_table import validation_csv
from srgan.utils.files import digest, read_json, sha256

LOCAL_PAGES = "http://127.0.0.1:5000"  # which `make mlflow` shows
VIEW = "workflowType=machine_learning"  # else the pages begin with what belongs to language models
PARAMS = 100  # in one call, at most
ROWS = 100  # rows of a curve in one call; the server takes at most 1000 figures
LOOK = 10.0  # seconds between looks at what the machine is busy with
LIVE = 3  # looks from one visit of the server to the next; a visit takes some 0.1 s of a core
KEY_TAG = "srgan.key"
WRITER_TAG = "mlflow.srgan.writer"  # whose run it is, see `mlflow_store.writer`
SENT = "mlflow.srgan.sent."  # tags that remember what the server has; MLflow's pages show none that begin with its own name

log = logging.getLogger(__name__)


def find_run(client: MlflowClient, training: TrainingRecord) -> Run:
    """Find the run of a training that belongs to this working copy; it is created if there is none.

    Others may train with the same parameters: their runs are not touched, whatever their status.
    """
    experiment = store.experiment_id(training.project, client)
    own = _own_runs(client, experiment, training)
    for run in own:
        if all(_is_continued(run.data.tags, path) for path in _curves(training).values()):
            if WRITER_TAG not in run.data.tags:
                client.set_tag(run.info.run_id, WRITER_TAG, store.writer(training.project))
            return run
    # The same parameters gave another curve: the code has changed, or a diverging training went back. It gets a run of its own.
    for run in own:
        if run.info.status == "RUNNING":
            client.update_run(run.info.run_id, "KILLED")
    tags = {KEY_TAG: training.key, WRITER_TAG: store.writer(training.project), "srgan.data_sha256": training.data_sha256}
    tags |= {"profile": training.profile, **_tags(training.project)}
    run = client.create_run(experiment, run_name=f"{training.name}-{training.key[:6]}", tags=tags)
    run_id = run.info.run_id
    params = [Param(name, str(value)) for name, value in training.params.items()]
    for start in range(0, len(params), PARAMS):
        client.log_batch(run_id, params=params[start : start + PARAMS])
    data = Dataset(training.data_name[:500], training.data_sha256[:32], "local", "data/prepared")
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    return run


def _own_runs(client: MlflowClient, experiment: str, training: TrainingRecord) -> list[Run]:
    """The runs of a training that this working copy has written, the newest first. The local store holds no others'."""
    runs = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{training.key}'", order_by=["attributes.start_time DESC"])
    return list(runs) if store.is_local(training.project) else [run for run in runs if _is_own(run.data.tags, training)]


def _is_own(tags: dict[str, str], training: TrainingRecord) -> bool:
    """Whether the tags are of a run of this working copy. Former versions named no writer: then by host, user and what was sent."""
    if WRITER_TAG in tags:
        return tags[WRITER_TAG] == store.writer(training.project)
    here = _place()
    sent = any(f"{SENT}{path.name}" in tags and _rows(path) for path in _curves(training).values())
    return sent and all(tags.get(name) == value for name, value in here.items())


def _place() -> dict[str, str]:
    place = {"host": platform.node()}
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        place["mlflow.user"] = getpass.getuser()
    return place


def _tags(project: Project) -> dict[str, str]:
    """Where this is: machine and revision."""
    import torch

    tags = _place() | {"gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}
    tags |= {"mlflow.source.name": "srgan", "mlflow.source.type": "LOCAL"}
    if commit := git.revision(project.root):
        tags["mlflow.source.git.commit"] = commit.split()[0]
    if project.dvc_lock.is_file():
        tags["dvc.lock"] = sha256(project.dvc_lock)[:16]
    return tags


def sync(training: TrainingRecord, status: str | None = None) -> str:
    """Bring the run up to date with the files: curves, scores, pictures. What is there already is not sent again.

    Args:
        training: what to bring up to date.
        status: of the run afterwards: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``; None leaves it.

    Returns:
        The run's id.

    Raises:
        Exception: whatever MLflow raises when the server cannot be reached or refuses; `mlflow_store.explained` tells which.
    """
    client = store.connect(training.project)
    run = find_run(client, training)  # asked for once: a training's follower comes by every few seconds
    run_id, tags = run.info.run_id, run.data.tags
    for (stage, kind), path in _curves(training).items():
        _send_curve(client, run, _prefix(stage, kind), path)
    for stage in training.folders:
        _send_machine(client, run_id, stage, training.machine(stage), int(tags.get(f"{SENT}{stage}.machine", 0)))
        last = validation_csv(training.losses[stage]).with_suffix(".png")
        _send_pictures(client, run_id, stage, training.folders[stage] / "pictures", last, int(tags.get(f"{SENT}{stage}.pictures", -1)))
    figures = {training.scores: _flat_scores, training.cost: _flat_cost}
    for path in (*(path for path in (*figures, training.statistics) if path), *training.artifacts):
        tag = f"{SENT}{path.name}"
        if not path.exists() or tags.get(tag) == (current := _digest(path)):
            continue
        if path in figures:
            now = int(time.time() * 1000)
            found = figures[path](read_json(path, made_by="evaluate"))
            client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in found.items()])
        if path == training.statistics:
            from srgan.evaluation.statistics import summary_sentences  # brings torch; who only asks for addresses does without

            sentences = summary_sentences(read_json(path, made_by="evaluate"), "gan")
            client.set_tag(run_id, "mlflow.note.content", " ".join(sentences))  # the run's description
        if path.is_dir():
            client.log_artifacts(run_id, str(path), path.name)
        else:
            client.log_artifact(run_id, str(path))
        client.set_tag(run_id, tag, current)
    if status and run.info.status != status:
        client.update_run(run_id, status)
    return run_id


def _digest(path: Path) -> str:
    inside = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return digest([(str(file.relative_to(path.parent)), sha256(file)) for file in inside])[:16]


def _send_pictures(client: MlflowClient, run_id: str, stage: str, folder: Path, last: Path, sent: int) -> None:
    """The pictures of the validations after step `sent`, each under its step."""
    found = sorted(folder.glob("step-*.png"))
    if not found or not last.is_file() or sha256(found[-1]) != sha256(last):
        return  # of another training: DVC has brought this one's results from its cache
    for path in found:
        step = int(path.stem.removeprefix("step-"))
        if step > sent:
            with Image.open(path) as picture:
                client.log_image(run_id, picture, key=f"{stage}/validation", step=step, synchronous=True)
            client.set_tag(run_id, f"{SENT}{stage}.pictures", str(step))


def _curves(training: TrainingRecord) -> dict[tuple[str, str], Path]:
    """(stage, kind) -> CSV."""
    curves = {}
    for stage, losses in training.losses.items():
        curves |= {(stage, "losses"): losses, (stage, "validation"): validation_csv(losses)}
    return curves


def _prefix(stage: str, kind: str) -> str:
    """Of a curve's metrics: ``train/loss_l1``, ``val/psnr_y``; of the stage before: ``pretrain/loss_l1``, ``pretrain/val/psnr_y``."""
    return stage if kind == "losses" else {"train": "val"}.get(stage, f"{stage}/val")


def _rows(path: Path) -> list[str]:
    """The whole lines of a CSV; the last one may be half-written, the trainer is at work."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def _mark(lines: list[str]) -> str:
    """How far a curve was sent: the number of lines, and their digest."""
    return f"{len(lines)}:{digest(lines)[:12]}"


def _is_continued(tags: dict[str, str], path: Path) -> bool:
    """Whether the file still begins with what was sent of it. A file that is not there yet contradicts nothing."""
    sent = tags.get(f"{SENT}{path.name}")
    lines = _rows(path)
    if not sent or not lines:
        return True
    return _mark(lines[: int(sent.split(":")[0])]) == sent or len(lines) < int(sent.split(":")[0])


def _send_curve(client: MlflowClient, run: Run, prefix: str, path: Path) -> None:
    """Send the lines that were not sent, in batches; the tag that remembers how far goes with each batch."""
    lines, sent = _rows(path), run.data.tags.get(f"{SENT}{path.name}")
    done = max(int(sent.split(":")[0]) if sent else 1, 1)  # the first line is the header
    # One instant for a row, whenever it is sent: the server then keeps a repeated point once.
    start = int(run.info.start_time)
    while done < len(lines):
        rows = list(csv.DictReader([lines[0], *lines[done : done + ROWS]]))
        done = min(done + ROWS, len(lines))
        metrics = [
            Metric(f"{prefix}/{name.removeprefix('val_')}", float(value), start + int(row["step"]), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name != "step"
        ]
        client.log_batch(run.info.run_id, metrics=metrics, tags=[RunTag(f"{SENT}{path.name}", _mark(lines[:done]))])


def _send_machine(client: MlflowClient, run_id: str, stage: str, path: Path, done: int) -> None:
    """What the machine was busy with, under the names by which MLflow's own page of system metrics knows it."""
    lines = _rows(path)
    start = int(lines[1].split(",")[0]) if len(lines) > 1 else 0
    done = max(done, 1)
    while done < len(lines):
        rows = list(csv.DictReader([lines[0], *lines[done : done + ROWS]]))
        metrics = [
            Metric(f"system/{name}", float(value), int(row["time"]), (int(row["time"]) - start) // 1000)  # by seconds
            for row in rows
            for name, value in row.items()
            if name != "time" and value
        ]
        done = min(done + ROWS, len(lines))
        client.log_batch(run_id, metrics=metrics, tags=[RunTag(f"{SENT}{stage}.machine", str(done))])


def _flat_scores(scores: dict[str, dict[str, dict[str, float | None]]]) -> dict[str, float]:
    """``sample/psnr_y`` for the GAN, ``sample/bicubic/psnr_y`` for the others."""
    flat = {}
    for set_name, models in scores.items():
        for model, figures in models.items():
            prefix = set_name if model == "gan" else f"{set_name}/{model}"
            flat |= {f"{prefix}/{name}": value for name, value in figures.items() if value is not None}
    return flat


def _flat_cost(cost: dict[str, Any]) -> dict[str, float]:
    """``cost/onnx-fp32/seconds_per_megapixel`` and so on."""
    return {
        f"cost/onnx-{row['file'].removesuffix('.onnx').rpartition('-')[2]}/{name}": row[name]
        for row in cost["files"]
        for name in ("seconds_per_megapixel", "peak_memory_mb", "megabytes")
    }


def origin(training: TrainingRecord) -> dict[str, str]:
    """Where a result comes from, for people: revision, digests, the way to its run."""
    return {
        "training": training.key,
        "git revision": git.revision(training.project.root) or "none",
        "trained on": f"{training.data_name}, {training.data_sha256[:16]}",
        "made": f"{time.strftime('%Y-%m-%d %H:%M')} with srgan {__version__} on Python {platform.python_version()}",
        "MLflow": f"the run tagged {KEY_TAG} = {training.key}; see it with: make mlflow",
    }


def addresses(training: TrainingRecord, *tabs: str) -> list[str]:
    """Where MLflow's pages show a training's run; none if there is no such run, or no server to ask.

    Args:
        training: whose.
        tabs: of the run's page, such as ``/artifacts/report.html``; an address for each.
    """
    try:
        client = store.connect(training.project)
        experiment = client.get_experiment_by_name(store.experiment_name())
        runs = _own_runs(client, experiment.experiment_id, training)[:1] if experiment else []
    except Exception as error:  # see try_sync
        log.warning("%s", store.explained(training.project, error))
        return []
    uri = store.tracking_uri(training.project)
    pages = without_secrets(uri.rstrip("/")) if uri.startswith("http") else LOCAL_PAGES
    return [f"{pages}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}?{VIEW}" for run in runs for tab in tabs]


def history_of_server(project: Project, name: str) -> tuple[str, TrainingHistory]:
    """A run of the server by its id or name (the newest, if several bear it): its id, and its curves and settings.

    Raises:
        LookupError: there is none.
    """
    client = store.connect(project)
    try:
        found = client.get_run(name)
    except MlflowException:
        experiment = client.get_experiment_by_name(store.experiment_name())
        quoted = name.replace("'", "")
        runs = client.search_runs([experiment.experiment_id], f"run_name = '{quoted}'", max_results=1) if experiment else []
        if not runs:
            raise LookupError(f"no run '{name}' at {store.reason(Exception(store.tracking_uri(project)))}") from None
        found = runs[0]
    run_id = found.info.run_id
    tables: dict[str, dict[str, dict[int, dict[str, float]]]] = {"losses": {}, "validation": {}}
    for key in found.data.metrics:
        prefix, _, figure = key.rpartition("/")
        for stage, kind in ((stage, kind) for stage in ("pretrain", "train") for kind in tables if prefix == _prefix(stage, kind)):
            column = f"val_{figure}" if kind == "validation" and figure != "gap" else figure  # as in the CSV
            for point in client.get_metric_history(run_id, key):
                tables[kind].setdefault(stage, {}).setdefault(point.step, {"step": point.step})[column] = point.value
    frames = {
        kind: {stage: pd.DataFrame([rows[step] for step in sorted(rows)]) for stage, rows in stages.items()}
        for kind, stages in tables.items()
    }
    return run_id, TrainingHistory(dict(found.data.params), **frames)


def try_sync(training: TrainingRecord, status: str) -> str | None:
    """`sync`, but a server that cannot be reached costs a warning. Returns the run's id, or None."""
    try:
        return sync(training, status)
    except Exception as error:  # MLflow, its database layer and the network have no common base; none may end a training
        log.warning("%s; the files are safe, send them later with: srgan sync", store.explained(training.project, error))
        return None


@contextlib.contextmanager
def live(training: TrainingRecord, stage: str) -> Iterator[None]:
    """While the block trains, a thread follows the growing CSV; at the end the run is complete and its status set."""
    done = threading.Event()
    machine = SystemMetrics(training.machine(stage))

    def follow() -> None:
        looks, pause = 0, LIVE
        while not done.wait(LOOK):
            with contextlib.suppress(Exception):  # a full disk, a monitor that stumbles: no reason to follow no longer
                machine.sample()
            if looks % pause == 0:  # a dead server is asked ever less often
                looks, pause = 0, LIVE if try_sync(training, "RUNNING") else min(pause * 4, 60)
            looks += 1

    thread = threading.Thread(target=follow, name="mlflow", daemon=True)
    thread.start()
    status = "KILLED"  # SIGTERM and Ctrl-C are no Exception
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        done.set()
        thread.join()
        try_sync(training, status)
