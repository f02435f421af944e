import json
import os
import sys
from typing import get_args

import pytest
from typer.main import get_command

from srgan import stages
from srgan.commands import main
from srgan.images.suffixes import FORMATS, WrittenSuffix
from srgan.inference import providers
from tests.helpers.commands import run
from tests.helpers.project import ROOT, TINY, make_project, write_params

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
        assert f"  {stage} " in text
    assert "srgan upscale photo.jpg" in text
    assert "model" in run("srgan", "upscale", "--help", cwd=tmp_path).stdout
    assert run("srgan", "--version", cwd=tmp_path).stdout.startswith("srgan ")


HEAVY = {"torch", "mlflow", "onnxruntime", "pandas", "matplotlib", "cv2", "numpy", "PIL", "pydantic", "rich", "networkx"}


@pytest.mark.parametrize("code", ["import srgan", "from srgan.commands.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"])
def test_the_package_and_its_help_import_nothing_heavy(code):
    code += "\nimport sys; print('imported:', *sys.modules)"
    imported = set(run(sys.executable, "-c", code, cwd=ROOT).stdout.rpartition("imported:")[2].split())
    assert not HEAVY & imported


def test_each_stage_is_a_command():
    assert {*stages.STAGES} <= {*get_command(main.app()).commands}


def test_upscale_offers_every_provider_and_every_format(capsys):
    with pytest.raises(SystemExit):
        main.main(["upscale", "--help"])
    text = capsys.readouterr().out
    assert "|".join(providers.PROVIDERS) in text
    assert "|".join(get_args(WrittenSuffix)) in text
    assert {FORMATS[f".{suffix}"] for suffix in get_args(WrittenSuffix)} == set(FORMATS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("upscale a.png -o b.png --tile 0", "srgan upscale: error: Invalid value for '--tile': Input should be greater than or equal to 1"),
        ("upscale", "srgan upscale: error: Missing argument 'INPUT'."),
        ("upscale a.png -o b --format bmp", "srgan upscale: error: Invalid value for '--format': 'bmp' is not one of 'png', 'jpg'"),
        ("profile", "srgan profile: error: Missing command."),
        ("trian", "srgan: error: No such command 'trian'. Did you mean 'train'"),
        ("train --param x", "srgan train: error: No such option: --param (Possible options: --params)"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(arguments.split())
    assert ended.value.code == 2
    usage, line = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"Usage: {message.partition(':')[0]} ")
    assert line.startswith(message)


@pytest.mark.parametrize("arguments", ["--debug data show nothing", "data show nothing --debug"])
def test_debug_may_stand_before_and_after_the_command(arguments, capsys):
    with pytest.raises(SystemExit):
        main.main(arguments.split())
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "offered"), [("srgan upscale --provider c", ["cuda", "cpu"]), ("srgan profile use dem", ["demo"])])
def test_the_shell_completes_choices(words, offered, tmp_path):
    env = {"_SRGAN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "3"}
    assert run("srgan", cwd=tmp_path, **env).stdout.split() == offered


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
    images = json.loads((folder / "data/prepared/manifest.json").read_text())["images"]
    assert "coins" in {image["name"] for image in images}


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
        ("pretrain", "data/prepared/train/index.json", "prepare"),
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
    write_params(copy_of_project, {"pretrain.patch_size": 4000})
    assert "patch_size: 4000 pixels is more than any training image has" in refused("srgan", "pretrain", cwd=copy_of_project)


def test_lpips_without_weights_is_null_and_said_once(copy_of_project, tmp_path):
    write_params(copy_of_project, TINY | {"evaluate.lpips": ["alex"]})
    empty = {"TORCH_HOME": str(tmp_path / "hub"), "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = run("srgan", "evaluate", cwd=copy_of_project, **empty)
    assert done.stderr.count("LPIPS is unavailable") == 1
    assert "alexnet-owt-7be5be79.pth" in done.stderr
    assert '"lpips": null' in (copy_of_project / "reports/metrics.json").read_text()
    run("srgan", "report", cwd=copy_of_project)
    assert "Unavailable: LPIPS" in (copy_of_project / "reports/report.html").read_text()


def test_lpips_with_the_mirrors_weights_is_a_number(copy_of_project, tmp_path, mirror):
    write_params(copy_of_project, TINY | {"evaluate.lpips": ["alex"]})
    run("srgan", "evaluate", cwd=copy_of_project, TORCH_HOME=str(tmp_path / "hub"), SRGAN_MIRROR=str(mirror.resolve()))
    import json

    bicubic = json.loads((copy_of_project / "reports/metrics.json").read_text())["sample"]["bicubic"]
    assert bicubic["lpips"] == pytest.approx(0.347, abs=0.002)
