"""Train a network on the image that it upscales (ZSSR: Shocher et al. 2018, https://arxiv.org/abs/1712.06087).

The image is the ground truth and its reduction is the input. The training starts from the weights of a model and ends after a number of
steps or seconds. Its result is kept if it agrees better with the image.
"""

import copy
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from srgan.inference.reduction import Reduction, agreement
from srgan.inference.weights import read_weights
from srgan.models.network import Generator

STEPS = 300
LEARNING_RATE = 3e-4  # falls to 1 % along a cosine
SIDE = 192  # pixels of the part of the image that a step uses
PART = 160  # pixels of the middle that decides

log = logging.getLogger(__name__)


def adapt(path: Path, image: np.ndarray, reduction: Reduction, seconds: float) -> Callable[[np.ndarray], np.ndarray] | None:
    """Train the network of a file on an image.

    Args:
        path: file of weights.
        image: `(H, W, 3)` float32 in 0..1, with sides of at least `srgan.inference.reduction.MIN_SIDE`.
        reduction: from the result that is wanted to the image.
        seconds: limit of the training.

    Returns:
        The function of the network as `srgan.inference.backends.Engine.run`, or None if the adapted network is not better.
    """
    start = read_weights(path)[0].to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    network = copy.deepcopy(start).requires_grad_(True)
    steps, spent = _train(network, image, reduction, seconds)
    top, left = (max(side - PART, 0) // 2 for side in image.shape[:2])
    part = np.ascontiguousarray(image[top : top + PART, left : left + PART])
    before, after = (agreement(part, _whole(_runner(each), part), reduction) for each in (start, network))
    kept = after > before  # False if the training diverged
    log.info(
        "%s in %d steps and %.0f s: agreement with the image %.1f -> %.1f dB",
        "adapted" if kept else "not adapted",
        *(steps, spent, before, after),
    )
    return _runner(network.folded()) if kept else None


def _train(network: Generator, image: np.ndarray, reduction: Reduction, seconds: float) -> tuple[int, float]:
    """Train in place. Normalization layers keep their statistics. Return the number of steps and seconds."""
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    random, begin, step, done = np.random.default_rng(0), time.monotonic(), 0, 0.0
    while done < 1:
        hr_image, lr_image = (_tensor(each).to(device) for each in _pair(image, reduction, random))
        loss = (network(lr_image) - hr_image).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (0.505 + 0.495 * math.cos(math.pi * done))
        optimizer.step()
        step += 1
        done = max(step / STEPS, (time.monotonic() - begin) / seconds)
    return step, time.monotonic() - begin


def _pair(image: np.ndarray, reduction: Reduction, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of the image and its reduction, rounded to 8 bits, both in one of the eight symmetries."""
    scale = reduction.scale
    height, width = (min(side - scale + 1, SIDE) // scale * scale for side in image.shape[:2])
    top, left = (int(random.integers(side - size + 1)) for side, size in zip(image.shape, (height, width), strict=False))
    hr_image = np.ascontiguousarray(image[top : top + height, left : left + width])
    turns, mirrored = int(random.integers(4)), bool(random.integers(2))
    pair = [np.rot90(each[:, ::-1] if mirrored else each, turns) for each in (hr_image, reduction(hr_image))]
    return pair[0], np.rint(pair[1] * 255) / 255


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))


def _runner(network: Generator) -> Callable[[np.ndarray], np.ndarray]:
    device = next(network.parameters()).device

    @torch.inference_mode()
    def run(tensor: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(tensor).to(device)).float().cpu().numpy()

    return run


def _whole(run: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """Return the upscaled image, `(scale * H, scale * W, 3)` in 0..1."""
    return np.ascontiguousarray(run(_tensor(image).numpy())[0].transpose(1, 2, 0)).clip(0, 1)
