"""The value of a trial: the validation whose weights its training keeps, with guards against a worse PSNR and a hatch."""

import csv
from dataclasses import dataclass
from pathlib import Path

from srgan.config.schema import Params
from srgan.training.model_selection import ModelSelection
from srgan.tuning.study_file import Definition
from srgan.utils.csv_table import Row, validation_csv
from srgan.utils.errors import SrganError

REFUSED = 1.0  # LPIPS above that of any image that can be used


@dataclass(frozen=True)
class Score:
    """The value of a trial, or of its validations so far.

    Attributes:
        value: the objective. A refused trial has one that is worse than any other.
        row: the validation.
        refused: the guard that the validation breaks, or an empty text.
    """

    value: float
    row: Row
    refused: str = ""


def read_rows(losses: Path) -> list[Row]:
    """Return the validations of a training that may be running. The last line may be incomplete.

    Args:
        losses: the CSV of the losses.
    """
    path = validation_csv(losses)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def judge(definition: Definition, params: Params, rows: list[Row], reference: Row) -> Score:
    """Return the score of a training after its validations so far.

    The guards compare with the pixel stage of the first trial, not with that of the trial: a trial must not pass them by a poor start.

    Args:
        definition: the study.
        params: of the trial.
        rows: its validations. The first one is before the first step.
        reference: the validation of the base parameters before the first step of the GAN stage.

    Raises:
        SrganError: the objective was not measured.
    """
    options, measured = definition.options, f"val_{definition.options.objective}"
    if measured not in rows[0]:
        raise SrganError("LPIPS was not measured: the weights of AlexNet are missing. Set SRGAN_MIRROR or connect to the internet")
    if options.stage == "pretrain":
        row = max(rows[1:], key=lambda row: row[measured])
        return Score(row[measured], row)
    keeps_luma = "val_ciede2000" in rows[0]
    selection = ModelSelection("LPIPS", params.train.psnr_guard, params.train.hatch_guard, keeps_luma)
    row = max(rows[1:], key=lambda row: selection.score(row, rows[0]))
    lost = reference["val_psnr_y"] - row["val_psnr_y"] - definition.base.train.psnr_guard
    if lost > 0 and not keeps_luma:
        return Score(REFUSED + lost, row, f"PSNR-Y {row['val_psnr_y']:.2f} dB is {lost:.2f} dB below the guard")
    risen = row.get("val_hatch", 0.0) - reference.get("val_hatch", 0.0) - definition.base.train.hatch_guard
    if risen > 0:
        return Score(REFUSED + risen, row, f"hatch {row['val_hatch']:.2f} is {risen:.2f} levels above the guard")
    return Score(row[measured], row)


def is_refused(definition: Definition, values: list[float]) -> bool:
    """Return True if the values of a trial are those of a refused one."""
    return definition.options.objective == "lpips" and values[0] >= REFUSED
