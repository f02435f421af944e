"""The results of blind studies in MLflow: a run for each study, and a tag at each registered version that was compared."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from srgan.config.project import Project
from srgan.tracking import registry, store

STUDY_TAG = "srgan.study"  # of the run: id of the study
PREFERENCE_TAG = "srgan.preference"  # of a version: results against other models, by their digests
MAX_RESULTS = 20  # in a tag, which has 5000 characters


def has_store(project: Project) -> bool:
    """Return True if the folder is a project or a tracking server is set. Elsewhere a store would be created unasked."""
    return project.params.is_file() or bool(os.environ.get("MLFLOW_TRACKING_URI"))


def record(project: Project, name: str, found: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Log a study as a run and tag the registered versions of its models. A second call updates both.

    Args:
        project: whose MLflow store is used.
        name: of the study.
        found: see `srgan.study.report.report`.
        files: artifacts of the run.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        client = store.connect(project)
        run_id = _run(client, store.experiment_id(project, client), name, str(found["id"]))
        now = int(time.time() * 1000)
        metrics = {f"strength/{row['model']}": row["strength"] for row in found["models"]}
        metrics |= {f"preferred/{pair['first']} over {pair['second']}": pair["share"] for pair in found["pairs"]}
        metrics |= {"raters": sum(bool(row["answers"]) and not row["excluded"] for row in found["raters"])}
        metrics |= {"alpha": found["agreement"]["alpha"]} if found["agreement"]["alpha"] is not None else {}
        client.log_batch(run_id, metrics=[Metric(key, float(value), now, 0) for key, value in metrics.items()])
        for path in files:
            client.log_artifact(run_id, str(path))
        client.set_terminated(run_id, "FINISHED")
        for digest, results in results_by_digest(found).items():
            for version in client.search_model_versions(f"tag.`{registry.DIGEST_TAG}` = '{digest}'"):
                known = _results(version.tags)
                newest = {other: known[other] for other in known if other not in results} | results
                kept = dict(list(newest.items())[-MAX_RESULTS:])
                client.set_model_version_tag(version.name, version.version, PREFERENCE_TAG, json.dumps(kept))
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error) from error


def _run(client: MlflowClient, experiment: str, name: str, study: str) -> str:
    runs = client.search_runs([experiment], f"tags.`{STUDY_TAG}` = '{study}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {STUDY_TAG: study, "mlflow.source.name": "srgan study", "mlflow.source.type": "LOCAL"}
    return str(client.create_run(experiment, run_name=f"study-{name}", tags=tags).info.run_id)


def results_by_digest(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return ``{DIGEST: {DIGEST OF THE OTHER: {"study", "share", "low", "high", "answers", "images"}}}`` of models that are files."""
    digest = {label: source["sha256"] for label, source in found["sources"].items()}
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for pair in found["pairs"]:
        ours, theirs = digest[pair["first"]], digest[pair["second"]]
        if not ours or not theirs or ours == theirs:
            continue
        common = {"study": found["id"], "answers": pair["answers"], "images": pair["images"]}
        low, high = pair["low"], pair["high"]
        turned = (None, None) if low is None else (round(1 - high, 4), round(1 - low, 4))
        for first, second, share, bounds in ((ours, theirs, pair["share"], (low, high)), (theirs, ours, 1 - pair["share"], turned)):
            one = common | {"share": round(share, 4), "low": bounds[0], "high": bounds[1]}
            results.setdefault(first, {})[second] = one
    return results


def result_against(tags: Mapping[str, str], digest: str | None) -> dict[str, Any] | None:
    """Return the result of the last study that compared a version with another model, or None.

    Args:
        tags: of the version.
        digest: SHA-256 of the other model.
    """
    found = _results(tags).get(digest or "")
    return found if isinstance(found, dict) else None


def _results(tags: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(tags.get(PREFERENCE_TAG, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
