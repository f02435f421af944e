"""The application of `srgan serve`: its routes."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from srgan import __version__
from srgan.images.suffixes import WrittenSuffix
from srgan.images.write import Options
from srgan.service import description, upload
from srgan.service.answers import ERRORS, IMAGE, Answer, add_errors, add_job_routes, described
from srgan.service.auth import checker
from srgan.service.limits import MAX_OUTSCALE
from srgan.service.measures import Measured
from srgan.service.service import Service
from srgan.service.work import Order, Result, Stop

DESCRIPTION = """\
Send an image and get it upscaled, restored or colorized by the model of this service.
Color profile, EXIF, XMP, IPTC, PNG text, resolution, transparency, grayscale and 16 bits are kept.
The header `Srgan-Warning` names what the format of the result cannot hold.
An error is JSON with one sentence: `{"detail": "..."}`.
"""


def _settings(
    outscale: Annotated[
        float | None, Query(ge=0.01, le=MAX_OUTSCALE, description="Size of the result / size of the image. Default: the model's scale.")
    ] = None,
    format: Annotated[WrittenSuffix | None, Query(description="Format of the result. Default: the image's own, or png.")] = None,
    quality: Annotated[int, Query(ge=1, le=100, description="Quality of JPEG, WebP, AVIF and JPEG XL.")] = 95,
    lossless: Annotated[bool, Query(description="Write WebP, AVIF and JPEG XL without loss.")] = False,
) -> tuple[Options, str | None]:
    return Options(outscale, quality, lossless), f".{format}" if format else None


Settings = Annotated[tuple[Options, str | None], Depends(_settings)]


def create_app(service: Service, token: str | None = None) -> FastAPI:
    """Return the application.

    Args:
        service: does the work.
        token: that requests must have, except for those of ``/health``.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    # The pages of FastAPI load scripts from elsewhere.
    app = FastAPI(title="srgan", version=__version__, description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Measured, measures=service.measures)
    protected = [Depends(checker(token))]
    limits = service.limits

    @app.post(
        "/upscale", dependencies=protected, response_class=Response, responses=IMAGE | ERRORS, openapi_extra={"requestBody": upload.BODY}
    )
    async def upscale(request: Request, settings: Settings) -> Response:
        """Upscale an image and wait for the result."""
        with service.requests.place():
            folder = tempfile.TemporaryDirectory(dir=service.home, ignore_cleanup_errors=True)
            try:
                stop = Stop(limits.seconds, time.monotonic() + limits.seconds)
                source = Path(folder.name) / "image"
                await upload.receive(request, source, limits)
                result = await _unless_gone(request, service, Order(source, *settings, limits.pixels), stop)
            except BaseException:
                folder.cleanup()
                raise
        service.measures.pixels.inc(result.size[0] * result.size[1])
        return Answer(result, folder)

    @app.get("/health", response_description="The service takes requests.")
    async def health() -> dict[str, str]:
        """Answer while the service takes requests. It needs no token."""
        return {"status": "ok"}

    @app.get("/version", dependencies=protected, response_description="Name, alias, version, digest and scale of the model.")
    async def version() -> dict[str, Any]:
        """Version of srgan and the current model."""
        return {"srgan": __version__, "model": service.model.current.described()}

    @app.get("/metrics", dependencies=protected, response_class=PlainTextResponse, response_description="Text for Prometheus.")
    async def metrics() -> Response:
        """Counters and gauges for Prometheus."""
        return Response(service.measures.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(description.page(app.openapi(), str(request.base_url)))

    _add_jobs(app, service, protected)
    add_errors(app)
    return app


def _add_jobs(app: FastAPI, service: Service, protected: list[Any]) -> None:
    """Add the addresses of the queue for large images."""
    limits = service.limits

    @app.post(
        "/jobs",
        status_code=202,
        dependencies=protected,
        response_description="The job was taken. `Location` has its address.",
        responses=ERRORS,
        openapi_extra={"requestBody": upload.BODY},
    )
    async def create_job(request: Request, response: Response, settings: Settings) -> dict[str, Any]:
        """Upscale a large image. The answer has the address of the job."""
        job = service.jobs.create()
        try:
            await upload.receive(request, job.folder / "image", limits)
        except BaseException:
            service.jobs.delete(job)
            raise
        service.jobs.start(job, Order(job.folder / "image", *settings, limits.job_pixels))
        response.headers["Location"] = f"/jobs/{job.id}"
        return described(job, service.jobs)

    add_job_routes(app, service, protected)


async def _unless_gone(request: Request, service: Service, order: Order, stop: Stop) -> Result:
    """Upscale an image. If the client ends the connection, the work ends at the next tile."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stop.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await service.requests.upscale(order, stop)
    finally:
        watching.cancel()
