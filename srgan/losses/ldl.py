"""A loss on artifacts: pixels whose surroundings vary in another way than those of the HR image."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.losses.base import Loss, LossInputs

WINDOW = 7  # pixels, as in the paper
ROOT = 5  # of the variance of the whole patch, as in the paper
SMALLEST = 1e-10  # variance below which the slope of the root does not grow further


def artifact_map(sr_image: Tensor, hr_image: Tensor, averaged_image: Tensor) -> Tensor:
    """Return how probable an artifact is at each pixel (Liang et al. 2022, https://arxiv.org/abs/2203.09195).

    It is the variance of the residual in the surroundings of the pixel, times the fifth root of that of the patch. It is 0 where the
    averaged weights are further from the HR image than the present ones: there the present step makes no artifact.

    Args:
        sr_image: `(N, 3, H, W)` float32 in 0..1.
        hr_image: of the same shape.
        averaged_image: output of the averaged weights, of the same shape.

    Returns:
        `(N, 1, H, W)` float32, at least 0.
    """
    residual, averaged = ((hr_image - image).abs().sum(1, keepdim=True) for image in (sr_image, averaged_image))
    pad = WINDOW // 2
    padded = functional.pad(residual, (pad,) * 4, mode="reflect" if min(residual.shape[-2:]) > pad else "replicate")
    mean, squares = (functional.avg_pool2d(values, WINDOW, stride=1) for values in (padded, padded.square()))
    local = (squares - mean.square()).clamp(min=0) * (WINDOW**2 / (WINDOW**2 - 1))
    whole = residual.var((1, 2, 3), keepdim=True).clamp(min=SMALLEST) ** (1 / ROOT)
    return torch.where(residual < averaged, 0.0, whole * local)


class LdlLoss(nn.Module):
    """Mean absolute difference of the pixels, each weighted by the map of artifacts.

    Locally discriminative learning (LDL, Liang et al. 2022). The gradient also flows through the map, as in the code of the
    authors. In validation the SR image is that of the averaged weights, so no pixel of the map is cleared.
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over pixels and channels."""
        sr_image = inputs.sr_image.float()
        averaged = sr_image.detach() if inputs.averaged_image is None else inputs.averaged_image.float()
        return (artifact_map(sr_image, inputs.hr_image, averaged) * (sr_image - inputs.hr_image).abs()).mean()


LDL = Loss("ldl", "Difference of the pixels weighted by a map of artifacts of the GAN (Liang et al. 2022).", LdlLoss, needs_average=True)
