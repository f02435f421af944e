import shutil
import subprocess
import sys

import pytest
from PIL import Image

from srgan.config.project import Project
from srgan.images.gain_map import ISO_MARK
from srgan.stages import start
from srgan.utils.errors import SrganError
from tests.helpers.commands import environment, run
from tests.helpers.project import ROOT, write_params

# None of these packages is on a bare GPU image.
BARE = """
import importlib.util
import sys
from importlib.abc import MetaPathFinder

absent = {"mlflow", "prefect", "dvc", "onnx", "onnxruntime", "lpips", "pyvips", "pandas", "jinja2", "sqlalchemy"}

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
find_spec = importlib.util.find_spec  # with which PyTorch asks for onnx: it returns None for an absent package
importlib.util.find_spec = lambda name, package=None: None if name in absent else find_spec(name, package)
"""
MAIN = (
    BARE
    + """
from srgan.commands.main import main
main(sys.argv[1:])
"""
)


def test_a_training_without_mlflow_warns_and_ends_well(copy_of_project, monkeypatch):
    trained = copy_of_project / "models" / "pretrained.safetensors"
    expected = trained.read_bytes()
    shutil.rmtree(copy_of_project / "checkpoints")
    trained.unlink()
    monkeypatch.setitem(sys.modules, "srgan.tracking.mlflow_run", None)
    done = run("srgan", "pretrain", cwd=copy_of_project)
    assert "MLflow is not installed" in done.stderr
    assert "so this training is not recorded there. To record it later: pip install mlflow, then srgan sync" in done.stderr
    assert trained.read_bytes() == expected


def test_a_start_from_the_registry_needs_mlflow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "srgan.tracking.registered_weights", None)
    with pytest.raises(SrganError, match=r"models:/... needs MLflow .* Install it with: pip install mlflow"):
        start.locate(Project(tmp_path), "models:/m@champion")


def test_images_are_read_on_a_bare_gpu_image(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", comment=ISO_MARK)  # as if it had a gain map
    code = f"{BARE}\nfrom pathlib import Path\nfrom srgan.images.read import read_rgb\nprint(read_rgb(Path('a.jpg')).shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert done.stdout == "(6, 8, 3)\n", done.stderr


@pytest.mark.slow
def test_both_stages_and_the_plan_run_on_a_bare_gpu_image(copy_of_project):
    write_params(copy_of_project, {"pretrain.seed": 1})
    for command in ("plan", "pretrain", "train"):
        arguments = [sys.executable, "-c", MAIN, command]
        shown = environment(PYTHONPATH=str(ROOT))
        done = subprocess.run(arguments, cwd=copy_of_project, env=shown, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("MLflow is not installed" in done.stderr) == (command != "plan")
