"""`srgan upscale`."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import Adapt, AdaptSeconds, BackProject, Ensemble
from srgan.images.suffixes import WrittenSuffix
from srgan.inference.providers import Provider
from srgan.utils.errors import SrganError
from srgan.video.suffixes import ANIMATIONS, CONTAINERS, Codec, has_decoder, is_clip, require_decoder

EPILOG = """\
\b
Colour profile, EXIF, XMP, IPTC, PNG text, resolution, transparency, greyscale and 16 bits are kept.
A warning names what the format cannot hold.

\b
Examples:
  srgan upscale photo.jpg                  # photo_x4.png next to it
  srgan upscale photo.jpg -o big.png
  srgan upscale holiday/ -o large/ --format webp
  srgan upscale 'scans/**/*.tif' -o large/ --outscale 2.5
  srgan upscale - -o - < photo.jpg > big.png
  srgan upscale clip.mp4 -o big.mp4 --temporal 1
  srgan upscale funny.gif -o big.webp
  srgan upscale scene.tif                  # scene_x4.tif with its georeference (srgan[geotiff])
  srgan upscale slice.dcm                  # slice_x4.dcm, not for diagnosis (srgan[dicom])
"""

app = typer.Typer()
log = logging.getLogger(__name__)


@app.command(
    "enhance", epilog=EPILOG.replace("srgan upscale", "srgan enhance"), help="Restore or colorize images: a second name of `srgan upscale`."
)
@app.command("upscale", epilog=EPILOG)
def upscale(
    inputs: Annotated[
        list[str], typer.Argument(parser=str, metavar="INPUT", help="Files, folders, patterns such as 'a/**/*.jpg', or - for stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            parser=str,
            metavar="PATH",
            help="A file for one image, else a folder, or - for stdout. Default for one image: a PNG beside it, such as photo_x4.png.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            parser=str,
            metavar="MODEL",
            help="A starter (`srgan models list`), an .onnx file, weights (.safetensors, .pth) or models:/NAME@ALIAS of MLflow's registry. "
            "Default: the choice of `srgan models use`, the model that the pipeline exported, or the default starter.",
        ),
    ] = None,
    provider: Annotated[Provider, typer.Option(help="What runs the model. `auto` is CUDA where it works, else the CPU.")] = "auto",
    strict_provider: Annotated[
        bool, typer.Option("--strict-provider", help="Fail if the provider does not work. Default: use the next best.")
    ] = False,
    tile: Annotated[
        int | None, typer.Option(min=1, help="Side of the tiles that the model gets, in pixels. Default: as free memory allows.")
    ] = None,
    outscale: Annotated[
        float | None,
        typer.Option(min=0.01, max=64, help="Size of the result relative to the image. Lanczos resizes the result of the model."),
    ] = None,
    suffix: Annotated[
        WrittenSuffix | None,
        typer.Option("--format", help="Format of a result without a file name. Default: in a folder the image's own, else png."),
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP and AVIF.")] = 95,
    codec: Annotated[Codec | None, typer.Option(help="Codec of a clip. Default: the one that most players of such a file decode.")] = None,
    crf: Annotated[
        int | None,
        typer.Option(min=0, max=63, help="Constant rate factor of a clip: less is better and larger. Default: 16 to 22, by codec."),
    ] = None,
    temporal: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=8,
            help="Reduce the flicker of a clip: blend each frame with this many frames before and after it.",
        ),
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Write WebP and AVIF without loss.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="In a folder or beside the image, write results that exist already again.")
    ] = False,
    hints: Annotated[
        str | None,
        typer.Option(
            parser=str,
            metavar="PATH",
            help="For a model that colorizes: strokes of color on a transparent image of the same size, which the result follows.",
        ),
    ] = None,
    adapt: Adapt = False,
    adapt_seconds: AdaptSeconds = 60,
    back_project: BackProject = False,
    ensemble: Ensemble = 1,
    no_provenance: Annotated[bool, typer.Option("--no-provenance", help="Do not name the model in the result's XMP.")] = False,
    credentials: Annotated[
        Path | None,
        typer.Option(
            parser=Path,
            envvar="SRGAN_CREDENTIALS",
            metavar="FILE",
            help="Sign content credentials (C2PA) in the images with the private key and certificates of this PEM file.",
        ),
    ] = None,
) -> None:
    """Upscale images and clips with a starter or an exported model."""
    from srgan.images.write import Options
    from srgan.inference import batch
    from srgan.inference.refine import Refinement
    from srgan.inference.scientific import suffix_of
    from srgan.inference.upscaler import Upscaler
    from srgan.starters import catalogue
    from srgan.tasks import task_of

    settings = Options(outscale, quality, lossless, not no_provenance, credentials)
    ending = f".{suffix}" if suffix else None
    clip = _is_video(inputs, output)
    one = clip or _one_file(inputs, output)
    given = {"--codec": codec, "--crf": crf, "--temporal": temporal}
    _check_fit(clip, one, [flag for flag, value in given.items() if value is not None], hints, ending)
    if one and ending and output not in (None, "-"):
        _check_format(output, ending)
    jobs = [] if one or output is None else batch.plan(inputs, output, ending)  # a wrong name shows before the model is loaded
    refinement = Refinement(ensemble, back_project, adapt_seconds * adapt)
    with tempfile.TemporaryDirectory() as folder:
        upscaler = Upscaler(_model_file(model, Path(folder)), provider, strict_provider, tile, refine=refinement)
        refinement.check(upscaler, clip)
        task = task_of(upscaler.scale, upscaler.adds_colour)
        log.info("%s by %s on %s", task.short(upscaler.scale), catalogue.described(upscaler.path), upscaler.provider)
        if clip and output:
            from srgan.video.upscale import VideoOptions, upscale_clip

            options = VideoOptions(outscale, codec, crf, quality, lossless, not no_provenance, temporal or 0)
            upscale_clip(upscaler, Path(inputs[0]), Path(output), options)
            return
        if one:
            output = output or str(batch.beside(upscaler, Path(inputs[0]), ending or suffix_of(Path(inputs[0])), outscale, overwrite))
            batch.run_one(upscaler, inputs[0], output, settings, ending or ".png", hints)
            return
        failures = batch.run(upscaler, jobs, settings, overwrite)
    if failures:
        raise SrganError("\n  ".join([f"{len(failures)} of {len(jobs)} images failed:", *failures]))


def _one_file(inputs: list[str], output: str | None) -> bool:
    """Return whether one image goes to one file, or through a pipe."""
    if output is None:
        if len(inputs) == 1 and inputs[0] != "-" and not any(mark in inputs[0] for mark in "*?[") and not Path(inputs[0]).exists():
            raise SrganError(f"{inputs[0]}: no such file or folder")
        if len(inputs) > 1 or inputs[0] == "-" or not Path(inputs[0]).is_file():
            raise SrganError("name a folder or file for the result with -o. Only a single image needs none: its result is next to it")
        return True
    if "-" in (*inputs, output):
        if len(inputs) > 1 or (inputs[0] != "-" and (not Path(inputs[0]).exists() or Path(inputs[0]).is_dir())):
            raise SrganError("-: a pipe carries one image. Name one file, or a folder for the results")
        return True
    folder = output.endswith(("/", os.sep)) or Path(output).is_dir() or not Path(output).suffix
    # A pipe, such as the shell's <(command), is an image as well.
    return len(inputs) == 1 and Path(inputs[0]).exists() and not Path(inputs[0]).is_dir() and not folder


def _is_video(inputs: list[str], output: str | None) -> bool:
    """Return whether the input is a clip, or an animation that stays one.

    Raises:
        SrganError: a clip is not the only input, has no file for its result, or the package that reads it is missing.
    """
    clips = [name for name in inputs if is_clip(name)]
    alone = len(inputs) == 1 and Path(output or "").suffix.lower() in (*CONTAINERS, *ANIMATIONS)
    if clips and not alone:
        raise SrganError(f"{clips[0]}: name one clip and one file for its result, such as: srgan upscale {clips[0]} -o big.mp4")
    if not alone:
        return False
    if clips:
        require_decoder(clips[0])
    elif not has_decoder():
        return False  # the first frame, with a warning
    from srgan.video.animation import is_animation

    return bool(clips) or is_animation(inputs[0])


def _model_file(model: str | None, folder: Path) -> str | Path:
    """Return the model to use. `folder` gets one of MLflow's registry."""
    from srgan.config.project import Project

    if model and model.startswith("models:/"):
        from srgan.tracking import registry

        return registry.download(Project(), model, folder)
    from srgan.starters import default

    return model or default.default_model(Project())


def _check_fit(clip: bool, one: bool, of_clips: list[str], hints: str | None, ending: str | None) -> None:
    """Refuse options that do not fit the input: those of clips for images, and the reverse."""
    if not clip and of_clips:
        raise SrganError(f"{of_clips[0]}: fits a clip. Name one clip and a file such as big.mp4 for the result")
    if clip and (hints or ending):
        raise SrganError(f"{'--hints' if hints else '--format'}: does not fit a clip. The name of the result selects the format")
    if hints and not one:
        raise SrganError("--hints: fits one image. Name one image and one file for the result")


def _check_format(output: str, suffix: str) -> None:
    from srgan.images.suffixes import FORMATS

    own = Path(output).suffix
    if own.lower() in FORMATS and FORMATS[own.lower()] != FORMATS[suffix]:
        named = Path(output).with_suffix(suffix)
        raise SrganError(f"-o {output} and --format {suffix[1:]} contradict each other. Leave out --format, or write -o {named}")
