"""Measure the cost of tracking: ``python benchmarks/tracking.py [ROUNDS] [STEPS]`` (14 minutes per round on two cores).

The network of the demo trains 9,000 pixel steps (six minutes), once with MLflow's local store and once without. Both trainings
alternate every few seconds and one is stopped while the other runs. A change in the speed of the machine therefore affects both.
Most of the cost occurs once, so a shorter training has a larger share. The last line is ``value overhead_percent VALUE``: the
median difference of the rounds, from the start of the stage including the import of MLflow until the run is complete in the store.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from data import photograph
from srgan.commands import main as cli
from srgan.config import profiles
from srgan.config.render import render
from srgan.config.schema import Params, to_dict

TURN = 2.0  # seconds


def side(tracked: bool) -> None:
    """Train in the current folder after the first turn."""
    import torch  # noqa: F401 - imported by both trainings

    from srgan.training import trainer  # noqa: F401

    if not tracked:
        from srgan.tracking import mlflow_run

        mlflow_run.live = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
    os.kill(os.getpid(), signal.SIGSTOP)
    if tracked:
        from srgan.tracking import mlflow_run

        mlflow_run.SAMPLE_SECONDS *= 2  # the other training uses half of the time
    cli.main(["pretrain"])


def prepare(folder: Path, steps: int) -> None:
    """Create a prepared project with twelve images of random pixels and an existing MLflow store."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(12):
        Image.fromarray(photograph(number, 400, 500)).save(images / f"{number}.png")
    values = to_dict(profiles.load("demo"))
    values["data"]["train"] = [str(images)]
    values["pretrain"]["steps"] = steps
    (folder / "params.yaml").write_text(render(Params.model_validate_json(json.dumps(values)), "The demo with random pixels"))
    for stage in ("download", "prepare"):
        subprocess.run([sys.executable, "-m", "srgan", stage], cwd=folder, check=True, capture_output=True)
    store = "from srgan.config.project import Project; from srgan.tracking import store; store.connect(Project())"
    subprocess.run([sys.executable, "-c", store], cwd=folder, check=True, capture_output=True)


def by_turns(processes: dict[bool, subprocess.Popen[bytes]]) -> dict[bool, float]:
    """Run stopped processes alternately until both have ended. Return the seconds of each."""
    seconds = dict.fromkeys(processes, 0.0)
    for which in itertools.cycle(processes):
        if all(process.returncode is not None for process in processes.values()):
            return seconds
        process = processes[which]
        if process.returncode is None:
            start = time.perf_counter()
            os.killpg(process.pid, signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TURN)
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGSTOP)
            seconds[which] += time.perf_counter() - start
    raise AssertionError("unreachable")


def main() -> None:
    """Run the measurement and print the value last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=1)
    parser.add_argument("steps", type=int, nargs="?", default=9000)
    parser.add_argument("--side", choices=["tracked", "alone"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        side(given.side == "tracked")
        return
    overheads = []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            processes = {}
            for tracked in (True, False) if number % 2 else (False, True):
                folder = Path(name) / str(tracked)
                prepare(folder, given.steps)
                with (folder / "log").open("wb") as log:
                    command = [sys.executable, __file__, "--side", "tracked" if tracked else "alone"]
                    options = {"cwd": folder, "stdout": log, "stderr": log, "start_new_session": True}
                    processes[tracked] = subprocess.Popen(command, **options)
                os.waitid(os.P_PID, processes[tracked].pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # the process is ready
            seconds = by_turns(processes)
            for tracked, process in processes.items():
                if process.returncode:
                    sys.exit((Path(name) / str(tracked) / "log").read_text())
        overheads.append(100 * (seconds[True] / seconds[False] - 1))
        print(f"round {number + 1}: {seconds[False]:.1f} s alone, {seconds[True]:.1f} s tracked: {overheads[-1]:+.2f} %", flush=True)
    print(f"value overhead_percent {np.median(overheads):.2f}")


if __name__ == "__main__":
    main()
