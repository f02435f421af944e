"""The search space of a study: ranges and lists of values for parameters by their dotted names."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from srgan.config import messages, yaml
from srgan.config.render import scalar
from srgan.config.schema import Params, to_dict
from srgan.utils.errors import nearest

SECTIONS = ("model", "pretrain", "train")  # all trials have the same data, else their scores could not be compared
DIGITS = 4  # significant digits of a proposed number
FORMS = "a list such as [6, 8, 10], {range: [LOW, HIGH]} or {log: [LOW, HIGH]}"

Values = dict[str, Any]


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds.

    Attributes:
        low: the smallest value.
        high: the largest value.
        log: uniform in the logarithm.
        whole: integers only.
        points: values of a grid, evenly spaced. 0 means that a grid is impossible.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    points: int = 0

    @property
    def distribution(self) -> BaseDistribution:
        """Return the distribution for Optuna."""
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(float(self.low), float(self.high), log=self.log)

    @property
    def grid(self) -> list[Any]:
        """Return the values of a grid."""
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        steps = [ends[0] + (ends[1] - ends[0]) * number / (self.points - 1) for number in range(self.points)]
        return list(dict.fromkeys(self.rounded(math.exp(step) if self.log else step) for step in steps))

    def rounded(self, value: float) -> Any:
        """Return a value with few digits, within the bounds."""
        near = round(value) if self.whole else float(f"{value:.{DIGITS}g}")
        return min(max(near, self.low), self.high)

    def encode(self, value: Any) -> Any:
        """Return the value for Optuna, or None if it is outside the range."""
        return value if isinstance(value, int | float) and self.low <= value <= self.high else None

    def decode(self, value: Any) -> Any:
        """Return the parameter for a value of Optuna."""
        return self.rounded(value)


@dataclass(frozen=True)
class Choices:
    """A list of values. Optuna gets their text, because it stores no lists and sections."""

    values: tuple[Any, ...]

    @property
    def distribution(self) -> BaseDistribution:
        """Return the distribution for Optuna."""
        return CategoricalDistribution(self.grid)

    @property
    def grid(self) -> list[Any]:
        """Return the values of a grid."""
        return [_text(value) for value in self.values]

    def encode(self, value: Any) -> Any:
        """Return the value for Optuna, or None if it is not in the list."""
        return next((_text(known) for known in self.values if known == value), None)

    def decode(self, value: Any) -> Any:
        """Return the parameter for a value of Optuna."""
        return next(known for known in self.values if _text(known) == value)


Dimension = Range | Choices
Space = dict[str, Dimension]


def _text(value: Any) -> str:
    return scalar(yaml.to_plain(value))


def parse(definitions: Values, base: Params) -> tuple[Space, list[tuple[str, str]]]:
    """Return the space and the errors, as name and text.

    Args:
        definitions: dotted name -> list of values or range.
        base: the parameters that the space changes.
    """
    space: Space = {}
    problems = []
    for name, given in definitions.items():
        try:
            space[name] = _dimension(name, given, base)
        except ValueError as error:
            problems.append((name, f"space.{name}: {error}"))
    return space, problems


def _dimension(name: str, given: Any, base: Params) -> Dimension:
    if (section := name.partition(".")[0]) not in SECTIONS:
        raise ValueError(f"'{section}' cannot be searched, only options of {', '.join(SECTIONS)}{_close(section)}")
    if isinstance(given, tuple):
        if len(given) < 2:
            raise ValueError("needs at least two values")
        if twice := next((value for value in given if given.count(value) > 1), None):
            raise ValueError(f"has {_text(twice)} twice")
        for value in given:
            require(base, name, value)
        return Choices(given)
    kinds = [key for key in ("range", "log") if isinstance(given, dict) and key in given]
    if len(kinds) != 1 or (unknown := given.keys() - {"range", "log", "points"}):
        raise ValueError(f"must be {FORMS}" + (f"; unknown: {', '.join(unknown)}" if len(kinds) == 1 else ""))
    return _range(name, given[kinds[0]], kinds[0] == "log", given.get("points", 0), base)


def _close(section: str) -> str:
    found = nearest(section, SECTIONS)
    return found if "did you mean" in found else ""


def _range(name: str, bounds: Any, log: bool, points: Any, base: Params) -> Range:
    numbers = isinstance(bounds, tuple) and len(bounds) == 2 and all(type(bound) in (int, float) for bound in bounds)
    if not numbers or not bounds[0] < bounds[1]:
        raise ValueError("needs two numbers, the lower one first")
    if log and bounds[0] <= 0:
        raise ValueError("a log range must begin above 0")
    if type(points) is not int or points < 0 or points == 1:
        raise ValueError("points must be a whole number of at least 2")
    low, high = bounds
    for bound in bounds:
        require(base, name, bound)
    between = (math.floor(low) + 0.5) if isinstance(low, int) and isinstance(high, int) else (low + high) / 2
    return Range(low, high, log, whole=problem(base, name, between) is not None, points=points)


def require(base: Params, name: str, value: Any) -> None:
    """Check a value of a parameter.

    Raises:
        ValueError: there is no such parameter, or the value is not valid.
    """
    if found := problem(base, name, value):
        raise ValueError(found)


def problem(base: Params, name: str, value: Any) -> str | None:
    """Return why the parameters with this value are not valid, or None."""
    try:
        values = changed(base, {name: value})
        Params.model_validate(values)
    except KeyError as error:
        return str(error.args[0])
    except ValidationError as error:
        return next(text for _, text in messages.describe(error, Params, values)).removeprefix(f"{name}: ")
    return None


def changed(base: Params, changes: Values) -> Values:
    """Return the parameters with other values, not yet checked.

    Args:
        base: the parameters.
        changes: dotted name -> value. ``train.losses.l1.weight`` is the weight of the loss l1.

    Raises:
        KeyError: there is no such parameter.
    """
    values = _editable(to_dict(base))
    for name, value in changes.items():
        holder, key = _place(values, name)
        holder[key] = value
    return yaml.to_plain(values)


def value_of(params: Params, name: str) -> Any:
    """Return the value of a parameter by its dotted name."""
    holder, key = _place(to_dict(params), name)
    return holder[key]


def _place(values: Any, name: str) -> tuple[Any, Any]:
    """Return the dictionary or list that holds an option, and its key."""
    (*path, last) = name.split(".")
    for key in path:
        values = values[_key(values, key)]
    return values, _key(values, last)


def _key(holder: Any, key: str) -> Any:
    if isinstance(holder, list | tuple):
        names = [item["name"] for item in holder if isinstance(item, dict)]
        if key not in names:
            raise KeyError(f"no item '{key}' in this list{nearest(key, names)}")
        return names.index(key)
    if not isinstance(holder, dict):
        raise KeyError(f"'{key}' is below an option that has no options")
    if key not in holder:
        raise KeyError(f"unknown option '{key}'{nearest(key, [str(known) for known in holder])}")
    return key


def _editable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _editable(inner) for key, inner in value.items()}
    return [_editable(inner) for inner in value] if isinstance(value, list | tuple) else value


def cells(space: Space) -> Iterator[Values]:
    """Yield all combinations of the values of a grid, encoded for Optuna."""
    combined: list[Values] = [{}]
    for name, dimension in space.items():
        combined = [cell | {name: value} for cell in combined for value in dimension.grid]
    yield from combined


def encoded(space: Space, params: Params) -> Values | None:
    """Return the values of some parameters for Optuna, or None if one of them is outside the space."""
    found = {name: dimension.encode(value_of(params, name)) for name, dimension in space.items()}
    return None if None in found.values() else found


def decoded(space: Space, values: Values) -> Values:
    """Return the parameters for values of Optuna."""
    return {name: space[name].decode(value) for name, value in values.items()}
