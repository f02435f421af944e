"""Connect to a Ray cluster, or start Ray on this machine. Needs the extra ``ray``."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from srgan.utils.errors import SrganError, Unreachable, reason

STARTS = 3  # attempts
ADDRESS = "RAY_ADDRESS"  # environment variable of Ray
HERE = "local"  # Ray's address of a cluster to start. Without it Ray takes any cluster that runs on the machine


@contextmanager
def connected(address: str, cores: int) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine and stop it after the block. A program may have connected before.

    Args:
        address: of the cluster, such as ``auto``. Empty uses the variable `ADDRESS`, or starts Ray.
        cores: of this machine that Ray may use if it starts here.

    Raises:
        Unreachable: Ray does not start or answer.
        SrganError: a part of the program failed on the cluster, or the cluster was lost.
    """
    if started := not ray.is_initialized():
        _start(address or os.environ.get(ADDRESS) or HERE, cores)
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, SrganError):
            raise error.cause from error
        raise
    except RayError as error:
        raise SrganError(f"the Ray cluster failed: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if started:
            ray.shutdown()


def cores() -> int:
    """Return the number of cores of the cluster, at least 1. A cluster may grow, and lose machines."""
    return max(int(ray.cluster_resources().get("CPU", 1)), 1)


def machines() -> int:
    """Return the number of machines of the cluster."""
    return sum(node["Alive"] for node in ray.nodes())


def _start(address: str, cores: int) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)  # else it reports its start and its token
    own: dict[str, Any] = {"num_cpus": cores, "include_dashboard": False} if address == HERE else {}
    for left in reversed(range(STARTS)):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **own)
            return
        except Exception as error:  # also a plain one, if Ray does not start within its 30 s, as on a busy machine
            ray.shutdown()
            if not left:
                raise Unreachable(f"Ray does not {'start' if own else f'answer at {address}'}: {reason(error)}") from error
