"""A record of the board and the rules that it has to pass."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from srgan.metrics.registry import METRICS
from srgan.speedrun import clock
from srgan.speedrun.tracks import Score, Track
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json_or_none

FILE, JOURNAL = "record.json", "clock.csv"


@dataclass(frozen=True)
class Record:
    """The result of a speedrun, ``record.json``.

    Attributes:
        track: name of the track.
        name: of the entry.
        date: of the result, in UTC.
        commit: of the code.
        changes: files of the code that differ from the commit.
        data: digests of the prepared data.
        leaks: training images that show test images.
        seconds: training stage -> time of all of its attempts.
        attempts: at training stages.
        others: mean cores that other programs used.
        machine: `device`, `cpu`, `gpu`, `cores`, `threads` and `precision`.
        versions: program -> version.
        network: name and size.
        weights: number of trainable weights.
        flops: of the network per megapixel of the result.
        onnx: `seconds_per_megapixel`, `threads`, and `sha256` of the exported file.
        scores: model -> test set -> metric -> mean.
    """

    track: str
    name: str
    date: str
    commit: str
    changes: list[str]
    data: dict[str, str]
    leaks: list[str]
    seconds: dict[str, float]
    attempts: int
    others: float
    machine: dict[str, Any]
    versions: dict[str, str]
    network: str
    weights: int
    flops: float
    onnx: dict[str, Any]
    scores: dict[str, dict[str, dict[str, float]]]

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.date}-{self.track}-{self.name}"

    def value(self, score: Score) -> float | None:
        """Return a figure of the board. None if it was not scored."""
        return self.scores.get(score.model, {}).get(score.set, {}).get(score.metric)


def read_record(folder: Path) -> tuple[Record, list[clock.Row]]:
    """Return the record in a folder and its clock.

    Raises:
        SrganError: the file is missing or not a record.
    """
    values = read_json_or_none(folder / FILE)
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(Record)}:
        raise SrganError(f"{folder / FILE}: not a record of a speedrun. Restore the folder with git, or remove it")
    return Record(**values), clock.read_journal(folder / JOURNAL)


def problems(track: Track, record: Record, rows: list[clock.Row]) -> list[str]:
    """Return why a result cannot be a record, as sentences. An empty list admits it.

    Args:
        track: the track.
        record: the result.
        rows: its clock.
    """
    found = []
    for part, expected in asdict(track.data).items():
        if (digest := record.data.get(part, "")) != expected:
            found.append(
                f"the {part} data have the digest {digest[:16] or 'none'}, the track has {expected[:16]}: "
                f"`data` and `prepare` have to be those of the profile {track.profile}, with unchanged images"
            )
    found += [f"leak: {leak}" for leak in record.leaks]
    found += clock.disagreements(rows, track.stages)
    if (used := clock.seconds(rows)) > track.seconds:
        found.append(f"the training took {clock.minutes(used)}, the track has {clock.minutes(track.seconds)}: choose fewer steps")
    if abs(sum(record.seconds.values()) - used) > 0.1:
        found.append(f"record.json has {sum(record.seconds.values()):.1f} seconds, its clock {used:.1f}")
    if not record.commit:
        found.append("the code has no commit: run it from a git clone")
    if record.changes:
        found.append(f"files differ from the commit: {', '.join(record.changes[:5])}. Commit them first")
    found += machine_problems(track, record.machine["device"], max((row.cores for row in rows), default=0), _most_threads(rows))
    if record.value(track.columns[0]) is None:
        found.append(f"no value of {_text(track.columns[0])}, which ranks the track")
    if track.least:
        score, least = track.least
        value = record.value(score)
        if value is None or not value >= least:
            found.append(f"{_text(score)} is {value}, the track needs at least {least}")
    return found


def machine_problems(track: Track, device: str, cores: int, threads: int) -> list[str]:
    """Return why this machine cannot run a track.

    Args:
        track: the track.
        device: type of the device that trains.
        cores: number of cores that the process may use.
        threads: threads of torch.
    """
    found = []
    if device != track.device:
        remedy = "hide the GPU with CUDA_VISIBLE_DEVICES=" if track.device == "cpu" else "run it on a machine with such a GPU"
        found.append(f"the training runs on {device}, the track on {track.device}: {remedy}")
    if track.cores and cores > track.cores:
        chosen = ",".join(map(str, range(track.cores)))
        found.append(f"the process may use {cores} cores, the track has {track.cores}: start it with taskset -c {chosen}")
    if track.cores and threads > track.cores:
        found.append(f"torch uses {threads} threads, the track has {track.cores}: set OMP_NUM_THREADS={track.cores}")
    return found


def rank(track: Track, record: Record) -> float:
    """Return a number that is higher for a better record of a track."""
    value = record.value(track.columns[0])
    return -math.inf if value is None else float(METRICS[track.columns[0].metric].higher_is_better(value))


def _most_threads(rows: list[clock.Row]) -> int:
    return max((row.threads for row in rows), default=0)


def _text(score: Score) -> str:
    return f"{METRICS[score.metric].label} of {score.model} on {score.set}"
