"""Files at addresses of fsspec, such as ``s3://bucket/photos``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from srgan.utils.errors import SrganError, Unreachable

NO_KEYS = ("NoCredentialsError", "PartialCredentialsError")  # of botocore, which only the extra `s3` installs
CHECK_KEYS = "Check the keys, such as AWS_ACCESS_KEY_ID, and what they permit"


@contextmanager
def reached(address: str, advice: str = "") -> Iterator[None]:
    """Translate the errors of a file system within the block.

    Args:
        address: for the message.
        advice: what to do if there is no such file.

    Raises:
        SrganError: there is no such file or bucket, access is denied, or the package of the file system is missing.
        Unreachable: every other error, such as a lost connection.
    """
    try:
        yield
    except SrganError:
        raise
    except FileNotFoundError as error:
        bucket = "bucket" if "bucket" in str(error) and "not exist" in str(error) else "file or folder"
        raise SrganError(f"{address}: no such {bucket}{advice and f'. {advice}'}") from error
    except (ImportError, ValueError) as error:  # a package that is not installed, or an unknown protocol
        raise SrganError(f"{address}: {error}") from error
    except Exception as error:  # file systems raise their own
        why = str(error) or type(error).__name__
        if is_denied(error):
            raise SrganError(
                f"{address}: access denied ({why}). {CHECK_KEYS if is_address(address) else 'Check the permissions'}"
            ) from error
        raise Unreachable(f"{address} cannot be reached: {why}") from error


def is_denied(error: Exception) -> bool:
    """Return True for an error of a file system about missing or wrong keys, which stays in another attempt."""
    return isinstance(error, PermissionError) or type(error).__name__ in NO_KEYS


def is_address(name: str) -> bool:
    """Return True for ``s3://bucket/a.png``, and False for a path."""
    return "://" in name


def locate(address: str) -> tuple[Any, str]:
    """Return the file system of an address and the path in it. The errors are those of `reached`."""
    with reached(address):
        return fsspec.core.url_to_fs(address)
