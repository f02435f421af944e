"""Sentences for the errors that pydantic finds in ``params.yaml``."""

import datetime
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from srgan.config.base import Section
from srgan.config.choice import section_of
from srgan.config.yaml import Keys
from srgan.utils.errors import nearest

_NEEDED = {
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list, such as [sample]",
    "dict_type": "names and values, such as {conv5_4: 1.0}",
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def describe(error: ValidationError, root: type[Section], values: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    """Yield the place and the text of each error.

    Args:
        error: of `root`.
        root: the section of the whole file.
        values: the file, as nested dictionaries.
    """
    for details in error.errors(include_url=False):
        keys: Keys = details["loc"]
        context = details.get("ctx", {})
        if details["type"] == "refused":
            keys += tuple(int(key) if key.isdecimal() else key for key in context["key"].split(".") if key)
        elif details["type"] == "name":
            keys += ("name",)
        text = _sentence(details, _value(values, keys), keys, root, values)
        yield keys, f"{key_name(keys)}: {text}" if keys else text


def key_name(keys: Keys) -> str:
    """Return the name of an option, such as ``train.losses[1].weight``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def _sentence(details: ErrorDetails, value: Any, keys: Keys, root: type[Section], values: dict[str, Any]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    shown = _shown(value)
    if kind == "extra_forbidden":
        return f"unknown option{nearest(str(keys[-1]), list(_section(root, values, keys[:-1]).model_fields))}"
    if kind == "refused":
        return f"{context['message']}{'' if isinstance(value, dict | tuple) or value is None else f' (is {value})'}"
    if kind == "choice":
        names = ", ".join(context["names"])
        return f"must be a section with the key name, one of {names}" + ("" if isinstance(value, dict) else f", not {shown}")
    if kind in ("name", "literal_error"):
        valid = context.get("names") or [word.strip("' ") for word in str(context["expected"]).replace(" or ", ",").split(",")]
        return f"{shown} is not one of {', '.join(valid)}{_guess(str(value), valid)}"
    if bound := next((f"must be {word} {context[key]:g} (is {value})" for key, word in _BOUNDS.items() if key in context), ""):
        return bound
    if kind == "string_pattern_mismatch":
        return f"{shown} has characters that are not allowed. Use letters, digits, '_' and '.'"
    if kind == "missing":
        return "is missing"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    if kind == "string_type" and isinstance(value, bool | int | float | datetime.date):
        return f"must be text, but YAML reads it as {_type(value)}. Put it in quotes"
    if kind in _NEEDED:
        return f"must be {_NEEDED[kind]}, not {shown}"
    if kind == "model_type":
        return f"must be a section with the options {', '.join(_section(root, values, keys).model_fields)}, not {shown}"
    return f"is not valid ({details['msg']}: {shown})"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return "a list or section" if isinstance(value, dict | tuple) else f"'{str(value)[:100]}'"


def _type(value: Any) -> str:
    return "true or false" if isinstance(value, bool) else "a number" if isinstance(value, int | float) else "a date"


def _guess(word: str, valid: list[str]) -> str:
    found = nearest(word, valid)
    return found if "did you mean" in found else ""


def _section(root: type[Section], values: Any, keys: Keys) -> type[Section]:
    """Return the section at a place in the file, or the one around it."""
    found = root
    field: FieldInfo | None = None
    for key in keys:
        values = _value(values, (key,))
        if isinstance(key, str):  # else a position in the list that the field holds
            field = found.model_fields.get(key)
        if field is not None and (inner := section_of(field, values)):
            found = inner
    return found


def _value(values: Any, keys: Keys) -> Any:
    for key in keys:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return None
    return values
