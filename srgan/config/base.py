"""Sections of ``params.yaml``: how an option is declared, with its default, range and sentence."""

from typing import Any, ClassVar, NoReturn

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A section of ``params.yaml``: an immutable, typed object.

    Every option has a default, so a file may leave out any of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    FLOW: ClassVar[bool] = False  # written on one line: {name: cosine, warmup: 50}


class Component(Section):
    """The options of a network, a discriminator, a loss or a schedule: one of several, chosen by `name`."""

    name: str = Field(description="one of the registered names")  # the only key that every component has, and that has no default


def options_of(component: Component) -> dict[str, Any]:
    """Return the options of a component without its name, as its factory takes them."""
    return {key: value for key, value in component if key != "name"}


def option(default: Any, description: str, **limits: Any) -> Any:
    """Declare an option of a section.

    Args:
        default: value of a file that leaves the option out.
        description: one sentence without a full stop. It becomes the comment in ``params.yaml`` and the row in the reference.
        limits: ``ge``, ``gt``, ``le``, ``lt``, ``pattern``, ``min_length``, as in `pydantic.Field`.
    """
    return Field(default, description=description, validate_default=isinstance(default, dict | tuple), **limits)


def section(kind: type[Section], description: str) -> Any:
    """Declare a section within a section. A file that leaves it out gets its defaults."""
    return Field(default_factory=kind, description=description)


def refuse(key: str, message: str) -> NoReturn:
    """Refuse the value of `key`, from a validator that compares several options. `key` is a path below the section, such as ``a.b``."""
    raise PydanticCustomError("refused", "{message}", {"key": key, "message": message})
