"""Measure and correct the misalignment and the colour difference of an LR image against its HR image.

Two cameras, two focal lengths or two scans never show a scene in exactly the same place and colours. A network that learns from such
pairs blurs its output and shifts colours. Cai et al. therefore register their pairs, with a gain and an offset of the luminance ("Toward
Real-World Single Image Super-Resolution: A New Benchmark and A New Model", ICCV 2019, section 3.2).

The position is measured on the LR grid, between the luma of the LR image and that of the bicubic LR version of the HR image. A band-pass
filter removes noise and slow differences of illumination first. The maximum of the normalised cross-correlation gives whole pixels. ECC
gives the fraction (Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", PAMI
2008). Gain and offset change neither of them. Phase correlation by upsampled Fourier transforms (Guizar-Sicairos et al., "Efficient
subpixel image registration algorithms", Optics Letters 2008) was less accurate on photographs with blur, noise and JPEG artifacts.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from srgan.degradations.bicubic import bicubic_downscale
from srgan.images.read import as_rgb

MAX_SHIFT = 8  # pixels of the search in each direction, and at most 1/8 of a side
MIN_LR_SIDE, MIN_HR_SIDE = 32, 64  # pixels. Smaller images hold too little to measure and to crop
MAX_PIXELS = 1_000_000  # larger images are measured at a smaller size
NOISE_SIGMA, SCENE_SIGMA = 1.0, 8.0  # pixels, of the band-pass filter
MIN_CONTRAST = 1.0  # levels, standard deviation after the band-pass filter
MIN_CORRELATION = 0.5  # of the filtered images
MIN_LEAD = 0.1  # correlation of the best position above that of any other maximum. Whole photographs have 0.48 and more
MAX_ERROR = 0.1  # pixels, standard error of a shift
MAX_AFFINE_ERROR = 0.03  # pixels, standard error of an affine transform at the corners
MIN_TURN = 0.1  # pixels that the corners move by an affine transform around the centre. Less is a shift with errors
BLOCK = 8  # LR pixels. Blur, noise and fractions of a pixel hardly change the mean of a block
PRIOR = 4.0  # squared levels. The gain of a picture with less variance than this stays near 1
MOVED, RECOLORED = 0.05, 0.5  # LR pixels and levels. Smaller differences stay, because resampling blurs

Matrix = tuple[tuple[float, float], tuple[float, float]]
Colors = tuple[float, float, float]
IDENTITY: Matrix = ((1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True)
class Registration:
    """The position and the colours of an LR image against its HR image.

    Attributes:
        reason: the reason why they are not measurable. Then all figures are neutral.
        shift: displacement of the LR image's centre to the right and down, LR pixels.
        linear: 2x2 matrix of the affine transform around the centre, the identity if only a shift is measurable.
        largest: length of the largest displacement in the image, LR pixels.
        error: standard error of the displacement, LR pixels.
        gain: factors of red, green and blue that give the LR image the colours of the HR image.
        offset: levels to add after `gain`.
        color_difference: mean absolute change of a value by `gain` and `offset`, levels of 255.
    """

    reason: str = ""
    shift: tuple[float, float] = (0.0, 0.0)
    linear: Matrix = IDENTITY
    largest: float = 0.0
    error: float = 0.0
    gain: Colors = (1.0, 1.0, 1.0)
    offset: Colors = (0.0, 0.0, 0.0)
    color_difference: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return the figures for the manifest."""
        if self.reason:
            return {"reason": self.reason}
        turned = {} if self.linear == IDENTITY else {"linear": [list(row) for row in self.linear]}
        position = {"shift": list(self.shift)} | turned | {"largest": self.largest, "error": self.error}
        return position | {"gain": list(self.gain), "offset": list(self.offset), "color_difference": self.color_difference}


def measure(hr_image: np.ndarray, lr_image: np.ndarray, scale: int) -> Registration:
    """Measure the displacement and the colour difference of an LR image.

    Figures are rounded, so that they do not depend on the last bits of a processor's arithmetic.

    Args:
        hr_image: `(H, W[, 3])` uint8.
        lr_image: `(H / scale, W / scale[, 3])` uint8.
        scale: 1 or more.

    Returns:
        The figures, or the reason why there are none: the images are small, flat or repetitive, or they do not match.
    """
    if min(lr_image.shape[:2]) < MIN_LR_SIDE or min(hr_image.shape[:2]) < MIN_HR_SIDE:
        return Registration("too small")
    reference = bicubic_downscale(hr_image, scale)
    factor = math.ceil(math.sqrt(lr_image.shape[0] * lr_image.shape[1] / MAX_PIXELS))
    found = _position(_band(reference, factor), _band(lr_image, factor))
    if isinstance(found, str):
        return Registration(found)
    warp, error = found
    warp = np.column_stack([warp[:, :2].round(6), (warp[:, 2] * factor).round(4)])
    (a, b, x), (c, d, y) = warp.tolist()
    colors = _colors(reference, lr_image, round(x), round(y))
    return Registration("", (x, y), ((a, b), (c, d)), round(_largest(warp, lr_image.shape), 4), round(error * factor, 4), *colors)


def correct(
    hr_image: np.ndarray, lr_image: np.ndarray, scale: int, found: Registration, color: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Move an LR image to its HR image, and give it its colours.

    The LR image is resampled by cubic B-splines, which have less blur than a cubic kernel and no phase error. Borders without data are cut
    from both images. Differences below `MOVED` and `RECOLORED` stay.

    Args:
        hr_image: `(H, W[, 3])` uint8.
        lr_image: `(H / scale, W / scale[, 3])` uint8.
        scale: 1 or more.
        found: by `measure`.
        color: correct the colours, too.

    Returns:
        The HR image and the LR image, and the corrections: ``position``, ``color``, both or none.
    """
    corrections = []
    pixels = lr_image.astype(np.float32)
    if found.largest >= MOVED:
        corrections.append("position")
        margin = math.ceil(found.largest) + 1
        pixels = _moved(pixels, found)[margin:-margin, margin:-margin]
        hr_image = hr_image[scale * margin : -scale * margin, scale * margin : -scale * margin]
    if color and found.color_difference >= RECOLORED:
        corrections.append("color")
        channels = slice(None) if pixels.ndim == 3 else 0  # the gains of a greyscale image are equal
        pixels = pixels * np.array(found.gain, np.float32)[channels] + np.array(found.offset, np.float32)[channels]
    if not corrections:
        return hr_image, lr_image, []
    return np.ascontiguousarray(hr_image), np.rint(pixels).clip(0, 255).astype(np.uint8), corrections


def _moved(image: np.ndarray, found: Registration) -> np.ndarray:
    """Resample an image `(H, W[, 3])` at the displaced positions of the reference's grid."""
    (a, b), (c, d) = found.linear
    linear, shift = np.array([[d, c], [b, a]]), np.array(found.shift[::-1])  # rows first
    centre = (np.array(image.shape[:2]) - 1) / 2
    moved = np.empty_like(image)
    for channel in range(image.shape[2] if image.ndim == 3 else 1):
        where = (..., channel) if image.ndim == 3 else ...
        ndimage.affine_transform(image[where], linear, centre + shift - linear @ centre, output=moved[where], order=3, mode="mirror")
    return moved


def _luma(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _band(image: np.ndarray, factor: int) -> np.ndarray:
    """Return the band-passed luma of an image that is shrunk by an integer factor, float32."""
    luma: np.ndarray = _luma(image).astype(np.float32)
    if factor > 1:
        height, width = (side // factor for side in luma.shape)
        # Both images are cut alike, and a shift of the centre by less than a pixel changes no measurable rotation.
        luma = cv2.resize(luma[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(luma, (0, 0), NOISE_SIGMA) - cv2.GaussianBlur(luma, (0, 0), SCENE_SIGMA)


# -- the position --------------------------------------------------------------------------------------------------------------


def _position(reference: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, float] | str:
    """Return the displacement of a band-passed image and its standard error in pixels, or the reason why there is none.

    The displacement is a matrix `(2, 3)`: the affine transform around the centre and the shift of the centre.
    """
    if min(reference.std(), image.std()) < MIN_CONTRAST:
        return "flat"
    reach = min(MAX_SHIFT, min(image.shape) // 8)
    reference = reference[reach:-reach, reach:-reach]  # it stays inside the image at every shift
    scores = cv2.matchTemplate(image, reference, cv2.TM_CCOEFF_NORMED)
    row, column = (int(place) for place in np.unravel_index(scores.argmax(), scores.shape))
    best = scores[row, column]
    if best < MIN_CORRELATION:
        return "no match"
    others = cv2.dilate(scores, np.ones((3, 3), np.uint8)) == scores  # local maxima
    others[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = False
    if scores[others].max(initial=-1) > best - MIN_LEAD:
        return "several positions match"
    if {row, column} & {0, 2 * reach}:
        return "no match"
    start = np.array([[1, 0, column - reach], [0, 1, row - reach]], np.float32)
    shifted = _ecc(reference, image, start, cv2.MOTION_TRANSLATION)
    if shifted is None or shifted[1] > MAX_ERROR:
        return "too little structure"
    turned = _ecc(reference, image, shifted[0], cv2.MOTION_AFFINE)
    if turned is None or turned[1] > MAX_AFFINE_ERROR:
        return shifted
    return turned if MIN_TURN <= _largest(turned[0] * (1, 1, 0), image.shape) <= reach else shifted


def _largest(warp: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return the length of the largest displacement in an image, pixels."""
    corners = np.array([[u * (shape[1] - 1) / 2, v * (shape[0] - 1) / 2, 1] for u in (-1, 1) for v in (-1, 1)])
    return float(np.linalg.norm(corners @ (warp - np.eye(2, 3)).T, axis=1).max())


def _ecc(reference: np.ndarray, image: np.ndarray, start: np.ndarray, motion: int) -> tuple[np.ndarray, float] | None:
    """Refine a displacement. Return it and its standard error, or None if it does not converge to a match."""
    centre, centre_of_image = ((np.array(each.shape[::-1]) - 1) / 2 for each in (reference, image))
    warp = start.astype(np.float64)
    warp[:, 2] += centre_of_image - warp[:, :2] @ centre
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-6)
    everywhere = np.ones(image.shape, np.uint8)
    try:
        correlation, found = cv2.findTransformECC(reference, image, warp.astype(np.float32), motion, stop, everywhere, 1)
    except cv2.error:  # it does not converge
        return None
    if correlation < MIN_CORRELATION:
        return None
    warp = found.astype(np.float64)
    warp[:, 2] += warp[:, :2] @ centre - centre_of_image
    return warp, _error(reference, correlation, affine=motion == cv2.MOTION_AFFINE)


def _error(reference: np.ndarray, correlation: float, affine: bool) -> float:
    """Return the largest standard error of a displacement in an image, pixels. It is that of a linear regression on the gradients."""
    down, right = np.gradient(reference)
    columns = [right.ravel(), down.ravel()]
    corners = np.ones((1, 1))
    if affine:
        v, u = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in reference.shape), indexing="ij")
        columns = [slope * place for slope in columns for place in (np.float32(1), u.ravel(), v.ravel())]
        corners = np.array([[1, u, v] for u in (-1, 1) for v in (-1, 1)])
    slopes = np.stack(columns, 1)
    independent = 4 * math.pi * NOISE_SIGMA**2  # pixels for each independent value, after the Gaussian filter
    variance = float(reference.var()) * max(1 / correlation**2 - 1, 0) * independent
    try:
        covariance = np.linalg.inv((slopes.T @ slopes).astype(np.float64)) * variance
    except np.linalg.LinAlgError:  # no structure in one direction
        return math.inf
    half = len(covariance) // 2
    variances = [corner @ part @ corner for corner in corners for part in (covariance[:half, :half], covariance[half:, half:])]
    return math.sqrt(max(variances)) if min(variances) >= 0 else math.inf


# -- the colours ---------------------------------------------------------------------------------------------------------------


def _colors(reference: np.ndarray, image: np.ndarray, x: int, y: int) -> tuple[Colors, Colors, float]:
    """Return gain, offset and mean absolute difference. `x` and `y` are the shift of `image`, whole pixels.

    A greyscale image gets one gain and one offset, by the luma, so that it stays grey.
    """
    height, width = image.shape[:2]
    reference = reference[max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)]
    image = image[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
    grey = image.ndim == 2 or bool((image == image[..., :1]).all())
    pairs = [(_luma(reference), _luma(image))] if grey else [(as_rgb(reference)[..., k], image[..., k]) for k in range(3)]
    fits = [_fit(*pair) for pair in pairs] * (3 if grey else 1)
    gain, offset, difference = zip(*fits, strict=True)
    return gain, offset, round(float(np.mean(difference)), 2)


def _fit(reference: np.ndarray, image: np.ndarray) -> tuple[float, float, float]:
    """Fit the gain and the offset that make a channel equal to its reference, by Huber's robust regression of block means."""
    wanted, given = _blocks(reference), _blocks(image)
    clipped = _blocks(((image <= 1) | (image >= 254) | (reference <= 1) | (reference >= 254)).astype(np.uint8)) > 0
    kept = ~clipped if (~clipped).sum() >= BLOCK else np.ones_like(clipped)  # clipped values follow no line
    target, value = wanted[kept], given[kept]
    weight = np.ones_like(value)
    for _ in range(10):
        centre, level = np.average(value, weights=weight), np.average(target, weights=weight)
        spread = np.average((value - centre) ** 2, weights=weight)
        gain = (np.average((value - centre) * (target - level), weights=weight) + PRIOR) / (spread + PRIOR)
        offset = level - gain * centre
        residual = np.abs(target - gain * value - offset)
        limit = 1.345 * max(1.4826 * float(np.median(residual)), 0.5)
        weight = np.minimum(1, limit / np.maximum(residual, limit))
    gain, offset = round(float(gain), 4), round(float(offset), 2)
    return gain, offset, float(np.abs(gain * given + offset - given).mean())


def _blocks(channel: np.ndarray) -> np.ndarray:
    """Return the means of the whole blocks of a channel, float64."""
    height, width = (side // BLOCK for side in channel.shape)
    whole = channel[: height * BLOCK, : width * BLOCK]
    return whole.reshape(height, BLOCK, width, BLOCK).mean((1, 3), dtype=np.float64).ravel()
