"""The options of recipes: how the input of a network is made from an original image."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, PlainSerializer, PlainValidator, TypeAdapter
from pydantic_core import PydanticCustomError

from srgan.config.base import Component, option, refuse
from srgan.config.choice import component, entries, entry_of
from srgan.config.yaml import to_plain

STEPS = "srgan.degradations.registry:DEGRADATIONS"
PRESETS = "srgan.degradations.presets:PRESETS"


class StepOptions(Component):
    """The options that every step of a recipe has. A step with more options declares them in a subclass."""

    FLOW: ClassVar[bool] = True
    probability: float = option(1.0, "share of the images that the step changes", ge=0, le=1)


Steps = tuple[Annotated[Component, component(STEPS)], ...]


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        refuse("", f"is an empty range: {value[0]:g} is above {value[1]:g}")
    return value


def _some_weight(value: dict[str, float]) -> dict[str, float]:
    if min(value.values(), default=0) < 0 or sum(value.values()) <= 0:
        refuse("", "needs weights of at least 0, and one above 0")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]  # lowest and highest value. A draw is uniform between them
Weights = Annotated[dict[str, float], AfterValidator(_some_weight)]  # kind -> weight. A draw chooses one kind


def within(low: float, high: float) -> AfterValidator:
    """Limit both ends of a range. It annotates a `Range`."""

    def check(value: tuple[float, float]) -> tuple[float, float]:
        if value[0] < low or value[1] > high:
            refuse("", f"must be a range within {low:g} and {high:g}")
        return value

    return AfterValidator(check)


def among(*kinds: str) -> AfterValidator:
    """Limit the kinds of weights. It annotates `Weights`."""

    def check(value: dict[str, float]) -> dict[str, float]:
        if unknown := next((kind for kind in value if kind not in kinds), ""):
            refuse("", f"has the unknown kind {unknown}. The kinds are {', '.join(kinds)}")
        return value

    return AfterValidator(check)


def steps_of(recipe: "str | Steps") -> Steps:
    """Return the steps of a recipe.

    Args:
        recipe: the steps themselves, or the name of a preset. A number at the end of a name fixes the strength: ``jpeg-50``.

    Raises:
        pydantic.ValidationError: no preset has this name.
    """
    if not isinstance(recipe, str):
        return recipe
    presets = {preset.name: preset for preset in entries(PRESETS)}
    name, number = recipe, ""
    if recipe not in presets and (match := re.fullmatch(r"(.+)-(\d+(?:\.\d+)?)", recipe)):
        name, number = match.groups()
    preset = presets.get(name)
    if preset is None or (number and not preset.number):
        names = [*presets, *(f"{preset.name}-N" for preset in presets.values() if preset.number)]
        raise PydanticCustomError("literal_error", "unknown name", {"names": names})
    return TypeAdapter(Steps).validate_python(preset.steps_at(float(number)) if number else preset.steps)


def steps_from_json(values: Any) -> Steps:
    """Return the steps that were stored as JSON.

    Raises:
        pydantic.ValidationError: this program has no such steps or options.
    """
    return TypeAdapter(Steps).validate_python(to_plain(values))


def removes_colour(steps: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a recipe turns every image grey, so that the network learns to add colours.

    Args:
        steps: the steps with their options, as JSON holds them.
    """
    return any(step["name"] == "grayscale" and step.get("probability", 1) == 1 for step in steps)


def _recipe(value: Any) -> "str | Steps":
    if isinstance(value, str):
        steps_of(value)
        return value
    steps = TypeAdapter(Steps).validate_python(value)
    check_order(steps)
    return steps


def check_order(steps: Steps) -> None:
    """Refuse steps that cannot follow each other. Each degradation states what it cannot follow."""
    if not steps:
        refuse("", "must have at least one step")
    _check_after((), steps, ordered=True)
    if "resize" in names_of(steps) and "downscale" not in names_of(steps):
        refuse("", "has a step resize and no step downscale after it, which reduces the image to the size of the LR image")


def _check_after(before: Sequence[str], steps: Steps, ordered: bool, place: str = "") -> None:
    """Refuse steps that cannot follow the steps `before`, and, if they are `ordered`, each other. `place` is a path for the error."""
    for number, step in enumerate(steps):
        here = f"{place}{number}"
        if problem := entry_of(STEPS, step.name).problem(step, before):
            refuse(here, problem)
        _check_after(before, getattr(step, "steps", ()), step.name == "sequence", f"{here}.steps.")
        before = (*before, *names_of((step,))) if ordered else before


def names_of(steps: Steps) -> list[str]:
    """Return the names of the steps, with those inside other steps."""
    return [name for step in steps for name in (step.name, *names_of(getattr(step, "steps", ())))]


def _dump(recipe: "str | Steps") -> Any:
    return recipe if isinstance(recipe, str) else tuple(step.model_dump() for step in recipe)


# Not a plain union: pydantic would report an error for each of its kinds.
Recipe = Annotated[str | Steps, PlainValidator(_recipe, json_schema_input_type=str | Steps), PlainSerializer(_dump)]
