"""Stage `prepare`: the split images, their LR versions and the packed pixels, in ``data/prepared/``."""

import logging

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.checks import TooManyRejected
from srgan.data.prepare import prepare as prepare_images
from srgan.data.prepare_manifest import NotPrepared
from srgan.evaluation.data_card import write_data_card
from srgan.evaluation.registration_sheet import log_lines
from srgan.utils import machine
from srgan.utils.errors import SrganError

log = logging.getLogger(__name__)

MAX_NAMES = 12  # image names in a log line


def run(project: Project, params: Params, processes: int | None = None) -> None:
    """Split the images, make their LR versions and pack the pixels.

    ``reports/data.html`` shows the images and those left out.

    Args:
        project: the files.
        params: the whole configuration.
        processes: number of parallel processes. The default is `srgan.utils.machine.processes`. The result does not depend on it.

    Raises:
        SrganError: too few images are readable, or too many fail the checks.
    """
    card = project.data_card
    try:
        manifest = prepare_images(project.raw, project.prepared, params.prepare, processes or machine.processes())
    except (NotPrepared, TooManyRejected) as error:
        write_data_card(card, {"images": []} | error.left_out, project.prepared, project.raw)
        raise SrganError(f"{error}. All of them: {card}") from error
    for part in ("train", "validation", "test"):
        names = [image["name"] for image in manifest["images"] if image["part"] == part]
        log.info("%s: %d images%s", part, len(names), f" ({', '.join(names)})" if len(names) <= MAX_NAMES else "")
    lines, warnings = log_lines(manifest["images"], params.prepare.align)
    for line in lines:
        log.info(line)
    for line in warnings:
        log.warning(line)
    write_data_card(card, manifest, project.prepared, project.raw)
    log.info("Data card: %s", card)
