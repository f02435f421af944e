"""A tiny project that every test may look at, made once: the real stages, run by the real DVC, for seconds instead of minutes."""

import contextlib
import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock

# A shell that starts the tests in the background lets them ignore Ctrl-C, and all that they start inherits it.
with contextlib.suppress(ValueError):  # not the main thread
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    """Prepare a process that runs tests. The imports are here because the first process of pytest-xdist runs none."""
    from tests.helpers import once

    once.prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that need the project come first: one of two workers makes it, the other begins with the rest."""
    items.sort(key=lambda item: "project" not in item.fixturenames)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A project whose pipeline has run once. Look, do not touch: `copy_of_project` is for tests that change things."""
    from tests.helpers.commands import run
    from tests.helpers.project import make_project

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
    from tests.helpers.project import copied

    return copied(project, tmp_path / "copy")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder behind ``SRGAN_MIRROR``; tests that need its real images and weights are skipped without it."""
    folder = os.environ.get("SRGAN_MIRROR")
    if not folder:
        pytest.skip("SRGAN_MIRROR is not set: no benchmark images and weights to test with")
    return Path(folder)
