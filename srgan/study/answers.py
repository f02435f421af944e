"""The answers of the raters: a file that grows at each click, and signed files that come back from a page."""

import hashlib
import hmac
import logging
import os
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import Field

from srgan.study.files import ANSWERS, Key, Record, Study, parse, plain_code
from srgan.utils.errors import SrganError
from srgan.utils.files import write_text

log = logging.getLogger(__name__)


class Answer(Record):
    """An answer to a trial. A later answer to the same trial replaces it.

    Attributes:
        trial: index of the trial in the rater's order.
        choice: the better picture, or None for an answer that was taken back.
        seconds: between the display of the pictures and the answer.
    """

    trial: int = Field(ge=0)
    choice: Literal["left", "right", "equal"] | None
    seconds: float = Field(ge=0)


class Returned(Record):
    """The signed content of an answer file."""

    study: str
    rater: int
    answers: list[Answer]


class AnswerFile(Record):
    """A file that the page of a static study returns.

    Attributes:
        payload: JSON of a `Returned`.
        signature: HMAC-SHA256 of the payload with the rater's invitation code as the key, in hexadecimal digits.
    """

    payload: str
    signature: str


def log_path(folder: Path, rater: int) -> Path:
    """Return the file of the answers that the server stores for a rater."""
    return folder / ANSWERS / f"rater-{rater}.jsonl"


def append(path: Path, answer: Answer) -> None:
    """Store an answer. It is on the disk when the function returns."""
    new = not path.exists()
    with path.open("a+b") as file:
        _drop_partial_line(file)
        file.write(answer.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new and hasattr(os, "O_DIRECTORY"):  # the name of the file is on the disk too. Windows opens no folders
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)


def _drop_partial_line(file: BinaryIO) -> None:
    """Remove the end of a file that a killed server did not finish. The page of the rater sends that answer again."""
    file.seek(0)
    content = file.read()
    file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def read_log(path: Path) -> dict[int, Answer]:
    """Return the valid answers of a file by trial. A last line that is not finished does not count.

    Raises:
        SrganError: the file is damaged.
    """
    if not path.exists():
        return {}
    *lines, _ = path.read_bytes().split(b"\n")
    answers = [parse(Answer, line.decode(errors="replace"), f"{path}:{number}") for number, line in enumerate(lines, 1)]
    return _last(answers)


def _last(answers: list[Answer]) -> dict[int, Answer]:
    return {trial: answer for trial, answer in {answer.trial: answer for answer in answers}.items() if answer.choice}


def sign(payload: str, code: str) -> str:
    """Return the signature of a payload with an invitation code."""
    return hmac.new(plain_code(code).encode(), payload.encode(), hashlib.sha256).hexdigest()


def read_signed(path: Path, study: Study, key: Key) -> tuple[int, dict[int, Answer]]:
    """Return the rater and the answers of a signed file.

    Raises:
        SrganError: the file is missing, damaged, of another study, or its signature is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise SrganError(f"{path}: not an answer file. Name the file that a rater's page returned") from error
    signed = parse(AnswerFile, text, path)
    found = parse(Returned, signed.payload, f"{path}: payload")
    if found.study != study.id:
        raise SrganError(f"{path}: answers of another study. Name the folder of the study that it belongs to")
    known = 1 <= found.rater <= len(key.codes)
    if not known or not hmac.compare_digest(signed.signature, sign(signed.payload, key.codes[found.rater - 1])):
        raise SrganError(
            f"{path}: wrong signature: it was changed or signed with another invitation code. Ask the rater for the file again"
        )
    check_trials(found.answers, study, found.rater, str(path))
    return found.rater, _last(found.answers)


def check_trials(answers: list[Answer], study: Study, rater: int, place: str) -> None:
    """Raise an error if the rater has no such trial."""
    count = len(study.raters[rater - 1].trials)
    for answer in answers:
        if answer.trial >= count:
            raise SrganError(f"{place}: answer to trial {answer.trial}, but rater {rater} has {count} trials. Restore the file")


def accept(path: Path, folder: Path, study: Study, key: Key) -> int:
    """Verify a signed file and keep it with the study. A file with fewer answers than the stored one is left out with a warning.

    Returns:
        The number of the rater.

    Raises:
        SrganError: see `read_signed`.
    """
    rater, answers = read_signed(path, study, key)
    stored = _signed_path(folder, rater)
    before = len(read_signed(stored, study, key)[1]) if stored.exists() else 0
    if len(answers) < before:
        log.warning("%s: has %d answers, the file that was returned before has %d. The former stays", path, len(answers), before)
    else:
        write_text(stored, path.read_text(encoding="utf-8"))
    return rater


def _signed_path(folder: Path, rater: int) -> Path:
    return folder / ANSWERS / f"rater-{rater}.json"


def collect(folder: Path, study: Study, key: Key) -> dict[int, dict[int, Answer]]:
    """Return the answers of each rater by trial, from the server and from signed files.

    Raises:
        SrganError: a file is damaged.
    """
    found = {}
    for rater in range(1, len(study.raters) + 1):
        path = log_path(folder, rater)
        answers = read_log(path)
        check_trials(list(answers.values()), study, rater, str(path))
        if _signed_path(folder, rater).exists():
            answers |= read_signed(_signed_path(folder, rater), study, key)[1]
        found[rater] = answers
    return found
