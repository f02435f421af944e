import json
import shutil

import pytest

from srgan.study.answers import Answer, accept, append, collect, log_path, read_log, sign
from srgan.study.create import create
from srgan.study.files import read_key, read_study
from srgan.utils.errors import SrganError
from tests.helpers.raters import write_pictures


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    create(folder / "s", write_pictures(folder / "in", ["a", "b"]), raters=2, pairs=6, checks=2)
    return folder / "s"


@pytest.fixture
def study(original, tmp_path):
    return shutil.copytree(original, tmp_path / "s")


def signed(folder, tmp_path, rater=1, code=None, answers=((0, "left"), (1, "equal")), **changes):
    """A file as the page of a rater returns it."""
    study = read_study(folder)
    code = code or read_key(folder, study).codes[rater - 1]
    listed = [{"trial": trial, "choice": choice, "seconds": 1} for trial, choice in answers]
    payload = json.dumps({"study": study.id, "rater": rater, "answers": listed} | changes)
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"payload": payload, "signature": sign(payload, code)}))
    return path


def collected(folder):
    study = read_study(folder)
    found = collect(folder, study, read_key(folder, study))
    return {rater: {trial: answer.choice for trial, answer in answers.items()} for rater, answers in found.items()}


def test_a_later_answer_replaces_and_undo_removes(tmp_path):
    path = tmp_path / "log.jsonl"
    for trial, choice in ((0, "left"), (1, "right"), (0, "equal"), (1, None)):
        append(path, Answer(trial=trial, choice=choice, seconds=2))
    assert {trial: answer.choice for trial, answer in read_log(path).items()} == {0: "equal"}


@pytest.mark.parametrize("cut", range(1, 45))
def test_a_log_cut_anywhere_keeps_the_whole_lines(tmp_path, cut):
    """A kill may end the file within a line. That answer was never confirmed, and the next one does not join its rest."""
    path = tmp_path / "log.jsonl"
    append(path, Answer(trial=0, choice="left", seconds=2))
    whole = path.stat().st_size
    append(path, Answer(trial=1, choice="right", seconds=2))
    path.write_bytes(path.read_bytes()[: whole + cut])
    complete = whole + cut >= 2 * whole + 1
    assert list(read_log(path)) == ([0, 1] if complete else [0])
    append(path, Answer(trial=2, choice="equal", seconds=2))
    assert list(read_log(path)) == ([0, 1, 2] if complete else [0, 2])


def test_a_damaged_line_is_named(study):
    append(log_path(study, 1), Answer(trial=0, choice="left", seconds=2))
    log_path(study, 1).write_bytes(b'{"trial": 0, "choice": "up", "seconds": 1}\n' + log_path(study, 1).read_bytes())
    with pytest.raises(SrganError, match=r"rater-1.jsonl:1: damaged or of another kind \(choice"):
        collected(study)
    log_path(study, 1).write_text('{"trial": 99, "choice": "left", "seconds": 1}\n')
    with pytest.raises(SrganError, match="answer to trial 99, but rater 1 has 8 trials"):
        collected(study)


def test_a_signed_file_is_kept_and_an_older_one_is_not(study, tmp_path, caplog):
    found = read_study(study)
    key = read_key(study, found)
    assert accept(signed(study, tmp_path), study, found, key) == 1
    assert collected(study) == {1: {0: "left", 1: "equal"}, 2: {}}
    accept(signed(study, tmp_path, answers=((0, "right"),)), study, found, key)
    assert "has 1 answers, the file that was returned before has 2" in caplog.text
    append(log_path(study, 1), Answer(trial=5, choice="right", seconds=1))  # the same rater on the server
    assert collected(study)[1] == {0: "left", 1: "equal", 5: "right"}


def test_a_file_that_was_changed_is_refused(study, tmp_path):
    found = read_study(study)
    key = read_key(study, found)
    path = signed(study, tmp_path)
    path.write_text(path.read_text().replace("left", "right"))
    with pytest.raises(SrganError, match="wrong signature"):
        accept(path, study, found, key)
    with pytest.raises(SrganError, match="wrong signature"):  # of the other rater
        accept(signed(study, tmp_path, code=key.codes[1]), study, found, key)
    with pytest.raises(SrganError, match="wrong signature"):
        accept(signed(study, tmp_path, rater=1, code="AAAA-AAAA-AAAA"), study, found, key)
    with pytest.raises(SrganError, match="wrong signature"):
        accept(signed(study, tmp_path, code=key.codes[0], rater=3), study, found, key)
    with pytest.raises(SrganError, match="answers of another study"):
        accept(signed(study, tmp_path, study="0" * 16), study, found, key)
    with pytest.raises(SrganError, match="rater 1 has 8 trials"):
        accept(signed(study, tmp_path, answers=((8, "left"),)), study, found, key)
    for content in ("", "[]", '{"payload": "x", "signature": "y"}', "\udcff"):
        path.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(SrganError, match=r"answers\.json"):
            accept(path, study, found, key)
    with pytest.raises(SrganError, match="not an answer file"):
        accept(tmp_path / "missing.json", study, found, key)
    assert collected(study) == {1: {}, 2: {}}
