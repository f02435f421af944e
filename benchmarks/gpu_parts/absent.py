"""Replace packages that a bare GPU image lacks, so that the tests of the core can be imported there. Also a plugin of pytest.

The replaced packages do nothing. Tests that need them are left out: those of the fixture `project` run DVC and MLflow.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch

OPTIONAL = ("dvc", "mlflow", "prefect", "sqlalchemy")
CUDA_PROVIDER = "test_cuda_enlarges_as_well"  # needs onnxruntime-gpu


class _Absent(MetaPathFinder, Loader):
    """Finds every module of the absent packages. Its attributes are new exception classes."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self.packages else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        def attribute(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (Exception,), {})

        module.__getattr__ = attribute  # type: ignore[method-assign]


def replace_absent() -> set[str]:
    """Replace the packages of `OPTIONAL` that are not installed. Return their names.

    The project has a folder ``mlflow``, which Python finds as a package without a file.
    """
    found = {name: importlib.util.find_spec(name) for name in OPTIONAL}
    absent = {name for name, spec in found.items() if spec is None or spec.origin is None}
    sys.meta_path.insert(0, _Absent(absent))
    return absent


ABSENT = replace_absent()


def pytest_configure(config: pytest.Config) -> None:
    """Use deterministic algorithms: several tests compare weights bit for bit."""
    torch.use_deterministic_algorithms(True, warn_only=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need an absent package."""
    import onnxruntime

    no_provider = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
    left_out = [
        item
        for item in items
        if (ABSENT and "project" in item.fixturenames) or (no_provider and item.name == CUDA_PROVIDER)  # type: ignore[attr-defined]
    ]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
