"""The first `make` of a newcomer: an unpacked download, a container."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from srgan.utils import git
from tests.helpers.commands import environment
from tests.helpers.project import ROOT


@pytest.fixture
def download(tmp_path):
    """What GitHub's *Download ZIP* holds of the files that matter here, with everything installed already."""
    folder = tmp_path / "outer" / "srgan-main"
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "dvc.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv" / ".ready").touch()
    return folder


def make(folder, *arguments, **env):
    return subprocess.run(["make", *arguments], cwd=folder, env=environment(**env), capture_output=True, text=True)


def test_a_download_becomes_a_repository(download):
    first, second = make(download, "install"), make(download, "install")
    assert (first.returncode, first.stdout) == (0, "no git repository here, DVC needs one: git init\n")
    assert (download / ".git").is_dir()
    assert (second.returncode, second.stdout) == (0, "")


def test_without_git_nothing_is_installed(download, tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("sh", "echo", "test"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    (download / ".venv" / ".ready").unlink()
    done = subprocess.run(
        [shutil.which("make"), "pipeline"], cwd=download, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.startswith("make: git not found; install it: DVC needs it\n")


def test_a_user_without_a_home_gets_one_beside_the_environment(download):
    shown = ("--no-print-directory", "--eval", "show: ; @echo $$HOME", "show")
    without = {name: value for name, value in environment().items() if name != "HOME"}
    done = subprocess.run(["make", *shown], cwd=download, env=without, capture_output=True, text=True)
    assert done.stdout == f"{download}/.venv/home\n"
    assert make(download, *shown, HOME="/home/anna").stdout == "/home/anna\n"


def test_the_commit_of_another_repository_around_the_project_is_not_the_projects(download, monkeypatch):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    outer = download.parent
    for command in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "of something else")):
        subprocess.run(["git", *identity, *command], cwd=outer, check=True)
    monkeypatch.chdir(download)
    assert git.revision(Path()) == ""
    subprocess.run(["git", "add", "dvc.yaml"], cwd=download, check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "a folder of a larger repository"], cwd=outer, check=True)
    (outer / "elsewhere").touch()
    assert len(git.revision(Path())) == 40
    (download / "dvc.yaml").write_text("changed")
    assert git.revision(Path()).endswith(" + changes")
    monkeypatch.setenv("PATH", os.devnull)
    assert git.revision(Path()) == ""
