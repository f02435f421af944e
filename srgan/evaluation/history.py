"""What a training leaves behind besides the model: its settings, and its figures over the steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from srgan.utils.csv_table import validation_csv


@dataclass(frozen=True)
class Curves:
    """Settings and figures of a training; what is not known is left out."""

    parameters: dict[str, Any]
    losses: dict[str, pd.DataFrame] = field(default_factory=dict)  # stage -> a row for each logged step
    validation: dict[str, pd.DataFrame] = field(default_factory=dict)  # stage -> a row for each validation


def read_curves(parameters: dict[str, Any], losses: dict[str, Path], read: Callable[[Path], pd.DataFrame] = pd.read_csv) -> Curves:
    """Read what the training stages wrote.

    Args:
        parameters: name -> value.
        losses: stage -> CSV; that of the validation lies beside it.
        read: a table.
    """
    validation = {stage: read(validation_csv(path)) for stage, path in losses.items()}
    return Curves(parameters, {stage: read(path) for stage, path in losses.items()}, validation)
