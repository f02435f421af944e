"""Recipes that a command line names: a preset, or a file with steps."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from srgan.config import messages, yaml
from srgan.config.base import Section, option
from srgan.config.recipe import Recipe, steps_of
from srgan.utils.errors import SrganError, nearest

SUFFIXES = (".yaml", ".yml")


class _File(Section):
    recipe: Recipe = option(..., "the steps")


def load_recipe(given: str) -> Any:
    """Return a recipe by the name of a preset, or from a YAML file that holds a list of steps.

    Raises:
        SrganError: neither a preset nor a file has this name, or the file has wrong values. The message names the lines.
    """
    path = Path(given)
    if path.suffix.lower() in SUFFIXES or path.is_file():
        return _read(path)
    try:
        steps_of(given)
    except PydanticCustomError as error:
        names = (error.context or {}).get("names", [])
        raise SrganError(f"{given}: neither a recipe nor a .yaml file of steps{nearest(given, names)}") from error
    return given


def _read(path: Path) -> Any:
    root = yaml.read_list(path, "Write a list of steps, as in prepare.recipe of params.yaml")
    values = {"recipe": yaml.plain(root, path)}
    try:
        return _File.model_validate(values).recipe
    except ValidationError as error:
        problems = sorted((yaml.line_of(root, keys[1:]), text) for keys, text in messages.describe(error, _File, values))
        raise SrganError("\n  ".join(f"{path}:{line}: {text}" for line, text in problems)) from error
