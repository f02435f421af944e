"""The role and the end of the processes of a training. Light: every command imports this module."""

import contextlib
import os
import signal
import threading
import time

import psutil


def is_distributed_worker() -> bool:
    """Return whether this process is one of those that `torchrun` or `srgan.distributed.elastic.launch_workers` started."""
    return "RANK" in os.environ


def is_main_process() -> bool:
    """Return whether this process prints what concerns all of them."""
    return os.environ.get("RANK", "0") == "0"


def exit_with_parent() -> None:
    """Get SIGTERM when the program that runs this process ends, so that no training survives a killed parent.

    The parent is `torchrun`, or the `dvc` that runs the stage. A shell between `dvc` and the stage may survive `dvc`, so the signal of the
    kernel at the death of a parent is no help. A training that was started by hand, with nohup for example, survives its shell.
    """
    if not is_distributed_worker() and "DVC_STAGE" not in os.environ:
        return
    parent = psutil.Process().parent()
    while parent and not is_distributed_worker() and _is_of_a_stage(parent):
        parent = parent.parent()
    if parent:
        exit_when(parent)


def _is_of_a_stage(process: psutil.Process) -> bool:
    try:
        return "DVC_STAGE" in process.environ()
    except psutil.Error:  # of another user: `init` adopts the process if `dvc` has ended already
        return False


def exit_when(process: psutil.Process) -> None:
    """Get SIGTERM when another process ends."""

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            # A zombie has ended, but its parent has not read its exit code. `is_running` detects a new process with the same number.
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
