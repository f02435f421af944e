"""Parameters that change while a stage runs: DVC would record the new ones for the result of the old ones."""

import json

import pytest
import yaml

from srgan import stages
from srgan.commands import main
from srgan.config import recorded
from tests.helpers.commands import run, wait_for
from tests.helpers.project import runtime, write_params


def edit(folder, key):
    """Another value for a key, as an editor would write it."""
    path = folder / "params.yaml"
    values = place = yaml.safe_load(path.read_text())
    *sections, last = key.split(".")
    for section in sections:
        place = place[section]
    former = place[last]
    new = {str: lambda: f"{former}x", list: lambda: [*former, "set5"], int: lambda: former + 1, float: lambda: 0.5}
    place[last] = ["alex"] if key == "evaluate.lpips" else new[type(former)]()
    path.write_text(yaml.safe_dump(values, sort_keys=False))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_dvc_records_no_result_under_parameters_that_were_edited_meanwhile(copy_of_project, stage):
    changes = {f"{stage}.steps": 300} | runtime(stage, checkpoint_every=10, log_every=50, validate_every=300)
    before = write_params(copy_of_project, changes).read_text()

    def edit_meanwhile():
        wait_for(lambda: list((copy_of_project / "checkpoints" / stage).glob("step-*0.pt")))
        edit(copy_of_project, f"{stage}.learning_rate")

    done = run("dvc", "repro", stage, cwd=copy_of_project, check=False, meanwhile=edit_meanwhile)
    assert done.returncode != 0
    assert f"params.yaml was edited while this ran ({stage}.learning_rate: " in done.stderr
    assert "-> 0.5), and DVC would record the result under the new values. Put the old values back, or" in done.stderr
    recorded_by_dvc = yaml.safe_load((copy_of_project / "dvc.lock").read_text())["stages"][stage]["params"]["params.yaml"]
    assert recorded_by_dvc[stage]["learning_rate"] != 0.5
    (copy_of_project / "params.yaml").write_text(before)
    done = run("dvc", "repro", stage, cwd=copy_of_project)
    assert f"{stage}: resumes after step 300\n" in done.stderr  # the checkpoint was kept
    assert stage not in json.loads(run("dvc", "status", "--json", cwd=copy_of_project).stdout)


EDITED = {
    "download": "data.train", "prepare": "prepare.validation", "export": "export.license",
    "evaluate": "evaluate.lpips", "register": "register.name",
}  # fmt: skip


@pytest.mark.parametrize(("stage", "key"), EDITED.items())
def test_no_stage_ends_well_if_its_parameters_were_edited_meanwhile(tmp_path, monkeypatch, capsys, stage, key):
    monkeypatch.chdir(tmp_path)
    for edited in (key, "promote.max_size_ratio", "runtime.pretrain.log_every"):
        write_params(tmp_path)
        monkeypatch.setitem(stages.STAGES, stage, lambda *_, edited=edited, **__: edit(tmp_path, edited))
        try:
            main.main([stage])
            assert edited != key
        except SystemExit as ended:
            assert (edited, ended.code) == (key, 1)
            assert f"params.yaml was edited while this ran ({key}: " in capsys.readouterr().err


def test_every_stage_with_parameters_is_watched():
    assert {*EDITED, "pretrain", "train"} == {stage for stage, keys in recorded.RECORDED.items() if keys}


def test_weights_are_not_trained_further_under_parameters_they_never_saw(copy_of_project):
    """As when the file is edited after the first stage and before the second."""
    write_params(copy_of_project, {"pretrain.learning_rate": 0.5})
    done = run("srgan", "train", cwd=copy_of_project, check=False)
    assert done.returncode == 1
    assert "models/pretrained.safetensors: trained with other parameters or data than params.yaml now names" in done.stderr
