"""Names of results by a template such as ``{stem}_{scale}x_{model}``."""

import string
from dataclasses import dataclass
from pathlib import Path

from srgan.images.suffixes import FORMATS
from srgan.inference.upscaler import Upscaler
from srgan.tasks import task_of
from srgan.utils.errors import SrganError, nearest
from srgan.utils.files import plain_name

FIELDS = ("stem", "scale", "size", "model")
BESIDE = "{stem}_{size}"  # of a result next to its image
RESERVED = '<>:"|?*'  # Windows and shared folders refuse them


@dataclass(frozen=True)
class Named:
    """The names of results.

    Attributes:
        template: the name without suffix, with fields of `FIELDS`.
        scale: size of the results relative to their images. None if it differs from image to image.
        size: the same for a name: ``x4``, ``4k``, or ``restored`` at scale 1.
        model: name of the model.
    """

    template: str
    scale: float | None
    size: str
    model: str

    def stem(self, source: Path) -> str:
        """Return the name of the result of an image, without suffix."""
        scale = "" if self.scale is None else f"{self.scale:g}"
        return self.template.format(stem=source.stem, scale=scale, size=self.size, model=self.model)


def check_template(template: str, several: bool, sized: bool) -> None:
    """Check the template of the command line.

    Args:
        template: the name without suffix.
        several: whether several images get their names by it.
        sized: whether the size is named in pixels.

    Raises:
        SrganError: it has unknown fields, no stem for several images, a suffix, or characters that no file name has.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise SrganError(f"--name {template}: {error}. Fields are {_fields()}") from error
    fields = [name for _, name, _, _ in parts if name is not None]
    for field in fields:
        if field not in FIELDS:
            raise SrganError(f"--name {template}: '{field}' is no field{nearest(field, FIELDS)}")
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise SrganError(f"--name {template}: a field has no format. Fields are {_fields()}")
    if several and "stem" not in fields:
        raise SrganError(f"--name {template}: all results would have one name. Add {{stem}}, the name of the image without its suffix")
    if sized and "scale" in fields:
        raise SrganError(f"--name {template}: the scale differs from image to image if a size in pixels is named. Use {{size}} instead")
    if Path(template).suffix.lower() in FORMATS:
        raise SrganError(f"--name {template}: names no format. Leave out {Path(template).suffix}, and choose it with --format")
    text = "".join(literal for literal, _, _, _ in parts)
    if bad := [character for character in RESERVED if character in text]:
        raise SrganError(f"--name {template}: not every file system allows {bad[0]} in a name")
    plain_name(text or "x", "--name")


def _fields() -> str:
    return ", ".join(f"{{{name}}}" for name in FIELDS)


def named(upscaler: Upscaler, template: str | None, outscale: float | None, mark: str | None) -> Named:
    """Return the names of results of a model.

    Args:
        upscaler: the model.
        template: of the names. Default: `BESIDE`.
        outscale: size of the results relative to their images. Default: the scale of the model.
        mark: the wanted size in pixels, for names. Default: none is wanted.
    """
    scale = None if mark else outscale or upscaler.scale
    size = mark or (f"x{scale:g}" if upscaler.scale > 1 else task_of(upscaler.scale, upscaler.adds_colour).done)
    return Named(template or BESIDE, scale, size, upscaler.path.stem)
