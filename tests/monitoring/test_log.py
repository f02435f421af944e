"""The log of a service: its rows, its retention and its privacy."""

import sqlite3
import time

import pytest

from srgan.monitoring.log import DAY, RequestLog
from srgan.utils.errors import SrganError
from tests.helpers.monitor import row


def test_rows_are_read_by_their_time(tmp_path):
    log = RequestLog(tmp_path / "new")
    for at in (30.0, 10.0, 20.0):
        log.add("requests", row(at))
    assert log.requests(10, 30)["at"].tolist() == [10, 20]
    assert RequestLog(tmp_path / "new").requests(0, 100)["at"].tolist() == [10, 20, 30]


def test_old_rows_are_deleted_and_no_bytes_remain(tmp_path):
    log, now = RequestLog(tmp_path), time.time()
    for days in (0, 2, 4):
        log.add("requests", row(now - days * DAY, model=f"model-of-{days}-days"))
        log.add("pairs", {"at": now - days * DAY, "champion": "a", "challenger": "b", "figures": "{}"})
        log.add("alarms", {"at": now - days * DAY, "ended": now - days * DAY, "figure": "noise", "reference": "r", "found": "{}"})
    log.add("alarms", {"at": now - 9 * DAY, "figure": "blur", "reference": "r", "found": "{}"})
    log.add_verdict("b", "worse")
    log.prune(3)
    assert log.requests(0, now + 1)["model"].tolist() == ["model-of-2-days", "model-of-0-days"]
    assert len(log.pairs("a", "b")) == 2
    assert [alarm["figure"] for alarm in log.alarms(0, now + 1)] == ["blur", "noise", "noise"]
    assert log.verdict("b") == "worse"
    with sqlite3.connect(log.path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"model-of-4-days" not in log.path.read_bytes()
    assert b"model-of-2-days" in log.path.read_bytes()


def test_alarms_last_until_they_end(tmp_path):
    log = RequestLog(tmp_path)
    log.add("alarms", {"at": 10.0, "figure": "noise", "reference": "r", "found": '{"count": 25}'})
    log.add("alarms", {"at": 20.0, "figure": "blur", "reference": "other", "found": '{"count": 25}'})
    assert [(alarm["figure"], alarm["found"]) for alarm in log.open_alarms("r")] == [("noise", {"count": 25})]
    log.end_alarms("noise", 50.0)
    assert log.open_alarms("r") == []
    assert [alarm["figure"] for alarm in log.alarms(40, 60)] == ["noise", "blur"]
    assert [alarm["figure"] for alarm in log.alarms(51, 60)] == ["blur"]


def test_pairs_belong_to_two_models(tmp_path):
    log = RequestLog(tmp_path)
    pair = {"champion": {"niqe": 5.0}, "challenger": {"niqe": None}}
    log.add_pair("a", "b", pair)
    assert log.pairs("a", "b") == [pair]
    assert log.pairs("b", "a") == []
    assert log.challengers("a") == ["b"]
    assert log.verdict("b") is None


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "requests.sqlite").write_text("hello" * 500)
    with pytest.raises(SrganError, match=r"requests.sqlite: the log cannot be used \(file is not a database\)"):
        RequestLog(tmp_path)
    with pytest.raises(SrganError, match=r"requests.sqlite: is no folder. Name a folder for the log"):
        RequestLog(tmp_path / "requests.sqlite")
    other = tmp_path / "other"
    other.mkdir()
    with sqlite3.connect(other / "requests.sqlite") as database:
        database.execute("CREATE TABLE requests (id INTEGER PRIMARY KEY, at REAL)")
    with pytest.raises(SrganError, match=r"has other columns than this version writes\. Move it to another folder"):
        RequestLog(other)
