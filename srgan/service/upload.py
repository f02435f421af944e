"""Receive the image of a request into a file: the body itself, or the file of a form."""

import asyncio
import shutil
from pathlib import Path

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from srgan.service.limits import Limits, Refused

FIELDS = 16  # of a form, besides its file
FORM = "multipart/form-data"
IMAGE = {"type": "string", "format": "binary", "description": "An image file, such as PNG, JPEG, WebP or TIFF."}
# The body of a request as OpenAPI describes it.
BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": IMAGE},
        FORM: {"schema": {"type": "object", "required": ["image"], "properties": {"image": IMAGE}}},
    },
}


async def receive(request: Request, path: Path, limits: Limits) -> None:
    """Write the image of a request to a file.

    Raises:
        Refused: there is none, it is too large, or it arrives too slowly.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limits.size:
        raise _too_large(limits)
    limited = Request(request.scope, _counted(request.receive, limits))
    try:
        async with asyncio.timeout(limits.seconds):
            if request.headers.get("content-type", "").startswith(FORM):
                await _save_file_of_form(limited, path)
            else:
                with path.open("wb") as file:
                    async for chunk in limited.stream():
                        file.write(chunk)
    except TimeoutError as error:
        raise Refused(408, f"the image did not arrive within {limits.seconds:g} s. Send it again over a faster connection") from error
    except ClientDisconnect as error:
        raise Refused(400, "the connection ended before the image was complete. Send it again") from error
    if not path.stat().st_size:
        raise Refused(400, "the request has no image. Send the file as the body, or as the field 'image' of a form")


async def _save_file_of_form(request: Request, path: Path) -> None:
    try:
        async with request.form(max_files=1, max_fields=FIELDS) as form:
            for value in form.values():
                if isinstance(value, UploadFile):
                    with path.open("wb") as file:
                        await asyncio.to_thread(shutil.copyfileobj, value.file, file)
                    return
    except HTTPException as error:
        raise Refused(400, f"the form cannot be read ({str(error.detail).rstrip('.')}). Send one file as the field 'image'") from error
    path.touch()


def _counted(receive: Receive, limits: Limits) -> Receive:
    """Return a function that receives a body up to the limit. A body need not state its size."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limits.size:
            raise _too_large(limits)
        return message

    return counted


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"the request has more than {limits.size / 1e6:,.4g} MB. Send a smaller file")
