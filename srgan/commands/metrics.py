"""`srgan metrics`: metrics of image files and clips."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.utils.errors import SrganError
from srgan.video.suffixes import is_clip, require_decoder

EPILOG = """\
\b
Examples:
  srgan metrics results/ --against originals/
  srgan metrics plain.mp4 steady.mp4 --input clip.mp4 -o flicker.html
"""

app = typer.Typer()


@app.command(epilog=EPILOG)
def metrics(
    inputs: Annotated[
        list[str],
        typer.Argument(parser=str, metavar="IMAGE", help="Files, folders, patterns such as 'a/**/*.jpg', or results of one clip."),
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            parser=Path,
            metavar="PATH",
            help="The folder of the originals, by the same names, or the original of the clips. Default: score what needs none.",
        ),
    ] = None,
    scale: Annotated[
        int, typer.Option(min=1, max=8, help="The border that PSNR and SSIM leave out, and the period of the checkerboard, in pixels.")
    ] = 4,
    source: Annotated[
        Path | None,
        typer.Option("--input", parser=Path, metavar="CLIP", help="The clip that was upscaled. The flicker is given relative to it."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", parser=Path, metavar="PAGE", help="For clips: a page to write, such as flicker.html.")
    ] = None,
) -> None:
    """Score image files or clips, with or without originals."""
    if any(is_clip(name) for name in inputs):
        _score_clips([Path(name) for name in inputs], against, source, scale, output)
        return
    if source or output:
        raise SrganError(f"{'--input' if source else '--output'}: fits clips. Name clips such as big.mp4")
    import tempfile

    from srgan.evaluation.files import find_originals, score_files, text_table
    from srgan.images.search import find_images
    from srgan.metrics.registry import open_metrics, select_metrics

    with tempfile.TemporaryDirectory() as elsewhere:  # there are no results to keep out of the search
        images = list(find_images(inputs, Path(elsewhere) / "results"))
    originals = find_originals(images, against) if against else dict.fromkeys(images)
    print(text_table(score_files(originals, scale, open_metrics(select_metrics(["alex"] if against else [])))))


def _score_clips(results: list[Path], original: Path | None, source: Path | None, scale: int, page: Path | None) -> None:
    require_decoder(results[0])
    from srgan.evaluation.clips import score_clip, summarise, write_page
    from srgan.evaluation.files import text_table
    from srgan.metrics.registry import CLIP_METRICS, open_metrics

    for path in results:
        if not is_clip(path):
            raise SrganError(f"{path}: is no clip. Score images and clips one after the other")
    alone = [path for path in (source, original) if path]  # scored like a result that has no original
    chosen = [metric for metric in CLIP_METRICS.values() if metric.score or (metric.load and original)]
    scorers = open_metrics(chosen)
    clips = [score_clip(path, None, scale, scorers) for path in alone] + [score_clip(path, original, scale, scorers) for path in results]
    table = summarise(clips, clips[0] if source else None)
    print(text_table(table, CLIP_METRICS, mean=False))
    if page:
        write_page(page, clips, table)
