"""What teams set up: MLflow's server on PostgreSQL with users, the move there from the local store, DVC remotes over SSH."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import asyncssh
import pytest
from mlflow.tracking import MlflowClient

from tests.helpers.commands import environment, run, wait_for
from tests.helpers.project import ROOT, write_params

README = (ROOT / "mlflow" / "README.md").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# -- MLflow ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def postgres():
    """A real PostgreSQL on loopback; the address of an empty database."""
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("no PostgreSQL is installed")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root, and may not enter pytest's folders then
    folder, port = Path(tempfile.mkdtemp()), free_port()
    if user:
        shutil.chown(folder, user)

    def command(*words: object) -> None:
        done = subprocess.run(list(map(str, words)), user=user, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    command("initdb", "-D", folder / "data", "-U", "owner", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    command("pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    command("psql", "-h", "127.0.0.1", "-p", port, "-U", "owner", "postgres", "-c", "CREATE DATABASE mlflow")
    yield f"postgresql://owner:none@127.0.0.1:{port}/mlflow"
    command("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def serve(tmp_path):
    """Start MLflow's server as the README says; its address."""
    started = []

    def start(store: str, *options: str, **env: str) -> str:
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "server", *options, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")]
        log = tmp_path / "server.log"
        with log.open("a") as file:
            process = subprocess.Popen(
                command, cwd=tmp_path, stdout=file, stderr=file, start_new_session=True,
                env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", **env),
            )  # fmt: skip
        started.append(process)

        def up() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    return answer.status == 200
            except urllib.error.HTTPError as error:
                return error.code == 401
            except OSError:
                return False

        wait_for(up, 120)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.mark.slow
def test_a_teams_server_with_users_on_postgresql(copy_of_project, postgres, serve, monkeypatch):
    for option in ("--app-name basic-auth", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", "--host 127.0.0.1"):
        assert option in README
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": "long-enough-for-a-test", "MLFLOW_FLASK_SERVER_SECRET_KEY": "0" * 64}
    uri = serve(postgres, "--app-name", "basic-auth", **secrets)
    refused = run("srgan", "register", cwd=copy_of_project, check=False, MLFLOW_TRACKING_URI=uri)
    assert refused.returncode == 1  # trying again would not help
    assert "MLflow: the server does not accept this user. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refused.stderr
    assert "The model is safe" in refused.stderr
    user = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "long-enough-for-a-test"}
    done = run("srgan", "register", cwd=copy_of_project, MLFLOW_TRACKING_URI=uri, **user)
    assert "srgan-x4 version 1 has the alias challenger" in done.stderr
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    store = MlflowClient(uri)
    run_id = store.get_model_version_by_alias("srgan-x4", "challenger").run_id
    assert "report.html" in {file.path for file in store.list_artifacts(run_id)}
    assert len(store.get_metric_history(run_id, "train/loss_l1")) == 3


@pytest.mark.slow
def test_two_users_of_one_server(copy_of_project, serve, tmp_path, monkeypatch):
    """The second may not change what the first created, is told so, and may after the README's commands."""
    settings = tmp_path / "auth.ini"
    settings.write_text(README.partition("cat > auth.ini <<END\n")[2].partition("END\n")[0])
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": "long-enough-for-a-test", "MLFLOW_FLASK_SERVER_SECRET_KEY": "0" * 64}
    secrets["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
    uri = serve(f"sqlite:///{tmp_path}/server.db", "--app-name", "basic-auth", **secrets)
    admin, anna, berta = (
        {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": "long-enough-for-a-test"}
        for name in ("admin", "anna", "berta")
    )
    for name, value in admin.items():
        monkeypatch.setenv(name, value)
    from mlflow.server import get_app_client  # takes a second, and only here

    for user in (anna, berta):
        get_app_client("basic-auth", tracking_uri=uri).create_user(user["MLFLOW_TRACKING_USERNAME"], user["MLFLOW_TRACKING_PASSWORD"])
    other = shutil.copytree(copy_of_project, tmp_path / "other", symlinks=True)
    write_params(other, {"export.license": "another"})
    for stage in ("export", "evaluate"):
        run("srgan", stage, cwd=other)
    run("srgan", "register", cwd=copy_of_project, **anna)
    refused = run("srgan", "register", cwd=other, check=False, **berta)
    assert refused.returncode == 1
    told = "user 'berta' has no permission to change the experiment 'srgan'. Ask its owner for EDIT (mlflow/README.md), or set "
    assert told + "MLFLOW_EXPERIMENT_NAME to another name" in refused.stderr
    own = berta | {"MLFLOW_EXPERIMENT_NAME": "berta"}
    refused = run("srgan", "register", cwd=other, check=False, **own)
    assert refused.returncode == 1
    told = "user 'berta' has no permission to change the model 'srgan-x4'. Ask its owner for EDIT (mlflow/README.md), or set "
    assert told + "register.name in params.yaml to another name" in refused.stderr
    write_params(other, {"export.license": "another", "register.name": "berta"})
    assert "berta-x4 version 1 has the alias challenger" in run("srgan", "register", cwd=other, **own).stderr
    write_params(other, {"export.license": "another"})
    grant = README.partition("lets a colleague write to them:")[2].partition("```\n")[2].partition("```")[0]
    run("bash", "-euc", grant, cwd=tmp_path, **anna)
    assert "srgan-x4 version 2 has the alias challenger" in run("srgan", "register", cwd=other, **berta).stderr
    assert "promoted" in run("srgan", "promote", "--force", "--reason", "test", cwd=other, **berta).stdout
    runs = MlflowClient(uri).search_runs([MlflowClient(uri).get_experiment_by_name("srgan").experiment_id])
    assert {found.info.status for found in runs} == {"FINISHED"}
    assert len(runs) == 2  # of equal parameters, one for each writer


@pytest.mark.slow
def test_the_local_store_moves_to_postgresql(copy_of_project, postgres, serve, tmp_path, monkeypatch):
    """By the README's own lines."""
    if not shutil.which("pgloader"):
        pytest.skip("no pgloader is installed")
    commands = README.partition("## Moving from the SQLite store")[2].partition("```\n")[2].partition("```")[0]
    address = postgres.removeprefix("postgresql://")
    commands = commands.replace("USER:PASSWORD@127.0.0.1/mlflow", address).replace("psql mlflow", f"psql {postgres}")
    commands = commands.replace("/srv/mlflow/artifacts", str(tmp_path / "artifacts")).replace("mlflow server", "# mlflow server")
    serve(postgres)  # makes the tables
    (tmp_path / "artifacts").mkdir()
    done = run("bash", "-euc", commands, cwd=copy_of_project)
    assert not re.search(r"(?i)\berror\b[^s]", done.stdout), done.stdout
    uri = serve(postgres)
    before, after = MlflowClient(f"sqlite:///{copy_of_project}/mlflow/mlflow.db"), MlflowClient(uri)
    ids = [store.get_model_version_by_alias("srgan-x4", "challenger").run_id for store in (before, after)]
    assert ids[0] == ids[1]
    old, new = (store.get_run(ids[0]).data for store in (before, after))
    assert (old.params, old.metrics, old.tags) == (new.params, new.metrics, new.tags)
    assert len(after.get_metric_history(ids[0], "train/loss_l1")) == 3
    assert {file.path for file in before.list_artifacts(ids[0])} == {file.path for file in after.list_artifacts(ids[0])}
    done = run("srgan", "promote", "--force", "--reason", "test", cwd=copy_of_project, MLFLOW_TRACKING_URI=uri)  # and it goes on
    assert "version 1, champion before: none: promoted" in done.stdout


# -- DVC -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ssh_server(tmp_path):
    """A real SSH server with SFTP, for files below a folder; its port and the file of the user's key."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    key.write_public_key(tmp_path / "authorized")
    (tmp_path / "served").mkdir()
    loop, port = asyncio.new_event_loop(), free_port()

    def sftp(channel: asyncssh.SSHServerChannel) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=os.fsencode(tmp_path / "served"))

    listening = asyncssh.listen(
        "127.0.0.1", port, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=str(tmp_path / "authorized"), sftp_factory=sftp,
    )  # fmt: skip
    server = loop.run_until_complete(listening)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield port, tmp_path / "key"
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@pytest.mark.slow
def test_push_and_pull_over_ssh(copy_of_project, ssh_server, tmp_path):
    port, key = ssh_server
    dvc = lambda *words: run("dvc", *words, cwd=copy_of_project)  # noqa: E731
    dvc("remote", "add", "-q", "-d", "team", f"ssh://anna@127.0.0.1:{port}/store")
    dvc("remote", "modify", "--local", "team", "keyfile", key)
    dvc("remote", "modify", "--local", "team", "allow_agent", "false")
    dvc("push", "-q")
    assert len([path for path in (tmp_path / "served" / "store").rglob("*") if path.is_file()]) > 20
    model = next((copy_of_project / "models").glob("*.onnx"))
    content = model.read_bytes()
    for folder in ("models", "reports", ".dvc/cache"):
        shutil.rmtree(copy_of_project / folder)
    dvc("pull", "-q")
    assert model.read_bytes() == content


@pytest.mark.slow
def test_an_experiment_is_tried_compared_and_shared(copy_of_project, tmp_path):
    """docs/experiments.md, line by line."""
    dvc = lambda *words, cwd=copy_of_project: run("dvc", *words, cwd=cwd).stdout  # noqa: E731
    git = lambda *words: run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words, cwd=copy_of_project)  # noqa: E731
    git("add", ".")
    git("commit", "-qm", "before")
    dvc("exp", "run", "-n", "softer", "-S", "train.losses.2.weight=0.005")
    (changed,) = [line for line in dvc("params", "diff", "--md").splitlines() if "params.yaml" in line]
    assert re.search(r"train\.losses .*'relativistic', 'weight': 0\.15}.* .*'relativistic', 'weight': 0\.005}", changed)
    changed = [line.split("|")[2].strip() for line in dvc("metrics", "diff", "--md").splitlines()[2:] if line]
    assert "sample.gan.niqe" in changed
    assert not [name for name in changed if name.startswith("sample.pretrained.")]
    assert dvc("metrics", "diff", "HEAD", "softer", "--md").count("sample.gan.niqe") == 1
    page = Path(dvc("plots", "diff", "HEAD", "softer").strip().removeprefix("file://")).read_text()
    assert page.count("softer") > 3
    assert "softer" in dvc("exp", "list")
    dvc("remote", "add", "-q", "-d", "store", tmp_path / "store")
    assert "files pushed" in dvc("push")
    git("add", ".")
    git("commit", "-qm", "softer")
    run("git", "clone", "-q", copy_of_project, tmp_path / "clone", cwd=tmp_path)
    told = dvc("repro", "--pull", cwd=tmp_path / "clone")
    assert [line for line in told.splitlines() if line.startswith("Running stage")] == ["Running stage 'register':"]
    model = next((copy_of_project / "models").glob("*.onnx"))
    assert (tmp_path / "clone" / "models" / model.name).read_bytes() == model.read_bytes()
