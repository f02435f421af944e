"""`srgan metrics`: metrics of image files."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def metrics(
    inputs: Annotated[list[str], typer.Argument(parser=str, metavar="IMAGE", help="Files, folders, or patterns such as 'a/**/*.jpg'.")],
    against: Annotated[
        Path | None,
        typer.Option(parser=Path, metavar="FOLDER", help="The originals, by the same names. Default: score only what needs no original."),
    ] = None,
    scale: Annotated[
        int, typer.Option(min=1, max=8, help="The border that PSNR and SSIM leave out, and the period of the checkerboard, in pixels.")
    ] = 4,
) -> None:
    """Score image files, with or without originals."""
    import tempfile

    from srgan.evaluation.files import find_originals, score_files, text_table
    from srgan.images.search import find_images
    from srgan.metrics.registry import open_metrics, select_metrics

    with tempfile.TemporaryDirectory() as elsewhere:  # there are no results to keep out of the search
        images = list(find_images(inputs, Path(elsewhere) / "results"))
    originals = find_originals(images, against) if against else dict.fromkeys(images)
    print(text_table(score_files(originals, scale, open_metrics(select_metrics(["alex"] if against else [])))))
