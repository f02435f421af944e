"""Networks of the library spandrel (https://github.com/chaiNNer-org/spandrel): its file of weights describes such a network.

The library reads the architecture and its size from the names and shapes of the weights. It needs the extra ``spandrel``. Of the
architectures in `srgan.models.registry.NETWORKS` it opens only the variants that these do not know.
"""

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from srgan.config.base import Component
from srgan.models.network import Generator, Network, State
from srgan.utils.errors import SrganError
from srgan.utils.tensor_memory import TensorMemory

INSTALL = "pip install 'srgan[spandrel]'"
UNKNOWN_REACH = 256  # LR pixels, more than tiles of usual size allow for: they lose a margin and are blended into each other
SPARE_BYTES = 1 << 30  # for a new network, more than four times its weights
OPERATIONS = 200  # of torch for each tensor of a new network
GAPS = 10  # the largest number in a key / number of keys


class Spandrel(Generator):
    """A network that spandrel has built from weights.

    The input is padded to the size that the network needs by repeating its last row and column. The receptive field is unknown. Many of
    these networks average over the whole input, so no overlap of tiles gives exactly the result of the whole image.

    Args:
        descriptor: `spandrel.ImageModelDescriptor`.

    Input `(N, 3, H, W)` in 0..1, output `(N, 3, scale * H, scale * W)`, not clamped.
    """

    receptive_field = UNKNOWN_REACH
    channels_last = False  # reshapes of such networks need NCHW

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.network, self.scale, self.architecture = descriptor.model, descriptor.scale, descriptor.architecture.id
        self.float16, self._size, self._call = descriptor.supports_half, descriptor.size_requirements, descriptor._call_fn

    @property
    def multiple_of(self) -> int:
        """Return the multiple of pixels to which the input is padded."""
        return self._size.multiple_of

    def forward(self, lr_image: Tensor) -> Tensor:
        """Upscale by `scale`."""
        height, width = lr_image.shape[2:]
        wanted = [self._padded(height), self._padded(width)]
        if self._size.square:
            wanted = [torch.sym_max(*wanted)] * 2
        if self._size.minimum or self._size.multiple_of > 1 or self._size.square:
            lr_image = functional.pad(lr_image, (0, wanted[1] - width, 0, wanted[0] - height), mode="replicate")
        return self._call(self.network, lr_image)[..., : height * self.scale, : width * self.scale]

    def _padded(self, length: Any) -> Any:
        """Return the length to which a side is padded. In an export it is a symbol."""
        length = torch.sym_max(length, self._size.minimum) if self._size.minimum else length
        return length + -length % self._size.multiple_of

    def arguments(self) -> dict[str, Any]:
        """Return scale, architecture and the options of the architecture that are numbers or text."""
        options = {key: value for key, value in self.network.hyperparameters.items() if _is_plain(value)}
        return {"scale": self.scale, "architecture": self.architecture} | options

    def file_state(self) -> State:
        """Return the weights with the key names of the published code."""
        return self.network.state_dict()


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, bool | int | float | str | None)


@functools.cache
def is_installed() -> bool:
    """Return True if spandrel can be imported."""
    return importlib.util.find_spec("spandrel") is not None


def _detect(state: State) -> dict[str, Any] | None:
    """Return the descriptor of the network, or None if no architecture has these weights or spandrel is not installed.

    Raises:
        SrganError: the network takes or returns other images than one of RGB.
        ValueError: its weights have other names or shapes.
    """
    if not is_installed():
        return None
    import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)
    import spandrel  # isort: skip

    state = spandrel.canonicalize_state_dict(state)
    found = (each.architecture for each in spandrel.MAIN_REGISTRY.architectures("detection") if each.detect(state))
    architecture = next(found, None)
    if architecture is None:
        return None
    numbers = [int(part) for key in state for part in key.split(".") if part.isdecimal()]  # of blocks
    if max(numbers, default=0) > GAPS * len(state):
        raise ValueError(f"{architecture.name}: its keys number {max(numbers)} blocks")
    try:
        with torch.device("cpu"), _Bounded(state):
            descriptor = architecture.load(state)
    except Exception as error:  # of any kind: the library asserts, divides and looks up
        raise ValueError(f"{architecture.name}: {type(error).__name__}: {error}") from error
    if descriptor.purpose in ("Inpainting", "FaceSR"):
        needs = "a mask of the missing parts" if descriptor.purpose == "Inpainting" else "aligned faces of one size"
        raise SrganError(f"{architecture.name} needs {needs}. Such a network is not supported")
    channels = descriptor.input_channels, descriptor.output_channels
    if channels != (3, 3):
        raise SrganError(f"{architecture.name} with {channels[0]} channels in and {channels[1]} out. Only networks for RGB are supported")
    return {"descriptor": descriptor}


class _Bounded(TensorMemory):
    """Limit the memory and the operations with which a network is built, because names and numbers in a file can claim any size."""

    def __init__(self, state: State) -> None:
        super().__init__(state.values())
        self.most_bytes = SPARE_BYTES + 4 * sum(4 * value.numel() for value in state.values())
        self.most_operations = OPERATIONS * (len(state) + 100)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if self.now > self.most_bytes or self.operations > self.most_operations:  # before a new tensor is filled
            raise ValueError("the network that its names and shapes describe is larger than the file")
        return result


class SpandrelConfig(Component):
    """A network that spandrel builds from the weights in `pretrain.pretrained`."""


SPANDREL_NETWORK = Network(
    "spandrel",
    Spandrel,
    SpandrelConfig,
    _detect,
    "network of another project, built from its weights by the library spandrel",
    scales=(),
    half=lambda options: getattr(options, "float16", False),  # the file decides, which params.yaml does not describe
    from_weights=True,
)
