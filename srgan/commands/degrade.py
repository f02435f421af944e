"""`srgan degrade`."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.utils.errors import SrganError

EPILOG = """\
\b
Examples:
  srgan degrade photos/ -o pairs/ --recipe realesrgan
  srgan degrade photos/ -o compressed/ --recipe jpeg-30 --scale 1
  srgan degrade a.png b.png -o pairs/ --recipe steps.yaml --seed 7
"""

app = typer.Typer()


def _recipes() -> list[str]:
    from srgan.degradations.presets import PRESETS

    return list(PRESETS)


@app.command(epilog=EPILOG)
def degrade(
    inputs: Annotated[list[str], typer.Argument(parser=str, metavar="INPUT", help="Files, folders, or patterns such as 'a/**/*.jpg'.")],
    output: Annotated[Path, typer.Option("-o", "--output", parser=Path, metavar="FOLDER", help="Gets HR/, LR/ and pairs.json.")],
    recipe: Annotated[
        str,
        typer.Option(
            parser=str,
            metavar="RECIPE",
            help="A preset such as `realesrgan` or `jpeg-50`, or a YAML file with a list of steps.",
            autocompletion=_recipes,
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pairs.")] = 0,
    scale: Annotated[int, typer.Option(min=1, max=8, help="HR size / LR size.")] = 4,
) -> None:
    """Make pairs of original and degraded images."""
    from srgan.config.recipe_file import load_recipe
    from srgan.data.degrade import plan, write_pairs
    from srgan.degradations.recipe import Recipe

    steps = Recipe(load_recipe(recipe))
    jobs = plan(inputs, output)
    if failures := write_pairs(jobs, output, steps, scale, seed):
        raise SrganError("\n  ".join([f"{len(failures)} of {len(jobs)} images failed:", *failures]))
