"""A number that may change during a training: ``64``, or ``{0: 64, 10000: 96}`` with the first step of each value."""

from bisect import bisect_right
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from srgan.config.base import refuse

EXAMPLE = "{0: 64, 10000: 96}"


def _validate(value: Any) -> int | dict[int, int]:
    """Return the number, or the numbers in the order of their steps. YAML's keys arrive as text."""
    steps = value if isinstance(value, dict) else {"0": value}
    if any(type(number) is not int for number in steps.values()) or not all(str(step).isdecimal() for step in steps):
        refuse("", f"must be an integer, or integers with the first step of each, such as {EXAMPLE}")
    if any(number < 1 for number in steps.values()):
        refuse("", "must be at least 1")
    found = dict(sorted((int(step), number) for step, number in steps.items()))
    if 0 not in found:
        refuse("", f"needs a value for step 0, such as {EXAMPLE}")
    return found if isinstance(value, dict) else value


_INTEGER = {"type": "integer", "minimum": 1}
_BY_STEP = {"type": "object", "patternProperties": {"^[0-9]+$": _INTEGER}, "additionalProperties": False, "minProperties": 1}

Stepwise = Annotated[int | dict[int, int], PlainValidator(_validate), WithJsonSchema({"anyOf": [_INTEGER, _BY_STEP]})]


def by_step(value: int | dict[int, int]) -> dict[int, int]:
    """Return the first step of each value, in order. The first key is 0."""
    return value if isinstance(value, dict) else {0: value}


def at_step(value: int | dict[int, int], step: int) -> int:
    """Return the value at a step, counted from 1. Step 0 has the value of the first step."""
    found = by_step(value)
    firsts = list(found)
    return found[firsts[bisect_right(firsts, step) - 1]]
