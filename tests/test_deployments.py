"""The flows on a real Prefect server, brought up by ``make prefect``'s command: schedules, a worker, stopping, outages."""

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from conftest import copied, environment, run, shim, wait_for, write_params
from pipelines import serve, stages, workspace
from pipelines import train as flow_train
from pipelines.promote import promote
from pipelines.refresh import refresh
from pipelines.train import train
from pipelines.upscale import batch_upscale
from srgan.errors import Unreachable
from test_flow import LONG, STAGES, checkpoints, processes_in


class Server:
    """What ``make prefect`` brings up, for one project."""

    def __init__(self, folder: Path, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.home, self.log = folder, home, home / "log.txt"
        self.env = environment(PREFECT_HOME=str(home), PREFECT_SERVER_API_PORT=str(self.port), PREFECT_WORKER_QUERY_SECONDS="2")
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        with self.log.open("a") as log:
            before = self.log.stat().st_size
            command = [sys.executable, "-m", "pipelines.server"]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log)
        wait_for(lambda: "Worker '" in self.log.read_text()[before:] or self.process.poll() is not None, 180)
        assert self.process.poll() is None, self.log.read_text()

    def call(self, path: str, body: object = None, method: str | None = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"content-type": "application/json"}, method=method)
        for left in (2, 1, 0):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer) if answer.status != 204 else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or not left:  # 503: its database is busy
                    raise
            time.sleep(2)

    def trigger(self, deployment: str, **parameters: object) -> str:
        found = self.call(f"deployments/name/{deployment}")
        return self.call(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def state(self, run: str) -> dict[str, object]:
        return self.call(f"flow_runs/{run}")["state"]

    def ended(self, run: str, seconds: float = 90) -> dict[str, object]:
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return wait_for(lambda: (state := self.state(run))["type"] in final and state, seconds)

    def logged(self, run: str) -> list[str]:
        found = self.call("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200})
        return [entry["message"] for entry in found]

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of `prefect` with these words in their command, in order of their start."""
        found = [process for process in processes_in(self.folder) if process.cmdline()[1:3] == ["-m", "prefect"]]
        return [process for process in found if process.cmdline()[3 : 3 + len(words)] == list(words)]

    def flow_process(self, run: str) -> psutil.Process:
        """What the worker has started for a run."""
        found = [process for process in processes_in(self.folder) if process.cmdline()[1:3] == ["-m", "prefect.engine"]]
        (process,) = (process for process in found if process.environ()["PREFECT__FLOW_RUN_ID"] == run)
        return process

    def up(self) -> bool:
        try:
            return self.call("health") is True
        except OSError:
            return False


@pytest.fixture(scope="module")
def started(project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    server = Server(copied(project, folder / "project"), folder)
    yield server
    server.process.terminate()
    server.process.wait(60)


@pytest.fixture
def server(started):
    if started.process is None or started.process.poll() is not None:  # the first test, or the one before has killed it
        started.start()
    return started


@pytest.fixture
def here(server, copy_of_project, monkeypatch):
    """Flows called in this process, on a project of their own, with the server's pages."""
    monkeypatch.chdir(copy_of_project)
    with temporary_settings({PREFECT_API_URL: server.url}), shim() as commands:
        monkeypatch.setenv("PATH", commands, prepend=os.pathsep)
        yield copy_of_project


# -- the server, its worker and schedules ----------------------------------------------------------------------------------


def test_everything_comes_up_and_the_schedule_gets_runs(server):
    deployed = {entry["name"]: entry for entry in server.call("deployments/filter", {})}
    assert sorted(deployed) == ["nightly", "on-demand"]
    (limit,) = server.call("v2/concurrency_limits/filter", {})
    assert (limit["name"], limit["limit"], limit["active"]) == ("gpu", 1, True)
    nightly = deployed["nightly"]["id"]
    scheduled = {"deployments": {"id": {"any_": [nightly]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = wait_for(lambda: server.call("flow_runs/filter", scheduled), 60)
    assert all(run["expected_start_time"][11:19] == "02:00:00" for run in runs)


def test_brought_up_twice_is_once(server):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.server"], cwd=server.folder, env=server.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"the server is up already: http://127.0.0.1:{server.port}"
    assert lines[1] == "deployed: refresh/nightly, train/on-demand, promote/on-demand, batch-upscale/on-demand"
    assert lines[2] == "a worker is up already"
    assert len(server.call("deployments/filter", {})) == 4


def test_a_port_in_use_is_told(tmp_path, server):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        port = other.server_port
        env = server.env | {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.server"], cwd=server.folder, env=env, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr


def test_a_triggered_run_shows_its_stages_and_results(server):
    run = server.trigger("train/on-demand", overrides={"register.alias": "other"})
    state = server.ended(run)
    assert (state["name"], state["message"]) == ("Completed", "ran: register"), state
    assert server.call(f"flow_runs/{run}")["name"] == "train register.alias=other"
    tasks = server.call("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert {task["name"]: task["state_name"] for task in tasks} == {
        stage: "Completed" if stage == "register" else "Cached" for stage in STAGES
    }
    assert all("srgan" in task["tags"] for task in tasks)
    scores = json.loads(server.call("artifacts/scores/latest")["data"])
    assert [row["model"] for row in scores] == ["bicubic", "pretrained", "gan", "onnx-fp32"]
    assert scores[2]["PSNR-Y, dB"] == json.loads((server.folder / "reports/metrics.json").read_text())["sample"]["gan"]["psnr_y"]
    assert server.call("artifacts/before-after/latest")["data"].startswith("data:image/jpeg;base64,")
    links = server.call("artifacts/training/latest")["data"]
    assert re.search(r"/#/experiments/1/runs/[0-9a-f]{32}\?workflowType=machine_learning\), \[report\]\(", links), links
    assert "/artifacts/report.html?workflowType=machine_learning)" in links


def test_served_without_a_worker_they_are_the_same(here):
    found = {f"{deployment.flow_name}/{deployment.name}": deployment for deployment in serve.deployments()}
    assert list(found) == ["refresh/nightly", "train/on-demand", "promote/on-demand", "batch-upscale/on-demand"]
    (schedule,) = found["refresh/nightly"].schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 2 * * *", "UTC")
    assert (schedule.active, schedule.slug, found["refresh/nightly"].parameters) == (True, "nightly", {"wait": False})


# -- stopping, killing, outages --------------------------------------------------------------------------------------------


def trains(server, run):
    """Wait until the run has written a checkpoint of its own."""
    before = {path.name for path in checkpoints(server.folder)}
    new = lambda: {path.name for path in checkpoints(server.folder)} - before  # noqa: E731
    wait_for(lambda: new() or server.state(run)["type"] in ("FAILED", "CRASHED"))
    assert server.state(run)["type"] == "RUNNING", server.state(run)


def no_process_trains(server):
    wait_for(lambda: not [process for process in processes_in(server.folder) if "pretrain" in process.cmdline()], 60)


OVERRIDES = {f"pretrain.{key}": value for key, value in LONG.items()}


def test_a_cancelled_run_leaves_nothing_behind(server):
    first = server.trigger("train/on-demand", overrides=OVERRIDES, last="pretrain")
    trains(server, first)
    server.call(f"flow_runs/{first}/set_state", {"state": {"type": "CANCELLING"}})
    assert server.ended(first)["type"] == "CANCELLED"
    no_process_trains(server)
    assert max(int(path.stem[5:]) for path in checkpoints(server.folder)) >= 50


@pytest.mark.slow
def test_whatever_kills_a_run_leaves_nothing_behind_and_the_next_goes_on(server, monkeypatch):
    """Killed outright; killed with its worker and the server: no process, no lock. The server alone killed: it does not mind."""
    second = server.trigger("train/on-demand", overrides=OVERRIDES, last="pretrain")
    trains(server, second)
    state = server.ended(server.trigger("promote/on-demand", wait=False))
    assert (state["type"], state["name"]) == ("FAILED", "Busy")
    assert "is in use by the run 'train pretrain.steps=100000" in state["message"]
    (prefect_server,) = server.processes("server", "start")
    prefect_server.kill()
    wait_for(lambda: "the server has ended (exit code 137); starting it again" in server.log.read_text())
    wait_for(lambda: (found := server.processes("server", "start")) and found[0].pid != prefect_server.pid and server.up())
    trains(server, second)
    server.flow_process(second).kill()
    no_process_trains(server)
    assert server.ended(second)["type"] == "CRASHED"

    third = server.trigger("train/on-demand", last="pretrain")
    wait_for(lambda: any("download: up to date" in line for line in server.logged(third)))  # it has the working copy
    for process in (server.process, *server.processes("server", "start"), *server.processes("worker", "start"), server.flow_process(third)):
        process.kill()
    server.process.wait()
    wait_for(lambda: not processes_in(server.folder), 60)
    monkeypatch.chdir(server.folder)
    left = []
    with workspace.hold("test", False, print, killed=left.append):
        assert left == [third]
    (server.folder / workspace.LOCK).write_text(json.dumps({"id": third}))
    server.start()
    assert (server.state(third)["type"], server.state(third)["message"]) == ("CRASHED", "it was killed")
    server.call("v2/concurrency_limits/gpu", {"active_slots": 0}, "PATCH")  # else five minutes later
    fourth = server.trigger("train/on-demand", last="pretrain")
    (resumed,) = wait_for(lambda: [line for line in server.logged(fourth) if "goes on after step" in line])
    assert int(re.search(r"goes on after step (\d+)", resumed)[1]) >= 50
    server.call(f"flow_runs/{fourth}/set_state", {"state": {"type": "CANCELLING"}})
    assert server.ended(fourth)["type"] == "CANCELLED"


# -- flows in this process, pages on the server ----------------------------------------------------------------------------


def test_a_failing_stage_fails_the_flow_and_says_why(here, capfd):
    path = here / "params.yaml"
    path.write_text(path.read_text().replace("- sample", "- smaple", 1))
    state = train(return_state=True)
    assert (state.type, state.name) == (StateType.FAILED, "Failed")
    assert "stage download failed" in state.message
    assert "did you mean sample?" in state.message
    assert "the stages before it are kept" in state.message
    assert "Traceback" not in capfd.readouterr().err


def test_wrong_parameters_fail_before_anything_runs(here):
    before = (here / "params.yaml").read_bytes()
    for wrong, message in (
        ({"profile": "dem"}, "did you mean demo?"),
        ({"overrides": {"train.stepz": 1}}, "did you mean steps?"),
        ({"first": "trian", "overrides": {"train.steps": 7}}, "did you mean train?"),
        ({"push_to": "stor"}, "no DVC remote 'stor'"),
    ):
        state = train(return_state=True, **wrong)
        assert state.is_failed()
        assert message in state.message
    assert (here / "params.yaml").read_bytes() == before


def test_only_what_a_network_may_mend_is_tried_again(here, monkeypatch):
    tried = []

    def unreachable(stage, *_):
        tried.append(stage)
        raise Unreachable("no way") if len(tried) < 3 else stages.StageFailed("broken")

    monkeypatch.setattr(stages, "reproduce", unreachable)
    monkeypatch.setattr(flow_train.run_stage, "retry_delay_seconds", 0)
    write_params(here, {"register.alias": "other"})
    state = train(first="register", return_state=True)
    assert tried == ["register"] * 3
    assert state.is_failed()
    assert state.message.startswith("broken")


def test_results_are_pushed_and_a_remote_that_is_gone_loses_nothing(here, tmp_path, monkeypatch):
    run("dvc", "remote", "add", "-q", "store", tmp_path / "store", cwd=here)
    state = train(push_to="store", return_state=True)
    assert state.message == "ran: register"
    assert len(list((tmp_path / "store").rglob("*"))) > 20
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").touch()  # a folder cannot be made there
    monkeypatch.setattr(flow_train.push, "retries", 0)
    state = train(push_to="store", return_state=True)
    assert state.is_failed()
    assert "send them with: dvc push --remote store" in state.message


def test_the_loop_refreshes_trains_promotes_and_is_idle_when_nothing_is_new(server, here):
    write_params(here, {f"promote.{rule}": 50.0 for rule in ("max_psnr_y_drop", "max_color_shift_rise", "max_checkerboard_rise")})
    state = refresh(return_state=True)
    assert state.name == "Promoted", state
    assert state.message.startswith("data unchanged; ran: register; version 1 of srgan-x4: promoted: the first champion")
    page = server.call("artifacts/promotion/latest")
    assert page["data"].startswith("# srgan-x4: version 1 promoted")
    assert page["data"] == (here / "reports" / "promotion.md").read_text()
    state = refresh(return_state=True)
    assert state.name == "Nothing to decide", state
    assert "ran: register" in state.message


@pytest.mark.slow
def test_the_loop_finds_new_data(here):
    own = here / "own"
    own.mkdir()
    for n in range(2):
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8)).save(own / f"{n}.png")
        state = refresh(overrides={"data.test": [str(own)]}, return_state=True)
        assert state.message.startswith("data changed; ran: prepare, evaluate, report, register; version 1"), state
        assert state.name == "Held"  # six steps of training are worse than bicubic


def test_a_decision_that_does_not_run(here):
    state = promote(dry_run=True, return_state=True)  # six steps of training are worse than bicubic
    assert state.name == "Held (dry run)"
    assert "psnr_y: PSNR-Y" in state.message


def test_a_folder_is_enlarged_in_shards_and_one_bad_file_is_told(server, here, tmp_path):
    photographs, results = tmp_path / "photographs", tmp_path / "results"
    (photographs / "inside").mkdir(parents=True)
    for n in range(5):
        Image.fromarray(np.full((8, 8 + n, 3), 40 * n, np.uint8)).save(photographs / ("inside" if n % 2 else "") / f"{n}.png")
    model = str(next((here / "models").glob("*-fp32.onnx")))
    state = batch_upscale(str(photographs), str(results), model, shard=2, return_state=True)
    assert state.message == "5 photographs enlarged", state
    assert [Image.open(results / "inside" / f"{n}.png").size for n in (1, 3)] == [(36, 32), (44, 32)]
    (photographs / "broken.png").write_bytes(b"no picture")
    state = batch_upscale(str(photographs), str(results), model, shard=2, format="png", return_state=True)
    assert state.is_failed()
    assert state.message.startswith(f"1 of 6 photographs could not be enlarged; the first: {photographs}/broken.png")
    assert "5 of 6 photographs enlarged" in server.call("artifacts/upscaled/latest")["data"]
    state = batch_upscale(str(photographs), str(results), return_state=True)
    assert state.is_failed()
    assert "models:/srgan-x4@champion" in state.message  # there is none yet
