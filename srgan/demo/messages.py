"""Messages about files of a job. Their names on this machine mean nothing to the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srgan.inference.upscaler import ModelFailed
from srgan.service.limits import Refused
from srgan.service.work import collected_warnings
from srgan.utils.errors import SrganError


@contextmanager
def without_paths(source: Path, target: Path, name: str) -> Iterator[list[str]]:
    """Collect the warnings about a file in a list, which is complete after the block.

    Args:
        source: the file.
        target: the file of its result.
        name: what messages call the file, such as ``the clip``.

    Raises:
        Refused: instead of an error of the block, whose message it has.
    """

    def told(text: str) -> str:
        return text.replace(str(source), name).replace(str(target), "the result")

    with collected_warnings(str(source)) as warnings:
        try:
            yield warnings
        except SrganError as error:
            raise Refused(500 if isinstance(error, ModelFailed) else 422, told(str(error))) from error
    warnings[:] = map(told, warnings)
