"""Work that takes seconds and always has the same result: a process that runs tests does it once."""

import copy
import functools
import shutil
from pathlib import Path

import torch
from filelock import FileLock
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
from sqlalchemy.engine import Engine
from torch.onnx._internal.exporter._registration import ONNXRegistry

from srgan.config import yaml
from srgan.tracking import store


def prepare(shared: Path) -> None:
    """Let new MLflow stores be copies of one, all exports share torch's table of ONNX operators, and a text in YAML be parsed once.

    `shared` is a folder for what the workers of pytest-xdist make once between them.
    """
    torch.set_num_threads(1)  # tests run beside each other; the networks are tiny
    store._initialize_tables = functools.partial(_copy_empty_database, shared)
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
    parsed = functools.lru_cache(1000)(yaml.parse)
    yaml.parse = lambda text: copy.deepcopy(parsed(text))


def _copy_empty_database(shared: Path, engine: Engine) -> None:
    """Write the SQLite file of a new MLflow store."""
    empty = shared / "mlflow.db"
    with FileLock(shared / "mlflow.lock"):
        if not empty.exists():
            made = shared / "mlflow.made.db"
            making = create_sqlalchemy_engine(f"sqlite:///{made}")
            _initialize_tables(making)
            making.dispose()
            made.rename(empty)
    shutil.copyfile(empty, engine.url.database)
