"""A tiny starter, written from a finished project."""

from pathlib import Path

from srgan.config import schema
from srgan.config.project import Project
from srgan.export import starter


def write_starter(project: Path, folder: Path, name: str) -> Path:
    """Write a starter from a finished project. Return its card."""
    params = schema.load(project / "params.yaml")
    licensed = params.model_copy(update={"export": params.export.model_copy(update={"license": "CC0-1.0"})})
    return starter.make(Project(project), licensed, name, folder, "A test.")
