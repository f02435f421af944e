"""The board: ``benchmarks/LEADERBOARD.md``, made from the folders of the records."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from srgan.metrics.registry import METRICS
from srgan.speedrun import clock
from srgan.speedrun.record import Record, problems, rank, read_record
from srgan.speedrun.tracks import TRACKS, Reference, Score, Track
from srgan.utils.errors import SrganError
from srgan.utils.files import write_text

FILE, RECORDS = "LEADERBOARD.md", "records"
HEAD = """\
# Leaderboard

This page ranks trainings of a fixed time on fixed data.
`srgan speedrun` writes it from the folders in `benchmarks/records/`.
[Speedruns](../docs/speedrun.md) has the rules and the commands.

Scores are means over the test set, by the protocol of [evaluation](../docs/evaluation.md#metrics).
The hatch is the mean over all test images.
Minutes are those of the training stages with their validations.
MP is a megapixel of the result.
s/MP is the time of the ONNX file with two threads on the CPU of the record.
The load is the mean number of cores that other programs used during the training.
"""
NONE = "No record yet: no training of this track has run."
TITLES = {"set5": "Set5", "set14": "Set14"}


def read_records(folder: Path, tracks: Mapping[str, Track] = TRACKS) -> list[Record]:
    """Return all records.

    Args:
        folder: of the board, ``benchmarks``.
        tracks: name -> track.

    Raises:
        SrganError: a folder is not a record or breaks a rule of its track.
    """
    found = []
    for path in sorted(path.parent for path in (folder / RECORDS).glob("*/record.json")):
        record, rows = read_record(path)
        if record.track not in tracks:
            raise SrganError(f"{path}: no track '{record.track}'. The tracks are {', '.join(tracks)}")
        if wrong := problems(tracks[record.track], record, rows):
            raise SrganError(f"{path}: not a valid record: {'; '.join(wrong)}. Restore the folder with git, or remove it")
        found.append(record)
    return found


def board_text(folder: Path, tracks: Mapping[str, Track] = TRACKS) -> str:
    """Return the board as Markdown.

    Args:
        folder: of the board, ``benchmarks``.
        tracks: name -> track.

    Raises:
        SrganError: a record is not valid.
    """
    records = read_records(folder, tracks)
    sections = [section(track, [record for record in records if record.track == track.name]) for track in tracks.values()]
    return "\n".join([HEAD, *sections])


def write_board(folder: Path, tracks: Mapping[str, Track] = TRACKS) -> Path:
    """Write the board. Return its path. See `board_text`."""
    write_text(folder / FILE, board_text(folder, tracks))
    return folder / FILE


def section(track: Track, records: Iterable[Record]) -> str:
    """Return the heading and the table of a track.

    Args:
        track: the track.
        records: those of the track.
    """
    ranked = sorted(records, key=lambda record: (-rank(track, record), record.date))
    titles = [
        "rank",
        "date",
        "entry",
        *(_title(track, score) for score in track.columns),
        "hatch",
        "minutes",
        "weights",
        "FLOPs/MP",
        "s/MP",
        "machine",
        "commit",
    ]
    rows = [_row(track, number, record) for number, record in enumerate(ranked, 1)]
    rows += [_reference_row(track, reference) for reference in track.references]
    text = [f"## {track.title}", "", f"`srgan speedrun {track.name}` runs this track."]
    text += [f"A record needs {_title(track, track.least[0])} of at least {track.least[1]} dB."] if track.least else []
    text += [track.goal] if track.goal else []
    text += [] if ranked else [NONE]
    if rows:
        text += ["", f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(text) + "\n"


def _title(track: Track, score: Score) -> str:
    model = "" if score.model == track.model else " (pixel stage)"
    return f"{TITLES.get(score.set, score.set)} {METRICS[score.metric].label}{model}"


def _row(track: Track, number: int, record: Record) -> list[str]:
    return [
        str(number),
        record.date,
        f"[{record.name}]({RECORDS}/{record.folder})",
        *(_value(score, record.value(score)) for score in track.columns),
        _value(Score("all", "hatch", track.model), record.value(Score("all", "hatch", track.model))),
        f"{sum(record.seconds.values()) / 60:.3g}",
        f"{record.weights / 1e6:.2f} M",
        f"{record.flops / 1e9:,.0f} G",
        f"{record.onnx['seconds_per_megapixel']:.3g}",
        f"{record.machine['gpu'] or record.machine['cpu']}, {record.machine['precision']}, load {record.others:.1f}",
        f"`{record.commit[:7]}`",
    ]


def _reference_row(track: Track, reference: Reference) -> list[str]:
    return [
        "-",
        "before",
        f"{reference.name}, measured before the board ([curves]({reference.link}))",
        *(_value(score, reference.scores.get((score.set, score.metric, score.model))) for score in track.columns),
        "-",
        f"{reference.minutes:.3g}",
        f"{reference.weights / 1e6:.2f} M",
        f"{reference.flops / 1e9:,.0f} G",
        *("-" * 3),
    ]


def _value(score: Score, value: float | None) -> str:
    return "-" if value is None else METRICS[score.metric].text(value)


def describe(tracks: Mapping[str, Track] = TRACKS) -> str:
    """Return a line for each track, for a terminal."""
    return "\n".join(f"{track.name:10}  {track.title}: at most {clock.minutes(track.seconds)}" for track in tracks.values())
