"""`srgan ci-report`."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile

EPILOG = """\
\b
Example, in a pull request:
  git worktree add ../before origin/main && (cd ../before && dvc repro evaluate)
  dvc repro evaluate
  srgan ci-report ../before -o report.md
"""

app = typer.Typer()


@app.command("ci-report", epilog=EPILOG)
def ci_report(
    before: Annotated[Path, typer.Argument(parser=Path, metavar="PROJECT", help="A working copy of the state before, with its results.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", parser=Path, metavar="FILE", help="The Markdown file. Default: standard output.")
    ] = None,
    picture: Annotated[str, typer.Option(metavar="ADDRESS", help="Address of the comparison image. Default: no image.")] = "",
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Report a change for a pull request: scores before and after, the decision of the rules, the comparison image."""
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.tracking.change_report import change_report
    from srgan.utils.files import write_text

    text = change_report(Project(), Project(before), schema.load(params), picture)
    if output:
        write_text(output, text)
    else:
        print(text, end="")
