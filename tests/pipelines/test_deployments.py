"""The flows on a real Prefect server, brought up by ``make prefect``'s command: schedules, a worker, stopping, outages."""

import http.server
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pipelines import train as flow_train
from pipelines.infra import dvc, gpu_limit, serve, workspace_lock
from pipelines.monitor import monitor
from pipelines.promote import promote
from pipelines.refresh import refresh
from pipelines.train import train
from pipelines.upscale import batch_upscale
from srgan.config.project import Project
from srgan.monitoring import reference
from srgan.monitoring.observer import Observer
from srgan.utils.errors import Unreachable
from tests.helpers import bucket as buckets
from tests.helpers.browser import Page
from tests.helpers.commands import environment, run, wait_for
from tests.helpers.monitor import row
from tests.helpers.project import ROOT, copied, write_params
from tests.helpers.served import OF_NOBODY, Other, Server
from tests.pipelines.test_flows import LONG, STAGES, checkpoints, processes_in

DEPLOYMENTS = ["refresh/nightly", "monitor/daily", *(f"{flow}/on-demand" for flow in ("train", "promote", "batch-upscale", "tune"))]


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

    def run_here(arguments, root, tell):
        done = run("dvc", *arguments, cwd=root, check=False)
        for line in (done.stdout + done.stderr).splitlines():
            tell(line)
        return done.returncode

    monkeypatch.chdir(copy_of_project)
    monkeypatch.setattr(dvc, "_dvc", run_here)
    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: server.password}):
        yield copy_of_project


# -- the server, its worker and schedules ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_everything_comes_up_and_the_schedule_gets_runs(server):
    deployed = {entry["name"]: entry for entry in server.call("deployments/filter", {})}
    assert sorted(deployed) == ["daily", "nightly", "on-demand"]
    (limit,) = server.call("v2/concurrency_limits/filter", {})
    assert (limit["name"], limit["limit"], limit["active"]) == ("gpu", 1, True)
    nightly = deployed["nightly"]["id"]
    scheduled = {"deployments": {"id": {"any_": [nightly]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = wait_for(lambda: server.call("flow_runs/filter", scheduled), 60)
    assert all(run["expected_start_time"][11:19] == "02:00:00" for run in runs)


@pytest.mark.slow
def test_brought_up_twice_is_once_and_an_older_pool_loses_its_variables(server):
    template = {"job_configuration": {"command": "{{ command }}"}, "variables": {"properties": {"command": {"type": "string"}}}}
    server.call("work_pools/srgan", {"base_job_template": template}, "PATCH")
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.infra.server"], cwd=server.folder, env=server.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"the server runs already: http://127.0.0.1:{server.port}"
    assert lines[1] == f"deployed: {', '.join(DEPLOYMENTS)}"
    assert lines[2] == "a worker runs already"
    assert len(server.call("deployments/filter", {})) == 6
    assert server.call("work_pools/srgan")["base_job_template"]["variables"]["properties"] == {}


@pytest.fixture
def other():
    """Begins another program that gives these answers. Returns its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as program:
        threading.Thread(target=program.serve_forever, daemon=True).start()

        def begin(answers):
            Other.answers = {f"/api/{path}": answer for path, answer in answers.items()}
            Other.sent.clear()
            return program.server_port

        yield begin
        program.shutdown()


def test_a_damaged_file_of_profiles_costs_a_line(tmp_path):
    (tmp_path / "profiles.toml").write_text("[profiles")
    env = environment(PREFECT_HOME=str(tmp_path), PREFECT_API_URL="http://127.0.0.1:9/api")
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.infra.gpu_limit"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert re.fullmatch(rf"error: {tmp_path}/profiles.toml: not a valid file of Prefect's profiles \(.*\). Correct it, .*\n", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "is in use by another program. Choose a port with PREFECT_SERVER_API_PORT"),
        ({"health": (200, b"true"), "admin/version": (200, b"3.8.8")}, "takes commands without a password"),
        ({"health": (200, b"true"), "admin/version": (401, b"")}, "has another password than the one in "),
    ],
)
def test_what_is_on_the_port_gets_no_worker_unless_it_is_the_users_own_server(tmp_path, server, other, answers, message):
    env = server.env | {"PREFECT_SERVER_API_PORT": str(other(answers)), "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.infra.server"], cwd=server.folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert re.fullmatch(rf"pipelines.infra.server: error: .*127.0.0.1:\d+ {message}.*\n", done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a program as another user")
def test_another_users_server_is_not_sent_the_password(tmp_path, server, other):
    theirs = subprocess.Popen(["/usr/bin/python3", "-c", OF_NOBODY], stdout=subprocess.PIPE, text=True, user="nobody", cwd="/")
    try:
        env = server.env | {"PREFECT_SERVER_API_PORT": theirs.stdout.readline().strip(), "PREFECT_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.infra.server"], cwd=server.folder, env=env, capture_output=True, text=True, timeout=120
        )
    finally:
        theirs.kill()
        theirs.wait()
    assert "belongs to another user" in done.stderr


@pytest.mark.slow
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


@pytest.mark.slow
def test_served_without_a_worker_they_are_the_same(here):
    found = {f"{deployment.flow_name}/{deployment.name}": deployment for deployment in serve.deployments()}
    assert list(found) == DEPLOYMENTS
    (schedule,) = found["refresh/nightly"].schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 2 * * *", "UTC")
    assert (schedule.active, schedule.slug, found["refresh/nightly"].parameters) == (True, "nightly", {"wait": False})


# -- who can reach the server ----------------------------------------------------------------------------------------------


def answer(server, path, body=None, **headers):
    """Status and headers of an answer, whoever asks."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server.pages}/{path}", data, headers), timeout=30) as given:
            return given.status, given.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


@pytest.mark.slow
def test_nobody_reads_or_starts_anything_without_the_password(server):
    wrong = {"authorization": "Basic c3JnYW46d3Jvbmc="}
    for path in ("admin/version", "admin/settings", "work_pools/srgan", "csrf-token?client=x", "deployments/name/train/on-demand"):
        for headers in ({}, wrong):
            assert answer(server, f"api/{path}", **headers)[0] == 401
    for path in ("deployments/filter", "flow_runs/", "work_pools/filter"):
        for headers in ({}, wrong):
            assert answer(server, f"api/{path}", {}, **headers)[0] in (401, 403)
    for path in ("events/in", "events/out", "logs/out"):
        with connect(f"ws://127.0.0.1:{server.port}/api/{path}", subprotocols=["prefect"]) as socket:
            socket.send(json.dumps({"type": "auth", "token": "wrong"}))
            with pytest.raises(ConnectionClosed):
                while True:
                    socket.recv(timeout=30)
    profiles = server.home / "profiles.toml"
    assert profiles.stat().st_mode & 0o77 == 0
    assert not [process for process in psutil.process_iter(["cmdline"]) if server.password in " ".join(process.info["cmdline"] or [])]


@pytest.mark.slow
def test_pages_of_other_origins_can_neither_read_nor_write(server):
    own = server.headers()
    for origin, allowed in (("https://evil.example", None), ("http://localhost:8099", None), (server.pages, server.pages)):
        status, headers = answer(server, "api/admin/version", origin=origin, **own)
        assert (status, headers["access-control-allow-origin"]) == (200, allowed)
    assert answer(server, "api/deployments/filter", {}, **own)[0] == 403  # a form could send that much: the token is missing


@pytest.mark.slow
def test_a_run_chooses_no_command_no_folder_and_no_environment(server, tmp_path):
    deployment = server.call("deployments/name/promote/on-demand")["id"]
    for name, value in (("command", f"touch {tmp_path}/owned"), ("working_dir", "/"), ("env", {"PYTHONPATH": "/"})):
        with pytest.raises(urllib.error.HTTPError, match="422"):
            server.call(f"deployments/{deployment}/create_flow_run", {"job_variables": {name: value}})
    pool = server.call("work_pools/srgan")
    assert list(pool["base_job_template"]["job_configuration"]) == ["stream_output"]


@pytest.mark.slow
def test_the_users_own_commands_find_the_password(server):
    prefect = [sys.executable, "-m", "prefect", "--profile", "srgan-local", "work-pool", "ls"]
    done = subprocess.run(prefect, cwd=server.folder, env=server.env, capture_output=True, text=True)
    assert "srgan" in done.stdout, done.stderr
    env = server.env | {"PREFECT_API_URL": server.url}
    done = subprocess.run([sys.executable, "-m", "pipelines.infra.gpu_limit"], cwd=server.folder, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    shown = subprocess.run(
        [sys.executable, "-m", "pipelines.infra.server", "password"], cwd=server.folder, env=env, capture_output=True, text=True
    )
    assert shown.stdout == f"{server.password}\n"


@pytest.mark.slow
def test_another_server_is_not_sent_the_password(server, other):
    env = server.env | {"PREFECT_API_URL": f"http://127.0.0.1:{other({})}/api"}
    done = subprocess.run([sys.executable, "-m", "pipelines.infra.gpu_limit"], cwd=server.folder, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"pipelines.infra.gpu_limit: error: what answers at {env['PREFECT_API_URL']} is not Prefect's API. Correct PREFECT_API_URL\n"
    )
    assert Other.sent
    assert "uthorization" not in "".join(Other.sent)


@pytest.mark.slow
def test_the_pages_ask_for_the_password_and_then_show_the_deployments(server):
    with Page(server.pages, 1200, 900) as page:
        page.until("!!document.querySelector('input[type=password]')")
        assert "nightly" not in page.js("document.body.innerText")
        for selector in ("input[type=password]", "button[type=submit]"):
            left, top, width, height = page.box(selector)
            page.drag((left + width / 2, top + height / 2), (left + width / 2, top + height / 2))
            page.call("Input.insertText", text=server.password)
        page.until("location.pathname.endsWith('/dashboard')")
        page.call("Page.navigate", url=f"{server.pages}/v2/deployments")
        page.until("!!document.body?.innerText.includes('nightly')")


@pytest.mark.parametrize("module", ["train", "infra.gpu_limit", "infra.serve"])
def test_a_server_that_is_down_costs_a_line(project, monkeypatch, capsys, module):
    monkeypatch.chdir(project)
    with temporary_settings({PREFECT_API_URL: "http://anna:s3cret@127.0.0.1:9/api"}), pytest.raises(SystemExit) as ended:
        importlib.import_module(f"pipelines.{module}").main()
    assert ended.value.code == 69
    told = rf"pipelines.{module}: error: no Prefect server answers at http://127.0.0.1:9/api \(.*refused\); start it .*\n"
    assert re.fullmatch(told, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"admin/version": (200, b"<html>")}, "is not Prefect's API. Correct PREFECT_API_URL"),
        ({"admin/version": (401, b"Unauthorized")}, "refuses the password, or asks for one: export PREFECT_PROFILE=srgan-local"),
        ({"admin/version": (200, b'"2.20.1"')}, "is of another version: .* server: 2.20.1"),
        ({"admin/version": (400, b"this server requires\nversion 4")}, "refuses: 400 this server requires version 4"),
    ],
    ids=["no Prefect", "wrong password", "too old", "too new"],
)
def test_a_server_that_refuses_costs_a_line(capsys, other, answers, message):
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{other(answers)}/api"}), pytest.raises(SystemExit) as ended:
        gpu_limit.main()
    assert ended.value.code == 1
    assert re.fullmatch(rf"pipelines.infra.gpu_limit: error: .*{message}.*\n", capsys.readouterr().err)


# -- stopping, killing, outages --------------------------------------------------------------------------------------------


def trains(server, run):
    """Wait until the run has written a checkpoint of its own."""
    before = {path.name for path in checkpoints(server.folder)}
    new = lambda: {path.name for path in checkpoints(server.folder)} - before  # noqa: E731
    wait_for(lambda: new() or server.state(run)["type"] in ("FAILED", "CRASHED"))
    assert server.state(run)["type"] == "RUNNING", server.state(run)


def no_process_trains(server):
    wait_for(lambda: not [process for process in processes_in(server.folder) if "pretrain" in process.cmdline()], 60)


@pytest.mark.slow
def test_a_cancelled_run_leaves_nothing_behind(server):
    first = server.trigger("train/on-demand", overrides=LONG, last="pretrain")
    trains(server, first)
    server.call(f"flow_runs/{first}/set_state", {"state": {"type": "CANCELLING"}})
    assert server.ended(first)["type"] == "CANCELLED"
    no_process_trains(server)
    assert max(int(path.stem[5:]) for path in checkpoints(server.folder)) >= 50


@pytest.mark.slow
def test_whatever_kills_a_run_leaves_nothing_behind_and_the_next_goes_on(server, monkeypatch):
    """Killed outright; killed with its worker and the server: no process, no lock. The server alone killed: it does not mind."""
    second = server.trigger("train/on-demand", overrides=LONG, last="pretrain")
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
    with workspace_lock.acquire(Project(), "test", False, print, killed=left.append):
        assert left == [third]
    (server.folder / workspace_lock.LOCK).write_text(json.dumps({"id": third}))
    server.start()
    assert (server.state(third)["type"], server.state(third)["message"]) == ("CRASHED", "it was killed")
    server.call("v2/concurrency_limits/gpu", {"active_slots": 0}, "PATCH")  # else five minutes later
    fourth = server.trigger("train/on-demand", last="pretrain")
    (resumed,) = wait_for(lambda: [line for line in server.logged(fourth) if "resumes after step" in line])
    assert int(re.search(r"resumes after step (\d+)", resumed)[1]) >= 50
    server.call(f"flow_runs/{fourth}/set_state", {"state": {"type": "CANCELLING"}})
    assert server.ended(fourth)["type"] == "CANCELLED"


# -- flows in this process, pages on the server ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_failing_stage_fails_the_flow_and_says_why(here, capfd):
    path = here / "params.yaml"
    path.write_text(path.read_text().replace("- sample", "- smaple", 1))
    state = train(return_state=True)
    assert (state.type, state.name) == (StateType.FAILED, "Failed")
    assert "stage download failed" in state.message
    assert "did you mean sample?" in state.message
    assert "The stages before it are kept" in state.message
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_wrong_parameters_fail_before_anything_runs_and_names_hold_no_password(server, here):
    before = (here / "params.yaml").read_bytes()
    for wrong, message in (
        ({"profile": "dem"}, "did you mean demo?"),
        ({"overrides": {"train.stepz": 1}}, "did you mean steps?"),
        ({"first": "trian", "overrides": {"train.steps": 7}}, "did you mean train?"),
        ({"push_to": "stor"}, "no DVC remote 'stor'"),
        ({"overrides": {"data.trian": ["http://anna:s3cret@example.org/a.zip?token=t0ken"]}}, "did you mean train?"),
    ):
        state = train(return_state=True, **wrong)
        assert state.is_failed()
        assert message in state.message
    assert (here / "params.yaml").read_bytes() == before
    (name,) = [run["name"] for run in server.call("flow_runs/filter", {}) if "data.trian" in run["name"]]
    assert name == "train data.trian=['http://example.org/a.zip']"


@pytest.mark.slow
def test_only_what_a_network_may_mend_is_tried_again(here, monkeypatch):
    tried = []

    def unreachable(stage, *_):
        tried.append(stage)
        raise Unreachable("no way") if len(tried) < 3 else dvc.StageFailed("broken")

    monkeypatch.setattr(dvc, "reproduce", unreachable)
    monkeypatch.setattr(flow_train.run_stage, "retry_delay_seconds", 0)
    write_params(here, {"register.alias": "other"})
    state = train(first="register", return_state=True)
    assert tried == ["register"] * 3
    assert state.is_failed()
    assert state.message.startswith("broken")


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_loop_refreshes_trains_promotes_and_is_idle_when_nothing_is_new(server, here):
    write_params(
        here, {f"promote.{rule}": 50.0 for rule in ("max_psnr_y_drop", "max_color_shift_rise", "max_checkerboard_rise", "max_hatch_rise")}
    )
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


@pytest.mark.slow
def test_drift_of_a_service_is_a_reason_to_train(server, here):
    assert monitor(return_state=True).name == "Nothing to do"
    images = json.loads((here / "data/prepared/manifest.json").read_text())["train_sha256"]
    figures = {"quality": [100.0] * 50, "noise": [1.0] * 50, "blur": [0.4] * 50}
    reference.Reference("training images", images, True, figures).write(here / "monitor")
    observer, now = Observer(here / "monitor"), time.time()
    observer._look()
    for number in range(25):
        found = row(now - 25 + number, quality=30, subsampling="4:2:0")
        observer.log.add("requests", found)
        observer._test(found)
    state = monitor(return_state=True)
    assert (state.name, state.type) == ("Drift", StateType.COMPLETED)
    assert state.message.startswith("the images of the service differ from those of the training (quality 100 to 30)")
    assert "25 results" in server.call("artifacts/monitor/latest")["data"]
    state = refresh(return_state=True)
    assert state.message.startswith("data unchanged; drift; ran: prepare, pretrain, train, export"), state
    recipe = yaml.safe_load((here / "params.yaml").read_text())["prepare"]["recipe"]
    assert [step["name"] for step in recipe] == ["downscale", "jpeg"]  # this compression hides noise of 2 levels
    assert refresh(return_state=True).message.startswith("data unchanged; ran: register")
    assert monitor(return_state=True).name == "Completed"


@pytest.mark.slow
def test_a_decision_that_does_not_run(here):
    state = promote(dry_run=True, return_state=True)  # six steps of training are worse than bicubic
    assert state.name == "Held (dry run)"
    assert "psnr_y: PSNR-Y" in state.message


@pytest.mark.slow
def test_a_folder_is_enlarged_in_shards_and_one_bad_file_is_told(server, here, tmp_path):
    photographs, results = tmp_path / "photographs", tmp_path / "results"
    (photographs / "inside").mkdir(parents=True)
    for n in range(5):
        Image.fromarray(np.full((8, 8 + n, 3), 40 * n, np.uint8)).save(photographs / ("inside" if n % 2 else "") / f"{n}.png")
    model = str(next((here / "models").glob("*-fp32.onnx")))
    state = batch_upscale(str(photographs), str(results), model, shard=2, return_state=True)
    assert state.message == "5 images upscaled", state
    assert [Image.open(results / "inside" / f"{n}.png").size for n in (1, 3)] == [(36, 32), (44, 32)]
    (photographs / "broken.png").write_bytes(b"no picture")
    state = batch_upscale(str(photographs), str(results), model, shard=2, format="png", return_state=True)
    assert state.is_failed()
    assert state.message.startswith(f"1 of 6 images failed. The first: {photographs}/broken.png")
    assert "5 of 6 images upscaled" in server.call("artifacts/upscaled/latest")["data"]
    state = batch_upscale(str(photographs), str(results), return_state=True)
    assert state.is_failed()
    assert "models:/srgan-x4@champion" in state.message  # there is none yet


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_folder_of_a_bucket_is_upscaled_and_continued(server, here, tmp_path, monkeypatch, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    model, files = next((here / "models").glob("*-fp32.onnx")), {}
    for n in range(5):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8 + n, 3), 40 * n, np.uint8)).save(file, "png")
        files[f"{n}.png" if n % 2 else f"inside/{n}.png"] = file.getvalue()
    with buckets.served() as bucket:
        for name, value in bucket.env.items():
            monkeypatch.setenv(name, value)
        buckets.forget()
        for name, content in files.items():
            bucket.put(f"in/{name}", content)
        given = ("s3://bucket/in", "s3://bucket/out", str(model), 2)
        state = batch_upscale(*given, engine=engine, return_state=True)
        assert state.message == "5 images upscaled", state
        results = {name: bucket.get(f"out/{name}") for name in files}
        assert Image.open(io.BytesIO(results["3.png"])).size == (44, 32)
        bucket.s3.delete_object(Bucket="bucket", Key="out/3.png")
        bucket.put("out/1.png", b"not made again")
        bucket.put("in/broken.png", b"no picture")
        buckets.forget()
        state = batch_upscale(*given, engine=engine, return_state=True)
        assert state.message.startswith("1 of 6 images failed. The first: s3://bucket/in/broken.png")
        assert {name: bucket.get(f"out/{name}") for name in files} == results | {"1.png": b"not made again"}
    (tmp_path / "in/inside").mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    batch_upscale(str(tmp_path / "in"), str(tmp_path / "out"), str(model))
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == results
