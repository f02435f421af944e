"""The MLflow run of a training, updated from the files of the stages.

The files are the source, and MLflow gets a copy. An outage of the server is only a warning: `sync` sends the rest later. A second `sync`
changes nothing.
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
from srgan.data.manifest import read_manifest
from srgan.evaluation.history import TrainingHistory
from srgan.tasks import task_of_manifest
from srgan.tracking import store
from srgan.tracking.system_metrics import SystemMetrics
from srgan.tracking.training_record import TrainingRecord
from srgan.utils import git
from srgan.utils.addresses import without_secrets
from srgan.utils.csv_table import validation_csv
from srgan.utils.errors import reason
from srgan.utils.files import digest, read_json, sha256

LOCAL_PAGES = "http://127.0.0.1:5000"  # pages of `make mlflow`
VIEW = "workflowType=machine_learning"  # else the pages start with the view for language models
MAX_PARAMS = 100  # parameters in one call
MAX_ROWS = 100  # rows of a CSV in one call, as the server takes at most 1000 values
SAMPLE_SECONDS = 10.0  # between samples of the system metrics
SYNC_SAMPLES = 3  # samples between two calls of `sync`, which take about 0.1 s of a core each
KEY_TAG = "srgan.key"
LOSS_WEIGHTS_TAG = "srgan.loss_weights"
WRITER_TAG = "mlflow.srgan.writer"  # working copy of the run, see `store.writer`
SENT = "mlflow.srgan.sent."  # tags that record what the server has. MLflow's pages hide tags with this prefix

log = logging.getLogger(__name__)


def find_run(client: MlflowClient, training: TrainingRecord) -> Run:
    """Return the run of a training in this working copy. A missing run is created.

    Runs of other users with the same parameters are not changed.
    """
    experiment = store.experiment_id(training.project, client)
    own = _own_runs(client, experiment, training)
    for run in own:
        if all(_is_continued(run.data.tags, path) for path in _curves(training).values()):
            if WRITER_TAG not in run.data.tags:
                client.set_tag(run.info.run_id, WRITER_TAG, store.writer(training.project))
            return run
    # The same parameters gave other values: the code was changed, or a diverged training was rolled back. A new run keeps both.
    for run in own:
        if run.info.status == "RUNNING":
            client.update_run(run.info.run_id, "KILLED")
    tags = {KEY_TAG: training.key, WRITER_TAG: store.writer(training.project), "srgan.data_sha256": training.data_sha256}
    tags |= {"profile": training.profile, **_tags(training.project)}
    run = client.create_run(experiment, run_name=f"{training.name}-{training.key[:6]}", tags=tags)
    run_id = run.info.run_id
    params = [Param(name, str(value)) for name, value in training.params.items()]
    for start in range(0, len(params), MAX_PARAMS):
        client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
    data = Dataset(training.data_name[:500], training.data_sha256[:32], "local", "data/prepared")
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    return run


def _own_runs(client: MlflowClient, experiment: str, training: TrainingRecord) -> list[Run]:
    """Return the runs of a training in this working copy, the newest first. The local store has only such runs."""
    runs = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{training.key}'", order_by=["attributes.start_time DESC"])
    return list(runs) if store.is_local(training.project) else [run for run in runs if _is_own(run.data.tags, training)]


def _is_own(tags: dict[str, str], training: TrainingRecord) -> bool:
    """Return True if a run is of this working copy. Former versions recorded no writer: then host, user and sent files decide."""
    if WRITER_TAG in tags:
        return tags[WRITER_TAG] == store.writer(training.project)
    here = _origin_tags()
    sent = any(f"{SENT}{path.name}" in tags and _rows(path) for path in _curves(training).values())
    return sent and all(tags.get(name) == value for name, value in here.items())


def _origin_tags() -> dict[str, str]:
    tags = {"host": platform.node()}
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _tags(project: Project) -> dict[str, str]:
    """Return tags for the machine and the revision."""
    import torch

    tags = _origin_tags() | {"gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}
    tags |= {"mlflow.source.name": "srgan", "mlflow.source.type": "LOCAL"}
    if commit := git.revision(project.root):
        tags["mlflow.source.git.commit"] = commit.split()[0]
    if project.dvc_lock.is_file():
        tags["dvc.lock"] = sha256(project.dvc_lock)[:16]
    return tags


def sync(training: TrainingRecord, status: str | None = None) -> str:
    """Send new values, scores and images of the files to the run.

    Args:
        training: the training.
        status: new status of the run: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``. None keeps it.

    Returns:
        The id of the run.

    Raises:
        Exception: any error of MLflow, its database or the network. `store.explained` translates it.
    """
    client = store.connect(training.project)
    run = find_run(client, training)  # read once, as a training calls this every few seconds
    run_id, tags = run.info.run_id, run.data.tags
    if training.loss_weights and tags.get(LOSS_WEIGHTS_TAG) != training.loss_weights:
        client.set_tag(run_id, LOSS_WEIGHTS_TAG, training.loss_weights)
    for (stage, kind), path in _curves(training).items():
        _send_curve(client, run, _prefix(stage, kind), path)
    for stage in training.folders:
        _send_system_metrics(client, run_id, stage, training.machine(stage), int(tags.get(f"{SENT}{stage}.machine", 0)))
        last = validation_csv(training.losses[stage]).with_suffix(".png")
        _send_images(client, run_id, stage, training.folders[stage] / "pictures", last, int(tags.get(f"{SENT}{stage}.pictures", -1)))
    metric_files = {training.scores: _flat_scores, training.cost: _flat_cost}
    for path in (*(path for path in (*metric_files, training.statistics) if path), *training.artifacts):
        tag = f"{SENT}{path.name}"
        if not path.exists() or tags.get(tag) == (current := _digest(path)):
            continue
        if path in metric_files:
            now = int(time.time() * 1000)
            found = metric_files[path](read_json(path, made_by="evaluate"))
            client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in found.items()])
        if path == training.statistics:
            from srgan.evaluation.statistics import summary_sentences  # imports torch, which `addresses` does not need

            task = task_of_manifest(read_manifest(training.project.prepared))
            sentences = summary_sentences(read_json(path, made_by="evaluate"), "gan", task)
            client.set_tag(run_id, "mlflow.note.content", " ".join(sentences))  # shown as the description of the run
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


def _send_images(client: MlflowClient, run_id: str, stage: str, folder: Path, last: Path, sent: int) -> None:
    """Send the comparison images of the validations after step `sent`."""
    found = sorted(folder.glob("step-*.png"))
    if not found or not last.is_file() or sha256(found[-1]) != sha256(last):
        return  # images of another training: DVC restored the results from its cache
    for path in found:
        step = int(path.stem.removeprefix("step-"))
        if step > sent:
            with Image.open(path) as image:
                client.log_image(run_id, image, key=f"{stage}/validation", step=step, synchronous=True)
            client.set_tag(run_id, f"{SENT}{stage}.pictures", str(step))


def _curves(training: TrainingRecord) -> dict[tuple[str, str], Path]:
    """Return (stage, kind) -> CSV, where the kind is ``losses`` or ``validation``."""
    curves = {}
    for stage, losses in training.losses.items():
        curves |= {(stage, "losses"): losses, (stage, "validation"): validation_csv(losses)}
    return curves


def _prefix(stage: str, kind: str) -> str:
    """Return the prefix of the metrics of a CSV: ``train`` and ``val``, or ``pretrain`` and ``pretrain/val`` in the first stage."""
    return stage if kind == "losses" else {"train": "val"}.get(stage, f"{stage}/val")


def _rows(path: Path) -> list[str]:
    """Return the complete lines of a CSV. The trainer may be writing the last one."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def _mark(lines: list[str]) -> str:
    """Return the mark of sent lines: their number and their digest."""
    return f"{len(lines)}:{digest(lines)[:12]}"


def _is_continued(tags: dict[str, str], path: Path) -> bool:
    """Return True if the file still starts with the lines that were sent. A missing file counts as such."""
    sent = tags.get(f"{SENT}{path.name}")
    lines = _rows(path)
    if not sent or not lines:
        return True
    return _mark(lines[: int(sent.split(":")[0])]) == sent or len(lines) < int(sent.split(":")[0])


def _send_curve(client: MlflowClient, run: Run, prefix: str, path: Path) -> None:
    """Send the new lines of a CSV in batches. Each batch has the tag that records them."""
    lines, sent = _rows(path), run.data.tags.get(f"{SENT}{path.name}")
    done = max(int(sent.split(":")[0]) if sent else 1, 1)  # the first line is the header
    # The time of a row depends on its step alone: the server then keeps a repeated point once.
    start = int(run.info.start_time)
    while done < len(lines):
        rows = list(csv.DictReader([lines[0], *lines[done : done + MAX_ROWS]]))
        done = min(done + MAX_ROWS, len(lines))
        metrics = [
            Metric(f"{prefix}/{name.removeprefix('val_')}", float(value), start + int(row["step"]), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name != "step"
        ]
        client.log_batch(run.info.run_id, metrics=metrics, tags=[RunTag(f"{SENT}{path.name}", _mark(lines[:done]))])


def _send_system_metrics(client: MlflowClient, run_id: str, stage: str, path: Path, done: int) -> None:
    """Send the system metrics, with the names that MLflow's page of system metrics expects."""
    lines = _rows(path)
    start = int(lines[1].split(",")[0]) if len(lines) > 1 else 0
    done = max(done, 1)
    while done < len(lines):
        rows = list(csv.DictReader([lines[0], *lines[done : done + MAX_ROWS]]))
        metrics = [
            Metric(f"system/{name}", float(value), int(row["time"]), (int(row["time"]) - start) // 1000)  # by seconds
            for row in rows
            for name, value in row.items()
            if name != "time" and value
        ]
        done = min(done + MAX_ROWS, len(lines))
        client.log_batch(run_id, metrics=metrics, tags=[RunTag(f"{SENT}{stage}.machine", str(done))])


def _flat_scores(scores: dict[str, dict[str, dict[str, float | None]]]) -> dict[str, float]:
    """Return metrics such as ``sample/psnr_y`` for the GAN and ``sample/bicubic/psnr_y`` for other models.

    A set with a recipe, ``b100+jpeg-50``, becomes ``b100 jpeg-50``: MLflow allows no ``+``.
    """
    flat = {}
    for set_name, models in scores.items():
        for model, values in models.items():
            set_name = set_name.replace("+", " ")
            prefix = set_name if model == "gan" else f"{set_name}/{model}"
            flat |= {f"{prefix}/{name}": value for name, value in values.items() if value is not None}
    return flat


def _flat_cost(cost: dict[str, Any]) -> dict[str, float]:
    """Return metrics such as ``cost/onnx-fp32/seconds_per_megapixel``."""
    return {
        f"cost/onnx-{row['file'].removesuffix('.onnx').rpartition('-')[2]}/{name}": row[name]
        for row in cost["files"]
        for name in ("seconds_per_megapixel", "peak_memory_mb", "megabytes")
    }


def origin(training: TrainingRecord) -> dict[str, str]:
    """Return the origin of a result for people: revision, digests and MLflow run."""
    return {
        "training": training.key,
        "git revision": git.revision(training.project.root) or "none",
        "trained on": f"{training.data_name}, {training.data_sha256[:16]}",
        "made": f"{time.strftime('%Y-%m-%d %H:%M')} with srgan {__version__} on Python {platform.python_version()}",
        "MLflow": f"the run tagged {KEY_TAG} = {training.key}, shown by: make mlflow",
    }


def addresses(training: TrainingRecord, *tabs: str) -> list[str]:
    """Return addresses of MLflow's pages for the run of a training. There are none without a run or a server.

    Args:
        training: the training.
        tabs: tabs of the page, such as ``/artifacts/report.html``. Each gets an address.
    """
    try:
        client = store.connect(training.project)
        experiment = client.get_experiment_by_name(store.experiment_name())
        runs = _own_runs(client, experiment.experiment_id, training)[:1] if experiment else []
    except Exception as error:  # see `try_sync`
        log.warning("%s", store.explained(training.project, error))
        return []
    uri = store.tracking_uri(training.project)
    pages = without_secrets(uri.rstrip("/")) if uri.startswith("http") else LOCAL_PAGES
    return [f"{pages}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}?{VIEW}" for run in runs for tab in tabs]


def history_of_server(project: Project, name: str) -> tuple[str, TrainingHistory]:
    """Return the id and the history of a run, found by its id or name. Of several runs the newest counts.

    Raises:
        LookupError: there is no such run.
    """
    client = store.connect(project)
    try:
        found = client.get_run(name)
    except MlflowException:
        experiment = client.get_experiment_by_name(store.experiment_name())
        quoted = name.replace("'", "")
        runs = client.search_runs([experiment.experiment_id], f"run_name = '{quoted}'", max_results=1) if experiment else []
        if not runs:
            raise LookupError(f"no run '{name}' at {reason(Exception(store.tracking_uri(project)))}") from None
        found = runs[0]
    run_id = found.info.run_id
    tables: dict[str, dict[str, dict[int, dict[str, float]]]] = {"losses": {}, "validation": {}}
    for key in found.data.metrics:
        prefix, _, metric = key.rpartition("/")
        for stage, kind in ((stage, kind) for stage in ("pretrain", "train") for kind in tables if prefix == _prefix(stage, kind)):
            column = f"val_{metric}" if kind == "validation" and metric != "gap" else metric  # as in the CSV
            for point in client.get_metric_history(run_id, key):
                tables[kind].setdefault(stage, {}).setdefault(point.step, {"step": point.step})[column] = point.value
    frames = {
        kind: {stage: pd.DataFrame([rows[step] for step in sorted(rows)]) for stage, rows in stages.items()}
        for kind, stages in tables.items()
    }
    return run_id, TrainingHistory(dict(found.data.params), **frames)


def try_sync(training: TrainingRecord, status: str) -> str | None:
    """Call `sync`. An error is a warning. Return the id of the run, or None."""
    try:
        return sync(training, status)
    except Exception as error:  # MLflow, its database and the network share no base class, and none of them may end a training
        log.warning("%s. The files are safe, send them later with: srgan sync", store.explained(training.project, error))
        return None


@contextlib.contextmanager
def live(training: TrainingRecord, stage: str) -> Iterator[None]:
    """Send values to MLflow from a thread while the block trains. At the end the run is complete and has its status."""
    done = threading.Event()
    metrics = SystemMetrics(training.machine(stage))

    def follow() -> None:
        samples, pause = 0, SYNC_SAMPLES
        while not done.wait(SAMPLE_SECONDS):
            with contextlib.suppress(Exception):  # a full disk or a failing monitor must not end the thread
                metrics.sample()
            if samples % pause == 0:  # an unreachable server is called less and less often
                samples, pause = 0, SYNC_SAMPLES if try_sync(training, "RUNNING") else min(pause * 4, 60)
            samples += 1

    thread = threading.Thread(target=follow, name="mlflow", daemon=True)
    thread.start()
    status = "KILLED"  # SIGTERM and Ctrl-C are no `Exception`
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
