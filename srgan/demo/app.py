"""The application of `srgan demo`: the page, and jobs for pictures and clips."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from srgan.demo import scientific
from srgan.demo.models import Models
from srgan.images import optional
from srgan.images.suffixes import WrittenSuffix
from srgan.images.write import Options
from srgan.pages.render import render
from srgan.service import upload, work
from srgan.service.answers import add_errors, add_job_routes, described
from srgan.service.jobs import Jobs
from srgan.service.limits import Limits
from srgan.service.pool import Pool
from srgan.service.service import EXPIRY_SECONDS
from srgan.service.work import Decoder, OnTile, Order, Result, Stop
from srgan.utils.files import scratch_folder
from srgan.video.suffixes import CONTAINERS, READ_ONLY

LOCAL_NAMES = ("127.0.0.1", "localhost")
FORMATS = {"": "as the file", "png": "PNG", "jpg": "JPEG", "webp": "WebP", "tif": "TIFF", "avif": "AVIF", "jxl": "JPEG XL"}
MAX_SUFFIX = 6  # characters, with the dot


@dataclass(frozen=True)
class DemoOrder(Order):
    """An order with the name of its model."""

    model: str


class Demo:
    """The jobs of the page.

    Args:
        models: that the page offers.
        limits: for pictures and clips.
        clips: the module `srgan.demo.clips`, or None if PyAV is not installed.
    """

    def __init__(self, models: Models, limits: Limits, clips: ModuleType | None) -> None:
        self.models, self.limits, self.clips = models, limits, clips
        self._pool = Pool("job", self._upscale, 1, limits.jobs, limits.job_seconds)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the jobs within the block. They end with it."""
        with ExitStack() as stack:
            self.home = stack.enter_context(scratch_folder(Path(tempfile.gettempdir(), "srgan-demo")))
            stack.enter_context(self._pool)
            self.jobs = Jobs(self._pool, self.limits, self.home)
            expiry = asyncio.create_task(self._expire())
            try:
                yield
            finally:
                expiry.cancel()
                await self.jobs.close()

    def _upscale(self, order: Order, decoder: Decoder, stop: Stop, on_tile: OnTile) -> Result:
        assert isinstance(order, DemoOrder)
        stop.begin()
        loaded = self.models.load(order.model)
        if self.clips and self.clips.has_frames(order):
            return self.clips.upscale(loaded, order, stop, on_tile)
        if kind := scientific.kept_kind(order):
            return scientific.upscale(kind, loaded, order, stop, on_tile)
        return work.upscale(loaded, order, decoder, stop, on_tile)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            self.jobs.expire()

    def page(self) -> str:
        """Return the page."""
        data = {
            "models": [{"name": choice.name, "about": choice.about} for choice in self.models.choices.values()],
            "formats": [(name, label) for name, label in FORMATS.items() if not optional.missing(Path(f"result.{name}"))],
            "bytes": self.limits.size,
            "clips": [*CONTAINERS, *READ_ONLY],
            "decodes": self.clips is not None,
        }
        return render("demo.html", package="srgan.demo", data=data)


def create_app(demo: Demo) -> FastAPI:
    """Return the application."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with demo.running():
            yield

    app = FastAPI(title="srgan demo", lifespan=lifespan, docs_url=None, redoc_url=None)  # those pages load scripts from elsewhere
    app.add_middleware(LocalOnly)
    page = demo.page()

    @app.get("/", response_class=HTMLResponse)
    async def show() -> Response:
        return HTMLResponse(page, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})

    @app.post("/jobs", status_code=202, openapi_extra={"requestBody": upload.BODY})
    async def create_job(
        request: Request, model: str, name: str = "", format: Annotated[WrittenSuffix | None, Query()] = None
    ) -> dict[str, Any]:
        """Upscale a picture or a clip, according to the suffix of its name."""
        job = demo.jobs.create()
        source = job.folder / f"source{_suffix(name)}"
        try:
            await upload.receive(request, source, demo.limits)
        except BaseException:
            demo.jobs.delete(job)
            raise
        demo.jobs.start(job, DemoOrder(source, Options(), f".{format}" if format else None, demo.limits.job_pixels, model))
        return described(job, demo.jobs)

    add_job_routes(app, demo, [])
    add_errors(app)
    return app


def _suffix(name: str) -> str:
    """Return the suffix of a file name, if it is one that a file may safely have."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= MAX_SUFFIX else ""


class LocalOnly:
    """Refuse requests that other web pages make through the browser of the user.

    A page of another name that resolves to this machine has another host (DNS rebinding). A page of another site has another origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http":
            headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
            host, origin = headers.get("host", ""), headers.get("origin")
            if host.rpartition(":")[0] not in LOCAL_NAMES or origin not in (None, f"http://{host}"):
                refusal = JSONResponse({"detail": "another page asked for this. Open the address of srgan demo itself"}, 403)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
