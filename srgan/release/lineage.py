"""The lineage of a release: an in-toto statement with the provenance of SLSA, from which the model can be trained again."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from srgan import __version__
from srgan.config.project import Project
from srgan.training import lineage as training
from srgan.utils import git
from srgan.utils.errors import SrganError
from srgan.utils.files import digest, read_json_or_none, sha256

FILE = "lineage.json"
STATEMENT, PROVENANCE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:srgan:dvc-repro:v1"  # train with the parameters of a commit: `dvc repro`

log = logging.getLogger(__name__)


def dependencies(project: Project, manifest: dict[str, Any], weights: dict[str, str]) -> list[dict[str, Any]]:
    """Return what the model was made of: the commit, its parameters, the weights that it started from and the data, with their digests.

    A warning is logged if `dvc repro` alone does not train this model.

    Args:
        project: the files.
        manifest: of the prepared data.
        weights: metadata of the generator.

    Raises:
        SrganError: the project differs from its commit, so that no other person can train the model.
    """
    commit = git.revision(project.root)
    if not commit or commit.endswith("changes") or git.changed_files(project.root, project.params.name, project.dvc_lock.name):
        why = "files differ from the commit" if commit else "the project is not in a git commit"
        raise SrganError(f"{project.root.resolve()}: {why}, so no other person can train this model. Commit params.yaml and dvc.lock first")
    address = git.origin(project.root)
    source = {"name": "source", "digest": {"gitCommit": commit}} | ({"uri": f"git+{address}"} if address else {})
    files = [{"name": path.name, "digest": {"sha256": sha256(path)}} for path in (project.params, project.dvc_lock)]
    if continued := training.sentences(weights):
        log.warning("%s: %s. A fresh clone trains another model", project.generator, continued[-1])
    return [source, *files, *_starts(weights), *_data(manifest["images"])]


def statement(
    version: str, folder: Path, copied: dict[str, str], made_of: list[dict[str, Any]], environment: dict[str, Any]
) -> dict[str, Any]:
    """Return the statement about the files of a release.

    Args:
        version: of the release.
        folder: of the release, with its models.
        copied: the files that are those of the project: the path in the release and the path in the project.
        made_of: see `dependencies`.
        environment: what can change the weights or the files: `python`, `machine`, `instructions`, `threads` and `packages`.
    """
    return {
        "_type": STATEMENT,
        "subject": [_subject(folder, path, copied) for path in sorted((folder / "models").rglob("*")) if path.is_file()],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"version": version, "command": "dvc repro"},
                "internalParameters": environment,
                "resolvedDependencies": made_of,
            },
            "runDetails": {"builder": {"id": f"urn:srgan:{__version__}"}},
        },
    }


def _subject(folder: Path, path: Path, copied: dict[str, str]) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    return {"name": name, "digest": {"sha256": sha256(path)}} | ({"annotations": {"project": copied[name]}} if name in copied else {})


def _starts(weights: dict[str, str]) -> list[dict[str, Any]]:
    """Return an entry for each file of weights that the training started from."""
    return [
        {
            "name": f"weights/{each['source']}",
            "digest": {"sha256": each["sha256"]},
            "annotations": {"licenses": [each.get("license", "unknown")]},
        }
        for each in json.loads(weights.get(training.STARTED, "[]"))
    ]


def _data(images: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an entry for each set of each part: a digest of its original files, their number and their licenses."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for image in images:
        groups.setdefault(f"data/{image['part']}/{image['set']}", []).append(image)
    return [
        {
            "name": name,
            "digest": {"sha256": digest(sorted(image["source_sha256"] for image in group))},
            "annotations": {"images": len(group), "licenses": sorted({str(image["licence"]) for image in group})},
        }
        for name, group in sorted(groups.items())
    ]


def check_rebuilt(folder: Path, project: Project) -> list[str]:
    """Compare the models of a project with those of a release.

    Args:
        folder: of the release, verified.
        project: a clone of the commit in which the stages ran.

    Returns:
        The equal files, as paths in the project.

    Raises:
        SrganError: a file is missing or differs.
    """
    found = read_json_or_none(folder / FILE)
    if not isinstance(found, dict) or found.get("predicateType") != PROVENANCE:
        raise SrganError(f"{folder / FILE}: no statement of a release. Name the folder that `srgan release` wrote")
    equal, wrong = [], []
    for subject in found["subject"]:
        name = subject.get("annotations", {}).get("project")
        path = project.root / str(name)
        if name and path.is_file() and sha256(path) == subject["digest"]["sha256"]:
            equal.append(name)
        elif name:
            wrong.append(f"{path} {'differs' if path.is_file() else 'is missing'}")
    if wrong:
        kept = found["predicate"]["buildDefinition"]["internalParameters"]
        raise SrganError(
            f"not the models of {folder}: {', '.join(wrong)}. Train on the same kind of processor with as many threads and the same "
            f"versions: {kept['machine']} with {kept['instructions']}, OMP_NUM_THREADS={kept['threads']}, Python {kept['python']}, "
            f"{', '.join(f'{key} {value}' for key, value in kept['packages'].items())}"
        )
    return equal
