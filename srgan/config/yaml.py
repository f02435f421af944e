"""YAML files as typed objects, strictly: errors name the line, the key, and the nearest valid name."""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from srgan.utils.errors import SrganError

T = TypeVar("T")


class InvalidValue(ValueError):
    """A value of the right type that makes no sense; raised by the checks below."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def load(cls: type[T], path: str | Path, hint: str) -> T:
    """Read a file as a dataclass; its fields are the keys, their types say what may stand there.

    A field may be a scalar, a `Literal`, a tuple, a dict of numbers by name, another dataclass, a union of dataclasses that the first
    field, the same in all, tells apart, or a union of `str` and one dataclass. A field with a default may be left out. A dataclass may
    refuse values by raising `InvalidValue` in ``__post_init__``.

    Args:
        cls: the dataclass of the whole file.
        path: of the file.
        hint: what to do if there is none.

    Raises:
        SrganError: the file is missing, is not YAML, or holds an unknown, missing or ill-typed key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SrganError(f"{path}: no such file; {hint}") from error
    except UnicodeDecodeError as error:
        raise SrganError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SrganError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SrganError(f"{path}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise SrganError(f"{path}: lists or sections are nested too deeply; is this the right file?") from error
    if node is None:
        raise SrganError(f"{path}: is empty; it needs the sections {', '.join(_names(cls))}")
    return _Reader(path).mapping(cls, node, "")


def nearest(word: str, valid: Sequence[str]) -> str:
    """``; did you mean X?`` for the closest of `valid`, else the list of them."""
    close = difflib.get_close_matches(word, valid, n=1)
    return f"; did you mean {close[0]}?" if close else f"; valid: {', '.join(valid)}"


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


# What YAML 1.2, which DVC reads the file by, takes for something else than text: truth, null, merge, integers, numbers, dates.
NO_TEXT = re.compile(
    r"""true|True|TRUE|false|False|FALSE | ~|null|Null|NULL | =|<<
    | [-+]?[0-9][0-9_]* | [-+]_[0-9_]* | [-+]?0b[01_]+ | [-+]?0o[0-7_]+ | [-+]?0x[0-9a-fA-F_]+
    | [-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)? | [-+]?\.[0-9_]+([eE][-+]?[0-9]+)? | [-+]?\.(inf|Inf|INF|nan|NaN|NAN)
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?""",
    re.VERBOSE,
)
_SCALARS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


class _Reader:
    """Turns YAML nodes, which know their line, into dataclasses."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, node: yaml.Node, message: str) -> SrganError:
        return SrganError(f"{self.path}:{node.start_mark.line + 1}: {message}")

    def mapping(self, cls: type, node: yaml.Node, place: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{place.rstrip('.') or 'the file'}: needs the keys {', '.join(_names(cls))}")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in _names(cls):
                raise self.error(key, f"{place}{name}: unknown key{nearest(name, _names(cls))}")
            if name in found:
                raise self.error(key, f"{place}{name}: given twice (first on line {found[name][0].start_mark.line + 1}); delete one")
            found[name] = key, value
        required = [field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING]
        for name in required:
            if name not in found:
                raise self.error(node, f"{place}{name}: missing; add it under '{place.rstrip('.') or 'the top level'}'")
        hints = typing.get_type_hints(cls)
        values = {name: self.value(hints[name], value, place + name) for name, (_, value) in found.items()}
        try:
            return cls(**values)
        except InvalidValue as error:
            inner = self.find(node, error.key)
            shown = f" (is {inner.value})" if isinstance(inner, yaml.ScalarNode) else ""
            raise self.error(inner, f"{place}{error.key}: {error}{shown}") from error

    def find(self, node: yaml.Node, key: str) -> yaml.Node:
        for name in key.split("."):
            node = next(value for inner, value in node.value if inner.value == name)
        return node

    def variant(self, classes: tuple[type, ...], node: yaml.Node, place: str) -> Any:
        """One of several dataclasses: their first field, the same in all, says which."""
        tag = _names(classes[0])[0]
        choices = {choice: cls for cls in classes for choice in typing.get_args(typing.get_type_hints(cls)[tag])}
        given = next((value for key, value in node.value if key.value == tag), None) if isinstance(node, yaml.MappingNode) else None
        if given is None:
            raise self.error(node, f"{place.rstrip('.')}: needs the key {tag}, one of {', '.join(choices)}")
        if given.value not in choices:
            raise self.error(given, f"{place}{tag}: '{given.value}' is not one of {', '.join(choices)}")
        return self.mapping(choices[given.value], node, place)

    def value(self, expected: Any, node: yaml.Node, place: str) -> Any:
        if dataclasses.is_dataclass(expected):
            return self.mapping(typing.cast(type, expected), node, place + ".")
        if typing.get_origin(expected) is types.UnionType and str in typing.get_args(expected):
            plain = isinstance(node, yaml.ScalarNode)
            expected = next(each for each in typing.get_args(expected) if (each is str) == plain)
            return self.value(expected, node, place)
        if typing.get_origin(expected) is types.UnionType:
            return self.variant(typing.get_args(expected), node, place + ".")
        if typing.get_origin(expected) is dict:
            if not isinstance(node, yaml.MappingNode):
                raise self.error(node, f"{place}: needs names and values, such as {{conv5_4: 1.0}}")
            inner = typing.get_args(expected)[1]
            return {str(key.value): self.value(inner, value, f"{place}.{key.value}") for key, value in node.value}
        if typing.get_origin(expected) is tuple:
            if not isinstance(node, yaml.SequenceNode):
                raise self.error(node, f"{place}: needs a list, such as [sample]")
            inner = typing.get_args(expected)[0]
            return tuple(self.value(inner, item, f"{place}[{index}]") for index, item in enumerate(node.value))
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"{place}: needs a single value, not a list or a section")
        if typing.get_origin(expected) is Literal:
            choices = typing.get_args(expected)
            if node.value not in choices:
                raise self.error(node, f"{place}: '{node.value}' is not one of {', '.join(choices)}")
            return node.value
        if expected is str and node.style is None and node.value and NO_TEXT.fullmatch(node.value):
            raise self.error(node, f"{place}: needs text, and DVC does not read {node.value} as text; put it in quotes: '{node.value}'")
        value = self.scalar(expected, node)
        if value is None:
            raise self.error(node, f"{place}: needs {_SCALARS[expected]}, not '{node.value[:100]}'")
        return value

    @staticmethod
    def scalar(expected: type, node: yaml.ScalarNode) -> Any:
        """The value of a scalar of the declared type, or None. Types are ours, so `1e-3` is a number, as in YAML 1.2."""
        plain, text = node.style is None, node.value
        if expected is bool:
            known = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
            return known.get(text) if plain else None
        if expected is int:
            return int(text) if plain and re.fullmatch(r"[-+]?[0-9]{1,18}", text) else None
        if expected is float:
            if not plain or not re.fullmatch(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", text):
                return None
            return float(text) if math.isfinite(float(text)) else None
        return text or None
