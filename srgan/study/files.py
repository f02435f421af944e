"""The files of a study: ``study.json`` for the raters, ``key.json`` for the owner."""

import hashlib
import re
import secrets
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

STUDY, KEY, PICTURES, ANSWERS = "study.json", "key.json", "pictures", "answers"
LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that looks like another
CODE_LETTERS = 12  # 59 bits: a code cannot be found by trying, not even with the digests of a page

Kind = TypeVar("Kind", bound=BaseModel)


class Record(BaseModel):
    """A part of a file, immutable and strict."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Rater(Record):
    """Data of the page of a rater.

    Attributes:
        code_sha256: digest of the invitation code, see `code_digest`.
        trials: the pictures on the left and on the right, by their ids.
    """

    code_sha256: str
    trials: list[tuple[str, str]]


class Study(Record):
    """``study.json``, without the models of the pictures.

    Attributes:
        id: random name of the study.
        question: asked at each pair of pictures.
        seal: SHA-256 of ``key.json``. It proves that order and sides were fixed before the first answer.
        raters: in the order of their numbers, which start at 1.
    """

    format: Literal[1] = 1
    id: str
    question: str
    seal: str
    raters: list[Rater]

    def rater_of(self, code: str) -> int | None:
        """Return the number of the rater with an invitation code, or None."""
        digest = code_digest(self.id, code)
        return next((number for number, rater in enumerate(self.raters, 1) if secrets.compare_digest(rater.code_sha256, digest)), None)


class Picture(Record):
    """The origin of a picture.

    Attributes:
        image: name of the image.
        model: label of the model, or None for the damaged picture of an attention check.
    """

    image: str
    model: str | None


class Model(Record):
    """A model of the study.

    Attributes:
        source: where its pictures are from.
        sha256: of the model file, or None for a folder of pictures.
    """

    source: str
    sha256: str | None


class Key(Record):
    """``key.json``: what the raters must not see.

    Attributes:
        seed: of comparisons, order and sides.
        codes: invitation code of each rater.
        models: by label.
        pictures: by id.
    """

    format: Literal[1] = 1
    seed: int
    codes: list[str]
    models: dict[str, Model]
    pictures: dict[str, Picture]


def new_code() -> str:
    """Return a random invitation code such as ``K7QF-2M9X-TB4H``."""
    code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LETTERS))
    return "-".join(code[at : at + 4] for at in range(0, CODE_LETTERS, 4))


def plain_code(code: str) -> str:
    """Return a code as it is hashed: capital letters and digits alone."""
    return re.sub(r"[^0-9A-Z]", "", code.upper())


def code_digest(study_id: str, code: str) -> str:
    """Return the digest by which a code is recognized in a study."""
    return hashlib.sha256(f"{study_id}:{plain_code(code)}".encode()).hexdigest()


def read_study(folder: Path) -> Study:
    """Read ``study.json``.

    Raises:
        SrganError: it is missing or damaged.
    """
    return parse(Study, _text(folder / STUDY), folder / STUDY)


def read_key(folder: Path, study: Study) -> Key:
    """Read ``key.json`` and compare it with the seal of the study.

    Raises:
        SrganError: it is missing, damaged or of another study.
    """
    path = folder / KEY
    key = parse(Key, _text(path), path)
    if sha256(path) != study.seal:
        raise SrganError(f"{path}: was changed after the study was created: it differs from the seal in {folder / STUDY}. Restore it")
    return key


def parse(kind: type[Kind], text: str, place: Path | str) -> Kind:
    """Return a record from JSON.

    Args:
        kind: class of the record.
        text: the JSON.
        place: the file for the message.

    Raises:
        SrganError: the text is not such a record.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SrganError(
            f"{place}: damaged or of another kind ({where + ': ' if where else ''}{first['msg']}). Restore the file"
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SrganError(f"{path}: no such file. Create a study with: srgan study create FOLDER MODEL MODEL") from error
    except UnicodeDecodeError as error:
        raise SrganError(f"{path}: damaged, not a text. Restore the file") from error
