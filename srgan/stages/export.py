"""Stage `export`: the generator as ONNX, in ``models/`` and ``models/reduced/``."""

import logging

from srgan.config.delivery import UNSPECIFIED
from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.manifest import pairs
from srgan.data.packed_store import open_store
from srgan.data.sampler import PatchSampler
from srgan.degradations.recipe import Recipe
from srgan.export import quantize
from srgan.export.onnx import export_onnx, file_name
from srgan.metrics.registry import METRICS
from srgan.models.checkpoints import load_generator
from srgan.models.registry import NETWORKS, architecture_of
from srgan.tasks import task_of
from srgan.utils.files import atomic_folder, sha256, write_json

log = logging.getLogger(__name__)

CALIBRATION_PATCHES = 16  # patches that set the ranges of int8


def run(project: Project, params: Params) -> None:
    """Write the generator as ONNX and compare it with PyTorch.

    docs/onnx.md describes the file. ``reports/export.json`` has the sizes, digests and differences.

    Args:
        project: the files.
        params: the whole configuration.
    """
    options = params.export
    generator, metadata = load_generator(project.generator, made_by="train")
    arch, config = architecture_of(generator)
    path = project.models / file_name(generator.scale, options.name, arch)
    recipe = Recipe(params.prepare.recipe)
    task = task_of(generator.scale, recipe.removes_colour)
    named = recipe.name or ", ".join(step.name for step in recipe.steps)
    described = {
        "sr.task": task.name,
        "sr.recipe": named,
        "sr.name": options.name,
        "sr.license": options.license,
        "sr.weights_sha256": sha256(project.generator),
    }
    origin = {"sr.origin": options.origin, "sr.origin_license": options.origin_license}
    described |= {key: text for key, text in origin.items() if text != UNSPECIFIED}
    project.export_record.unlink(missing_ok=True)  # it has the digests of the files that are replaced now
    result = export_onnx(path, generator, metadata | described, options.optimize_graph)
    log.info("%s: %.0f kB, at most %.1e from torch", path, result["bytes"] / 1000, max(result["max_difference"].values()))
    with atomic_folder(project.reduced) as folder:
        reduced, validation = {}, pairs(project.prepared, "validation")
        if options.fp16 and not NETWORKS[arch].supports_half(generator):
            log.warning("no float16 file: float16 is not supported by %s", config.get("architecture", arch))
        elif options.fp16:
            out = folder / file_name(generator.scale, options.name, arch, "fp16")
            reduced["fp16"] = quantize.write_fp16(out, path, validation, METRICS[task.psnr])
        if options.int8:
            store = open_store(project.prepared, params.runtime.store)
            store.verify()
            sampler = PatchSampler(store, CALIBRATION_PATCHES, params.train.patch_sizes[-1], seed=0, window=params.train.window)
            patches = sampler.lr_patches(0)
            out = folder / file_name(generator.scale, options.name, arch, "int8")
            reduced["int8"] = quantize.write_int8(out, path, validation, patches[:, :32, :32], options.int8_max_drop_db, METRICS[task.psnr])
    write_json(project.export_record, result | {"reduced": reduced})
