"""The registry of degradations. A new degradation is one file and one line here."""

from srgan.degradations import (
    blur,
    chroma_shift,
    codec,
    combine,
    fading,
    grain,
    grayscale,
    jpeg,
    noise,
    posterize,
    resize,
    scratches,
    sharpen,
    webp,
)
from srgan.degradations.base import Degradation

DEGRADATIONS: dict[str, Degradation] = {
    degradation.name: degradation
    for degradation in (
        blur.BLUR,
        resize.RESIZE,
        resize.DOWNSCALE,
        noise.NOISE,
        grain.GRAIN,
        sharpen.SHARPEN,
        chroma_shift.CHROMA_SHIFT,
        posterize.POSTERIZE,
        grayscale.GRAYSCALE,
        fading.FADING,
        scratches.SCRATCHES,
        jpeg.JPEG,
        webp.WEBP,
        codec.CODEC,
        combine.SEQUENCE,
        combine.SHUFFLE,
        combine.ONE_OF,
    )
}
