"""Work that takes seconds and always has the same result: a process that runs tests does it once."""

import functools
import tempfile
from pathlib import Path

import torch
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
from sqlalchemy.engine import Engine
from torch.onnx._internal.exporter._registration import ONNXRegistry

from srgan.tracking import store


def prepare() -> None:
    """Let new MLflow stores be copies of one, and all exports share torch's table of ONNX operators."""
    torch.set_num_threads(1)  # tests run beside each other; the networks are tiny
    store._initialize_tables = _copy_empty_database
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


def _copy_empty_database(engine: Engine) -> None:
    Path(engine.url.database).write_bytes(_empty_database())


@functools.cache
def _empty_database() -> bytes:
    """Return the SQLite file of a new MLflow store."""
    with tempfile.TemporaryDirectory() as folder:
        engine = create_sqlalchemy_engine(f"sqlite:///{folder}/mlflow.db")
        _initialize_tables(engine)
        engine.dispose()
        return Path(folder, "mlflow.db").read_bytes()
