"""`srgan upscale`."""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from srgan.commands import upscale_options as options
from srgan.commands.options import Adapt, AdaptSeconds, Address, BackProject, Ensemble
from srgan.utils.errors import SrganError
from srgan.utils.file_systems import is_address
from srgan.utils.optional import require_ray
from srgan.video.suffixes import ANIMATIONS, CONTAINERS, Codec, has_decoder, is_clip, require_decoder

if TYPE_CHECKING:
    from srgan.images.write import Options
    from srgan.inference.settings import Settings
    from srgan.inference.upscaler import Upscaler

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
  srgan upscale wallpapers/ -o screen/ --at-least 4k --name '{stem}_{size}'
  srgan upscale - -o - < photo.jpg > big.png
  srgan upscale s3://bucket/photos -o s3://bucket/large
  srgan upscale photos/ -o large/ --engine ray # many cores, GPUs or machines
  srgan upscale clip.mp4 -o big.mp4 --temporal 1
  srgan upscale funny.gif -o big.webp
  srgan upscale scene.tif                  # scene_x4.tif with its georeference (srgan[geotiff])
  srgan upscale slice.dcm                  # slice_x4.dcm, not for diagnosis (srgan[dicom])
"""

app = typer.Typer()
log = logging.getLogger(__name__)


@app.command(
    "enhance",
    epilog=EPILOG.replace("srgan upscale", "srgan enhance").replace("photo_x4", "photo_restored"),
    help="Restore or colorize images: `srgan upscale` with the starter `restore` by default.",
)
@app.command("upscale", epilog=EPILOG)
def upscale(
    context: typer.Context,
    inputs: options.Inputs,
    output: options.Output = None,
    model: options.Model = None,
    provider: options.Provider = "auto",
    strict_provider: options.StrictProvider = False,
    tile: options.Tile = None,
    hints: options.Hints = None,
    outscale: options.Outscale = None,
    width: options.Width = None,
    height: options.Height = None,
    long_side: options.LongSide = None,
    at_least: options.AtLeast = None,
    suffix: options.Format = None,
    name: options.Name = None,
    quality: options.Quality = 95,
    lossless: options.Lossless = False,
    adapt: Adapt = False,
    adapt_seconds: AdaptSeconds = 60,
    back_project: BackProject = False,
    ensemble: Ensemble = 1,
    overwrite: options.Overwrite = False,
    keep_dates: options.KeepDates = False,
    no_provenance: options.NoProvenance = False,
    credentials: options.Credentials = None,
    engine: options.Engine = "local",
    actors: options.Actors = 0,
    address: Address = None,
    codec: options.Codec = None,
    crf: options.Crf = None,
    temporal: options.Temporal = None,
) -> None:
    """Upscale images and clips with a starter or an exported model."""
    from srgan.images.sizes import named_size
    from srgan.images.write import Options
    from srgan.inference.refine import Refinement
    from srgan.inference.settings import Settings
    from srgan.starters import catalogue

    size = named_size(outscale, width, height, long_side, at_least)
    written = Options(outscale, quality, lossless, not no_provenance, credentials and credentials.absolute(), size, keep_dates)
    settings = Settings(provider, strict_provider, tile, written, Refinement(ensemble, back_project, adapt_seconds * adapt), name)
    starter = catalogue.RESTORATION if context.info_name == "enhance" else catalogue.DEFAULT
    request = _Request(inputs, output, f".{suffix}" if suffix else None, model, starter, settings, overwrite)
    of_clips = {"--codec": codec, "--crf": crf, "--temporal": temporal}
    if engine == "local" and (actors or address):
        raise SrganError(f"{'--actors' if actors else '--address'}: fits --engine ray. Add it, or leave this out")
    if engine == "ray" or any(map(is_address, (*inputs, output or ""))):
        failures, count = _folders(request, engine, (actors, address or ""), of_clips | {"--hints": hints})
    else:
        failures, count = _here(request, of_clips, hints)
    if failures:
        raise SrganError("\n  ".join([f"{len(failures)} of {count} images failed:", *failures]))


@dataclass(frozen=True)
class _Request:
    """The images to upscale, and the options."""

    inputs: list[str]
    output: str | None
    ending: str | None  # suffix of the results
    model: str | None
    starter: str  # the model if none is named and the project has none
    settings: "Settings"
    overwrite: bool

    @property
    def sized(self) -> bool:
        """True if the size of the results is given in pixels."""
        return self.settings.options.size is not None


def _here(request: _Request, of_clips: dict[str, Any], hints: str | None) -> tuple[list[str], int]:
    """Upscale files of this machine. Return the failures and the number of images."""
    from srgan.inference import batch
    from srgan.inference.scientific import suffix_of

    inputs, output, ending, settings = request.inputs, request.output, request.ending, request.settings
    clip = _is_video(inputs, output)
    one = clip or _one_file(inputs, output)
    _check_fit(clip, one, [flag for flag, value in of_clips.items() if value is not None], hints, ending, request.sized)
    _check_names(settings.name, output, one, ending, request.sized)
    jobs = [] if one or output is None else batch.plan(inputs, output, ending)  # a wrong name shows before the model is loaded
    with tempfile.TemporaryDirectory() as folder:
        upscaler = settings.checked(_model_file(request, Path(folder)), clip)
        names = settings.names(upscaler)
        if clip and output:
            _upscale_clip(upscaler, Path(inputs[0]), Path(output), settings.options, *of_clips.values())
        elif one:
            beside = ending or suffix_of(Path(inputs[0]))
            output = output or str(batch.beside(upscaler, names, Path(inputs[0]), settings.options, beside, request.overwrite))
            batch.run_one(upscaler, inputs[0], output, settings.options, ending or ".png", hints)
        else:
            renamed = batch.renamed(jobs, names) if settings.name else jobs
            return batch.run(upscaler, renamed, settings.options, request.overwrite), len(jobs)
    return [], 1


def _folders(request: _Request, engine: str, cluster: tuple[int, str], refused: dict[str, Any]) -> tuple[list[str], int]:
    """Upscale folders by Ray, or at addresses in this process. Return the failures and the number of images."""
    from srgan.inference import remote

    inputs, output = request.inputs, request.output
    reason = "--engine ray" if engine == "ray" else next(name for name in (*inputs, output or "") if is_address(name))
    if engine == "ray":
        require_ray()
    if is_address(output or "") and request.settings.options.keep_dates:
        refused["--keep-dates"] = True
    if named := next((flag for flag, value in refused.items() if value is not None), None):
        raise SrganError(f"{named}: does not fit {reason}, which upscales folders of images. Leave out {named}")
    if output in (None, "-") or "-" in inputs:
        raise SrganError(f"{reason}: name images, and a folder for the results with -o")
    _check_names(request.settings.name, None, False, None, request.sized)
    jobs = remote.plan(inputs, output, request.ending)
    run = _with_ray if engine == "ray" else _with_addresses
    with tempfile.TemporaryDirectory() as folder:
        return run(request, _model_file(request, Path(folder)), jobs, output, cluster), len(jobs)


def _with_ray(request: _Request, model: str | Path, jobs: dict[str, str], output: str, cluster: tuple[int, str]) -> list[str]:
    from srgan.inference import ray_batch

    return ray_batch.run(model, request.settings, jobs, output, request.overwrite, ray_batch.Cluster(*cluster))


def _with_addresses(request: _Request, model: str | Path, jobs: dict[str, str], output: str, cluster: tuple[int, str]) -> list[str]:
    from srgan.inference import remote

    upscaler = request.settings.checked(model)
    jobs = remote.renamed(jobs, request.settings.names(upscaler)) if request.settings.name else jobs
    return remote.run(upscaler, jobs, output, request.settings.options, request.overwrite)


def _upscale_clip(
    upscaler: "Upscaler", source: Path, target: Path, settings: "Options", codec: Codec | None, crf: int | None, temporal: int | None
) -> None:
    from srgan.utils.files import copy_dates
    from srgan.video.upscale import VideoOptions, upscale_clip

    given = VideoOptions(settings.outscale, codec, crf, settings.quality, settings.lossless, settings.provenance, temporal or 0)
    upscale_clip(upscaler, source, target, given)
    if settings.keep_dates:
        copy_dates(source, target)


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


def _model_file(request: _Request, folder: Path) -> str | Path:
    """Return the model to use. `folder` gets one of MLflow's registry or of a bucket."""
    from srgan.config.project import Project

    model = request.model
    if model and model.startswith("models:/"):
        from srgan.tracking import registry

        return registry.download(Project(), model, folder)
    if model and is_address(model):
        from srgan.inference import remote

        remote.fetch(model, path := folder / "fetched" / model.rsplit("/", 1)[-1])
        return path
    from srgan.starters import default

    return model or default.default_model(Project(), request.starter)


def _check_fit(clip: bool, one: bool, of_clips: list[str], hints: str | None, ending: str | None, sized: bool) -> None:
    """Refuse options that do not fit the input: those of clips for images, and the reverse."""
    if not clip and of_clips:
        raise SrganError(f"{of_clips[0]}: fits a clip. Name one clip and a file such as big.mp4 for the result")
    if clip and (hints or ending):
        raise SrganError(f"{'--hints' if hints else '--format'}: does not fit a clip. The name of the result selects the format")
    if clip and sized:
        raise SrganError("a size in pixels: does not fit a clip or an animation. Use --outscale")
    if hints and not one:
        raise SrganError("--hints: fits one image. Name one image and one file for the result")


def _check_names(template: str | None, output: str | None, one: bool, ending: str | None, sized: bool) -> None:
    """Refuse a template and names of files that contradict each other."""
    from srgan.images.suffixes import FORMATS
    from srgan.inference.names import check_template

    if template:
        if one and output:
            raise SrganError(f"--name: does not fit -o {output}, which is the name of the result. Leave out one of them")
        check_template(template, several=not one, sized=sized)
    if not (one and output and output != "-" and ending):
        return
    own = Path(output).suffix
    if own.lower() in FORMATS and FORMATS[own.lower()] != FORMATS[ending]:
        named = Path(output).with_suffix(ending)
        raise SrganError(f"-o {output} and --format {ending[1:]} contradict each other. Leave out --format, or write -o {named}")
