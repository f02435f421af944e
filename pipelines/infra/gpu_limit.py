"""The limit that lets one run at a time use the GPU. ``python -m pipelines.infra.gpu_limit`` creates it on the server."""

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
LEASE_SECONDS = 300.0  # the GPU counts as free after so long without a server, or after a run was killed

log = logging.getLogger(__name__)


@contextlib.contextmanager
def gpu() -> Iterator[None]:
    """Wait for the GPU and reserve it. Without a GPU the limit serializes heavy work.

    A run with a temporary server (`make flow`) takes no limit, as no other run uses that server.

    Raises:
        SrganError: the server has no such limit. Without it two trainings would share the GPU.
        Unreachable: the server does not answer.
    """
    if not PREFECT_API_URL.value():
        yield
        return
    # An outage must not end the training that holds the GPU, neither while it runs nor at its end.
    holding = concurrency(GPU, lease_duration=LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False)
    try:
        holding.__enter__()
    except ConcurrencySlotAcquisitionError as error:
        if "must be created" in str(error):
            raise SrganError(f"this Prefect server has no limit '{GPU}' yet. Create it: python -m pipelines.infra.gpu_limit") from error
        raise Unreachable(f"the Prefect server did not answer the request for the GPU: {error.__cause__ or error}") from error
    try:
        yield
    finally:
        try:
            holding.__exit__(None, None, None)
        except (httpx.HTTPError, PrefectException) as error:
            log.warning("failed to release the GPU (%s). It counts as free in %d seconds at the latest", error, LEASE_SECONDS)


def create() -> None:
    """Create the limit of one run. An existing limit is not changed."""
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
