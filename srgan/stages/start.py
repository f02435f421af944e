"""The weights that a training starts from: a file, a starter, or a version of MLflow's registry."""

import logging
from pathlib import Path

from srgan.config.project import Project
from srgan.config.schema import Params, load
from srgan.config.training import REGISTERED
from srgan.starters import catalogue
from srgan.tracking.optional import registered_weights
from srgan.training.continuation import set_value
from srgan.utils.errors import SrganError

SCRATCH = "scratch"

log = logging.getLogger(__name__)


def locate(project: Project, value: str, option: str = "pretrain.pretrained") -> Path:
    """Return the file of weights that a value of ``pretrain.pretrained`` names. A version of the registry may be downloaded.

    Args:
        project: where relative paths start.
        value: file, starter or address of a version.
        option: that has the value, for the message of an error.

    Raises:
        SrganError: there is no such file, starter or version.
    """
    if REGISTERED.fullmatch(value):
        return registered_weights().fetch(project, value)
    if catalogue.has(value):
        return catalogue.find(value).weights
    path = project.resolve(value)
    if not path.is_file():
        raise SrganError(f"{option}: {path}: no such file of weights, and '{value}' is no starter ({catalogue.known()})")
    return path


def name_of(value: str) -> str:
    """Return the name of a start for the metadata of weights: without the folders of this machine."""
    return value if REGISTERED.fullmatch(value) or catalogue.has(value) else Path(value).name


def pin(project: Project, params: Params, path: Path) -> Params:
    """Write the digest of the weights behind an address of the registry into the parameter file.

    DVC and the key of the training then see which weights they are, and the alias may move on. An address without a digest stands for the
    version that has the alias now.

    Args:
        project: whose MLflow store has the model.
        params: content of the file.
        path: the parameter file.

    Returns:
        The present content of the file.
    """
    value = params.pretrain.pretrained
    if not (match := REGISTERED.fullmatch(value)) or match[4]:
        return params
    registry = registered_weights()
    pinned = f"{value}#{registry.digest_of(project, value)[: registry.DIGITS]}"
    set_value(path, "pretrain.pretrained", pinned)
    log.info("%s: pretrain.pretrained: %s -> %s. Remove # and the digest to take the version that has the alias then", path, value, pinned)
    return load(path)


def moved(project: Project, params: Params) -> str:
    """Return a sentence if the alias of ``pretrain.pretrained`` names other weights by now, or an empty text."""
    match = REGISTERED.fullmatch(params.pretrain.pretrained)
    if not match or not match[2] or not match[4]:
        return ""
    address = f"models:/{match[1]}@{match[2]}"
    registry = registered_weights()
    now = registry.digest_of(project, address)
    if now.startswith(match[4]):
        return ""
    return f"{address} names other weights by now ({now[: registry.DIGITS]}). To start from them set pretrain.pretrained: {address}"
