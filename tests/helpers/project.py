"""A tiny project: parameters, models and a git repository for tests."""

import copy
import functools
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx as onnx_package
import torch
import yaml

from srgan.config import render, schema
from srgan.config.schema import Params
from srgan.export import onnx
from srgan.models.network import Generator
from srgan.models.registry import build_generator
from tests.helpers.commands import run

Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # of libyaml, which is faster
ROOT = Path(__file__).resolve().parents[2]

TINY = {
    "model.features": 8,
    "model.depth": 1,
    "pretrain.pretrained": "scratch",
    **{f"{stage}.{key}": value for stage in ("pretrain", "train") for key, value in {
        "steps": 6, "batch_size": 2, "patch_size": 32, "schedule.warmup": 0, "precision": "fp32", "lpips": False,
    }.items()},
    **{f"runtime.{stage}.{key}": value for stage in ("pretrain", "train") for key, value in {
        "log_every": 2, "validate_every": 3, "checkpoint_every": 2,
    }.items()},
    "train.discriminator.features": 4,
    "train.discriminator.depth": 2,
    "export.fp16": False,
    "evaluate.lpips": [],
}  # fmt: skip


def script(name: str) -> ModuleType:
    """Import a file of ``benchmarks/``, which is no package."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@functools.cache
def base_params() -> Params:
    """The parameters that tests begin with. A change of the demo does not change them."""
    return schema.load(Path(__file__).with_name("params.yaml"))


@functools.cache
def base_text() -> str:
    """Their whole ``params.yaml``, with all options and comments."""
    return render.render(base_params(), "Parameters of a test")


@functools.cache
def _base_values() -> dict[str, Any]:
    return yaml.safe_load(base_text())


def write_params(folder: Path, changes: dict[str, object] | None = None) -> Path:
    """A whole ``params.yaml``, made tiny, with `changes` such as ``{"train.steps": 3}``."""
    values = copy.deepcopy(_base_values())
    changes = changes or {}
    replaced = tuple(f"{name}." for name in changes)  # a whole section, of which the tiny values may be none
    for name, value in ({key: value for key, value in TINY.items() if not key.startswith(replaced)} | changes).items():
        *sections, key = name.split(".")
        place = values
        for section in sections:
            place = next(item for item in place if item["name"] == section) if isinstance(place, list) else place[section]
        assert key in place, name
        place[key] = value
    path = folder / "params.yaml"
    path.write_text(yaml.dump(values, Dumper=Dumper, sort_keys=False))
    return path


def write_model(folder: Path, scale: int = 2, objective: str = "gan") -> Path:
    """Write a tiny exported model with random weights."""
    path = folder / onnx.file_name(scale, "t", "compact")
    path.write_bytes(_model(scale, objective))
    return path


@functools.cache
def _model(scale: int, objective: str) -> bytes:
    torch.manual_seed(1)
    model = build_generator("compact", scale=scale, features=8, depth=2).eval()
    return _exported(model, {"sr.objective": objective, "sr.name": "t"})


def write_damaged(folder: Path, levels: float = 0, grid: float = 0, scale: int = 2) -> Path:
    """Write the model of `write_model` with results that are brighter by some levels, or have a grid of some levels without a shift."""
    model = build_generator("compact", scale=scale, features=8, depth=2).eval()
    torch.manual_seed(1)
    model.load_state_dict(build_generator("compact", scale=scale, features=8, depth=2).state_dict())
    pattern = torch.full((3, scale**2), float(levels))
    pattern[:, 0] += grid
    pattern -= grid / scale**2
    with torch.no_grad():
        model.body[-1].bias += pattern.flatten() / 255
    path = folder / onnx.file_name(scale, "damaged", "compact")
    path.write_bytes(_exported(model, {"sr.objective": "gan", "sr.name": "damaged"}))
    return path


def write_colorizer(folder: Path, hints: bool = True) -> Path:
    """Write a tiny exported model at scale 1 that colorizes, with random weights of strong colours."""
    path = folder / onnx.file_name(1, "t", "compact")
    path.write_bytes(_colorizer())
    if hints:
        proto = onnx_package.load(path)
        proto.metadata_props.add(key="sr.hints", value="1")
        onnx_package.save(proto, path)
    return path


@functools.cache
def _colorizer() -> bytes:
    torch.manual_seed(3)
    model = build_generator("compact", scale=1, features=8, depth=2, unshuffle=2).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3).add_(0.1 * torch.randn_like(weight))  # the last layer begins with zeros
    model.keep_luma = True
    return _exported(model, {"sr.objective": "psnr", "sr.name": "t"})


def _exported(model: Generator, metadata: dict[str, str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.onnx"
        onnx.export_onnx(path, model, metadata)
        return path.read_bytes()


def runtime(stage: str, **values: object) -> dict[str, object]:
    """Return changes of how a training stage runs, such as ``log_every=2``, for `write_params`."""
    return {f"runtime.{stage}.{key}": value for key, value in values.items()}


def make_project(folder: Path, changes: dict[str, object] | None = None) -> Path:
    """A clone's worth of project files with tiny parameters, in a git repository of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "prefect.yaml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "pipelines").symlink_to(ROOT / "pipelines")
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    write_params(folder, changes)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def trained_project(folder: Path, changes: dict[str, object], *stages: str) -> Path:
    """A project of `make_project` after some stages, in order."""
    make_project(folder, changes)
    for stage in stages:
        run("srgan", stage, cwd=folder)
    return folder


def exported_entries(project: Path) -> dict[str, str]:
    """The `sr.*` entries of the float32 file of a project."""
    (path,) = (project / "models").glob("*.onnx")
    return {entry.key: entry.value for entry in onnx_package.load(path).metadata_props}


def copied(project: Path, folder: Path) -> Path:
    """A copy of the finished project that may be changed."""
    return shutil.copytree(project, folder, symlinks=True, ignore=shutil.ignore_patterns("tmp"))
