"""Fields that hold one of several components, chosen by ``name``, such as a network or a learning-rate scheduler."""

import functools
import importlib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from srgan.config.base import Component, Section


class Registered(Protocol):
    """An entry of a registry that ``params.yaml`` may choose from."""

    name: str
    config: type[Component]


class Choice:
    """Annotate a field that holds one of several components: ``Annotated[Component, Choice(...)]``.

    A value is ``{name: NAME, **options}``. The components are looked up at each use, so that a registry may live in a room that imports
    this one, and may grow.

    Args:
        components: returns the components by name.
    """

    def __init__(self, components: Callable[[], Mapping[str, type[Section]]]) -> None:
        self.components = components
        self.inside = False  # the JSON schema of this choice is being written

    def validate(self, value: Any) -> Section:
        """Return the component that a value of ``params.yaml`` describes. Errors inside it keep their place."""
        components = self.components()
        if isinstance(value, Section):
            return value
        if not isinstance(value, dict) or "name" not in value:
            raise PydanticCustomError("choice", "no name", {"names": list(components)})
        if value["name"] not in components:
            raise PydanticCustomError("name", "unknown name", {"names": list(components)})
        return components[value["name"]].model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(lambda component: component.model_dump())
        return core_schema.no_info_plain_validator_function(self.validate, serialization=dump)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = {"type": "object", "properties": {"name": {"enum": list(self.components())}}, "required": ["name"]}
        if self.inside:  # a component that holds others of its kind: the schema ends at their names
            return described
        self.inside = True
        try:
            kinds = self.components().items()
            options = [{"properties": {"name": {"const": name}}, "allOf": [handler(kind.__pydantic_core_schema__)]} for name, kind in kinds]
        finally:
            self.inside = False
        return described | {"oneOf": options}


def one_of(**components: type[Component]) -> Choice:
    """Choose among these components, by keyword."""
    return Choice(lambda: components)


def component(registry: str) -> Choice:
    """Choose among the entries of a registry.

    Args:
        registry: ``module:NAME`` of an iterable of `Registered` objects, or of a dictionary of them. It is imported at the first use,
            because the components live in rooms that import this one.
    """
    return Choice(lambda: {entry.name: entry.config for entry in entries(registry)})


class RegisteredName:
    """Annotate text that is the name of an entry of a registry: ``Annotated[str, RegisteredName("module:NAME")]``.

    Args:
        registry: ``module:NAME``, see `component`.
    """

    def __init__(self, registry: str) -> None:
        self.registry = registry

    def names(self) -> list[str]:
        """Return the names of the entries."""
        return [entry.name for entry in entries(self.registry)]

    def validate(self, value: str) -> str:
        """Return a valid name."""
        if value not in self.names():
            raise PydanticCustomError("literal_error", "unknown name", {"names": self.names()})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": self.names()}


def entry_of(registry: str, name: str) -> Any:
    """Return an entry of a registry by its name."""
    return next(entry for entry in entries(registry) if entry.name == name)


def entries(registry: str) -> Iterable[Any]:
    """Return the entries of a registry that is named ``module:NAME``."""
    found = _registry(registry)
    return found.values() if isinstance(found, Mapping) else found


@functools.cache
def _registry(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def choice_of(field: FieldInfo) -> Choice | None:
    """Return the choice that a field, or each item of its list, offers. None means no choice."""
    return next((part for part in (*field.metadata, *_parts(field.annotation)) if isinstance(part, Choice)), None)


def section_of(field: FieldInfo, value: Any) -> type[Section] | None:
    """Return the section that a field, or each item of its list, holds for a value of ``params.yaml``. None means a scalar."""
    if choice := choice_of(field):
        return choice.components().get(value.get("name")) if isinstance(value, dict) else None
    given = value.keys() if isinstance(value, dict) else set()
    return max(sections_of(field), key=lambda kind: len(given & kind.model_fields.keys()), default=None)


def sections_of(field: FieldInfo) -> list[type[Section]]:
    """Return the sections that a field, or an item of its list, may hold."""
    return [part for part in _parts(field.annotation) if isinstance(part, type) and issubclass(part, Section)]


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything inside it."""
    yield annotation
    for part in typing.get_args(annotation):
        yield from _parts(part)
