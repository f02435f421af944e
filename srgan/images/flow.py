"""Optical flow between two images: estimate it, follow it, and find where it holds."""

import cv2
import numpy as np

# Sundaram, Brox and Keutzer 2010, "Dense point trajectories by GPU-accelerated large displacement optical flow", equation 5
RELATIVE_TOLERANCE, SQUARED_TOLERANCE = 0.01, 0.5  # the second in squared pixels
FAR = 1e3  # pixels: the flow back from outside the image, so that it counts nowhere
SMALLEST_SIDE = 16  # pixels that DIS needs


def optical_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the optical flow by DIS (Kroeger et al. 2016), `(H, W, 2)` float32.

    The pixel at `(x, y)` of the first image is at `(x, y) + flow[y, x]` in the second one, in pixels.

    Args:
        first: `(H, W)` uint8.
        second: of the same size.
    """
    height, width = first.shape
    padding = [(0, max(SMALLEST_SIDE - side, 0)) for side in (height, width)]
    start, end = (np.ascontiguousarray(np.pad(image, padding, mode="edge")) for image in (first, second))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(start, end, np.empty(0))
    return np.asarray(flow)[:height, :width]


def follow(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return an image sampled where a flow leads, by bicubic interpolation. Positions outside get the nearest pixel.

    Args:
        image: `(H, W)` or `(H, W, C)` of uint8, uint16 or float32, at most four channels.
        flow: `(H, W, 2)` float32 in pixels, from the result to the image.
    """
    columns, rows = _positions(flow)
    return cv2.remap(image, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def closing_error(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return how far the way along a flow and back ends from its start, in squared pixels, `(H, W)` float32.

    Args:
        forward: flow from the first to the second image, `(H, W, 2)`. A way out of the image gets a large error.
        backward: flow from the second to the first image.
    """
    columns, rows = _positions(forward)
    back = cv2.remap(backward, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(FAR, FAR))
    return np.square(forward + back).sum(2)


def holds(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return where a flow is the reverse of the flow back, `(H, W)` bool. Elsewhere something is hidden or the estimate failed."""
    squares = np.square(forward).sum(2) + np.square(backward).sum(2)
    return closing_error(forward, backward) < RELATIVE_TOLERANCE * squares + SQUARED_TOLERANCE


def _positions(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns and rows where a flow leads."""
    height, width = flow.shape[:2]
    return flow[..., 0] + np.arange(width, dtype=np.float32), flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
