"""Write a release: a folder with all that a user of the model needs, and the same as an OCI image layout."""

import logging
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from srgan.config.project import Project, registered_name
from srgan.config.schema import Params
from srgan.data.manifest import read_manifest
from srgan.export import checkpoints
from srgan.export.registry import FORMATS
from srgan.inference import signature
from srgan.models.weights_file import read_metadata
from srgan.release import lineage, oci, packages, triton
from srgan.tracking import registry
from srgan.utils.errors import SrganError
from srgan.utils.files import copy, read_json, read_json_or_none, require, scratch_folder, sha256, write_json, write_text

VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]*")
BY_STAGES = ("onnx", "onnx-fp16", "onnx-int8", "safetensors")  # formats that the stages write. They are copied
PACKAGES = ("torch", "numpy", "opencv-python-headless", "onnx")  # whose versions can change the weights or the files
DECISION = "srgan.decision"  # tags of a version, see docs/promotion.md

log = logging.getLogger(__name__)


def make(project: Project, params: Params, version: str, output: Path, key: Path | None = None) -> tuple[Path, Path]:
    """Write the release of the exported model.

    Args:
        project: the files, after all stages.
        params: the whole configuration.
        version: of the release, such as ``1.0.0``.
        output: gets the folders ``NAME-VERSION`` and ``NAME-VERSION.oci``.
        key: private key of the signature, see `srgan.inference.signature.seal`. Without one the release has checksums only.

    Returns:
        Both folders.

    Raises:
        SrganError: the version exists, the project differs from its commit, its reports are not of this model, or the key is unfit.
        Unreachable: MLflow does not answer.
    """
    if not VERSION.fullmatch(version):
        raise SrganError(f"{version!r}: not a version. Use letters, digits, dots and hyphens, such as 1.0.0")
    folder = output / f"{params.export.name}-{version}"
    layout = output / f"{folder.name}.oci"
    for path in (folder, layout):
        if path.exists():
            raise SrganError(f"{path}: exists already. A release does not change. Choose another version")
    if key:
        signature.signer(key)  # an unfit key is known before minutes of work
    model, manifest = project.exported_model(), read_manifest(project.prepared)
    made_of = lineage.dependencies(project, manifest, read_metadata(project.generator, "train"))
    record = read_json(project.registration, made_by="register")
    if record.get("sha256") != sha256(model):
        raise SrganError(f"{project.registration}: of another model than {model}. Register this one with: dvc repro register")
    decision = _decision(project, registered_name(params, manifest["scale"]), record["sha256"])
    output.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder) as scratch:
        release, image = scratch / folder.name, scratch / layout.name
        release.mkdir()
        copied = _copy_models(project, model, release)
        _convert(project, params, release)
        write_json(release / lineage.FILE, lineage.statement(version, release, copied, made_of, _environment()))
        triton.write_repository(release / "triton", model)
        write_json(release / "decision.json", decision)
        write_text(release / "sbom.cdx.json", packages.bill_of_materials(params.export.name, version, params.export.license))
        write_text(release / "LICENSES.md", packages.licences(manifest, params.export.license))
        _copy_reports(project, release)
        signature.seal(release, key)
        oci.write_layout(release, image)
        release.rename(folder)
        image.rename(layout)
    if not key:
        log.warning("%s: has no signature. Sign releases with --key or %s", folder, signature.SIGNING_KEY)
    return folder, layout


def _copy_models(project: Project, model: Path, release: Path) -> dict[str, str]:
    """Copy the models of the stages. Return their paths in the release and in the project."""
    (release / "models").mkdir()
    reduced = (read_json_or_none(project.export_record) or {}).get("reduced", {})
    files = [model, *(project.reduced / entry["file"] for entry in reduced.values() if entry.get("written"))]
    copied = {}
    for path in (*files, require(project.generator, "train")):
        copy(path, release / "models" / path.name)
        copied[f"models/{path.name}"] = path.relative_to(project.root).as_posix()
    return copied


def _convert(project: Project, params: Params, release: Path) -> None:
    """Add the formats that no stage writes. A warning names those that do not support the network."""
    for name in FORMATS:
        if name in BY_STAGES:
            continue
        try:
            checkpoints.convert(project.generator, name, release / "models", params.export.name, params.export.license)
        except SrganError as error:
            log.warning("the release has no model as %s: %s", name, str(error).splitlines()[-1].strip())


def _environment() -> dict[str, Any]:
    """Return what can change the weights of a training, of this process. The training is assumed to have run in the same way."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),  # each has its share of a sum, and the order of additions changes the last bits
        "packages": {name: _installed(name) for name in PACKAGES},
    }


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _copy_reports(project: Project, release: Path) -> None:
    (release / "scores").mkdir()
    copy(require(project.model_card, "register"), release / "MODEL_CARD.md")
    for path in (project.params, project.dvc_lock):
        copy(path, release / path.name)
    for path in (project.metrics, project.scores, project.statistics, project.comparison):
        copy(require(path, "evaluate"), release / "scores" / path.name)


def _decision(project: Project, name: str, digest: str) -> dict[str, Any]:
    """Return the decision about the model from its version in MLflow."""
    found = registry.version_of(project, name, digest)
    tags = found.tags if found else {}
    if DECISION not in tags:
        log.warning("%s: no decision about this model. The release says so. Decide with: srgan promote", name)
    values = {tag.removeprefix("srgan."): text for tag, text in sorted(tags.items()) if tag.startswith(DECISION)}
    return {"model": name, "version": str(found.version) if found else None, "decision": "none"} | values
