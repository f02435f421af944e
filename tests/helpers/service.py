"""A service in a thread of this process, and its client."""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image

from srgan.inference.upscaler import Upscaler
from srgan.monitoring.observer import Observer
from srgan.service.app import create_app
from srgan.service.limits import Limits
from srgan.service.model import Identity, ServedModel
from srgan.service.service import Service
from srgan.service.trial import Trial
from tests.helpers.commands import wait_for


@contextlib.contextmanager
def running(
    model: Path | Upscaler,
    token: str | None = None,
    reload_seconds: float = 60,
    observer: Observer | None = None,
    trial: Callable[[ServedModel], Trial] | None = None,
    **limits: float,
) -> Iterator[httpx.Client]:
    """Serve a model on a free port. Yields a client, whose attribute `service` is the service."""
    upscaler = model if isinstance(model, Upscaler) else Upscaler(model)
    served = ServedModel(upscaler, lambda path: Identity(path.name))
    service = Service(served, Limits(**limits), reload_seconds, observer, trial(served) if trial else None)
    with serving(create_app(service, token)) as client:
        client.service = service
        yield client


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """Serve an application on a free port. Yields a client."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_for(lambda: server.started or not thread.is_alive())
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def encoded(width: int = 30, height: int = 20, form: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    """An image file of noise."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, channels), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels, mode).save(buffer, form, **options)
    return buffer.getvalue()


@contextlib.contextmanager
def held(upscaler: Upscaler) -> Iterator[threading.Event]:
    """Let the model wait at each tile. Yields an event that is set when the first tile begins. The block's end lets it run."""
    began, free, run = threading.Event(), threading.Event(), upscaler.run

    def waiting(tensor: np.ndarray) -> np.ndarray:
        began.set()
        assert free.wait(60)
        return run(tensor)

    upscaler.run = waiting
    try:
        yield began
    finally:
        free.set()
        upscaler.run = run
