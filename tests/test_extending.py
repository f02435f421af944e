"""The examples of docs/extending.md work as they stand on the page. tests/stages/test_new_components.py runs components in all stages."""

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import srgan
from srgan.commands.main import main
from srgan.config import profiles, schema
from srgan.degradations.recipe import Recipe
from srgan.degradations.registry import DEGRADATIONS
from srgan.export.checkpoints import convert
from srgan.export.registry import FORMATS
from srgan.losses.registry import LOSSES
from srgan.metrics.metric import Sample
from srgan.metrics.registry import METRICS, metrics_table, open_metrics, score, select_metrics
from srgan.models.checkpoints import save_generator
from srgan.models.registry import NETWORKS, build_generator
from srgan.training.objectives import Objective
from tests.data.test_layouts import picture
from tests.helpers.project import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}


def code(section, language="python"):
    return re.search(rf"^```{language}\n(.*?)^```", SECTIONS[section], flags=re.S | re.M)[1]


def load(section, monkeypatch):
    """Return the section's file as a module of the name that the page gives it."""
    name = re.search(r"Write `(srgan/\w+/\w+)\.py`", SECTIONS[section])[1].replace("/", ".")
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code(section), name, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_fits_on_a_screen(section):
    assert len([line for line in SECTIONS[section].splitlines() if line.strip()]) <= 40


@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if '```python\n"' in text])
def test_each_file_keeps_the_style_of_the_project(section):
    name = re.search(r"Write `([\w/]+\.py)`", SECTIONS[section])[1]
    for command in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        ruff = [Path(sys.executable).with_name("ruff"), *command, "--stdin-filename", name, "-"]
        done = subprocess.run(ruff, input=code(section), text=True, capture_output=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_network_is_configured_built_and_recognised(tmp_path, monkeypatch):
    network = load("A network", monkeypatch).ESPCN_NETWORK
    monkeypatch.setitem(NETWORKS, network.name, network)
    (tmp_path / "params.yaml").write_text(re.search(r"`(model: {.*?})`", SECTIONS["A network"])[1])
    options = schema.load(tmp_path / "params.yaml").model.model_dump()
    assert options == {"name": "espcn", "features": 32}
    model = srgan.build_generator(scale=4, **options)
    srgan.save_generator(tmp_path / "x.safetensors", model, {})
    found, _ = srgan.load_generator(tmp_path / "x.safetensors")
    assert (type(found), found.scale, found.features) == (type(model), 4, 32)
    assert found(torch.zeros(1, 3, 7, 9)).shape == (1, 3, 28, 36)


def test_a_parameter_has_a_default_a_range_and_no_effect_on_digests(monkeypatch):
    heading = re.search(r"below `(class \w+)`", SECTIONS["A parameter"])[1]
    lines = (ROOT / "srgan" / "config" / "training.py").read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if line.startswith(heading)) + 2  # after its docstring
    module = types.ModuleType("srgan.config.training_with_one_more")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("".join([*lines[:place], "\n", code("A parameter"), *lines[place:]]), module.__name__, "exec"), module.__dict__)
    options = module.Pretrain.model_validate({})
    assert options.weight_decay == 0
    assert schema.identity(options) == schema.identity(schema.Params().pretrain)
    assert schema.identity(module.Pretrain.model_validate({"weight_decay": 0.1}))["weight_decay"] == 0.1
    with pytest.raises(ValueError, match="weight_decay"):
        module.Pretrain.model_validate({"weight_decay": -1.0})


def test_a_profile_is_listed_and_used(tmp_path, monkeypatch, capsys):
    (tmp_path / "profiles").mkdir()
    for profile in (ROOT / "srgan" / "config" / "profiles").glob("*.yaml"):
        shutil.copy(profile, tmp_path / "profiles")
    name = re.search(r"Write `srgan/config/profiles/(\w+)\.yaml`", SECTIONS["A profile"])[1]
    (tmp_path / "profiles" / f"{name}.yaml").write_text(code("A profile", "yaml"))
    monkeypatch.setattr(profiles.resources, "files", lambda _: tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)
    main(["profile", "list"])
    assert "faces\n  SRResNet for portraits in ~/faces, scored on Set5." in capsys.readouterr().out
    main(["profile", "use", name])
    params = schema.load("params.yaml")
    assert (params.model.name, params.pretrain.steps, params.train.steps) == ("srresnet", 100_000, schema.Params().train.steps)


def test_a_loss_is_configured_and_computed(tmp_path, monkeypatch):
    loss = load("A loss", monkeypatch).GRADIENT
    monkeypatch.setitem(LOSSES, loss.name, loss)
    (tmp_path / "params.yaml").write_text(code("A loss", "yaml"))
    objective = Objective(schema.load(tmp_path / "params.yaml").pretrain.losses, "cpu", torch.float32)
    image = torch.rand(1, 3, 16, 16, generator=torch.manual_seed(0))
    terms = objective.terms(objective.compare(image.flip(-1), image, image[..., ::4, ::4]))
    assert list(terms) == ["l1", "gradient"]
    assert objective.total(terms) == pytest.approx(terms["l1"] + 0.1 * terms["gradient"])
    assert objective.terms(objective.compare(image, image, image[..., ::4, ::4]))["gradient"] == 0


def test_a_metric_is_scored_and_has_a_column(monkeypatch):
    metric = load("A metric", monkeypatch).MAE
    monkeypatch.setitem(METRICS, metric.name, metric)
    image = picture(0).copy()
    scorers = open_metrics(select_metrics())
    assert score(Sample(image, image, scale=4), scorers)["mae"] == 0
    assert score(Sample(np.roll(image, 1, axis=0), image, scale=4), scorers)["mae"] > 1
    assert metric.description in metrics_table()


def test_an_export_format_writes_its_files(tmp_path, monkeypatch):
    made = load("An export format", monkeypatch).NPZ
    monkeypatch.setitem(FORMATS, made.name, made)
    model = build_generator("compact", scale=2, features=4, depth=0)
    save_generator(tmp_path / "w.safetensors", model, {})
    (path,) = convert(tmp_path / "w.safetensors", "npz", tmp_path)
    assert path.name == "2x-w-compact.npz"
    assert np.array_equal(np.load(path)["body.0.weight"], model.body[0].weight.detach())


def test_a_degradation_is_a_step_of_a_recipe(tmp_path, monkeypatch):
    gamma = load("A degradation", monkeypatch).GAMMA
    monkeypatch.setitem(DEGRADATIONS, gamma.name, gamma)
    (tmp_path / "params.yaml").write_text(code("A degradation", "yaml"))
    recipe = Recipe(schema.load(tmp_path / "params.yaml").prepare.recipe)
    image = np.full((32, 32, 3), 100, np.uint8)
    results = [recipe.degrade(image, 4, (seed,)) for seed in range(8)]
    for lr_image, plan in results:
        exponent = next((step.drawn["exponent"] for step in plan if step.name == "gamma"), 1.0)
        assert lr_image.shape == (8, 8, 3)
        assert np.abs(lr_image - 255 * (100 / 255) ** exponent).max() < 1
    assert {len(plan) for _, plan in results} == {1, 2}  # its probability is a half
