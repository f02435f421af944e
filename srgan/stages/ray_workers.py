"""`srgan prepare --engine ray`: the images are processed on the machines of a Ray cluster.

Each process of Ray has one process of `srgan.utils.workers.Workers` that applies the function. So a damaged image gets the same reason as
on one machine. Ray repeats the images of a lost process or machine. The files that the function writes come back through Ray, so a lost
machine leaves no parts of them.
"""

import contextlib
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import ray

from srgan import __version__
from srgan.data.prepare_image import Done, Task
from srgan.utils import ray_cluster
from srgan.utils.errors import SrganError
from srgan.utils.workers import MAX_ITEMS_AHEAD, Lost, Workers

RETRIES = 10  # of an image whose process or machine is lost

Answer = tuple[Any, dict[Path, np.ndarray]]  # the result, and the files that the function has written by their place in its folder


@dataclass(frozen=True)
class _Here:
    """Folder and version that the other machines need, too."""

    folder: Path
    version: str = __version__

    def check(self) -> None:
        name = socket.gethostname()
        if __version__ != self.version:
            raise SrganError(
                f"{name} has srgan {__version__}, this machine {self.version}. Install the same on all machines of the cluster"
            )
        if not self.folder.is_dir():
            raise SrganError(f"{name} has no folder {self.folder}. All machines of the cluster need the project at the same path")


class RayWorkers:
    """Apply a function on all cores of the connected cluster. The interface is that of `Workers`.

    Args:
        function: takes an item. It is sent to each machine once, with the data that it holds. Items are images to prepare, or others
            for which it writes no files.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function, self._here = ray.put(function), _Here(Path.cwd())

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """Apply the function to each item, at most a few items for each core ahead of the caller. See `Workers.map`."""
        begun: deque[tuple[Any, ray.ObjectRef]] = deque()
        for item in items:
            begun.append((item, _apply.remote([self._function], item, self._here)))
            while len(begun) >= MAX_ITEMS_AHEAD * ray_cluster.cores():
                yield _received(*begun.popleft())
        while begun:
            yield _received(*begun.popleft())


def _received(item: Any, reference: ray.ObjectRef) -> Any:
    """Return the result for an item, and write its files where the function would have."""
    result, files = ray.get(reference)
    if isinstance(result, Lost):
        return Lost(item, result.reason)
    if not isinstance(result, Done):
        return result
    for inside, content in files.items():
        path = item.folder / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    packed = {factor: one._replace(path=item.folder / one.path.name) for factor, one in result.packed.items()}
    return replace(result, task=item, packed=packed)


# -- in a process of Ray ------------------------------------------------------------------------------------------------------


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _apply(function: list[ray.ObjectRef], item: Any, here: _Here) -> Answer:
    """Apply a function, whose reference is in a list because Ray would fetch it for each item."""
    here.check()
    (workers,) = map(_workers, function)
    with contextlib.chdir(here.folder), tempfile.TemporaryDirectory() as folder:
        if not isinstance(item, Task):
            return next(workers.map([item])), {}
        for path in (item.source, *(made.source for made in item.inputs if made.source)):
            if not path.exists():
                raise SrganError(f"{socket.gethostname()} has no file {path}. All machines of the cluster need the images at the same path")
        there = replace(item, folder=Path(folder))
        done = next(workers.map([there]))
        return done, {path.relative_to(folder): np.fromfile(path, np.uint8) for path in there.files if path.exists()}


@lru_cache(1)  # the process of another function ends when its pipe does
def _workers(function: ray.ObjectRef) -> Workers[Any, Any]:
    return Workers(ray.get(function), processes=1)
