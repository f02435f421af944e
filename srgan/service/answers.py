"""Answers that applications share: results, the state of jobs and errors."""

import tempfile
import time
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from srgan.service import upload
from srgan.service.jobs import Job, Jobs
from srgan.service.limits import KEEP_SECONDS, Refused
from srgan.service.work import OUR_FAULT, Cancelled, Result

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
NO_JOB: dict[int | str, dict[str, Any]] = {404: {"description": "No such job."}}


class HasJobs(Protocol):
    """A service with jobs, which it has while it runs."""

    jobs: Jobs


def add_job_routes(app: FastAPI, service: HasJobs, protected: list[Any]) -> None:
    """Add the addresses of a job: its state, its result and its end."""

    @app.get("/jobs/{identity}", dependencies=protected, response_description="State and progress.", responses=NO_JOB)
    async def job(identity: str) -> dict[str, Any]:
        """State and progress of a job."""
        return described(service.jobs.find(identity), service.jobs)

    @app.get(
        "/jobs/{identity}/result",
        dependencies=protected,
        response_class=Response,
        responses=IMAGE | NO_JOB | {409: {"description": "Not finished yet."}, 422: ERRORS[422]},
    )
    async def job_result(identity: str) -> Response:
        """Return the result of a job, or the error that it failed with."""
        job = service.jobs.find(identity)
        if job.refused:
            raise job.refused
        if not job.result:
            raise Refused(409, f"the job is {job.state}. Try again later", 1)
        return Answer(job.result)

    @app.delete("/jobs/{identity}", status_code=204, dependencies=protected, response_description="It is removed.", responses=NO_JOB)
    async def delete_job(identity: str) -> None:
        """End a job and remove its files."""
        service.jobs.delete(service.jobs.find(identity))


class Answer(FileResponse):
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
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._folder:
                self._folder.cleanup()


def _as_header(text: str) -> str:
    """Return text with the characters that a header may have."""
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())[:MAX_HEADER]


def described(job: Job, jobs: Jobs) -> dict[str, Any]:
    """Return the state of a job for its client."""
    state: dict[str, Any] = {"id": job.id, "state": job.state, "tiles_done": job.tiles[0], "tiles": job.tiles[1]}
    if job.state == "waiting":
        state["ahead"] = jobs.ahead_of(job)
    if job.refused:
        state["error"] = job.refused.sentence
    if job.result:
        state |= {"width": job.result.size[0], "height": job.result.size[1], "result": f"/jobs/{job.id}/result"}
        state["warnings"] = job.result.warnings
        state["kept_for_seconds"] = round(KEEP_SECONDS + (job.ended or 0) - time.monotonic())
    return state


def add_errors(app: FastAPI) -> None:
    """Answer each error with one sentence. The log has the rest."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return JSONResponse({"detail": error.sentence}, error.status, error.headers)

    @app.exception_handler(Cancelled)
    async def cancelled(_: Request, error: Cancelled) -> Response:
        return JSONResponse({"detail": "the client has gone"}, 499)  # the client cannot read it. The status is that of nginx, for the log

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
