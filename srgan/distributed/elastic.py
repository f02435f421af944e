"""Start of the processes that train together on one machine."""

import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

import psutil
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from srgan.distributed.launch import exit_with_parent
from srgan.distributed.process_group import STORE
from srgan.utils.errors import LostOthers, SrganError
from srgan.utils.machine import cores

MAX_RESTARTS = 3  # of all processes, after one was killed
SHUTDOWN_SECONDS = 120  # in which a stopped training writes its checkpoint

log = logging.getLogger(__name__)


def launch_workers(processes: int) -> int:
    """Run this command in several processes that train together, with the agent of `torchrun` in this process.

    If a process is killed or loses the connection to the others, all start again from the last checkpoint, at most `MAX_RESTARTS` times. If
    a process ends with an error, which it has printed, all end.

    The processes find each other through files that only this user can read, and listen on the loopback interface. The stores of torch and
    gloo have no password.

    Args:
        processes: their number.

    Returns:
        The exit code.

    Raises:
        SrganError: too many restarts.
    """
    exit_with_parent()
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the messages of this module replace its own
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_SECONDS))
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # otherwise the agent opens a store to the network
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, _loopback_interface())
    with tempfile.TemporaryDirectory(prefix="srgan-") as folder:
        return _run_with_restarts(processes, Path(folder))


def _loopback_interface() -> str:
    """Return the name of the network interface that only this machine reaches."""
    found = psutil.net_if_addrs().items()
    return next((name for name, addresses in found for each in addresses if each.address == "127.0.0.1"), "lo")


def _run_with_restarts(processes: int, folder: Path) -> int:
    for attempt in range(MAX_RESTARTS + 1):
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
            stopped = (128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGTERM)  # on request, which the agent forwards to all
            lost = {rank: code for rank, code in codes.items() if code not in stopped and (code < 0 or code == LostOthers.EXIT_CODE)}
            if any(code > 0 for rank, code in codes.items() if code not in stopped and rank not in lost):
                return 1
            if not lost:
                return 128 + signal.SIGTERM
            rank, code = min(lost.items(), key=lambda item: item[1])  # a killed process before one that lost it
            end = f"was ended by {signal.Signals(-code).name}" if code < 0 else "lost the connection to the others"
            text = f"process {rank} of {processes} {end}"
            if attempt == MAX_RESTARTS:
                advice = "If memory is short, lower batch_size or nproc_per_node in params.yaml"
                raise SrganError(f"{text} after {MAX_RESTARTS} restarts. {advice}") from error
            log.warning("%s; all start again from the last checkpoint (%d of at most %d times)", text, attempt + 1, MAX_RESTARTS)
    raise AssertionError("unreachable")
