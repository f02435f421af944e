"""The section of ``reports/data.html`` and the log lines about the registration of LR images of the user's own."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from srgan.degradations.bicubic import bicubic_upscale

WARN_SHIFT = 0.25  # LR pixels
WARN_COLOR = 3.0  # levels of 255
MAX_NAMES = 5  # in a log line
MAX_SHOWN = 6  # worst pairs with pictures
REGION_SIDE = 96  # HR pixels

Record = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """The registration of some pairs.

    Attributes:
        measured: the pairs with figures, those with the largest displacement first.
        unmeasured: names by the reason why a pair has no figures.
        shift: median of the largest displacement in each image, LR pixels.
        color: median color difference, levels of 255.
        shifted: number of pairs with a displacement above `WARN_SHIFT`.
        colored: number of pairs with a color difference above `WARN_COLOR`.
        corrected: number of corrected pairs.
    """

    measured: list[Record]
    unmeasured: dict[str, list[str]]
    shift: float
    color: float
    shifted: int
    colored: int
    corrected: int


def summarise(images: Sequence[Record]) -> Summary:
    """Summarise the registration of images of the manifest. Images without an LR image of their own do not count."""
    pairs = [image for image in images if "registration" in image]
    unmeasured: dict[str, list[str]] = {}
    for image in pairs:
        if reason := image["registration"].get("reason"):
            unmeasured.setdefault(reason, []).append(name(image))
    measured = [image for image in pairs if "reason" not in image["registration"]]
    measured.sort(key=lambda image: -image["registration"]["largest"])
    shifts, colors = ([image["registration"][key] for image in measured] for key in ("largest", "color_difference"))
    return Summary(
        measured,
        unmeasured,
        statistics.median(shifts) if shifts else 0.0,
        statistics.median(colors) if colors else 0.0,
        sum(shift > WARN_SHIFT for shift in shifts),
        sum(color > WARN_COLOR for color in colors),
        sum("corrected" in image["registration"] for image in measured),
    )


def worst(images: Sequence[Record]) -> list[Record]:
    """Return the pairs with the largest displacements, at most `MAX_SHOWN`."""
    return summarise(images).measured[:MAX_SHOWN]


def name(image: Record) -> str:
    """Return the name of a pair in tables and log lines."""
    return f"{image['set']}/{image['name']}"


def log_lines(images: Sequence[Record], align: str) -> tuple[list[str], list[str]]:
    """Return the lines to log and the warnings.

    Args:
        images: of the manifest.
        align: ``prepare.align``.
    """
    found = summarise(images)
    lines: list[str] = []
    warnings: list[str] = []
    if found.measured:
        worst = ", ".join(f"{name(image)} {image['registration']['largest']:.2f}" for image in found.measured[:MAX_NAMES])
        lines.append(
            f"registration of {len(found.measured)} own LR images: displacement median {found.shift:.2f} LR pixels, largest: {worst}. "
            f"Color difference: median {found.color:.1f} levels. Corrected: {found.corrected}"
        )
    for reason, names in found.unmeasured.items():
        shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
        # Small and flat images are harmless. An LR image that shows something else is not.
        (warnings if reason == "no match" else lines).append(
            f"registration not measurable ({reason}): {len(names)} own LR image{'s' if len(names) > 1 else ''} left unchanged: {shown}"
            + (". Look at them and remove wrong ones" if reason == "no match" else "")
        )
    if found.shifted and align == "none":
        warnings.append(
            f"{found.shifted} own LR images are displaced by more than {WARN_SHIFT} LR pixels, which teaches a network to blur. "
            "reports/data.html shows the worst. prepare.align: position moves them to their HR images"
        )
    if found.colored and align != "position+color":
        warnings.append(
            f"{found.colored} own LR images differ from their HR images by more than {WARN_COLOR:g} levels of color. "
            "If the network is not to learn this change: prepare.align: position+color gives them the colors of the HR images"
        )
    return lines, warnings


def overlay(hr_image: np.ndarray, lr_image: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """Return a region with the HR image in red and the LR image in cyan. Edges without displacement are grey.

    Args:
        hr_image: `(H, W, 3)` uint8.
        lr_image: `(H / scale, W / scale, 3)` uint8.
        place: top and left of the region in the LR image, pixels. It may be outside in part.

    Returns:
        The region, `(S, S, 3)` uint8 with S of `REGION_SIDE` HR pixels at most, enlarged twice.
    """
    scale = hr_image.shape[0] // lr_image.shape[0]
    side = REGION_SIDE // scale
    top, left = (max(start, 0) for start in place)
    bottom, right = (max(start + side, 1) for start in place)
    small = np.ascontiguousarray(lr_image[top:bottom, left:right])
    large = hr_image[scale * top : scale * bottom, scale * left : scale * right]
    hr_luma, lr_luma = (cv2.cvtColor(np.ascontiguousarray(each), cv2.COLOR_RGB2GRAY) for each in (large, bicubic_upscale(small, scale)))
    mixed = np.stack([hr_luma, lr_luma, lr_luma], 2)
    return cv2.resize(mixed, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)


def busiest(lr_image: np.ndarray, scale: int) -> tuple[int, int]:
    """Return top and left of the region with the strongest edges. A displacement is visible there."""
    luma = cv2.GaussianBlur(cv2.cvtColor(lr_image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    side = min(REGION_SIDE // scale, *luma.shape)
    down, right = np.gradient(luma)
    energy = cv2.boxFilter(down**2 + right**2, -1, (side, side), anchor=(0, 0))
    valid = energy[: luma.shape[0] - side + 1, : luma.shape[1] - side + 1]
    top, left = np.unravel_index(valid.argmax(), valid.shape)
    return int(top), int(left)
