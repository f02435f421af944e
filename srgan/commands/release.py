"""`srgan release` and `srgan verify`."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile
from srgan.utils.errors import SrganError

EPILOG = """\
\b
Examples:
  srgan release 1.0.0 --key private.pem
  srgan verify releases/demo-1.0.0 --key public.pem
  SRGAN_VERIFY_KEY=public.pem srgan upscale photo.jpg --model releases/demo-1.0.0/models/4x-demo-compact-fp32.onnx
"""

app = typer.Typer()


@app.command(epilog=EPILOG)
def release(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version, such as 1.0.0.")],
    output: Annotated[Path, typer.Option("-o", "--output", parser=Path, metavar="FOLDER", help="Gets the folders of the release.")] = Path(
        "releases"
    ),
    key: Annotated[
        Path | None,
        typer.Option(parser=Path, envvar="SRGAN_SIGN_KEY", metavar="FILE", help="The private key, a PEM file. Default: no signature."),
    ] = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Write a signed release of the model: a folder, and the same as an OCI image layout."""
    from srgan.config import schema
    from srgan.config.project import Project

    try:
        from srgan.release.make import make
    except ImportError as error:
        raise SrganError(f"a release needs more packages ({error}). Install them with: pip install 'srgan[release]'") from error
    for folder in make(Project(), schema.load(params), version, output, key):
        print(folder)


@app.command(epilog=EPILOG)
def verify(
    folder: Annotated[Path, typer.Argument(parser=Path, metavar="FOLDER", help="The folder of a release, or its OCI image layout.")],
    key: Annotated[
        Path | None,
        typer.Option(parser=Path, envvar="SRGAN_VERIFY_KEY", metavar="FILE", help="The public key, a PEM file. Default: checksums only."),
    ] = None,
    rebuilt: Annotated[
        Path | None,
        typer.Option(parser=Path, metavar="PROJECT", help="A clone in which the model was trained again, to compare it with the release."),
    ] = None,
) -> None:
    """Check that no file of a release was changed, added or removed."""
    from srgan.config.project import Project
    from srgan.inference import signature
    from srgan.release import lineage, oci

    if (folder / oci.MARKER).is_file():
        oci.verify_layout(folder, key)
    else:
        signature.verify(folder, key)
    print(f"{folder}: {f'signed by {key}' if key else 'fits its checksums. Check the signature too with --key'}")
    if rebuilt:
        print(f"{rebuilt}: the same {', '.join(lineage.check_rebuilt(folder, Project(rebuilt)))}")
