"""Components are chosen by name from a registry, which is looked up at each use."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest

from srgan.config import messages, render, schema
from srgan.config.base import Component, Section, option
from srgan.config.choice import component
from srgan.models.network import Network
from srgan.models.registry import NETWORKS
from srgan.models.srcnn import SRCNN, SRCNNConfig
from srgan.utils.errors import SrganError


@dataclass
class Entry:
    name: str
    config: type[Component]


class Square(Component):
    FLOW: ClassVar[bool] = True
    side: int = option(1, "side", ge=1)


class Circle(Component):
    FLOW: ClassVar[bool] = True
    radius: float = option(1.0, "radius", gt=0)


REGISTRY = [Entry("square", Square), Entry("circle", Circle)]
Shape = Annotated[Component, component(f"{__name__}:REGISTRY")]


class Drawing(Section):
    main: Shape = option({"name": "square"}, "the first shape")
    others: tuple[Shape, ...] = option((), "other shapes")


def errors(values):
    with pytest.raises(ValueError, match="validation error") as caught:
        Drawing.model_validate(values)
    return [text for _, text in messages.describe(caught.value, Drawing, values)]


def test_the_name_chooses_the_options():
    drawing = Drawing.model_validate({"others": ({"name": "circle", "radius": 2.0}, {"name": "square"})})
    assert drawing.main == Square(name="square", side=1)
    assert drawing.others == (Circle(name="circle", radius=2.0), Square(name="square"))
    assert schema.to_dict(drawing)["others"] == ({"name": "circle", "radius": 2.0}, {"name": "square", "side": 1})
    assert schema.identity(drawing) == {"main": {"name": "square"}, "others": [{"name": "circle", "radius": 2.0}, {"name": "square"}]}
    assert render.lines(drawing, "") == [
        "main: {name: square, side: 1} # the first shape",
        "others: # other shapes",
        "  - {name: circle, radius: 2.0}",
        "  - {name: square, side: 1}",
    ]


def test_errors_name_the_place_and_the_nearest_name():
    values = {"main": {"name": "sqare"}, "others": ({"name": "circle", "radios": 1.0}, {"name": "square", "side": 0}, {}, 3)}
    assert errors(values) == [
        "main.name: 'sqare' is not one of square, circle; did you mean square?",
        "others[0].radios: unknown option; did you mean radius?",
        "others[1].side: must be at least 1 (is 0)",
        "others[2]: must be a section with the key name, one of square, circle",
        "others[3]: must be a section with the key name, one of square, circle, not '3'",
    ]


def test_a_registered_network_is_an_option_at_once(monkeypatch, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("model: {name: thrown_away, features: 8}\n")
    with pytest.raises(SrganError, match=r"model\.name: 'thrown_away' is not one of compact"):
        schema.load(path)
    entry = Network("thrown_away", SRCNN, SRCNNConfig, lambda state: None, "a test", scales=(4,))
    monkeypatch.setitem(NETWORKS, entry.name, entry)
    loaded = schema.load(path)
    assert loaded.model.features == 8
    others = ", ".join(name for name in NETWORKS if name != entry.name)
    assert f"name: thrown_away # {others} or thrown_away\n" in render.render(loaded)
    assert {"name": {"const": "thrown_away"}} in [
        one["properties"] for one in schema.Params.model_json_schema()["properties"]["model"]["oneOf"]
    ]
