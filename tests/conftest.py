"""Fixtures that tests of several rooms share, such as a tiny project whose stages DVC has run."""

import contextlib
import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# A shell that starts the tests in the background lets them ignore Ctrl-C, and all that they start inherits it.
with contextlib.suppress(ValueError):  # not the main thread
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="show the GPU to the tests. Otherwise it is hidden")


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPU, before torch looks for it.

    Many tests demand equal bits, and two processes need two GPUs.
    """
    if not config.getoption("gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


gc.disable()  # until all tests are collected: the imports make a million objects that stay


@pytest.fixture(scope="session", autouse=True)
def prepared(shared: Path) -> None:
    """Prepare a process that runs tests. The imports are here because the first process of pytest-xdist runs none."""
    from tests.helpers import once

    once.prepare(shared)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a folder that the workers of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


def pytest_collection_finish() -> None:
    """Leave the objects of the imports out of all collections of garbage."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of the project: one of two workers makes it, the other begins with the rest."""
    items.sort(key=lambda item: "project" not in item.fixturenames)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def project(shared: Path) -> Path:
    """Return a project whose pipeline has run once. Tests that change files take `copy_of_project`."""
    from tests.helpers.commands import run
    from tests.helpers.project import make_project

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
    """Return a copy of the finished project for a test that changes it."""
    from tests.helpers.project import copied

    return copied(project, tmp_path / "copy")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny exported model that enlarges by 2, with random weights."""
    from tests.helpers.project import write_model

    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def upscaler(model: Path) -> Any:
    from srgan.inference.upscaler import Upscaler

    return Upscaler(model)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Return the folder of ``SRGAN_MIRROR``. Without it, tests of real images and weights are skipped."""
    folder = os.environ.get("SRGAN_MIRROR")
    if not folder:
        pytest.skip("SRGAN_MIRROR is not set: no benchmark images and weights to test with")
    return Path(folder)
