"""The board as the command and the repository have it."""

import pytest

from srgan.commands.main import main
from srgan.config import profiles, schema
from srgan.speedrun import board
from srgan.speedrun.record import machine_problems
from srgan.speedrun.tracks import TRACKS
from tests.helpers.project import ROOT


def test_the_board_of_the_repository_is_made_from_its_records():
    assert (ROOT / "benchmarks" / "LEADERBOARD.md").read_text() == board.board_text(ROOT / "benchmarks")


def test_each_track_has_a_profile_with_the_same_data():
    sections = [
        (schema.to_dict(loaded.data), schema.to_dict(loaded.prepare)) for loaded in (profiles.load(t.profile) for t in TRACKS.values())
    ]
    assert all(section == sections[0] for section in sections)
    assert {track.data for track in TRACKS.values()} == {TRACKS["cpu-pixel"].data}


def test_results_from_before_the_board_have_no_rank_and_no_folder():
    section = board.section(TRACKS["cpu-pixel"], [])
    assert board.NONE in section
    (row,) = (line for line in section.splitlines() if line.startswith("| -"))
    assert "| before | cpu-30min, first stage, measured before the board ([curves](cpu-30min)) | 31.25 | 27.92 |" in row
    assert (ROOT / "benchmarks" / "cpu-30min").is_dir()
    assert "| 0.1070 | 0.1750 | 29.28 | 26.54 |" in board.section(TRACKS["cpu-gan"], [])


def test_the_command_lists_the_tracks_and_writes_the_board(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["speedrun"])
    shown = capsys.readouterr().out
    assert "cpu-pixel   Two cores, 28 minutes, pixel stage: at most 28 minutes" in shown
    assert "benchmarks/LEADERBOARD.md has 0 records" in shown
    with pytest.raises(SystemExit):
        main(["speedrun", "cpu-pixle"])
    assert "no track 'cpu-pixle'; did you mean cpu-pixel?" in capsys.readouterr().err


def test_more_cores_or_threads_than_the_track_has_are_refused():
    track = TRACKS["cpu-pixel"]
    assert machine_problems(track, "cpu", 2, 2) == []
    assert machine_problems(track, "cpu", 1, 1) == []
    assert machine_problems(track, "cpu", 16, 2) == ["the process may use 16 cores, the track has 2: start it with taskset -c 0,1"]
    assert machine_problems(track, "cpu", 2, 8) == ["torch uses 8 threads, the track has 2: set OMP_NUM_THREADS=2"]
    (gpu,) = machine_problems(track, "cuda", 2, 2)
    assert gpu == "the training runs on cuda, the track on cpu: hide the GPU with CUDA_VISIBLE_DEVICES="
    assert machine_problems(TRACKS["gpu"], "cuda", 64, 64) == []
