"""`srgan upscale --engine ray`: folders and buckets by actors of Ray Data, on one machine or a cluster.

Each actor has the model, and takes a few images at a time. Ray Data gives an actor new images when it has room for them, starts a lost
actor again and gives its images to another. An image whose result exists is skipped, so a stopped run continues.
"""

import json
import logging
import posixpath
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data

from srgan.inference import remote
from srgan.inference.remote import GROUP
from srgan.inference.settings import Settings
from srgan.tasks import task_of
from srgan.utils import machine, ray_cluster
from srgan.utils.file_systems import is_address, locate, reached
from srgan.utils.progress import Progress

RECORD = ".upscaled"  # folder of the manifest, next to the results
RECORD_IMAGES, RECORD_SECONDS = 1000, 30.0  # of a file of the manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """The actors and their cluster.

    Attributes:
        actors: their number. 0 is one for each GPU, or one for each core without GPUs.
        address: of a Ray cluster, such as ``auto``. Empty starts Ray on this machine, or uses ``RAY_ADDRESS``.
    """

    actors: int = 0
    address: str = ""


# -- in an actor --------------------------------------------------------------------------------------------------------------


class _Actor:
    def __init__(self, name: str, model: Any, settings: Settings, threads: int) -> None:
        machine.keep_freed_memory()
        self.settings = settings
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / name
        path.write_bytes(ray.get(model))  # another machine may not have the file
        self.upscaler = settings.upscaler(path, threads)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[str]]:
        sources, targets = list(map(str, rows["source"])), list(map(str, rows["target"]))
        errors = remote.upscaled(self.upscaler, list(zip(sources, targets, strict=True)), self.settings.options)
        return {"source": sources, "target": targets, "error": [str(error or "") for error in errors]}


# -- all images -----------------------------------------------------------------------------------------------------------------


def run(
    model: str | Path, settings: Settings, jobs: dict[str, str], output: str, overwrite: bool = False, cluster: Cluster = Cluster()
) -> list[str]:
    """Upscale the images. A bad file does not stop the others.

    Args:
        model: the file, or the name of a starter.
        settings: the same of each actor.
        jobs: the result of `srgan.inference.remote.plan`.
        output: folder of the results.
        overwrite: write results again that exist already and are not older than their image.
        cluster: where the actors run.

    Returns:
        A message for each file that failed.

    Raises:
        SrganError: Ray does not start, the model does not load, or an option does not fit.
    """
    upscaler = settings.checked(model)  # a model that does not load is an error of the command
    jobs = remote.renamed(jobs, settings.names(upscaler)) if settings.name else jobs
    todo = jobs if overwrite else remote.missing(jobs, output)
    task, path, failures = task_of(upscaler.scale, upscaler.adds_colour), upscaler.path, list[str]()
    on_gpu = not upscaler.provider.startswith("CPU")
    del upscaler  # the actors need its memory
    with Progress(task.verb, len(jobs), "image") as progress:
        progress.add(len(jobs) - len(todo))
        with ray_cluster.connected(cluster.address, machine.cores()), _Record(output) as record:
            for row in _rows(path, settings, todo, cluster.actors, on_gpu) if todo else ():
                record.add(row)
                if row["error"]:
                    failures.append(row["error"])
                progress.add(1)
    remote.log_result(task.done, len(jobs), len(todo), len(failures))
    return failures


def _rows(model: Path, settings: Settings, jobs: dict[str, str], actors: int, on_gpu: bool) -> Iterator[dict[str, str]]:
    """Yield `source`, `target` and `error` of each image when it is done."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # plans of the execution, and the advice to turn its own progress bars on
    ray.data.DataContext.get_current().enable_progress_bars = False
    cores, gpus = ray_cluster.cores(), int(ray.cluster_resources().get("GPU", 0)) if on_gpu else 0
    actors = max(min(actors or gpus or cores, -(-len(jobs) // GROUP)), 1)
    threads = max(cores // actors, 1)
    log.info("actors: %d, with %s each", actors, f"{gpus / actors:g} GPUs" if gpus else f"{threads} cores")
    rows = [{"source": source, "target": target} for source, target in jobs.items()]
    images = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // GROUP))
    done = images.map_batches(
        _Actor,
        fn_constructor_args=(model.name, ray.put(model.read_bytes()), settings, threads),
        batch_size=GROUP,
        compute=ray.data.ActorPoolStrategy(size=actors),
        **({"num_gpus": gpus / actors} if gpus else {"num_cpus": threads}),
    )
    yield from done.iter_rows()


class _Record:
    """The manifest: files of JSON lines with `source`, `target` and `error` of each image, in the order in which they were done."""

    def __init__(self, output: str) -> None:
        self._folder, self._rows, self._written = posixpath.join(output, RECORD), list[dict[str, str]](), time.monotonic()
        self._name, self._number = time.strftime("%Y%m%d-%H%M%S", time.gmtime()), 0

    def __enter__(self) -> "_Record":
        return self

    def add(self, row: dict[str, str]) -> None:
        self._rows.append(row)
        if len(self._rows) >= RECORD_IMAGES or time.monotonic() - self._written > RECORD_SECONDS:
            self._write()

    def _write(self) -> None:
        path = posixpath.join(self._folder, f"{self._name}-{self._number:05}.jsonl")
        system, inside = locate(path)
        with reached(path):
            if not is_address(path):  # s3fs would create a missing bucket
                system.makedirs(posixpath.dirname(inside), exist_ok=True)
            system.pipe_file(inside, "".join(json.dumps(row) + "\n" for row in self._rows).encode())
        self._rows, self._written, self._number = [], time.monotonic(), self._number + 1

    def __exit__(self, *_: object) -> None:
        if self._rows:
            self._write()
