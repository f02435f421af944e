"""`srgan finetune`: learn from few images."""

from typing import Annotated

import typer

EPILOG = """\
\b
Examples:
  srgan finetune x4-photo --data portraits                         # from a starter, the gain by cross-validation
  srgan finetune models:/srgan-x4@champion --data a --test b       # from a registered model, the gain on other images
"""

app = typer.Typer()


@app.command(epilog=EPILOG)
def finetune(
    start: Annotated[
        str, typer.Argument(metavar="START", help="models:/NAME@ALIAS, the name of a starter, or a file of weights to start from.")
    ],
    data: Annotated[str, typer.Option("--data", metavar="FOLDER", help="The images to learn from: 5 to 50.")],
    test: Annotated[
        str, typer.Option("--test", metavar="FOLDER", help="Images to measure the gain with. Default: cross-validation of --data.")
    ] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="The name of the model. Default: that of the folder.")] = "",
    recipe: Annotated[str, typer.Option(metavar="PRESET", help="The preset that makes the LR images. Default: that of the start.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="The most training steps of each training.")] = 200,
) -> None:
    """Learn one kind of images from 5 to 50 of them, starting from a trained model.

    The model is kept if images that it did not learn from show a gain. Otherwise the start stays and the exit code is 3. The same command
    continues after a kill.
    """
    from srgan.config.project import Project
    from srgan.finetuning.options import Request
    from srgan.finetuning.run import finetune as run
    from srgan.utils import machine

    machine.keep_freed_memory()
    result = run(Project(), Request(start, data, test, name, recipe, steps))
    print(f"gain: {result.verdict.gain}")
    if not result.model:
        print(f"not kept, {start} stays the better model: {result.verdict.reason}")
        raise typer.Exit(3)
    print(f"kept: {result.model}\nweights: {result.project.generator}\ncard: {result.project.model_card}")
    if result.version:
        print(f"registered: {result.version}")
