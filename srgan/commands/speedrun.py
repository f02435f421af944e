"""`srgan speedrun`: trainings of a fixed time, for the board."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.utils.errors import SrganError, nearest

app = typer.Typer()


def _names() -> list[str]:
    from srgan.speedrun.tracks import TRACKS

    return list(TRACKS)


@app.command()
def speedrun(
    track: Annotated[
        str, typer.Argument(metavar="[TRACK]", help="The track. Default: list the tracks and write the board.", autocompletion=_names)
    ] = "",
    params: Annotated[
        Path | None, typer.Option("--params", parser=Path, metavar="FILE", help="The entry's parameters. Default: the track's profile.")
    ] = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="The name of the entry. Default: that of its network.")] = "",
) -> None:
    """Train for the time of a track and enter the record into the board.

    The same command continues a run that was killed.
    """
    from srgan.speedrun import board
    from srgan.speedrun.tracks import TRACKS
    from srgan.utils import machine

    if not track:
        path = board.write_board(Path("benchmarks"))
        print(f"{board.describe()}\n{path} has {len(board.read_records(path.parent))} records")
        return
    if track not in TRACKS:
        raise SrganError(f"no track '{track}'{nearest(track, list(TRACKS))}")
    from srgan.speedrun import run

    machine.keep_freed_memory()
    print(run.speedrun(TRACKS[track], params=params, name=name))
