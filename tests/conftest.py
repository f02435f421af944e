"""A tiny project that every test may look at, made once: the real stages, run by the real DVC, for seconds instead of minutes."""

import contextlib
import functools
import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
from sqlalchemy.engine import Engine
from torch.onnx._internal.exporter._registration import ONNXRegistry

from srgan.tracking import store
from tests.helpers.commands import run
from tests.helpers.project import copied, make_project

# A shell that starts the tests in the background lets them ignore Ctrl-C, and all that they start inherits it.
with contextlib.suppress(ValueError):  # not the main thread
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # tests run beside each other; the networks are tiny


@functools.cache
def _empty_database() -> bytes:
    """Return the SQLite file of a new MLflow store."""
    with tempfile.TemporaryDirectory() as folder:
        engine = create_sqlalchemy_engine(f"sqlite:///{folder}/mlflow.db")
        _initialize_tables(engine)
        engine.dispose()
        return Path(folder, "mlflow.db").read_bytes()


# What takes seconds and always has the same result is done once: MLflow's migrations, and torch's table of ONNX operators.
def _copy_empty_database(engine: Engine) -> None:
    Path(engine.url.database).write_bytes(_empty_database())


store._initialize_tables = _copy_empty_database
ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that need the project come first: one of two workers makes it, the other begins with the rest."""
    items.sort(key=lambda item: "project" not in item.fixturenames)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A project whose pipeline has run once. Look, do not touch: `copy_of_project` is for tests that change things."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # the workers of pytest-xdist make it once between them
    folder = shared / "project"
    with FileLock(shared / "project.lock"):
        if not (folder / "dvc_plots" / "repro.log").is_file():
            make_project(folder)
            done = run("dvc", "repro", cwd=folder)
            (folder / "dvc_plots").mkdir()  # git-ignored: a place for what the command said
            (folder / "dvc_plots" / "repro.log").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture
def copy_of_project(project: Path, tmp_path: Path) -> Path:
    """The finished project, to change at will."""
    return copied(project, tmp_path / "copy")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder behind ``SRGAN_MIRROR``; tests that need its real images and weights are skipped without it."""
    folder = os.environ.get("SRGAN_MIRROR")
    if not folder:
        pytest.skip("SRGAN_MIRROR is not set: no benchmark images and weights to test with")
    return Path(folder)
