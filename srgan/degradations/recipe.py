"""Recipes: make the inputs of a network from original images, as a pure function of a seed.

A patch of a training batch depends on the seed, the step and its index in the whole batch. So a resumed run, and processes that share a
batch, see the inputs of one uninterrupted process.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from srgan.config import recipe as config
from srgan.config.schema import identity
from srgan.degradations.base import Batch, Drawing, Drawn, Draws, for_each
from srgan.degradations.bicubic import bicubic_downscale
from srgan.degradations.registry import DEGRADATIONS
from srgan.utils.errors import SrganError
from srgan.utils.files import digest

DRAWS = 512  # random numbers for one image
MAX_SHOWN_VALUES = 3  # of a list of drawn parameters, in words
STREAM = 2  # of the numbers of a training step. The positions of the patches and their colours use others


class Applied(NamedTuple):
    """A step of a recipe with the parameters for one image."""

    place: tuple[int, ...]  # of the step in the recipe
    name: str
    drawn: Drawn


Plan = list[Applied]  # all that happens to one image


class Recipe:
    """A recipe that is ready to use.

    Args:
        recipe: ``prepare.recipe`` of ``params.yaml``: the name of a preset, or steps.
        name: of the steps, to show. The default is the name of the preset.
    """

    def __init__(self, recipe: config.Recipe, name: str = "") -> None:
        self.name = name or (recipe if isinstance(recipe, str) else "")
        self.steps = config.steps_of(recipe)
        self.is_bicubic = recipe == "bicubic"

    @classmethod
    def from_description(cls, described: Any, file: str) -> "Recipe":
        """Return the recipe of a result of `describe`.

        Args:
            described: the result, as read from JSON.
            file: its origin for the message.

        Raises:
            SrganError: the recipe is of another version of this program, in which its steps give other images.
        """
        if described == BICUBIC.describe():
            return BICUBIC
        try:
            recipe = cls(config.steps_from_json(described["steps"]), described["name"])
        except (KeyError, TypeError, ValueError):
            recipe = None
        if recipe is None or recipe.digest != described["digest"]:
            raise SrganError(f"{file}: made with other degradations than those of this program. Make it again with: dvc repro -sf prepare")
        return recipe

    def describe(self) -> dict[str, Any]:
        """Return the recipe as JSON can hold it: `name`, `steps` and `digest`."""
        return {"name": self.name, "steps": [identity(step) for step in self.steps], "digest": self.digest}

    @property
    def made_ahead(self) -> bool:
        """Return whether `prepare` makes the LR images before the training. Else each step of the training makes its own."""
        return self.is_bicubic or any(DEGRADATIONS[name].ahead for name in config.names_of(self.steps))

    @property
    def removes_colour(self) -> bool:
        """Return whether every input is grey, so that the network learns to add colours."""
        return config.removes_colour(step.model_dump() for step in self.steps)

    @property
    def keeps_luma(self) -> bool:
        """Return whether an input of the size of the original has its luma, so that only its colours are missing."""
        return self.removes_colour and set(config.names_of(self.steps)) <= {"grayscale", "downscale"}

    @property
    def gives_hints(self) -> bool:
        """Return whether inputs without colours have hints of them."""
        return self.removes_colour and any(getattr(step, "hints", (0, 0))[1] > 0 for step in self.steps)

    @property
    def digest(self) -> str:
        """Return a digest of the options that differ from their defaults, with the versions of the code of the steps."""
        versions = {name: DEGRADATIONS[name].version for name in config.names_of(self.steps)}
        return digest([[identity(step) for step in self.steps], versions])

    def check_packages(self) -> None:
        """Check that the packages of all steps are installed.

        Raises:
            SrganError: one is missing. The message names the command that installs it.
        """
        for name in config.names_of(self.steps):
            package = DEGRADATIONS[name].package
            if package and importlib.util.find_spec(package) is None:
                raise SrganError(f"the step {name} needs the package {package}. Install it with: pip install {package}")

    def draw(self, state: Drawing) -> Plan:
        """Draw the parameters for one image."""
        return draw(self.steps, state)

    def degrade(self, image: np.ndarray, scale: int, seed: Sequence[int]) -> tuple[np.ndarray, Plan]:
        """Make the input of a network from a whole image.

        Args:
            image: `(H, W, 3)` uint8 or uint16. `scale` must divide H and W.
            scale: HR size / LR size.
            seed: equal seeds give equal results.

        Returns:
            The LR image, `(H / scale, W / scale, 3)` of the same type, and what happened to it.
        """
        height, width = image.shape[:2]
        target = height // scale, width // scale
        plan = self.draw(Drawing(Draws(np.random.default_rng(seed).random(DRAWS).tolist()), height, width, target))
        if self.is_bicubic:
            return bicubic_downscale(image, scale), plan
        white = int(np.iinfo(image.dtype).max)
        pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32, order="C"))[None] / white
        with torch.inference_mode():
            lr_image = apply([plan], pixels)
        return lr_image[0].mul(white).round_().permute(1, 2, 0).contiguous().numpy().astype(image.dtype), plan

    @torch.no_grad()
    def degrade_patches(
        self, hr_patches: Tensor, scale: int, seed: int, step: int, rank: int = 0, processes: int = 1, levels: int = 255
    ) -> Tensor:
        """Make the LR patches of a training step.

        Args:
            hr_patches: `(N, 3, H, W)` float32 in 0..1, on any device.
            scale: HR size / LR size.
            seed: of the training.
            step: of the training.
            rank: index of this process.
            processes: number of processes, which share the patches of the step.
            levels: the largest number of the store.

        Returns:
            `(N, 3, H / scale, W / scale)` float32 in 0..1, in steps of 1 / levels as in a file.
        """
        count, _, height, width = hr_patches.shape
        uniforms = np.random.default_rng((seed, step, STREAM)).random((processes * count, DRAWS))[rank * count : (rank + 1) * count]
        target = height // scale, width // scale
        plans = [self.draw(Drawing(Draws(row), height, width, target, patch=True)) for row in uniforms.tolist()]
        return apply(plans, hr_patches).mul(levels).round_().div_(levels)


BICUBIC = Recipe("bicubic")


def describe_plan(plan: Plan) -> list[dict[str, Any]]:
    """Return what happened to an image as JSON can hold it: for each step its `name` and parameters."""
    return [{"name": step.name} | step.drawn for step in plan]


def in_words(described: Sequence[dict[str, Any]]) -> str:
    """Return a result of `describe_plan` in words, such as ``downscale: bicubic, 120x80; noise: gaussian, strength 12.3``."""
    steps = []
    for step in described:
        words = [_in_words(key, value) for key, value in step.items() if key not in ("name", "seed", "height", "width")]
        if "height" in step:
            words.append(f"{step['width']}x{step['height']}")
        steps.append(": ".join(filter(None, (step["name"], ", ".join(filter(None, words))))))
    return "; ".join(steps) or "unchanged"


def _in_words(key: str, value: Any) -> str:
    """Return a drawn parameter in words. Nothing stands for 0, which changes nothing, and for long lists. Lists of lists are counted."""
    if isinstance(value, str):
        return value
    if value is True:
        return key
    numbers = value if isinstance(value, list | tuple) else [value]
    if numbers and isinstance(numbers[0], list):
        numbers = [len(numbers)]
    if not any(numbers) or len(numbers) > MAX_SHOWN_VALUES:
        return ""
    shown = dict.fromkeys(f"{one:.3g}" for one in numbers)  # equal numbers once
    return f"{key} {' / '.join(shown)}"


def draw(steps: Sequence[Any], state: Drawing, outer: tuple[int, ...] = ()) -> Plan:
    """Draw the parameters of some steps for one image. `outer` is the place of the step that holds them."""
    plan = []
    for number, step in enumerate(steps):
        plan += _draw_step(step, state, (*outer, number))
    return plan


def _draw_step(step: Any, state: Drawing, place: tuple[int, ...]) -> Plan:
    degradation = DEGRADATIONS[step.name]
    if not state.draws.chance(step.probability):
        return []
    if degradation.arrange:
        inner = degradation.arrange(step, state)
        return [applied for number in inner for applied in _draw_step(step.steps[number], state, (*place, number))]
    assert degradation.draw
    drawn = degradation.draw(step, state)
    return [] if drawn is None else [Applied(place, step.name, drawn)]


def apply(plans: Sequence[Plan], pixels: Tensor) -> Tensor:
    """Change images of one size, each by its plan. All of them must end with one size.

    On a CPU each image is changed alone, and several threads share the images. On a GPU those whose next steps are the same share a call.
    """
    if pixels.device.type != "cpu":
        return apply_together(plans, pixels)
    images = dict(enumerate(pixels.contiguous().numpy()))  # OpenCV copies planes with gaps
    plans = _computed_together(plans)
    for_each(len(images), lambda i: images.update({i: _apply_alone(plans[i], images[i])}))
    return torch.from_numpy(np.stack(list(images.values())) if len(images) > 1 else images[0][None])


def _computed_together(plans: Sequence[Plan]) -> list[Plan]:
    """Return the plans with what their steps compute for all images at once."""
    computed = [list(plan) for plan in plans]
    found: dict[str, list[tuple[Plan, int]]] = {}
    for plan in computed:
        for place, step in enumerate(plan):
            found.setdefault(step.name, []).append((plan, place))
    for name, places in found.items():
        if together := DEGRADATIONS[name].together:
            for (plan, place), drawn in zip(places, together([plan[place].drawn for plan, place in places]), strict=True):
                plan[place] = plan[place]._replace(drawn=drawn)
    return computed


def apply_together(plans: Sequence[Plan], pixels: Tensor) -> Tensor:
    """Do the same as `apply` with few calls."""
    count, _, height, width = pixels.shape
    batch = Batch(pixels, (height,) * count, (width,) * count)
    images = [(batch, i) for i in range(count)]
    waiting = [list(plan) for plan in plans]
    while any(waiting):
        following = {i: plan.pop(0) for i, plan in _next_steps(waiting).items()}
        change = DEGRADATIONS[next(iter(following.values())).name].apply
        assert change
        changed = change(Batch.of([images[i] for i in following]), [step.drawn for step in following.values()])
        for number, i in enumerate(following):
            images[i] = changed, number
    return Batch.of(images).pixels


def _apply_alone(plan: Plan, image: np.ndarray) -> np.ndarray:
    for step in plan:
        degradation = DEGRADATIONS[step.name]
        if degradation.alone:
            image = degradation.alone(image, step.drawn)
        else:
            assert degradation.apply
            image = degradation.apply(Batch.of_one(image), [step.drawn]).pixels[0].numpy()
    return image


def _next_steps(waiting: Sequence[Plan]) -> dict[int, Plan]:
    """Return the plans of the images whose next step comes first in the recipe."""
    places = {i: plan[0].place for i, plan in enumerate(waiting) if plan}
    first = min(places.values())
    return {i: waiting[i] for i, place in places.items() if place == first}
