"""The logged values of a training: its parameters, losses and validation scores over the steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from srgan.utils.csv_table import validation_csv

PREFIX = "loss_"  # of the columns of losses


@dataclass(frozen=True)
class TrainingHistory:
    """Parameters and logged values of a training. Values that are unknown are left out."""

    parameters: dict[str, Any]
    losses: dict[str, pd.DataFrame] = field(default_factory=dict)  # stage -> a row for each logged step
    validation: dict[str, pd.DataFrame] = field(default_factory=dict)  # stage -> a row for each validation

    def loss_names(self, stage: str) -> list[str]:
        """Return the names of the losses in the table of a stage, in the order of ``params.yaml``."""
        columns = self.losses[stage].columns if stage in self.losses else []
        return [column.removeprefix(PREFIX) for column in columns if column.startswith(PREFIX)]

    def loss(self, stage: str, name: str) -> pd.DataFrame:
        """Return a table with the columns `step` and `name`: a loss over the steps."""
        return self.losses[stage][["step", PREFIX + name]].rename(columns={PREFIX + name: name})


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


def write_loss_tables(folder: Path, history: TrainingHistory) -> None:
    """Write ``STAGE/LOSS.csv`` with the columns `step` and LOSS for each loss: `dvc plots` plots the last column of a table."""
    for stage in history.losses:
        (folder / stage).mkdir(parents=True)
        for name in history.loss_names(stage):
            history.loss(stage, name).to_csv(folder / stage / f"{name}.csv", index=False)
