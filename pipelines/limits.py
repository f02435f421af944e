"""What runs share: the GPU. ``python -m pipelines.limits`` lets the server know of it, once."""

import contextlib
from collections.abc import Iterator

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from srgan.errors import SrganError

GPU = "gpu"
LEASE = 60.0  # seconds after which the GPU of a killed run is free again; Prefect's shortest


@contextlib.contextmanager
def gpu() -> Iterator[None]:
    """Wait for the GPU, and have it for oneself. Where there is none, heavy work still goes one by one.

    Raises:
        SrganError: the server knows no such limit: without one, nothing would keep two trainings apart.
    """
    with contextlib.ExitStack() as stack:
        try:
            # An outage of the server must not end the training that holds the GPU.
            stack.enter_context(concurrency(GPU, lease_duration=LEASE, strict=True, raise_on_lease_renewal_failure=False))
        except ConcurrencySlotAcquisitionError as error:
            raise SrganError(f"{error}; if this Prefect server has no limit '{GPU}' yet, create it: python -m pipelines.limits") from error
        yield


def create() -> None:
    """Create the limit, one run at a time. Where it exists, it stays as the operator has set it."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(GPU)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU, limit=1))


if __name__ == "__main__":
    create()
