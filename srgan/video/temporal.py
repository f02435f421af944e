"""Reduce the flicker of upscaled frames: blend each result with its neighbours, along the motion of the clip.

A GAN invents detail for each frame, so that the detail of a surface changes from frame to frame. The motion is estimated between the
frames of the clip, which do not have this flicker. A neighbour counts where its motion leads back to its start and where the frames of the
clip agree along it. Nothing but the frames around a result changes it, so an interrupted run continues with the same result.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from srgan.images.flow import closing_error, follow, optical_flow
from srgan.video.picture import Frame

CLOSING_TOLERANCE = 0.25  # pixels of the clip: the weight of a neighbour is 0.61 where its way there and back misses its start by as much
COLOR_TOLERANCE = 8.0  # levels of 255: the weight is 0.37 where the frames of the clip differ by as much
SMALLEST_AGREEMENT = 0.1  # mean weight below which a neighbour belongs to another scene


@dataclass(frozen=True)
class _Result:
    """An upscaled frame with the frame of the clip and the motion to the frames before it.

    Attributes:
        pixels: the frame of the clip, `(H, W, C)` float32 in 0..255.
        frame: the upscaled frame.
        motion: flow to the frame that is as many frames earlier as the key, and back.
    """

    pixels: np.ndarray
    grey: np.ndarray
    frame: Frame
    motion: dict[int, tuple[np.ndarray, np.ndarray]]


def steadied(results: Iterable[tuple[np.ndarray, Frame]], neighbours: int) -> Iterator[Frame]:
    """Blend each upscaled frame with its neighbours along the motion of the clip.

    Args:
        results: frames of the clip, `(H, W)` or `(H, W, C)` uint8 or uint16, with their upscaled frames.
        neighbours: number of frames on each side that are blended into a result.

    Yields:
        The upscaled frames with less flicker. The memory holds ``2 * neighbours + 1`` frames.
    """
    seen: list[_Result] = []
    centre = 0
    for pixels, frame in results:
        seen.append(_with_motion(pixels, frame, seen[-neighbours:]))
        if len(seen) > centre + neighbours:
            yield _blended(seen, centre, neighbours)
            if centre < neighbours:
                centre += 1
            else:
                del seen[0]
    for last in range(centre, len(seen)):
        yield _blended(seen, last, neighbours)


def _with_motion(pixels: np.ndarray, frame: Frame, earlier: list[_Result]) -> _Result:
    """Return a result with its motion to the results before it, given from the first to the last."""
    levels = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32) / 257
    channels = levels.reshape(*levels.shape[:2], -1)
    grey = np.rint(channels[..., :3].mean(2)).astype(np.uint8)
    motion = {
        len(earlier) - place: (optical_flow(grey, former.grey), optical_flow(former.grey, grey)) for place, former in enumerate(earlier)
    }
    return _Result(channels.astype(np.float32), grey, frame, motion)


def _blended(seen: list[_Result], centre: int, neighbours: int) -> Frame:
    """Return the upscaled frame of a result, blended with its neighbours."""
    own = seen[centre].frame
    total, weights = own.pixels.astype(np.float32), np.ones(own.pixels.shape[:2], np.float32)
    for direction in (-1, 1):
        for distance in range(1, neighbours + 1):
            place = centre + direction * distance
            if not 0 <= place < len(seen):
                break
            forward, backward = seen[centre].motion[distance] if direction < 0 else seen[place].motion[distance][::-1]
            weight = _agreement(seen[centre].pixels, seen[place].pixels, forward, backward)
            if weight.mean() < SMALLEST_AGREEMENT:
                break  # a cut
            _add(total, weights, seen[place].frame.pixels, forward, weight)
    blended = np.rint(total / (weights if total.ndim == 2 else weights[..., None]))
    # Bicubic interpolation overshoots.
    return Frame(blended.clip(0, np.iinfo(own.pixels.dtype).max).astype(own.pixels.dtype), own.start, own.duration)


def _agreement(pixels: np.ndarray, other: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return how far another frame of the clip shows the same along its motion, `(H, W)` float32 in 0..1."""
    moved = follow(other, forward).reshape(pixels.shape)
    difference = cv2.blur(np.abs(pixels - moved).max(2), (3, 3))  # less noise
    closing = closing_error(forward, backward) / (2 * CLOSING_TOLERANCE**2)
    return np.exp(-closing - np.square(difference / COLOR_TOLERANCE))


def _add(total: np.ndarray, weights: np.ndarray, pixels: np.ndarray, forward: np.ndarray, weight: np.ndarray) -> None:
    """Add an upscaled frame to a weighted sum, in place."""
    height, width = pixels.shape[:2]
    factor = np.array([width / forward.shape[1], height / forward.shape[0]], np.float32)
    moved = follow(pixels, cv2.resize(forward, (width, height)) * factor)
    weight = cv2.resize(weight, (width, height))
    weights += weight
    total += (weight if total.ndim == 2 else weight[..., None]) * moved
