"""The DVC stages, one file each."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from srgan.config.project import Project
from srgan.config.schema import Params


def _run(name: str, project: Project, params: Params, **options: Any) -> None:
    """Import the file of a stage and call its function `run`. PyTorch and MLflow take seconds to import: not every stage needs both."""
    import_module(f"{__name__}.{name}").run(project, params, **options)


STAGES: dict[str, Callable[..., None]] = {
    name: partial(_run, name) for name in ("download", "prepare", "pretrain", "train", "export", "evaluate", "report", "register")
}
