"""The descriptions of networks: all that the configuration, the export, the docs and the detection from weights need."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from srgan.config.base import Component
from srgan.config.networks import DiscriminatorConfig
from srgan.models.luma import keep_luma

State = dict[str, Tensor]
Detect = Callable[[State], dict[str, Any] | None]

WHOLE_IMAGE = 4096  # receptive field of a network whose results depend on all pixels. Contract 1 has no larger one


class Generator(nn.Module):
    """The base of all generators.

    A generator upscales `(N, channels, H, W)` in 0..1 of any size to `(N, channels, scale * H, scale * W)`, not clamped. The arguments of
    its class are attributes of the same names.
    """

    scale: int  # HR size / LR size
    channels = 3  # of the image: RGB, or 1 for gray
    padding: Literal["edge", "reflect"] = "edge"  # the pixels that `multiple_of` adds: the last row and column, or the mirrored image
    optimize_graph = True  # False: compute the layers as they are written, slower
    activation_checkpointing = False  # recompute activations in the backward pass, if the network supports it
    keep_luma = False  # the output gets the luma of the input, so that only colours change. It needs scale 1
    channels_last = True  # False: it cannot train with tensors in NHWC

    def __call__(self, lr_image: Tensor) -> Tensor:
        """Return the output of `forward`, with the luma of the input if `keep_luma` is set."""
        output = super().__call__(lr_image)
        return keep_luma(output, lr_image) if self.keep_luma else output

    @property
    def multiple_of(self) -> int:
        """Return the number of LR pixels to a multiple of which the network pads its input. Tiles begin at such multiples."""
        return 1

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        raise AttributeError(f"{type(self).__name__} has no receptive_field")

    @property
    def tail_layers(self) -> tuple[str, ...]:
        """Return the names of the layers that make the image of the features. In most networks it is the last layer."""
        *_, (last, _) = self.named_parameters()
        return (last.rpartition(".")[0],)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the class that build this network.

        A keyword-only argument with its default is left out. So an option that a network gets later does not change the descriptions of
        files.
        """
        parameters = inspect.signature(type(self)).parameters.items()
        return {
            key: value for key, found in parameters if (value := getattr(self, key)) != found.default or found.kind != found.KEYWORD_ONLY
        }

    def folded(self) -> "Generator":
        """Return the network for use, if it has another form than in training. Both compute the same, up to rounding."""
        return self

    def file_state(self) -> State:
        """Return the weights that a file gets: those that third-party programs need, by their names."""
        return {key: value.float() for key, value in self.state_dict().items()}


@dataclass(frozen=True)
class Network:
    """A generator.

    Attributes:
        name: value of ``model.name``, and part of the name of exported files.
        factory: class of the network. Its arguments are `scale` and the options of the network.
        config: its options in ``params.yaml``, which are the arguments of `factory`.
        detect: return the arguments of `factory` for a state dict, or None if the state dict is of another network.
        description: sentence for the docs.
        scales: HR size / LR size that it supports.
        purpose: task that it is made for.
        multiple_of: its input is padded inside the network to a multiple of this number of pixels, or a function of its options.
        half: float16 has enough range for its activations, or a function of its options.
        activation_checkpointing: it supports the attribute of this name, which saves memory and costs time in training.
        convert_keys: rename the keys of third-party checkpoints, given the state dict and the scale, if that is known.
        from_weights: it is built with its weights, from which its layers follow. `factory` takes what `detect` returns. `scales` is empty.
    """

    name: str
    factory: Callable[..., Generator]
    config: type[Component]
    detect: Detect
    description: str
    scales: tuple[int, ...]
    purpose: Literal["super-resolution", "restoration", "colorization"] = "super-resolution"
    multiple_of: int | Callable[[Any], int] = 1
    half: bool | Callable[[Any], bool] = True
    activation_checkpointing: bool = False
    convert_keys: Callable[[State, int | None], State] | None = None
    from_weights: bool = False

    def patch_multiple(self, options: Component) -> int:
        """Return the multiple of pixels that the LR patches of this network should have."""
        return self.multiple_of(options) if callable(self.multiple_of) else self.multiple_of

    def supports_half(self, options: Component | Generator) -> bool:
        """Return whether float16 is enough for the network of this section of ``params.yaml``, or for this generator."""
        return self.half(options) if callable(self.half) else self.half


@dataclass(frozen=True)
class Discriminator:
    """A discriminator.

    Attributes:
        name: value of ``train.discriminator.name``.
        factory: class of the network. Its arguments are the options of the discriminator.
        config: its options in ``params.yaml``: the arguments of `factory` and the learning rate.
        detect: as for `Network`.
        description: sentence for the docs.
    """

    name: str
    factory: Callable[..., nn.Module]
    config: type[DiscriminatorConfig]
    detect: Detect
    description: str
