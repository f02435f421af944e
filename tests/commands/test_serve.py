"""`srgan serve` as a process."""

import re
import signal
import threading

import httpx
import pytest

from srgan.commands import serve
from srgan.commands.main import main
from srgan.config.project import Project
from srgan.service import auth
from srgan.service.model import Identity
from srgan.service.server import is_local
from srgan.tracking import promotion, store
from srgan.utils.errors import SrganError
from tests.helpers.commands import run, start, wait_for
from tests.helpers.project import write_params
from tests.helpers.service import encoded


@pytest.mark.slow
def test_sigterm_lets_the_running_request_finish(model, tmp_path):
    process = start("srgan", "serve", "--model", model, "--port", "0", cwd=tmp_path, SRGAN_SERVICE_TOKEN="0123456789abcdef")
    try:
        lines = [process.stderr.readline() for _ in range(2)]
        assert lines[0] == "x2 by 2x-t-compact-fp32.onnx on CPUExecutionProvider\n"
        address = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", lines[1])[1]
        threading.Thread(target=process.stderr.read, daemon=True).start()  # else the pipe fills
        headers = {"Authorization": "Bearer 0123456789abcdef"}
        wait_for(lambda: httpx.get(f"{address}/health").status_code == 200)
        assert httpx.get(f"{address}/version").status_code == 401
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{address}/upscale", content=encoded(1500, 1500), headers=headers, timeout=60))
        )
        asking.start()
        wait_for(lambda: "srgan_requests_running 1.0" in httpx.get(f"{address}/metrics", headers=headers).text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        asking.join()
        assert [answer.status_code for answer in answers] == [200]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")
    finally:
        process.kill()


def test_a_wrong_start_is_one_line(model, tmp_path):
    done = run("srgan", "serve", "--model", "missing.onnx", cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = run("srgan", "serve", "--model", model, "--host", "192.0.2.1", "--port", "1", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "192.0.2.1: every program that reaches this address may use the service. Set a token" in done.stderr
    assert "192.0.2.1:1: cannot listen there (" in done.stderr


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(auth.VARIABLE, raising=False)
    assert auth.read_token(None) is None
    monkeypatch.setenv(auth.VARIABLE, "0123456789abcdef")
    assert auth.read_token(None) == "0123456789abcdef"
    path = tmp_path / "token"
    path.write_text("fedcba9876543210\n")
    assert auth.read_token(path) == "fedcba9876543210"
    for wrong in ("", "short", "with a space in the middle", "ä" * 20):
        path.write_text(wrong)
        with pytest.raises(SrganError, match=r"token: a token has at least 16 printable ASCII characters"):
            auth.read_token(path)
    with pytest.raises(SrganError, match=r"missing: the token cannot be read \(No such file"):
        auth.read_token(tmp_path / "missing")


def test_addresses_of_this_machine_are_known():
    assert [host for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "10.0.0.1", "a.org") if is_local(host)] == [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "localhost",
    ]


def test_a_rolled_back_version_is_tagged_and_not_promoted(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    client = store.connect(Project())
    client.create_registered_model("srgan-x2")
    client.create_model_version("srgan-x2", str(tmp_path))
    serve._record_rollback(Identity("srgan-x2", "challenger", "1"), "colour shift: 4.00 above the champion")
    tags = client.get_model_version("srgan-x2", "1").tags
    (check,) = promotion.check_trial(tags)
    assert (check.found, check.passed) == ("rolled back: colour shift: 4.00 above the champion", False)
    assert promotion.check_trial({}) == []
    serve._record_rollback(Identity("4x-file.onnx"), "of a file, which has no tags")
    serve._record_rollback(Identity("srgan-x2", "challenger", "9"), "of a deleted version")
    assert "MLflow does not know that the version was rolled back" in caplog.text


def test_a_challenger_needs_a_log_and_uses_the_rules_of_the_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["serve", "--challenger", "x4-photo"])
    assert "--challenger needs --monitor FOLDER, where the comparison is logged" in capsys.readouterr().err
    assert serve._rules().max_color_shift_rise == 0.5
    write_params(tmp_path, {"promote.max_color_shift_rise": 2.0})
    assert serve._rules().max_color_shift_rise == 2
