"""`srgan study`: blind comparisons of models by people."""

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """\
\b
Examples:
  srgan study create studies/first models:/srgan-x4@champion models:/srgan-x4@challenger
  srgan study create studies/faces ours=results/ours theirs=results/theirs original=photos/hr
  srgan study open studies/first                  # raters on this machine
  srgan study open studies/first --static rate.html
  srgan study report studies/first answers-*.json
"""

app = typer.Typer(help="Let people compare models without knowing which picture is whose.", epilog=EPILOG)

Folder = Annotated[Path, typer.Argument(parser=Path, metavar="FOLDER", help="The folder of the study.")]


@app.command(epilog=EPILOG)
def create(
    folder: Annotated[Path, typer.Argument(parser=Path, metavar="FOLDER", help="The new folder of the study.")],
    models: Annotated[
        list[str],
        typer.Argument(
            parser=str,
            metavar="[LABEL=]SOURCE",
            help="Two or more: a folder of images, a model file, models:/NAME@ALIAS of MLflow's registry, or `originals`.",
        ),
    ],
    inputs: Annotated[
        str | None,
        typer.Option(parser=str, metavar="FOLDER", help="The images that models get. Default: the prepared test images of the project."),
    ] = None,
    raters: Annotated[int, typer.Option(min=1, max=1000, help="Number of invitation codes.")] = 3,
    pairs: Annotated[int, typer.Option(min=1, max=10000, help="Comparisons of each rater.")] = 60,
    checks: Annotated[int, typer.Option(min=0, max=100, help="Attention checks of each rater.")] = 8,
    crop: Annotated[int, typer.Option(min=64, max=8192, help="Side in pixels. Larger pictures are cropped to their centre.")] = 512,
    question: Annotated[str, typer.Option(metavar="TEXT", help="Asked at each pair of pictures.")] = "Which picture looks better?",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of comparisons, order and sides. Default: a secret random one.")] = None,
) -> None:
    """Make the pictures, the plan and the invitation codes."""
    from srgan.study.create import create

    codes = create(folder, models, inputs=inputs, raters=raters, pairs=pairs, checks=checks, crop=crop, question=question, seed=seed)
    print(f"{folder} is ready. Give each rater one code:\n" + "\n".join(f"  {code}" for code in codes))
    print(f"Keep {folder / 'key.json'} secret: it has the codes and tells which picture is whose.")
    print(f"Begin with: srgan study open {folder}")


@app.command("open", epilog=EPILOG)
def open_study(
    folder: Folder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1. 0 takes any free one.")] = 8765,
    static: Annotated[
        Path | None,
        typer.Option(parser=Path, metavar="FILE", help="Write one HTML file instead. It works without a server and returns answer files."),
    ] = None,
) -> None:
    """Show the pictures to the raters.

    Without --static the page is served until Ctrl-C. Each answer is stored at once.
    """
    from srgan.study import server
    from srgan.study.files import read_key, read_study
    from srgan.study.rate_page import write_static_page

    study = read_study(folder)
    codes = read_key(folder, study).codes
    if static:
        write_static_page(folder, study, static)
        print(f"{static}: {static.stat().st_size / 1e6:.1f} MB. Send it to the raters, each with one code:")
        print("\n".join(f"  {code}" for code in codes))
        print(f"They return an answer file each. Read them with: srgan study report {folder} FILE FILE")
        return
    server.serve(folder, study, port, codes)


@app.command(epilog=EPILOG)
def report(
    folder: Folder,
    returned: Annotated[
        list[Path] | None, typer.Argument(parser=Path, metavar="[FILE]...", help="Answer files that raters returned. They are kept.")
    ] = None,
) -> None:
    """Analyse the answers: strengths, preferences and agreement, as JSON and as a page."""
    from srgan.study import report

    print(report.text_table(report.report(folder, returned or [])))
    print(f"Report: {folder / report.PAGE}")
