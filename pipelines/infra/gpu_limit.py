"""What runs share: the GPU. ``python -m pipelines.infra.gpu_limit`` lets the server know of it, once."""

import contextlib
import logging
from collections.abc import Iterator

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL

from pipelines.infra.command import command, server
from srgan.utils.errors import SrganError, Unreachable

GPU = "gpu"
LEASE = 300.0  # seconds that the server may be away before the GPU counts as free, and after which that of a killed run does

log = logging.getLogger(__name__)


@contextlib.contextmanager
def gpu() -> Iterator[None]:
    """Wait for the GPU, and have it for oneself. Where there is none, heavy work still goes one by one.

    A run with a temporary server of its own (`make flow`) shares with nobody that could be asked.

    Raises:
        SrganError: the server knows no such limit: without one, nothing would keep two trainings apart.
        Unreachable: the server does not answer.
    """
    if not PREFECT_API_URL.value():
        yield
        return
    # An outage of the server must not end the training that holds the GPU: neither while it runs nor when it gives the GPU back.
    holding = concurrency(GPU, lease_duration=LEASE, strict=True, raise_on_lease_renewal_failure=False)
    try:
        holding.__enter__()
    except ConcurrencySlotAcquisitionError as error:
        if "must be created" in str(error):
            raise SrganError(f"this Prefect server has no limit '{GPU}' yet; create it: python -m pipelines.infra.gpu_limit") from error
        raise Unreachable(f"the Prefect server does not say whether the GPU is free: {error.__cause__ or error}") from error
    try:
        yield
    finally:
        try:
            holding.__exit__(None, None, None)
        except (httpx.HTTPError, PrefectException) as error:
            log.warning("the GPU could not be given back (%s); it counts as free in %d seconds at the latest", error, LEASE)


def create() -> None:
    """Create the limit, one run at a time. Where it exists, it stays as the operator has set it."""
    with get_client(sync_client=True) as client:
        client.raise_for_api_version_mismatch()
        try:
            client.read_global_concurrency_limit_by_name(GPU)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU, limit=1))


def main() -> None:
    """Create the limit on the configured server."""
    with server(), command("infra.gpu_limit"):
        create()


if __name__ == "__main__":
    main()
