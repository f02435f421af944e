"""Stage `prepare`: the split images, their LR versions and the packed pixels, in ``data/prepared/``."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.config.training import PrepareRuntime
from srgan.data.checks import TooManyRejected
from srgan.data.manifest import PARTS
from srgan.data.prepare import prepare as prepare_images
from srgan.data.prepare_manifest import NotPrepared
from srgan.evaluation.data_card import write_data_card
from srgan.evaluation.registration_sheet import log_lines
from srgan.utils import machine
from srgan.utils.errors import SrganError
from srgan.utils.optional import require_ray
from srgan.utils.workers import Engine, Workers

log = logging.getLogger(__name__)

MAX_NAMES = 12  # image names in a log line


def run(project: Project, params: Params, processes: int | None = None, engine: str | None = None, address: str | None = None) -> None:
    """Split the images, make their LR versions and pack the pixels.

    ``reports/data.html`` shows the images and those left out.

    Args:
        project: the files.
        params: the whole configuration.
        processes: number of parallel processes. The default is `srgan.utils.machine.processes`. The result does not depend on it.
        engine: ``local`` or ``ray``. The default is ``runtime.prepare.engine``. The result does not depend on it.
        address: of the Ray cluster. The default is ``runtime.prepare.address``.

    Raises:
        SrganError: too few images are readable, or too many fail the checks.
    """
    card = project.data_card
    chosen = params.runtime.prepare
    chosen = PrepareRuntime(engine=engine or chosen.engine, address=chosen.address if address is None else address)
    if address and chosen.engine == "local":
        raise SrganError("--address: names a Ray cluster. Add --engine ray")
    if processes and chosen.engine == "ray" and chosen.address:
        raise SrganError("--processes: a Ray cluster uses all its cores. Leave it out")
    try:
        with _workers(chosen, processes or machine.processes()) as workers:
            manifest = prepare_images(project.raw, project.prepared, params.prepare, engine=workers)
    except (NotPrepared, TooManyRejected) as error:
        write_data_card(card, {"images": []} | error.left_out, project.prepared, project.raw)
        raise SrganError(f"{error}. All of them: {card}") from error
    for part in PARTS:
        names, count = list[str](), 0
        for image in manifest["images"]:
            if image["part"] == part:
                names, count = [*names, image["name"]][: MAX_NAMES + 1], count + 1
        log.info("%s: %d images%s", part, count, f" ({', '.join(names)})" if count <= MAX_NAMES else "")
    lines, warnings = log_lines(manifest["images"], params.prepare.align)
    for line in lines:
        log.info(line)
    for line in warnings:
        log.warning(line)
    write_data_card(card, manifest, project.prepared, project.raw)
    log.info("Data card: %s", card)


@contextmanager
def _workers(chosen: PrepareRuntime, processes: int) -> Iterator[Engine]:
    """Yield what processes the images, within a connection to Ray if that is chosen."""
    if chosen.engine == "local":
        yield partial(Workers, processes=processes)
        return
    require_ray()
    from srgan.stages.ray_workers import RayWorkers  # an optional package
    from srgan.utils import ray_cluster

    with ray_cluster.connected(chosen.address, processes):
        log.info("Ray: %d cores of %d machines", ray_cluster.cores(), ray_cluster.machines())
        yield RayWorkers
