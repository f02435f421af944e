"""The server and the exit codes of this package's commands, such as ``python -m pipelines.train``."""

import contextlib
import sys
from collections.abc import Iterator

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from pipelines.infra import password
from srgan.utils.errors import SrganError, Unreachable

LOCAL = "http://127.0.0.1:4200/api"  # of `make prefect`


@contextlib.contextmanager
def command(name: str) -> Iterator[None]:
    """Turn an error that the user can correct into one line and its exit code."""
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, SrganError) else _of_server(error)
        if known is None:
            raise
        print(f"pipelines.{name}: error: {known}", file=sys.stderr)
        sys.exit(known.EXIT_CODE)


@contextlib.contextmanager
def server() -> Iterator[None]:
    """Use the configured server, or the one of `make prefect`. A temporary server would forget everything."""
    chosen = {} if PREFECT_API_URL.value() else {PREFECT_API_URL: LOCAL, PREFECT_API_AUTH_STRING: password.of(LOCAL)}
    with temporary_settings(chosen):
        yield


def _of_server(error: BaseException) -> SrganError | None:
    """Translate an error of Prefect's client for the user. Return None for other errors."""
    address = httpx.URL(PREFECT_API_URL.value() or "").copy_with(userinfo=b"")
    if isinstance(error, RuntimeError) and "incompatible versions" in str(error):
        return SrganError(f"the Prefect server at {address} is of another version: {error}")
    no_prefect = SrganError(f"what answers at {address} is not Prefect's API. Correct PREFECT_API_URL")
    if isinstance(error, RuntimeError) and "Failed to reach API" in str(error):
        return _of_server(error.__cause__) or no_prefect
    if isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 401:
        advice = f"export PREFECT_PROFILE={password.PROFILE} for that of make prefect, else PREFECT_API_AUTH_STRING=USER:PASSWORD"
        return SrganError(f"the Prefect server at {address} refuses the password, or asks for one: {advice}")
    if isinstance(error, PrefectHTTPStatusError):
        told = " ".join(error.response.text.split())[:300]
        is_api = "json" in error.response.headers.get("content-type", "") and error.response.status_code != 404
        return SrganError(f"the Prefect server at {address} refuses: {error.response.status_code} {told}") if is_api else no_prefect
    if isinstance(error, httpx.HTTPError):
        advice = "start it (make prefect), or correct PREFECT_API_URL; without that variable `make flow` needs no server"
        return Unreachable(f"no Prefect server answers at {address} ({error}); {advice}")
    return None
