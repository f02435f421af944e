"""`srgan publish`."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile

EPILOG = """\
\b
Example:
  srgan publish -o published --author jane-doe --license CC-BY-4.0 \\
    --url https://github.com/jane-doe/models/releases/download/4x-photo --image boat.png
"""

app = typer.Typer()


@app.command(epilog=EPILOG)
def publish(
    output: Annotated[
        Path, typer.Option("-o", "--output", parser=Path, metavar="FOLDER", help="Gets the files, README.md and the JSON for OpenModelDB.")
    ],
    weights: Annotated[
        Path | None, typer.Option("-m", "--model", parser=Path, metavar="WEIGHTS", help="The weights. Default: the pipeline's.")
    ] = None,
    author: Annotated[list[str], typer.Option(metavar="ID", help="A user of OpenModelDB, such as jane-doe. May be repeated.")] = [],  # noqa: B006
    licence: Annotated[str, typer.Option("--license", metavar="SPDX", help="The license, such as CC-BY-4.0. Default: the weights'.")] = "",
    url: Annotated[str, typer.Option(metavar="ADDRESS", help="The address below which the files will be found.")] = "",
    name: Annotated[str, typer.Option(metavar="TEXT", help="The model's name. Default: the file's name, or the pipeline's.")] = "",
    description: Annotated[str, typer.Option(metavar="TEXT", help="The purpose, in Markdown.")] = "",
    tag: Annotated[list[str], typer.Option(metavar="TAG", help="A tag of OpenModelDB, such as photo. May be repeated.")] = [],  # noqa: B006
    dataset: Annotated[str, typer.Option(metavar="TEXT", help="The training data. Default: the pipeline's.")] = "",
    pretrained: Annotated[str, typer.Option(metavar="ID", help="The model in OpenModelDB that training started from.")] = "",
    image: Annotated[list[Path], typer.Option(parser=Path, metavar="FILE", help="An example to upscale. May be repeated.")] = [],  # noqa: B006
    formats: Annotated[str, typer.Option("--to", metavar="FORMAT,FORMAT", help="As for `srgan export`.")] = "safetensors,onnx",
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Write a folder for publication.

    It gets the model's files, a model card and an entry for OpenModelDB.
    """
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.export.openmodeldb import Details
    from srgan.export.publish import publish, training_of

    training: dict[str, object] = {}
    card = ""
    if weights is None:
        project, loaded = Project(), schema.load(params)
        weights, name, licence = project.generator, name or loaded.export.name, licence or loaded.export.license
        training |= training_of(project, loaded)
        card = project.model_card.read_text(encoding="utf-8") if project.model_card.is_file() else ""
    training |= {key: value for key, value in (("dataset", dataset), ("pretrainedModelG", pretrained)) if value}
    details = Details(tuple(author), licence, url, description, tuple(tag), tuple(training.items()))
    publish(weights, output, details, formats, name, tuple(image), card)
