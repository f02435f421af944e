"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

# `parser` instead of the plain type: names of files need not be UTF-8, and typer's own conversion refuses those.
ParamsFile = Annotated[Path, typer.Option("--params", parser=Path, metavar="FILE", help="The parameter file.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="The reason, for the registry's history.")]

DEFAULT_PARAMS = Path("params.yaml")
