"""Listen, until SIGTERM or Ctrl-C."""

import ipaddress
import logging
import socket

import uvicorn
from fastapi import FastAPI

from srgan.service.limits import Limits
from srgan.utils.errors import SrganError

GRACE_SECONDS = 30  # to send the last results
BACKLOG = 2048  # connections that wait to be accepted

log = logging.getLogger(__name__)


def serve(app: FastAPI, host: str, port: int, limits: Limits, log_requests: bool = True) -> None:
    """Serve an application. At SIGTERM or Ctrl-C, no more connections are accepted and the requests that run are finished.

    Args:
        app: the application.
        host: address to listen on.
        port: 0 chooses a free one.
        limits: of a request.
        log_requests: write a line for each request.

    Raises:
        SrganError: the address cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SrganError(f"{host}:{port}: cannot listen there ({error.strerror or error}). Choose another --host or --port") from error
    with listening:
        grace = round(limits.seconds) + GRACE_SECONDS
        config = uvicorn.Config(app, log_config=None, access_log=log_requests, server_header=False, timeout_graceful_shutdown=grace)
        address = f"[{host}]" if ":" in host else host
        log.info("listening on http://%s:%d", address, listening.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listening])


def is_local(host: str) -> bool:
    """Return True if only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
