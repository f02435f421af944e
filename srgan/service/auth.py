"""A bearer token that clients must send."""

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from srgan.service.limits import Refused
from srgan.utils.errors import SrganError

VARIABLE = "SRGAN_SERVICE_TOKEN"
SHORTEST = 16  # characters

_bearer = HTTPBearer(auto_error=False, description=f"The token of the operator, if the service has one ({VARIABLE} or --token-file).")


def read_token(path: Path | None) -> str | None:
    """Return the token of a file, else that of the environment variable `VARIABLE`, else None.

    Raises:
        SrganError: the file cannot be read, or the token is too short or has other characters than a header may have.
    """
    place = str(path) if path else VARIABLE
    try:
        token = (path.read_text(encoding="utf-8") if path else os.environ.get(VARIABLE, "")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SrganError(f"{path}: the token cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from error
    if not token and not path:
        return None
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise SrganError(
            f"{place}: a token has at least {SHORTEST} printable ASCII characters without a space. Make one with: openssl rand -hex 32"
        )
    return token


def checker(token: str | None) -> Callable[..., None]:
    """Return a dependency that refuses requests without the token."""

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
        # Compared in constant time, because the time would otherwise show how many characters of a guess are right.
        if token and not hmac.compare_digest((given.credentials if given else "").encode(), token.encode()):
            raise Refused(401, "the token is missing or wrong. Send it as: Authorization: Bearer TOKEN")

    return check
