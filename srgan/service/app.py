"""The application: its routes and its errors."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from srgan import __version__
from srgan.images.suffixes import WrittenSuffix
from srgan.images.write import Options
from srgan.service import upload
from srgan.service.auth import checker
from srgan.service.jobs import Job
from srgan.service.limits import KEEP_SECONDS, MAX_OUTSCALE, Refused
from srgan.service.measures import Measured
from srgan.service.service import Service
from srgan.service.work import OUR_FAULT, Cancelled, Order, Result, Stop

MAX_HEADER = 1000  # characters of a warning
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "No image in the request."},
    401: {"description": "The token is missing or wrong."},
    408: {"description": "The image arrived too slowly."},
    413: {"description": "The image, the result or the time exceeds a limit."},
    415: {"description": "Not an image, or a format that is not read."},
    422: {"description": "The image is damaged, or a parameter is wrong."},
    429: {"description": "Too many images. `Retry-After` states the seconds to wait."},
}
IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The result, with the metadata of the image.", "content": {"image/*": {"schema": upload.IMAGE}}}
}
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
    quality: Annotated[int, Query(ge=1, le=100, description="Quality of JPEG, WebP and AVIF.")] = 95,
    lossless: Annotated[bool, Query(description="Write WebP and AVIF without loss.")] = False,
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

    app = FastAPI(title="srgan", version=__version__, description=DESCRIPTION, lifespan=lifespan)
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
        return _Answer(result, folder)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Answer while the service takes requests. It needs no token."""
        return {"status": "ok"}

    @app.get("/version", dependencies=protected)
    async def version() -> dict[str, Any]:
        """Version of srgan and the current model."""
        return {"srgan": __version__, "model": service.model.current.described()}

    @app.get("/metrics", dependencies=protected, response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters and gauges for Prometheus."""
        return Response(service.measures.text(), media_type=CONTENT_TYPE_LATEST)

    _add_jobs(app, service, protected)
    _add_errors(app)
    return app


def _add_jobs(app: FastAPI, service: Service, protected: list[Any]) -> None:
    """Add the addresses of the queue for large images."""
    limits = service.limits

    @app.post("/jobs", status_code=202, dependencies=protected, responses=ERRORS, openapi_extra={"requestBody": upload.BODY})
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
        return _described(service, job)

    @app.get("/jobs/{identity}", dependencies=protected, responses={404: {"description": "No such job."}})
    async def job(identity: str) -> dict[str, Any]:
        """State and progress of a job."""
        return _described(service, service.jobs.find(identity))

    @app.get(
        "/jobs/{identity}/result",
        dependencies=protected,
        response_class=Response,
        responses=IMAGE | {404: {"description": "No such job."}, 409: {"description": "Not finished yet."}, 422: ERRORS[422]},
    )
    async def job_result(identity: str) -> Response:
        """Return the result of a job, or the error that it failed with."""
        job = service.jobs.find(identity)
        if job.refused:
            raise job.refused
        if not job.result:
            raise Refused(409, f"the job is {job.state}. Try again later", 1)
        return _Answer(job.result)

    @app.delete("/jobs/{identity}", status_code=204, dependencies=protected, responses={404: {"description": "No such job."}})
    async def delete_job(identity: str) -> None:
        """End a job and remove its files."""
        service.jobs.delete(service.jobs.find(identity))


class _Answer(FileResponse):
    """A result. Its folder is removed when it was sent, or when the client has gone."""

    def __init__(self, result: Result, folder: tempfile.TemporaryDirectory | None = None) -> None:
        super().__init__(
            result.path, media_type=result.media_type, filename=f"result{result.path.suffix}", content_disposition_type="inline"
        )
        self._folder = folder
        self.headers["Srgan-Model"] = _as_header(str(result.model.identity))
        for warning in result.warnings:
            self.headers.append("Srgan-Warning", _as_header(warning))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._folder:
                self._folder.cleanup()


def _as_header(text: str) -> str:
    """Return text with the characters that a header may have."""
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())[:MAX_HEADER]


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


def _described(service: Service, job: Job) -> dict[str, Any]:
    described: dict[str, Any] = {"id": job.id, "state": job.state, "tiles_done": job.tiles[0], "tiles": job.tiles[1]}
    if job.state == "waiting":
        described["ahead"] = service.jobs.ahead_of(job)
    if job.refused:
        described["error"] = job.refused.sentence
    if job.result:
        described |= {"width": job.result.size[0], "height": job.result.size[1], "result": f"/jobs/{job.id}/result"}
        described["kept_for_seconds"] = round(KEEP_SECONDS + (job.ended or 0) - time.monotonic())
    return described


def _add_errors(app: FastAPI) -> None:
    """Answer each error with one sentence. The log has the rest."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return JSONResponse({"detail": error.sentence}, error.status, error.headers)

    @app.exception_handler(Cancelled)
    async def cancelled(_: Request, error: Cancelled) -> Response:
        return JSONResponse({"detail": "the client has gone"}, 499)  # nobody reads it. The status is that of nginx, for the log

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg'][:1].lower()}{first['msg'][1:]}"}, 422)

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        sentence = f"{str(error.detail).lower()}. GET /openapi.json lists what this service does"
        return JSONResponse({"detail": sentence}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return JSONResponse({"detail": OUR_FAULT}, 500)
