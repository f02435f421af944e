"""``params.yaml`` as one typed object."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from srgan.config import messages, yaml
from srgan.config.base import Section, option, refuse, section
from srgan.config.choice import entry_of
from srgan.config.data import Data, Prepare
from srgan.config.delivery import UNSPECIFIED, Evaluate, Export, Promote, Register
from srgan.config.networks import NETWORKS, Model
from srgan.config.recipe import names_of, removes_colour, steps_of
from srgan.config.renamed import origin, rename
from srgan.config.training import Pretrain, Runtime, Train
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError

warnings.filterwarnings("ignore", 'Field name "register" in "Params" shadows', UserWarning)  # a method of its metaclass, not used here

log = logging.getLogger(__name__)


class Params(Section):
    """The whole of ``params.yaml``."""

    data: Data = section(Data, "names from `srgan data list` or your own folders, archives and addresses")
    prepare: Prepare = section(Prepare, "conversion of the images to HR/LR pairs")
    model: Model = option({"name": "compact"}, "generator")
    pretrain: Pretrain = section(Pretrain, "first stage: pixel losses")
    train: Train = section(Train, "second stage: GAN training")
    runtime: Runtime = section(Runtime, "execution of the stages. A change here repeats no stage")
    export: Export = section(Export, "ONNX files")
    evaluate: Evaluate = section(Evaluate, "metrics of the test images")
    register: Register = section(Register, "entry in the model registry")
    promote: Promote = section(
        Promote, "rules by which `srgan promote` makes the challenger the champion. The first challenger is compared with bicubic"
    )

    @model_validator(mode="after")
    def _check(self) -> "Params":
        if not self.data.test and not self.prepare.test:
            refuse("data.test", "needs a data set, or prepare.test a share above 0")
        network = entry_of(NETWORKS, self.model.name)
        if network.from_weights and self.pretrain.pretrained == "scratch":
            refuse("pretrain.pretrained", f"must name a file of weights, from which {self.model.name} builds the network")
        for key, meaning in (("origin", "author and address"), ("origin_license", "license")):
            if network.from_weights and getattr(self.export, key) == UNSPECIFIED:
                refuse(f"export.{key}", f"must name the {meaning} of the weights in pretrain.pretrained")
        if not network.from_weights and self.prepare.scale not in network.scales:
            *scales, last = map(str, network.scales)
            refuse("prepare.scale", f"must be {' or '.join([', '.join(scales), last] if scales else [last])} for {self.model.name}")
        if self.prepare.scale > 1 and "downscale" not in names_of(steps_of(self.prepare.recipe)):
            refuse("prepare.recipe", f"has no step downscale, which prepare.scale {self.prepare.scale} needs")
        for stage in ("pretrain", "train"):
            padded = network.patch_multiple(self.model)
            multiple = self.prepare.scale * padded
            if any(side % multiple for side in getattr(self, stage).patch_sizes):
                of = "" if padded == 1 else f" times {padded}, for {self.model.name}"
                refuse(f"{stage}.patch_size", f"must be a multiple of prepare.scale ({self.prepare.scale}){of}")
            if getattr(self, stage).cutblur and (self.prepare.scale > 1 or removes_colour(map(to_dict, steps_of(self.prepare.recipe)))):
                refuse(f"{stage}.cutblur", "needs prepare.scale 1 and a recipe that keeps the colours. Use cutmix")
            if getattr(self, stage).precision == "fp16" and not network.supports_half(self.model):
                refuse(f"{stage}.precision", f"fp16 is not supported by {self.model.name}")
            if getattr(self.runtime, stage).activation_checkpointing and not network.activation_checkpointing:
                refuse(f"runtime.{stage}.activation_checkpointing", f"is not supported by {self.model.name}")
        return self


def load(path: str | Path = "params.yaml", warn: bool = True) -> Params:
    """Read and check a parameter file. Options that it leaves out take their defaults.

    Args:
        path: the file.
        warn: whether to warn of old names.

    Returns:
        The parameters of all stages.

    Raises:
        SrganError: the file is missing or not YAML, or has unknown keys or wrong values. The message names all of them, with their lines.

    Example:
        >>> from srgan import load_params
        >>> load_params("params.yaml").model.name
        'compact'
    """
    path = Path(path)
    root = yaml.read(path, "Run this in the project's folder, or name the file with --params")
    values, origins, renamed = rename(yaml.plain(root, path))
    if renamed and warn:
        log.warning("%s: old names of options: %s. Rewrite the file with: srgan params update", path, ", ".join(renamed))
    try:
        return Params.model_validate(values, context={"root": path.parent})
    except ValidationError as error:
        problems = sorted((yaml.line_of(root, origin(keys, origins)), text) for keys, text in messages.describe(error, Params, values))
        lines = list(dict.fromkeys(f"{path}:{line}: {text}" for line, text in problems))
        heading = f"{path}: {len(lines)} errors:\n  " if len(lines) > 1 else ""
        raise SrganError(heading + "\n  ".join(lines)) from error


def to_dict(section: Section) -> dict[str, Any]:
    """Return all options as nested plain dictionaries, for JSON."""
    return section.model_dump()


def identity(section: Section) -> dict[str, Any]:
    """Return the options that differ from their defaults, for digests. So a new option with a neutral default changes no digest.

    The name of a component stays. ``runtime`` is left out, because it does not change results.
    """
    result = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name == "runtime":
            continue
        if isinstance(value, Section):
            if inner := identity(value):
                result[name] = inner
        elif field.is_required() or value != field.get_default(call_default_factory=True):
            result[name] = [identity(item) if isinstance(item, Section) else item for item in value] if isinstance(value, tuple) else value
    return result


def settings(values: Any) -> dict[str, Any]:
    """Return the flat options of a parameter file of any version, under their present names and with defaults where it is valid.

    Args:
        values: the file, as nested dictionaries.
    """
    values, _, _ = rename(yaml.to_plain(values))
    try:
        return flatten(Params.model_validate(values))
    except ValidationError:
        return flatten(values)


def _item(value: Any) -> str:
    if isinstance(value, dict):  # an `OwnSet`, a `RecipeSet` or a step of a recipe
        return "{" + ", ".join(f"{key}: {_item(inner)}" for key, inner in value.items() if inner) + "}"
    return f"[{', '.join(map(_item, value))}]" if isinstance(value, list | tuple) else str(value)


def flatten(params: Section | dict[str, Any]) -> dict[str, Any]:
    """Return ``{"train.losses.l1.weight": 1.0, ...}``, to show and to compare. Addresses lose their secrets."""

    def walk(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, inner in value.items():
            if isinstance(inner, dict):
                yield from walk(inner, f"{prefix}{key}.")
            elif key == "losses" and all(isinstance(item, dict) and "name" in item for item in inner):  # by name, not by position
                for item in inner:
                    yield from walk({name: part for name, part in item.items() if name != "name"}, f"{prefix}{key}.{item['name']}.")
            else:
                shown = ", ".join(map(_item, inner)) if isinstance(inner, list | tuple) else inner
                yield f"{prefix}{key}", without_secrets(shown) if isinstance(shown, str) else shown

    return dict(walk(params if isinstance(params, dict) else to_dict(params), ""))
