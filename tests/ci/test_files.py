"""The files for GitHub, containers and editors: valid by their schemas and linters, and true to this project. No image is built."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from check_jsonschema.cli import main as check_jsonschema
from typer.main import get_command

from srgan.commands import main
from tests.helpers.project import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "vendor.dependabot": [ROOT / ".github/dependabot.yml"],
    "vendor.compose-spec": [ROOT / "docker/compose.yaml"],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_follow_their_schemas(schema, tmp_path, capsys):
    def status_of(*paths):
        return check_jsonschema.main(["--builtin-schema", schema, *map(str, paths)], standalone_mode=False)

    assert status_of(*SCHEMAS[schema]) == 0, capsys.readouterr().out
    broken = tmp_path / "broken.yml"
    broken.write_text("- 1\n")
    assert status_of(broken) == 1


def test_hadolint_has_no_complaint_about_the_dockerfile():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "docker/Dockerfile"], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout


def test_zizmor_finds_no_security_problem_in_the_workflows():
    linter = Path(sys.executable).with_name("zizmor")
    done = subprocess.run([linter, "--offline", "--quiet", ROOT / ".github"], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout


def _scripts():
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            yield from (step["run"] for step in job["steps"] if "run" in step)


def test_workflows_name_commands_targets_and_secrets_that_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    commands = get_command(main.app()).commands
    scripts = "\n".join(_scripts())
    assert set(re.findall(r"^srgan ([a-z-]+)", scripts, flags=re.M)) == {"ci-report"} <= commands.keys()
    assert set(re.findall(r"\bmake ([a-z-]+)", scripts)) <= {*targets}
    for matrix in yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["tests"]["strategy"]["matrix"]["target"]:
        assert matrix in targets
    assert subprocess.run(["bash", "-n"], input=scripts, text=True, check=False).returncode == 0


def test_each_package_that_is_tried_beyond_its_range_has_one():
    matrix = yaml.safe_load((ROOT / ".github/workflows/newest.yml").read_text())["jobs"]["newest"]["strategy"]["matrix"]["beyond"]
    tried = {name for entry in matrix if entry != "none" for name in entry.split()}
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert tried <= {requirement.partition(">=")[0] for requirement in dependencies if "<" in requirement}


def test_workflows_restrict_their_token():
    for path in WORKFLOWS:
        assert "permissions" in yaml.safe_load(path.read_text()), path.name


def test_the_image_holds_what_the_package_needs():
    text = (ROOT / "docker/Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+) \S+$", text, flags=re.M):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*re.search(r"'\.\[(.*)\]'", text)[1].split(",")} <= extras.keys()


def test_services_wait_for_each_other_and_listen_on_this_machine_only():
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    services = compose["services"]
    assert services.keys() == {"postgres", "mlflow", "prefect", "worker", "serve"}
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            assert wait == {"condition": "service_healthy"}
            assert "healthcheck" in services[other], f"{name} waits for {other}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / "docker" / source).exists()


def test_the_development_container_installs_this_project():
    found = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert found["postCreateCommand"] == "make install"
    assert {str(port) for port in found["forwardPorts"]} == found["portsAttributes"].keys()
