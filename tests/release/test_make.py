import hashlib
import json
import shutil
import subprocess
from importlib import metadata

import onnx
import pytest
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message

from srgan.utils.files import sha256
from tests.helpers.commands import run
from tests.helpers.keys import write_keys
from tests.helpers.project import copied

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture(scope="module")
def committed(project, tmp_path_factory):
    """A finished project with its dvc.lock in a commit, and a pair of keys."""
    folder = copied(project, tmp_path_factory.mktemp("release") / "project")
    for command in (["add", "dvc.lock"], ["commit", "-qm", "trained"]):
        subprocess.run([*GIT, *command], cwd=folder, check=True)
    write_keys(folder.parent)
    return folder


@pytest.fixture(scope="module")
def release(committed):
    done = run("srgan", "release", "1.0.0", "--key", "../private.pem", cwd=committed)
    assert done.stdout.split() == ["releases/demo-1.0.0", "releases/demo-1.0.0.oci"]
    return committed / "releases/demo-1.0.0"


def test_the_release_has_all_parts_and_verifies(release, committed):
    names = {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}
    onnx_file = next((committed / "models").glob("*.onnx"))
    assert {
        *("MODEL_CARD.md", "LICENSES.md", "lineage.json", "decision.json", "sbom.cdx.json", "params.yaml", "dvc.lock"),
        *("SHA256SUMS", "model.sig", f"models/{onnx_file.name}", "models/generator.safetensors", "models/4x-demo-compact.pth"),
        *("scores/metrics.json", "scores/statistics.json", f"triton/{onnx_file.stem}/1/model.onnx"),
    } <= names
    for folder in (release, release.with_name("demo-1.0.0.oci")):
        done = run("srgan", "verify", folder, "--key", "../public.pem", cwd=committed)
        assert "signed by ../public.pem" in done.stdout
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=release, check=True)


def test_the_statement_is_valid_and_names_commit_data_and_files(release, committed):
    found = json.loads((release / "lineage.json").read_text())
    Statement.copy_from_pb(json_format.ParseDict(found, Message())).validate()
    for subject in found["subject"]:
        assert subject["digest"]["sha256"] == hashlib.sha256((release / subject["name"]).read_bytes()).hexdigest()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=committed, capture_output=True, text=True, check=True).stdout.strip()
    environment = found["predicate"]["buildDefinition"]["internalParameters"]
    assert (environment["threads"] >= 1, environment["packages"]["torch"]) == (True, metadata.version("torch"))
    sources = {entry["name"]: entry for entry in found["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert sources["source"]["digest"] == {"gitCommit": commit}
    assert sources["dvc.lock"]["digest"]["sha256"] == sha256(committed / "dvc.lock")
    manifest = json.loads((committed / "data/prepared/manifest.json").read_text())
    training = [image for image in manifest["images"] if image["part"] == "train"]
    assert sources["data/train/sample"]["annotations"]["images"] == len(training)
    assert set(sources["data/train/sample"]["annotations"]["licenses"]) == {image["licence"] for image in training}


def test_licenses_bill_decision_and_triton_describe_the_model(release):
    bill = json.loads((release / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["type"]) == ("CycloneDX", "machine-learning-model")
    torch = next(entry for entry in bill["components"] if entry["name"] == "torch")
    assert torch["purl"].startswith("pkg:pypi/torch@")
    text = (release / "LICENSES.md").read_text()
    assert "| train | sample |" in text
    assert f"| torch | {torch['version']} |" in text
    assert json.loads((release / "decision.json").read_text())["decision"] == "none"
    (configuration,) = (release / "triton").glob("*/config.pbtxt")
    graph = onnx.load(configuration.parent / "1/model.onnx").graph
    assert f'name: "{graph.input[0].name}", data_type: TYPE_FP32, dims: [-1, 3, -1, -1]' in configuration.read_text()


def test_what_would_not_be_true_is_refused(release, committed, tmp_path):
    def refused(*arguments):
        done = run("srgan", *arguments, cwd=committed, check=False)
        assert done.returncode == 1
        return done.stderr

    assert "exists already. A release does not change" in refused("release", "1.0.0")
    assert "not a version" in refused("release", "../1")
    params = (committed / "params.yaml").read_text()
    (committed / "params.yaml").write_text(params + "# note\n")
    assert "files differ from the commit" in refused("release", "1.0.1")
    (committed / "params.yaml").write_text(params)
    other = shutil.copytree(release, tmp_path / "other")
    (other / "LICENSES.md").write_text("")
    assert "changed after its release: LICENSES.md differs" in refused("verify", other)
    assert [path.name for path in (committed / "releases").iterdir() if "1.0.1" in path.name] == []


@pytest.mark.slow
def test_a_fresh_clone_trains_the_same_model(release, committed, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", committed, clone], check=True)
    shutil.rmtree(clone / ".dvc/cache", ignore_errors=True)
    run("dvc", "repro", cwd=clone)
    done = run("srgan", "verify", release, "--rebuilt", clone, cwd=committed)
    assert "models/generator.safetensors" in done.stdout
    (clone / "models/generator.safetensors").write_bytes(b"")
    done = run("srgan", "verify", release, "--rebuilt", clone, cwd=committed, check=False)
    assert "generator.safetensors differs" in done.stderr
    assert "OMP_NUM_THREADS=" in done.stderr
