"""Measure the time of each network on this machine."""

import logging

import numpy as np
import torch

from srgan.distributed.device import pick_device
from srgan.inference import torch_upscale
from srgan.inference.benchmark import median_seconds
from srgan.models.network import Network
from srgan.models.registry import NETWORKS, flops_per_megapixel, outline, parameter_count

FLOPS = {"cpu": 3e10, "cuda": 4e12, "mps": 4e11}  # of an image at most: a second or less
SIDES = 8, 256  # LR pixels of a side, at least and at most
RUNS, SECONDS = 5, 2.0  # of a measurement at most

log = logging.getLogger(__name__)


def costs_table(scale: int = 4) -> str:
    """Return the networks as a table for a terminal, with their time per megapixel of the result on the CPU and on a GPU, if any.

    Args:
        scale: HR size / LR size. A network without this scale is measured at its first one.
    """
    devices = [torch.device("cpu"), *(device for device in [pick_device()] if device.type != "cpu")]
    titles = ["weights", "FLOPs/MP", *(f"{device.type} s/MP" for device in devices), "receptive field"]
    lines = [f"{'network':12}" + "".join(f"  {title:>10}" for title in titles) + "  scales"]
    for network in NETWORKS.values():
        if network.from_weights:
            continue
        model = outline(network, scale)
        flops = flops_per_megapixel(model)
        cells = [f"{parameter_count(model) / 1e6:.2f} M", f"{flops / 1e9:,.0f} G"]
        cells += [f"{_seconds_per_megapixel(network, model.scale, flops, device):.3g}" for device in devices]
        cells.append(f"{model.receptive_field} px")
        name = network.name if model.scale == scale else f"{network.name} (x{model.scale})"
        widths = [len(f"{title:>10}") for title in titles]
        row = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{name:12}{row}  {', '.join(map(str, network.scales))}")
    lines.append(
        f"Default sizes at x{scale}, float32, threads: {torch.get_num_threads()}. MP is a megapixel of the result. "
        "A multiplication with an addition counts as two FLOPs."
    )
    return "\n".join(lines)


def _seconds_per_megapixel(network: Network, scale: int, flops: float, device: torch.device) -> float:
    """Measure the seconds per megapixel of the result on an image whose size follows from the cost of the network."""
    pixels = FLOPS[device.type] / (flops / 1e6 * scale**2)
    side = int(np.clip(8 * (pixels**0.5 // 8), *SIDES))
    log.info("models: measures %s on %s, %d x %d LR pixels", network.name, device.type, side, side)
    model = network.factory(scale=scale).eval().to(device)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    seconds, _ = median_seconds(lambda: torch_upscale.upscale(model, image), RUNS, SECONDS)
    return seconds / ((side * scale) ** 2 / 1e6)
