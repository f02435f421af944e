"""The logged values of a training: its parameters, losses and validation scores over the steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from srgan.utils.csv_table import validation_csv


@dataclass(frozen=True)
class TrainingHistory:
    """Parameters and logged values of a training. Values that are unknown are left out."""

    parameters: dict[str, Any]
    losses: dict[str, pd.DataFrame] = field(default_factory=dict)  # stage -> a row for each logged step
    validation: dict[str, pd.DataFrame] = field(default_factory=dict)  # stage -> a row for each validation


def read_history(
    parameters: dict[str, Any], losses: dict[str, Path], read: Callable[[Path], pd.DataFrame] = pd.read_csv
) -> TrainingHistory:
    """Read the files that the training stages wrote.

    Args:
        parameters: name -> value.
        losses: stage -> CSV of its losses. The CSV of the validation is in the same folder.
        read: function that reads a table.
    """
    validation = {stage: read(validation_csv(path)) for stage, path in losses.items()}
    return TrainingHistory(parameters, {stage: read(path) for stage, path in losses.items()}, validation)
