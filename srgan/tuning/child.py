"""A stage of a trial in a process of its own: ``python -m srgan.tuning.child COMMAND`` in the folder of the trial."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from srgan.config import schema
from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.distributed import launch
from srgan.distributed.elastic import launch_workers
from srgan.distributed.signals import Interrupted
from srgan.export.onnx import export_onnx
from srgan.inference import benchmark
from srgan.models.checkpoints import load_generator
from srgan.stages import STAGES
from srgan.tracking import optional
from srgan.tracking.training_record import current_training
from srgan.tuning import estimate
from srgan.utils import machine
from srgan.utils.errors import SrganError
from srgan.utils.files import write_json

LOG, COSTS = "log.txt", "costs"
RATE, SPEED = "rate.json", "speed.json"
TRAINING = ("pretrain", "train")


def start(command: str, project: Project, lock: int, environment: dict[str, str], run: str = "") -> "subprocess.Popen[bytes]":
    """Start a command in the folder of a trial. Its output goes to ``log.txt``.

    Args:
        command: a stage, ``rate`` or ``speed``, see `run_here`.
        project: the trial, with its ``params.yaml``.
        lock: file descriptor of a lock that the process holds too, so that it stays locked until the process has ended.
        environment: additional variables.
        run: id of the study's MLflow run, or empty.
    """
    with (project.root / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "srgan.tuning.child", command, run],
            cwd=project.root,
            env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
        )


def run_here(command: str, project: Project, params: Params, run: str = "") -> None:
    """Run a stage, or a measurement of the trial.

    Args:
        command: a stage. Or ``rate``, which writes the training steps a second, or ``speed``, which writes the seconds per megapixel.
        project: the trial.
        params: its parameters.
        run: id of the study's MLflow run, which becomes the parent of the trial's run. Empty for a training without MLflow.
    """
    if command in MEASUREMENTS:
        MEASUREMENTS[command](project, params)
        return
    if command not in TRAINING:
        STAGES[command](project, params)
        return
    try:
        STAGES[command](project, params, tracked=bool(run))
    finally:  # a pruned training has a run, too
        if run and launch.is_main_process():
            optional.load("study_run").attach(current_training(project, params, command), run)


def measure_rate(project: Project, params: Params) -> None:
    """Write the steps a second of the two training stages."""
    data = estimate.prepared_data(project)
    write_json(project.root / RATE, {stage: estimate.plan(params, stage, data=data).rate for stage in TRAINING})


def measure_speed(project: Project, params: Params) -> None:
    """Write the seconds per megapixel of the trained generator, as an ONNX file on this machine."""
    weights = project.generator if project.generator.is_file() else project.pretrained
    generator, _ = load_generator(weights)
    path = project.models / "trial.onnx"
    export_onnx(path, generator.eval(), {"sr.name": params.export.name, "sr.license": params.export.license}, params.export.optimize_graph)
    write_json(project.root / SPEED, benchmark.measure(path))


MEASUREMENTS: dict[str, Callable[[Project, Params], None]] = {"rate": measure_rate, "speed": measure_speed}


def main() -> None:
    """Run the command of the arguments on the project in the working directory. It ends when the study ends."""
    command, run = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    machine.keep_freed_memory()
    params = schema.load("params.yaml")
    processes = getattr(params.runtime, command).nproc_per_node if command in TRAINING else 1
    if not launch.is_distributed_worker() and (parent := psutil.Process().parent()):
        launch.exit_when(parent)
    begin = time.monotonic()
    try:
        if processes > 1 and not launch.is_distributed_worker():
            sys.exit(launch_workers(processes))
        run_here(command, Project(), params, run)
    except SrganError as error:
        print(f"error: {error}", flush=True)
        sys.exit(error.EXIT_CODE)
    except Interrupted as error:
        sys.exit(128 + error.signum)
    finally:
        if not launch.is_distributed_worker():
            _record(command, time.monotonic() - begin)


def _record(command: str, seconds: float) -> None:
    """Record the time of the process, on the clock and on the processors."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    folder = Path(COSTS)
    folder.mkdir(exist_ok=True)
    write_json(
        folder / f"{command}-{os.getpid()}.json",
        {"seconds": round(seconds, 2), "processor_seconds": round(sum(each.ru_utime + each.ru_stime for each in used), 2)},
    )


if __name__ == "__main__":
    main()
