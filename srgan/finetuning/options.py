"""The parameters of a fine-tuning: those of its start, and settings for few images."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from srgan.config import messages, profiles, yaml
from srgan.config.project import Project
from srgan.config.schema import Params, load, to_dict
from srgan.config.training import REGISTERED
from srgan.models import pretrained
from srgan.models.checkpoints import from_state_dict
from srgan.models.network import Generator
from srgan.models.registry import NETWORKS, architecture_of
from srgan.stages import start as stage_start
from srgan.starters import catalogue
from srgan.tracking.optional import registered_weights
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

PATCH = 96  # pixels
STEPS, EVERY, PATIENCE = 200, 50, 100  # most steps, steps between validations, and steps without a better one

# The discriminator sees few real images, so its images are augmented (ADA). The weights stay near the start (L2-SP).
TRAIN: dict[str, Any] = {
    "batch_size": 4,
    "patch_size": PATCH,
    "learning_rate": 1.0e-4,
    "schedule": {"name": "cosine", "warmup": 20},
    "ema": 0.98,
    "anchor": 10.0,
    "patience": PATIENCE,
    "losses": [
        {"name": "l1", "weight": 10.0},
        {"name": "lpips_squeeze", "weight": 1.0},
        {"name": "relativistic", "weight": 5.0e-4},
        {"name": "hatch", "weight": 2.0},
    ],
    "discriminator": {"name": "patch", "features": 32, "learning_rate": 1.0e-4},
    "stabilization": {"augment_target": 0.6},
    "psnr_guard": 0.4,
}


@dataclass(frozen=True)
class Request:
    """The wishes of the user.

    Attributes:
        start: address of a registered model, name of a starter, or file of weights.
        data: folder or archive of the images to learn from.
        test: folder or archive of the images that measure the gain. Empty: cross-validation measures it.
        name: of the folder in ``finetuned/`` and of the model.
        recipe: preset that makes the LR images. Empty: that of the start.
        steps: most training steps.
    """

    start: str
    data: str
    test: str = ""
    name: str = ""
    recipe: str = ""
    steps: int = STEPS

    def named(self) -> "Request":
        """Return the request with a name: by default that of the folder.

        Raises:
            SrganError: the name cannot be that of a folder and of a model.
        """
        name = self.name or re.sub(r"[^A-Za-z0-9_.]", "_", Path(self.data).resolve().name).strip("_.")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.]*", name):
            raise SrganError(f"--name: {name!r} may hold letters, digits, '_' and '.' only, and does not begin with '.'")
        return dataclasses.replace(self, name=name)


@dataclass(frozen=True)
class Start:
    """The weights to start from.

    Attributes:
        address: value of ``pretrain.pretrained``. That of a registered model names the digest of its weights.
        weights: the file.
        generator: its network.
    """

    address: str
    weights: Path
    generator: Generator

    @property
    def shown(self) -> str:
        """The address without folders of this machine."""
        return stage_start.name_of(self.address)


def open_start(project: Project, address: str) -> Start:
    """Return the weights of an address.

    Args:
        project: where relative paths start, and whose MLflow store has registered models.
        address: see `Request.start`.

    Raises:
        SrganError: there are no such weights, or they are of no known network.
    """
    if address.startswith("models:/") and not REGISTERED.fullmatch(address):
        raise SrganError(f"{address}: not the address of a model. Name one as models:/NAME@ALIAS or models:/NAME/VERSION")
    path = stage_start.locate(project, address, "START")
    if match := REGISTERED.fullmatch(address):
        if not match[4]:
            address = f"{address}#{path.stem[: registered_weights().DIGITS]}"
    elif not catalogue.has(address):
        address = str(path.resolve())
    return Start(address, path, from_state_dict(pretrained.read_state(path), path))


def recipe_of(project: Project, request: Request, start: Start, paired: bool) -> tuple[Any, str]:
    """Return the recipe of the LR images, as in ``params.yaml``, and its source in words.

    Args:
        project: the project that the user works in.
        request: what the user asks for.
        start: the weights.
        paired: the images have LR images of their own.
    """
    if request.recipe:
        return request.recipe, "--recipe"
    if paired:
        return "bicubic", "the LR images of the data"
    if catalogue.has(start.address):
        profile = catalogue.find(start.address).card.profile
        if profile in profiles.list_profiles():
            return to_dict(profiles.load(profile))["prepare"]["recipe"], f"that of {start.address}"
    if project.params.is_file():
        return to_dict(load(project.params, warn=False))["prepare"]["recipe"], f"that of {project.params}"
    return "bicubic", "the default"


def parameters(project: Project, request: Request, start: Start, recipe: Any) -> Params:
    """Return the parameters of the training.

    Args:
        project: the project that the user works in. Its rules of promotion apply.
        request: what the user asks for, with a name.
        start: the weights.
        recipe: see `recipe_of`.

    Raises:
        SrganError: the recipe is unknown or does not fit the network.
    """
    name, arguments = architecture_of(start.generator)
    rules = to_dict(load(project.params, warn=False)) if project.params.is_file() else {}
    wanted = {
        "data": {"train": [str(Path(request.data).resolve())], "test": [str(Path(request.test or request.data).resolve())]},
        "prepare": {"scale": start.generator.scale, "recipe": recipe, "channels": start.generator.channels},
        "model": {"name": name} | {key: arguments[key] for key in NETWORKS[name].config.model_fields if key in arguments},
        "pretrain": {"pretrained": start.address},
        "train": TRAIN | {"steps": request.steps, "schedule": {"name": "cosine", "warmup": min(20, request.steps // 4)}},
        "runtime": {"train": {"log_every": EVERY, "validate_every": EVERY, "checkpoint_every": EVERY // 2}},
        "export": rules.get("export", {}) | {"name": request.name},
        "register": {"name": request.name},
    } | {key: rules[key] for key in ("promote", "evaluate") if key in rules}
    values = yaml.to_plain(wanted)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        _, text = next(messages.describe(error, Params, values))
        raise SrganError(text.replace("prepare.recipe: ", "--recipe: ")) from error


def identity(request: Request, start: Start, images: list[str]) -> dict[str, Any]:
    """Return what a fine-tuning depends on. A folder belongs to one of them.

    Args:
        request: what the user asks for.
        start: the weights.
        images: SHA-256 of each image.
    """
    return {"start": sha256(start.weights), "recipe": request.recipe, "steps": request.steps, "images": sorted(images)}
