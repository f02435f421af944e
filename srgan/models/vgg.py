"""Feature maps of VGG19 for perceptual losses."""

import torch
from torch import nn

_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions between two poolings
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, as torchvision's networks expect


def vgg19_layers() -> dict[str, int]:
    """Return name -> number of each layer in ``vgg19().features`` of torchvision.

    ``conv5_4`` is before its ReLU as in ESRGAN. ``relu5_4`` is after it as in SRGAN. The name in that paper is VGG54. So ``vgg54`` is an
    alias of ``relu5_4`` and ``vgg22`` of ``relu2_2``.
    """
    layers, number = {}, 0
    for block, (_, convolutions) in enumerate(_BLOCKS, 1):
        for convolution in range(1, convolutions + 1):
            layers[f"conv{block}_{convolution}"], layers[f"relu{block}_{convolution}"] = number, number + 1
            layers[f"vgg{block}{convolution}"] = number + 1
            number += 2
        number += 1  # pooling
    return layers


class Vgg19(nn.Module):
    """Feature maps of VGG19 (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556, table 1, column E). Frozen.

    Args:
        layers: names of the layers to return, see `vgg19_layers`. Layers after the last of them are left out.
        weights: ``features.N.weight`` and ``features.N.bias``, with the names of torchvision.
    """

    def __init__(self, layers: list[str], weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        numbers = vgg19_layers()
        self._wanted = [numbers[name] for name in layers]
        features: list[nn.Module] = []
        before = 3
        for after, convolutions in _BLOCKS:
            for _ in range(convolutions):
                features += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
                before = after
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features[: max(self._wanted) + 1])
        self.load_state_dict({key: weights[key] for key in self.state_dict()})
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    def compute_in(self, dtype: torch.dtype) -> None:
        """Keep the weights in the data type in which autocast computes, which would otherwise cast them in each pass."""
        for parameter in self.features.parameters():
            parameter.data = parameter.data.to(dtype)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the chosen feature maps of `(N, 3, H, W)` in 0..1, in the order of `layers`."""
        hidden, found = (image - self.get_buffer("mean")) / self.get_buffer("std"), {}
        for number, layer in enumerate(self.features):
            hidden = layer(hidden)
            if number in self._wanted:
                found[number] = hidden
        return [found[number] for number in self._wanted]


def random_weights() -> dict[str, torch.Tensor]:
    """Return random weights with the key names of `Vgg19` to measure time and memory of a training."""
    weights, number, before = {}, 0, 3
    for after, convolutions in _BLOCKS:
        for _ in range(convolutions):
            weights[f"features.{number}.weight"] = nn.init.kaiming_normal_(torch.empty(after, before, 3, 3))
            weights[f"features.{number}.bias"] = torch.zeros(after)
            number, before = number + 2, after
        number += 1  # pooling
    return weights
