"""The page of the raters, for the server and as one file."""

import base64
from pathlib import Path
from typing import Any

from srgan.pages.render import render
from srgan.study.files import PICTURES, Study
from srgan.utils.errors import SrganError
from srgan.utils.files import write_text


def served_page(study: Study) -> str:
    """Return the page that asks the server for trials and pictures."""
    return _page(study, {"id": study.id})


def write_static_page(folder: Path, study: Study, path: Path) -> None:
    """Write one file with all pictures. It works without a server and returns signed answer files.

    The file holds the plan of each rater with the digest of the invitation code, but neither codes nor models.

    Args:
        folder: of the study.
        study: the study.
        path: the file to write.

    Raises:
        SrganError: a picture is missing.
    """
    needed = sorted({name for rater in study.raters for trial in rater.trials for name in trial})
    pictures = {name: f"data:image/webp;base64,{base64.b64encode(read_picture(folder, name)).decode()}" for name in needed}
    raters = [rater.model_dump() for rater in study.raters]
    write_text(path, _page(study, {"id": study.id, "raters": raters, "pictures": pictures}))


def read_picture(folder: Path, name: str) -> bytes:
    """Return the bytes of a picture.

    Raises:
        SrganError: it is missing.
    """
    path = folder / PICTURES / f"{name}.webp"
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SrganError(f"{path}: no such picture. Restore the folder of the study") from error


def _page(study: Study, data: dict[str, Any]) -> str:
    return render("rate.html", package="srgan.study", question=study.question, data=data)
