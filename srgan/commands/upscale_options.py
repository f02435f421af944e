"""Options of `srgan upscale`, one type each."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from srgan.images.suffixes import WrittenSuffix
from srgan.inference.providers import Provider as ProviderName
from srgan.video.suffixes import Codec as CodecName

MAX_SIDE = 1_000_000  # pixels

Inputs = Annotated[
    list[str],
    typer.Argument(
        parser=str, metavar="INPUT", help="Files, folders, patterns such as 'a/**/*.jpg', addresses such as s3://bucket/a, or - for stdin."
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        parser=str,
        metavar="PATH",
        help="A file for one image, else a folder, or - for stdout. Default for one image: a PNG beside it, such as photo_x4.png.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        parser=str,
        metavar="MODEL",
        help="A starter (`srgan models list`), an .onnx file, weights (.safetensors, .pth), their address such as "
        "s3://bucket/x.onnx, or models:/NAME@ALIAS of MLflow's registry. "
        "Default: the choice of `srgan models use`, the model that the pipeline exported, or the default starter.",
    ),
]
Provider = Annotated[ProviderName, typer.Option(help="What runs the model. `auto` is CUDA where it works, else the CPU.")]
StrictProvider = Annotated[bool, typer.Option("--strict-provider", help="Fail if the provider does not work. Default: use the next best.")]
Tile = Annotated[int | None, typer.Option(min=1, help="Side of the tiles that the model gets, in pixels. Default: as free memory allows.")]
Hints = Annotated[
    str | None,
    typer.Option(
        parser=str,
        metavar="PATH",
        help="For a model that colorizes: strokes of color on a transparent image of the same size, which the result follows.",
    ),
]

Outscale = Annotated[
    float | None,
    typer.Option(min=0.01, max=64, help="Size of the result relative to the image. Lanczos resizes the result of the model."),
]
Width = Annotated[int | None, typer.Option(min=1, max=MAX_SIDE, help="Width of the result in pixels, instead of --outscale.")]
Height = Annotated[int | None, typer.Option(min=1, max=MAX_SIDE, help="Height of the result in pixels.")]
LongSide = Annotated[int | None, typer.Option(min=1, max=MAX_SIDE, help="Longer side of the result in pixels.")]
AtLeast = Annotated[
    str | None,
    typer.Option(
        parser=str,
        metavar="SIZE",
        help="fullhd, 2k, 4k, 5k, 8k or pixels such as 3000x2000, which the result covers, upright or not. Larger images keep their size.",
    ),
]

Format = Annotated[
    WrittenSuffix | None,
    typer.Option("--format", help="Format of a result without a file name. Default: in a folder the image's own, else png."),
]
Name = Annotated[
    str | None,
    typer.Option(
        parser=str,
        metavar="TEMPLATE",
        help="Name of a result without its suffix, such as '{stem}_{scale}x_{model}'. {size} is x4 or 4k, as in --at-least.",
    ),
]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP, AVIF and JPEG XL.")]
Lossless = Annotated[bool, typer.Option("--lossless", help="Write WebP, AVIF and JPEG XL without loss.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="In a folder or beside the image, write results that exist already again."),
]
KeepDates = Annotated[bool, typer.Option("--keep-dates", help="Give each result the file date of its image.")]
NoProvenance = Annotated[bool, typer.Option("--no-provenance", help="Do not name the model in the result's XMP.")]
Credentials = Annotated[
    Path | None,
    typer.Option(
        parser=Path,
        envvar="SRGAN_CREDENTIALS",
        metavar="FILE",
        help="Sign content credentials (C2PA) in the images with the private key and certificates of this PEM file.",
    ),
]

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="`ray` upscales folders and buckets on many cores, GPUs or machines."),
]
Actors = Annotated[int, typer.Option(min=0, help="Models that work at the same time with Ray. 0 is one for each GPU or core.")]

Codec = Annotated[CodecName | None, typer.Option(help="Codec of a clip. Default: the one that most players of such a file decode.")]
Crf = Annotated[
    int | None,
    typer.Option(min=0, max=63, help="Constant rate factor of a clip: less is better and larger. Default: 16 to 22, by codec."),
]
Temporal = Annotated[
    int | None,
    typer.Option(min=1, max=8, help="Reduce the flicker of a clip: blend each frame with this many frames before and after it."),
]
