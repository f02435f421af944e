"""Errors that a user can correct."""

import difflib
from collections.abc import Sequence

from srgan.utils.addresses import without_secrets


def reason(error: Exception) -> str:
    """Return the first line of an error, without the passwords and tokens of addresses in it."""
    first = (str(error).splitlines() or [""])[0]
    return without_secrets(first) or type(error).__name__


class SrganError(Exception):
    """An error that a user can correct. The message names the fault, its place and the remedy.

    The command line prints it as one line without a traceback and exits with `EXIT_CODE`. ``--debug`` adds the traceback.
    Addresses in the message lose their passwords and tokens.

    Example:
        >>> from srgan import SrganError, read_image
        >>> try:
        ...     read_image("missing.png")
        ... except SrganError as error:
        ...     print(error)
        missing.png: no such file
    """

    EXIT_CODE = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(message))


class LostOthers(SrganError):
    """The other processes of a training are gone or unreachable. Another attempt may succeed."""

    EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h


class Unreachable(SrganError):
    """A server is unreachable. The same command may succeed later."""

    EXIT_CODE = 69  # EX_UNAVAILABLE of sysexits.h


def nearest(word: str, valid: Sequence[str]) -> str:
    """Return ``; did you mean X?`` for the closest of `valid`, or else the list of them."""
    close = difflib.get_close_matches(word, valid, n=1)
    return f"; did you mean {close[0]}?" if close else f"; valid: {', '.join(valid)}"
