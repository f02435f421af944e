"""`srgan params`: complete a parameter file, and write what is generated from the schema."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile

app = typer.Typer(help="Complete the parameter file, and write its JSON schema and reference page.")
Output = Annotated[Path, typer.Option("--output", "-o", parser=Path, metavar="FILE", help="The file to write.")]


@app.command()
def update(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Rewrite the parameter file with the present names and all options. Comments and values stay."""
    from srgan.config import render

    for line in render.update_file(params):
        print(line)


@app.command()
def schema(output: Output = Path("params.schema.json")) -> None:
    """Write the JSON schema, by which editors complete and check the parameter file."""
    from srgan.config import reference
    from srgan.utils import files

    files.write_text(output, reference.json_schema())
    print(output)


@app.command()
def docs(output: Output = Path("docs/parameters.md")) -> None:
    """Write the reference page of all options."""
    from srgan.config import reference
    from srgan.utils import files

    files.write_text(output, reference.reference())
    print(output)
