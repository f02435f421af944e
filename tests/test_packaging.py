"""The installed package: declared dependencies, the files of the wheel, and use outside a project."""

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions

import pytest
from PIL import Image

from tests.helpers.commands import environment, run
from tests.helpers.project import ROOT, write_model

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"srgan", "pipelines", "tests"}
NEED_A_PROJECT = "download prepare pretrain train export evaluate report register sync plan compare promote rollback"


def _names(requirements):
    return {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in requirements}


def _imported(folder):
    """Return the third-party packages that the modules of a folder import, with a module for each."""
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *OURS}}


@functools.cache  # it reads the list of files of every package
def _distributions():
    return packages_distributions()


@pytest.mark.parametrize("folder", ["srgan", "pipelines", "tests"])
def test_what_is_imported_is_declared(folder):
    extras = PYPROJECT["optional-dependencies"]
    chosen = ["test", "ray", "s3", "video", "c2pa", "geotiff", "dicom", "heif", "jxl"]
    if folder != "tests":
        chosen = ["ray", "openvino", "ncnn", "video", "optimizers", "geotiff", "dicom", "c2pa", "release", "spandrel"]
    declared = _names(PYPROJECT["dependencies"]).union(*(_names(extras[name]) for name in chosen))
    distributions = _distributions()
    undeclared = {}
    for name, path in _imported(folder).items():
        candidates = {candidate.lower().replace("_", "-") for candidate in distributions.get(name, [name])}
        if not candidates & declared:
            undeclared[name] = path
    assert not undeclared


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the sources."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("srgan", "pipelines"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(target)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, env=environment(), capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    (path,) = target.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Unpack the wheel, as pip does, and return a function that runs commands from there, all in one process."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    zipfile.ZipFile(wheel).extractall(site)

    def run(*commands):
        code = f"from srgan.commands.main import main\nfor command in {commands!r}: main(command)"
        env = environment(PYTHONPATH=str(site), GIT_CEILING_DIRECTORIES=str(folder.parent))
        return subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False)

    run.site, run.folder = site, folder
    return run


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for name in ("srgan", "pipelines") for path in (ROOT / name).rglob("*") if path.is_file())
    assert packed == {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


def test_an_image_is_upscaled_outside_a_project(installed):
    folder = installed.folder
    shutil.copy(write_model(folder), folder / "model.onnx")
    Image.new("RGB", (20, 10), "teal").save(folder / "photo.png")
    done = installed(["upscale", "photo.png", "--model", "model.onnx", "-o", "out.png"])
    assert not done.returncode, done.stderr
    assert Image.open(folder / "out.png").size == (40, 20)


@pytest.mark.slow
def test_profiles_are_read_outside_a_project(installed):
    done = installed(["profile", "use", "demo", "--params", "own.yaml"], ["data", "licence", "--params", "own.yaml"])
    assert not done.returncode, done.stderr
    assert "own.yaml is now demo" in done.stdout
    assert "scikit-image" in done.stdout


@pytest.mark.parametrize("command", NEED_A_PROJECT.split())
def test_a_command_that_needs_a_project_names_the_remedy(command, tmp_path):
    done = run("srgan", command, *(["workspace"] if command == "compare" else []), cwd=tmp_path, check=False)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"srgan {command}: error: params.yaml: no such file. Run this in the project's folder")
