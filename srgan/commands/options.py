"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

# `parser` instead of the plain type: names of files need not be UTF-8, and typer's own conversion refuses those.
ParamsFile = Annotated[Path, typer.Option("--params", parser=Path, metavar="FILE", help="The parameter file.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="The reason, for the registry's history.")]
Adapt = Annotated[
    bool, typer.Option("--adapt", help="Train the model on each image first, for blur that it does not know. Needs a starter or weights.")
]
AdaptSeconds = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="The limit of --adapt for an image.")]
BackProject = Annotated[bool, typer.Option("--back-project", help="Change the result so that its reduction is the image.")]
Ensemble = Annotated[int, typer.Option(min=1, max=8, metavar="1|8", help="Average the results of 8 symmetries of the image.")]
Address = Annotated[
    str | None,
    typer.Option(parser=str, metavar="ADDRESS", help="Ray cluster, such as auto. Default: the variable RAY_ADDRESS, or this machine."),
]

DEFAULT_PARAMS = Path("params.yaml")
