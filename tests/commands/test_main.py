import os

import pytest

from tests.helpers.commands import run
from tests.helpers.project import TINY, make_project, write_params

STAGES = ["download", "prepare", "pretrain", "train", "export", "evaluate", "register"]


def refused(*command, cwd, code=1, **env):
    done = run(*command, cwd=cwd, check=False, **env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_help_explains_the_stages(tmp_path):
    text = run("srgan", "--help", cwd=tmp_path).stdout
    for stage in [*STAGES, "sync", "upscale"]:
        assert f"    {stage}" in text
    assert "srgan upscale photo.jpg -o big.png" in text
    assert "model" in run("srgan", "upscale", "--help", cwd=tmp_path).stdout
    assert run("srgan", "--version", cwd=tmp_path).stdout.startswith("srgan ")


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_missing_input_names_the_stage_that_makes_it(stage, tmp_path):
    write_params(tmp_path)
    line = refused("srgan", stage, cwd=tmp_path)
    assert line.startswith(f"srgan {stage}: error: ")
    assert "dvc repro" in line


def test_a_wrong_key_is_one_line(tmp_path):
    path = write_params(tmp_path)
    path.write_text(path.read_text().replace("steps:", "stepz:", 1))
    line = refused("srgan", "download", cwd=tmp_path)
    assert "params.yaml:" in line
    assert "did you mean steps?" in line
    done = run("srgan", "download", "--debug", cwd=tmp_path, check=False)
    assert "Traceback" in done.stderr


def test_an_unknown_data_set_names_the_nearest(tmp_path):
    write_params(tmp_path, {"data.train": ["sampel"]})
    assert "no data set is called 'sampel'; did you mean sample?" in refused("srgan", "download", cwd=tmp_path)
    assert not (tmp_path / "data" / "raw").exists()


def test_a_truncated_image_stops_the_pipeline_and_repro_mends_it(tmp_path):
    folder = make_project(tmp_path / "p")
    run("srgan", "download", cwd=folder)
    victim = folder / "data/raw/train/sample/coins.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    line = refused("srgan", "prepare", cwd=folder)
    assert "coins.png" in line
    assert "truncated" in line
    assert not (folder / "data/prepared").exists()
    victim.write_bytes(whole)
    run("srgan", "prepare", cwd=folder)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    write_params(tmp_path)
    (tmp_path / "data").write_text("a file where a folder should be")
    line = refused("srgan", "download", cwd=tmp_path)
    assert line.startswith("srgan download: error: data: ")
    assert "check that it may be written" in line
    (tmp_path / "data").unlink()
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "data").mkdir(mode=0o555)
        assert "Permission denied" in refused("srgan", "download", cwd=tmp_path)


@pytest.mark.parametrize(
    ("stage", "file", "made_by"),
    [
        ("prepare", "data/raw/manifest.json", "download"),
        ("pretrain", "data/prepared/manifest.json", "prepare"),
        ("pretrain", "data/prepared/train.json", "prepare"),
        ("export", "models/generator.safetensors", "train"),
        ("register", "reports/metrics.json", "evaluate"),
    ],
)
@pytest.mark.parametrize("content", ["{}", "[", ""])
def test_a_broken_file_of_ours_names_the_stage_that_mends_it(copy_of_project, stage, file, made_by, content):
    if (content, made_by) == ("{}", "evaluate"):
        pytest.skip("register only asks whether there are scores")
    (copy_of_project / file).write_text(content)
    line = refused("srgan", stage, cwd=copy_of_project)
    assert file in line
    assert "dvc repro" in line
    assert made_by in line


def test_a_full_disk_leaves_nothing_half_written(project, tmp_path):
    """A file size limit stands in for the full disk: the write fails half-way, with the same kind of error."""
    folder = tmp_path / "p"
    folder.mkdir()
    write_params(folder)
    (folder / "data").mkdir()
    (folder / "data" / "raw").symlink_to(project / "data" / "raw")
    done = run("bash", "-c", "ulimit -f 200; trap '' XFSZ; exec srgan prepare", cwd=folder, check=False)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["raw"]


def test_a_patch_larger_than_the_images_is_explained(copy_of_project):
    write_params(copy_of_project, {"pretrain.patch": 4000})
    assert "patch_size: 4000 pixels is more than any training image has" in refused("srgan", "pretrain", cwd=copy_of_project)


def test_lpips_without_weights_is_null_and_said_once(copy_of_project, tmp_path):
    write_params(copy_of_project, TINY | {"evaluate.lpips": ["alex"]})
    empty = {"TORCH_HOME": str(tmp_path / "hub"), "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = run("srgan", "evaluate", cwd=copy_of_project, **empty)
    assert done.stderr.count("LPIPS (alex) is unavailable") == 1
    assert "alexnet-owt-7be5be79.pth" in done.stderr
    assert '"lpips": null' in (copy_of_project / "reports/metrics.json").read_text()
    run("srgan", "report", cwd=copy_of_project)
    assert "Not to be had: LPIPS" in (copy_of_project / "reports/report.html").read_text()


def test_lpips_with_the_mirrors_weights_is_a_number(copy_of_project, tmp_path, mirror):
    write_params(copy_of_project, TINY | {"evaluate.lpips": ["alex"]})
    run("srgan", "evaluate", cwd=copy_of_project, TORCH_HOME=str(tmp_path / "hub"), SRGAN_MIRROR=str(mirror.resolve()))
    import json

    bicubic = json.loads((copy_of_project / "reports/metrics.json").read_text())["sample"]["bicubic"]
    assert bicubic["lpips"] == pytest.approx(0.347, abs=0.002)
