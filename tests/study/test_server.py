"""The server of a study: what it gives, stores and refuses, and what a kill leaves."""

import json
import signal
import threading
import urllib.error
import urllib.request

import pytest

from srgan.study import answers as answer_files
from srgan.study.answers import log_path, read_log
from srgan.study.create import create
from srgan.study.files import read_key, read_study
from srgan.study.server import StudyServer
from srgan.utils.errors import SrganError
from tests.helpers.commands import run, start
from tests.helpers.raters import write_pictures


@pytest.fixture
def folder(tmp_path):
    create(tmp_path / "s", write_pictures(tmp_path / "in", ["a", "b"]), raters=2, pairs=6, checks=2)
    return tmp_path / "s"


@pytest.fixture
def server(folder):
    with StudyServer(folder, read_study(folder), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, value=None, **headers):
    """The status and the content of an answer."""
    content = None if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", content, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def vote(code, trial, choice="left"):
    return {"code": code, "answer": {"trial": trial, "choice": choice, "seconds": 1.5}}


def test_a_rater_enters_answers_and_comes_back(server, folder):
    code = read_key(folder, server.study).codes[1]
    status, content = ask(server, "/enter", {"code": code})
    assert (status, json.loads(content)["answers"]) == (200, [])
    trials = json.loads(content)["trials"]
    assert [tuple(trial) for trial in trials] == server.study.raters[1].trials
    for name in trials[0]:
        assert ask(server, f"/pictures/{name}.webp")[1].startswith(b"RIFF")
    for trial, choice in ((0, "left"), (1, "equal"), (2, "right"), (2, None)):
        assert ask(server, "/answer", vote(code, trial, choice))[0] == 200
    answers = json.loads(ask(server, "/enter", {"code": code})[1])["answers"]
    assert [(answer["trial"], answer["choice"]) for answer in answers] == [(0, "left"), (1, "equal")]
    assert not log_path(folder, 1).exists()


@pytest.mark.parametrize(
    "path", ["/key.json", "/study.json", "/pictures/../key.json", "/pictures/", "/answers/rater-1.jsonl", "/pictures/" + "0" * 24 + ".webp"]
)
def test_other_files_are_not_served(server, path):
    assert ask(server, path)[0] == 404


def test_what_is_no_request_of_the_page_is_refused(server, folder):
    code = read_key(folder, server.study).codes[0]
    assert ask(server, "/enter", {"code": "AAAA-AAAA-AAAA"})[0] == 403
    assert ask(server, "/answer", vote("", 0))[0] == 403
    for bad in (vote(code, 8), vote(code, -1), vote(code, 0, "up"), vote(code, 0) | {"more": 1}, {"code": code}, [], b"{", b"\xff"):
        assert ask(server, "/answer", bad)[0] == 400, bad
    assert ask(server, "/answer", vote(code, 0), Content_Type="text/plain")[0] == 400  # what a form of another page may send
    assert ask(server, "/answer", vote(code, 0), Host="attacker.example:80")[0] == 400
    assert ask(server, "/", Host="attacker.example")[0] == 403
    assert ask(server, "/answer", b" " * 20_000)[0] == 400
    assert ask(server, "/other", vote(code, 0))[0] == 404
    assert not log_path(folder, 1).exists()


def test_an_answer_that_cannot_be_stored_is_not_confirmed(server, folder, monkeypatch):
    code = read_key(folder, server.study).codes[0]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answer_files.os, "fsync", full)
    assert ask(server, "/answer", vote(code, 0))[0] == 503  # the page sends it again
    monkeypatch.undo()
    assert ask(server, "/answer", vote(code, 0, "right"))[0] == 200
    assert read_log(log_path(folder, 1))[0].choice == "right"


def opened(folder, port):
    """The server as a process, and the port that it announces."""
    process = start("srgan", "study", "open", folder.name, "--port", str(port), cwd=folder.parent)
    process.stdout.readline()
    line = process.stdout.readline()
    process.server_port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
    return process


def test_a_killed_server_loses_no_answer(folder):
    """SIGKILL right after a confirmation, several times: each confirmed answer is there, and the same command continues."""
    code, port = read_key(folder, read_study(folder)).codes[0], 0
    for trial in range(3):
        process = opened(folder, port)
        port = process.server_port
        assert ask(process, "/answer", vote(code, trial, "right"))[0] == 200
        process.kill()
        process.communicate()
        assert list(read_log(log_path(folder, 1))) == list(range(trial + 1))
    process = opened(folder, port)
    assert len(json.loads(ask(process, "/enter", {"code": code})[1])["answers"]) == 3
    second = run("srgan", "study", "open", folder.name, cwd=folder.parent, check=False)
    assert second.returncode == 1
    assert "is served already, by another srgan study open" in second.stderr
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_a_port_in_use_is_told(folder, server):
    done = run("srgan", "study", "open", folder.name, "--port", str(server.server_port), cwd=folder.parent, check=False)
    assert done.returncode == 1
    assert f"port {server.server_port} of 127.0.0.1: Address already in use. Choose another one with --port" in done.stderr
    with pytest.raises(SrganError, match="no such file"):
        read_study(folder / "elsewhere")
