"""System metrics of a training: CPU, memory and GPU, sampled into a CSV."""

import contextlib
import time
from pathlib import Path
from typing import Any

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor


class SystemMetrics:
    """Append samples of MLflow's own monitors to a CSV. The file is the source, and MLflow gets it later.

    Args:
        path: the CSV, with a column `time` in milliseconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.monitors: list[Any] = [CPUMonitor()]
        with contextlib.suppress(Exception):  # no NVIDIA GPU or no driver: the type of MLflow's error varies
            self.monitors.append(GPUMonitor())

    def sample(self) -> None:
        """Append a row."""
        values: dict[str, float] = {"time": int(time.time() * 1000)}
        for monitor in self.monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            columns = file.readline().rstrip("\n").split(",")  # a resumed run may have other GPUs
            if columns == [""]:
                columns = list(values)
                file.write(",".join(columns) + "\n")
            file.write(",".join(str(values.get(column, "")) for column in columns) + "\n")
