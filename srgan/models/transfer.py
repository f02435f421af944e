"""Start a network from the weights of another one: weights that fit are copied, and the others are named."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from srgan.degradations.colours import LUMA
from srgan.models.network import Generator
from srgan.models.registry import architecture_of
from srgan.utils.errors import SrganError


@dataclass(frozen=True)
class Transfer:
    """The result of `transfer`.

    Attributes:
        source: name and scale of the network of the file.
        copied: number of weights that were copied.
        adapted: names of the weights that were averaged or repeated for another scale, or for gray images.
        new: names of the weights that keep their initial values.
    """

    source: str
    copied: int
    adapted: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a phrase for the log and the model card."""
        parts = [f"{self.copied} of {self.copied + len(self.adapted) + len(self.new)} weights copied"]
        parts += [f"adapted: {', '.join(self.adapted)}"] if self.adapted else []
        parts += [f"new: {', '.join(self.new)}"] if self.new else []
        return f"{self.source}, {'; '.join(parts)}"


@torch.no_grad()
def transfer(found: Generator, model: Generator, path: object) -> Transfer:
    """Copy the weights of a network into another one of the same width and depth.

    The networks may have different scales. The body has the same weights at each scale. The last sub-pixel convolution of another scale is
    averaged or repeated, so that the network begins with the reduced or enlarged result of the other one. Other layers of the tail that
    have no counterpart keep their initial values.

    A network for gray images may start from one for RGB. The first layer then sums its weights over the colours, and the last one
    averages them to the luma.

    Args:
        found: network with the weights.
        model: network that gets them.
        path: origin of the weights (for error messages).

    Raises:
        SrganError: the networks differ in more than the scale and the channels, or a network for RGB would start from one for gray images.
    """
    if architecture_of(found) != architecture_of(model):
        found = found.folded()
    (name, config), (wanted, options) = architecture_of(found), architecture_of(model)
    if name != wanted:
        raise SrganError(f"{path}: holds {name} {config} but params.yaml names {wanted} {options}. Set model.name: {name} and its options")
    different = [key for key in {**config, **options} if config.get(key) != options.get(key) and key not in ("scale", "upsampling")]
    if "upsampling" in config and 1 not in (found.scale, model.scale) and config["upsampling"] != options["upsampling"]:
        different.append("upsampling")
    if found.channels < model.channels:
        advice = "To start from this file set prepare.channels: 1. To start without it set pretrain.pretrained: scratch"
        raise SrganError(f"{path}: a network for gray images, but prepare.channels is {model.channels}. {advice}")
    different = [key for key in different if key != "channels"]
    if different:
        advice = ", ".join(f"model.{key}: {_yaml(getattr(found, key))}" for key in different)
        advice = f"To start from this file set {advice}. To start without it set pretrain.pretrained: scratch"
        raise SrganError(f"{path}: holds {name} {config} but params.yaml names {wanted} {options}. {advice}")
    theirs, ours = found.state_dict(), model.state_dict()
    plain = {key for key, value in theirs.items() if key in ours and ours[key].shape == value.shape}
    if found.channels != model.channels:
        theirs = {key: value if key in plain or key not in ours else _gray(value, ours[key]) for key, value in theirs.items()}
    copied = {key: value for key, value in theirs.items() if key in ours and ours[key].shape == value.shape}
    adapted = {
        key: _resampled(value, found.scale, model.scale, model.channels)
        for key, value in theirs.items()
        if key in ours and key not in copied and _is_subpixel(value, ours[key], found.scale, model.scale, model.channels)
    }
    model.load_state_dict(copied | adapted, strict=False)
    names = [key for key, _ in model.named_parameters()]
    new = tuple(key for key in names if key not in copied and key not in adapted)
    changed = tuple(key for key in names if key in adapted or (key in copied and key not in plain))
    return Transfer(f"{name} x{found.scale}", sum(key in plain for key in names), changed, new)


def _yaml(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)


def _gray(theirs: Tensor, ours: Tensor) -> Tensor:
    """Return a weight of a network for RGB as that of one for gray images, or the weight itself if it has no colours.

    Gray images have three equal channels, so the first layer sums over them. The last layer returns the luma.
    """
    if theirs.ndim > 1 and theirs.shape[0] == ours.shape[0] and theirs.shape[1] == 3 * ours.shape[1]:
        return theirs.unflatten(1, (3, -1)).sum(1)
    if theirs.shape[1:] == ours.shape[1:] and theirs.shape[0] % 3 == 0:
        return torch.tensordot(theirs.new_tensor(LUMA), theirs.unflatten(0, (3, -1)), 1)
    return theirs


def _is_subpixel(theirs: Tensor, ours: Tensor, scale: int, wanted: int, channels: int) -> bool:
    """Return whether two weights are of sub-pixel convolutions that end in the channels of an image, at their scales."""
    sides = [math.isqrt(weight.shape[0] // channels) for weight in (theirs, ours)]
    whole = all(channels * side**2 == weight.shape[0] for side, weight in zip(sides, (theirs, ours), strict=True))
    return whole and theirs.shape[1:] == ours.shape[1:] and sides[0] * wanted == sides[1] * scale


def _resampled(weight: Tensor, scale: int, wanted: int, channels: int) -> Tensor:
    """Return the weight of a sub-pixel convolution for another scale: means of its sub-pixels, or copies of them.

    Args:
        weight: `(channels * side**2, ...)`, whose first axis is channel, row and column of a sub-pixel.
        scale: of the weight.
        wanted: scale of the result.
        channels: of the image.
    """
    side = math.isqrt(weight.shape[0] // channels)
    grid = weight.reshape(channels, side, side, -1).permute(0, 3, 1, 2)
    grid = functional.adaptive_avg_pool2d(grid, side * wanted // scale)
    return grid.permute(0, 2, 3, 1).reshape(-1, *weight.shape[1:]).contiguous()
