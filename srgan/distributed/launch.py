"""How the processes of a training start and end."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from srgan.utils.errors import LostOthers, SrganError
from srgan.utils.machine import cores

RESTARTS = 3  # of all processes, after one was killed
STORE = "SRGAN_STORE"  # environment variable: the file through which the processes of `together` find each other

log = logging.getLogger(__name__)


def is_worker() -> bool:
    """Whether this is one of the processes that `torchrun`, or `together`, started."""
    return "RANK" in os.environ


def speaks() -> bool:
    """Whether this process tells what all of them know."""
    return os.environ.get("RANK", "0") == "0"


def together(processes: int) -> int:
    """Run this command in so many processes, which train together (by `torchrun`'s agent, within this process).

    When one is killed or loses the others, all start again, from the last checkpoint, at most `RESTARTS` times. When one ends with an
    error, which it has told, all end.

    They find each other through files that only this user can read, and listen on the loopback interface alone: torch's stores and gloo
    know no password.

    Returns:
        The exit code.
    """
    end_with_starter()
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what matters of it is said here
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "120")  # seconds that a stopped training gets to write its checkpoint
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else the agent opens a store to the network
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, _loopback())
    with tempfile.TemporaryDirectory(prefix="srgan-") as folder:
        return _in_attempts(processes, Path(folder))


def _loopback() -> str:
    """The name of the network interface that only this machine reaches."""
    found = psutil.net_if_addrs().items()
    return next((name for name, addresses in found for each in addresses if each.address == "127.0.0.1"), "lo")


def _in_attempts(processes: int, folder: Path) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for attempt in range(RESTARTS + 1):
        os.environ[STORE] = str(folder / f"store-{attempt}")
        config = LaunchConfig(
            1,
            1,
            processes,
            rdzv_backend="c10d",
            rdzv_endpoint=str(folder / f"rendezvous-{attempt}"),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            run_id=str(os.getpid()),
            max_restarts=0,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "srgan", *sys.argv[1:])
            return 0
        except SignalException as error:
            return 128 + error.sigval
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            told = (128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGTERM)  # to stop; the agent tells the others so, too
            gone = {rank: code for rank, code in codes.items() if code not in told and (code < 0 or code == LostOthers.EXIT_CODE)}
            if any(code > 0 for rank, code in codes.items() if code not in told and rank not in gone):
                return 1
            if not gone:
                return 128 + signal.SIGTERM
            rank, code = min(gone.items(), key=lambda item: item[1])  # a killed one before one that lost it
            end = f"was ended by {signal.Signals(-code).name}" if code < 0 else "lost the others"
            text = f"process {rank} of {processes} {end}"
            if attempt == RESTARTS:
                raise SrganError(f"{text}, the {RESTARTS + 1}th time; if memory is short, lower batch_size or nproc_per_node") from error
            log.warning("%s; all start again from the last checkpoint (%d of at most %d times)", text, attempt + 1, RESTARTS)
    raise AssertionError("unreachable")


def end_with_starter() -> None:
    """Get SIGTERM when the program that runs this one is gone: a killed one must not leave a trainer behind.

    That is `torchrun`, or the `dvc` that runs the stage. Between `dvc` and its stage there may be a shell, which outlives `dvc`: the
    kernel's own signal at a parent's death would not come.
    """
    if not is_worker() and "DVC_STAGE" not in os.environ:  # started by hand, say with nohup: that training is to outlive its shell
        return
    starter = psutil.Process().parent()
    while starter and not is_worker() and "DVC_STAGE" in starter.environ():
        starter = starter.parent()
    if starter:
        end_with(starter)


def end_with(process: psutil.Process) -> None:
    """Get SIGTERM when another process is gone."""

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            # A zombie is dead, and its own parent has not looked yet. `is_running` knows a process that has got the number of a dead one.
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
