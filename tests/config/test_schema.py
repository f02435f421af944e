import random

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from srgan.config import schema
from srgan.config import yaml as strict_yaml
from srgan.utils.errors import SrganError
from tests.helpers.commands import run
from tests.helpers.project import ROOT, make_project, write_params


def message(path):
    with pytest.raises(SrganError) as caught:
        schema.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(folder, old, new):
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_the_shipped_file_loads():
    loaded = schema.load(ROOT / "params.yaml")
    assert loaded.prepare.scale == 4
    assert loaded.data.train == ("sample",)
    assert loaded.pretrain.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["data: " + "[" * 1000, "\n".join(" " * depth + "a:" for depth in range(1000))], ids=["lists", "sections"])
def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert "nested too deeply" in message(path)


def test_an_unknown_key_names_its_line_and_the_nearest_name(tmp_path):
    path = edited(tmp_path, "  steps: 3000", "  stepz: 3000")
    line = path.read_text().split("\n").index("  stepz: 3000") + 1
    assert message(path) == f"{path}:{line}: pretrain.stepz: unknown key; did you mean steps?"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("steps: 3000", "steps: many", "pretrain.steps: needs an integer, not 'many'"),
        ("steps: 3000", "steps: 3000.5", "pretrain.steps: needs an integer"),
        ("steps: 3000", 'steps: "4000"', "pretrain.steps: needs an integer"),
        ("steps: 3000", "steps: [1, 2]", "pretrain.steps: needs a single value"),
        ("steps: 3000", "steps: 0", "pretrain.steps: must be at least 1 (is 0)"),
        ("learning_rate: 1.0e-3", "learning_rate: .inf", "pretrain.learning_rate: needs a number"),
        ("learning_rate: 1.0e-3", "learning_rate: -1", "pretrain.learning_rate: must be above 0"),
        (
            "{name: cosine, warmup: 50}",
            "{name: cosin, warmup: 50}",
            "pretrain.schedule.name: 'cosin' is not one of constant, cosine, multistep",
        ),
        ("{name: cosine, warmup: 50}", "{name: multistep, warmup: 50}", "pretrain.schedule.milestones: missing"),
        ("{name: cosine, warmup: 50}", "{name: cosine, warmup: 5000}", "pretrain.schedule.warmup: must lie between 0 and steps (is 5000)"),
        ("{name: cosine, warmup: 50}", "cosine", "pretrain.schedule: needs the key name, one of constant, cosine, multistep"),
        ("accumulate: 1", "accumulate: 5", "pretrain.accumulate: must divide the batch of 8 (is 5)"),
        ("name: compact", "name: srgan", "model.name: 'srgan' is not one of compact, srresnet, rrdb, srcnn"),
        ("name: compact", "name: srcnn", "model.depth: unknown key"),
        ("name: compact", "name: rrdb", "model.growth: missing; add it under 'model'"),
        ("name: patch", "name: vgg", "train.discriminator.depth: unknown key"),
        ("network: discriminator", "network: vgg18", "train.losses.perceptual.network: 'vgg18' is not one of discriminator, lpips-squeeze"),
        (
            "{network: discriminator, weight: 0.5}",
            "{network: vgg19, layers: {conv5_5: 1.0}, distance: l1, weight: 1}",
            "train.losses.perceptual.layers: 'conv5_5' does not exist in vgg19; did you mean conv5_4?",
        ),
        (
            "{network: discriminator, weight: 0.5}",
            "{network: vgg19, layers: [conv5_4], distance: l1, weight: 1}",
            "train.losses.perceptual.layers: needs names and values, such as {conv5_4: 1.0}",
        ),
        ("{name: relativistic, weight: 0.02}", "{name: wgan, weight: 1}", "train.losses.adversarial.name: 'wgan' is not one of vanilla"),
        ("lpips: [alex, squeeze]", "lpips: [alex, sqeeze]", "evaluate.lpips[1]: 'sqeeze' is not one of alex, vgg, squeeze"),
        ("lpips: [alex, squeeze]", "lpips: true", "evaluate.lpips: needs a list"),
        ("train: [sample]", "train: sample", "data.train: needs a list"),
        ("train: [sample]", "train: []", "data.train: needs at least one data set"),
        ("patch: 96", "patch: 98", "pretrain.patch: must be a multiple of prepare.scale (4)"),
        ("name: compact", "name: compact\n  name: compact", "model.name: given twice"),
        ("name: demo", "name: a/b", "export.name: may hold letters"),
        ("depth: 2 # layers", "depth: 7 # layers", "train.patch: must be at least 128 pixels for this discriminator"),
        ("seed: 0 # of the first", "seed: -1 # of the first", "pretrain.seed: must lie between 0"),
        ("alias: challenger", "alias: v3", "register.alias: 'latest' and 'v1'"),
        ("  scale: 4", "  scale: 9", "prepare.scale: must lie between 2 and 8 (is 9)"),
        ("  scale: 4", "  scale: 5", "pretrain.patch: must be a multiple of prepare.scale (5)"),
        ("kernel: matlab", "kernel: mathlab", "prepare.kernel: 'mathlab' is not one of matlab, pillow"),
        ("  test: 0 #", "  test: 0.95 #", "prepare.test: leaves nothing to train on"),
        ("max_bad: 0", "max_bad: -1", "prepare.max_bad: must not be negative"),
        ("test: [sample]", "test: []", "data.test: needs a data set, or prepare.test a share above 0"),
        ("train: [sample]", "train: [sample, sample]", "data.train: names a data set twice"),
        ("  losses:\n    pixel: l1", "  losses: l1 #", "pretrain.losses: needs the keys pixel"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path, old, new, expected):
    assert expected in message(edited(tmp_path, old, new))


def test_networks_that_double_take_no_scale_of_five(tmp_path):
    changes = {"model": {"name": "rrdb", "features": 8, "growth": 4, "depth": 1}, "prepare.scale": 5}
    changes |= {"pretrain.patch": 100, "train.patch": 100}
    with pytest.raises(SrganError, match=r"prepare.scale: must be 2, 3, 4 or 8 for rrdb \(is 5\)"):
        schema.load(write_params(tmp_path, changes))


def test_a_missing_key_is_named(tmp_path):
    assert "pretrain.ema: missing" in message(edited(tmp_path, "  ema: 0.995", "  # ema: 0.995"))


def test_a_missing_empty_or_broken_file_is_told_plainly(tmp_path):
    path = tmp_path / "params.yaml"
    assert "no such file" in message(path)
    path.write_text("")
    assert "is empty" in message(path)
    path.write_text("data: [1\nmodel: 2")
    assert "not valid YAML" in message(path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in message(path)


def test_exponents_are_numbers_as_in_dvc(tmp_path):
    """PyYAML alone reads 1e-3 as text, DVC as a number."""
    path = edited(tmp_path, "learning_rate: 1.0e-3", "learning_rate: 1e-3")
    assert isinstance(yaml.safe_load(path.read_text())["pretrain"]["learning_rate"], str)
    assert schema.load(path).pretrain.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["20261127_1", "1.10", "007", "7e45", "1e3", "0x1F", "0o17", "2026-11-27", ".inf", "True", "null"])
def test_text_that_dvc_reads_as_something_else_has_to_be_quoted(tmp_path, text):
    """DVC would look for models/4x-1.1-compact-fp32.onnx where the name is 1.10, after the whole training."""
    places = {
        "export.name": "  name: demo",
        "export.license": "  license: research only (the training photographs include Middlebury Stereo 2014)",
        "register.name": "  name: srgan",
        "pretrain.start": "  start: scratch",
    }
    for key, line in places.items():
        path = edited(tmp_path, line, f"{line.split(':')[0]}: {text}")
        assert f"{key}: needs text, and DVC does not read {text} as text; put it in quotes: '{text}'" in message(path)
    assert "data.train[0]: needs text" in message(edited(tmp_path, "train: [sample]", f"train: [{text}]"))
    assert schema.load(edited(tmp_path, "  name: demo", f"  name: '{text.replace('-', '_')}'")).export.name == text.replace("-", "_")


def test_a_name_like_a_number_stops_the_first_stage(tmp_path):
    folder = make_project(tmp_path / "project")
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("  name: demo", "  name: 20261127_1"))
    done = run("srgan", "download", cwd=folder, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("export.name: needs text, and DVC does not read 20261127_1 as text; put it in quotes: '20261127_1'\n")


def test_what_counts_as_text_is_text_for_dvc_too(tmp_path):
    draw = random.Random(1)
    texts = {"".join(draw.choices("0123456789_.+-eExobTZa", k=draw.randint(1, 6))) for _ in range(4000)}
    texts |= {"yes", "off", "y", "n", "1:30", "t", "True", "~", "Null", "TRUE", ".NaN", "2026-1-1", "2026-11-27T10:00:00Z"}
    taken = [text for text in texts - {"-"} if not strict_yaml.NO_TEXT.fullmatch(text)]  # a dash alone begins a list
    assert len(taken) > 1000
    assert [text for text in taken if parse_yaml(f"a: {text}", "params.yaml")["a"] != text] == []


def test_truth_may_be_written_as_in_python(tmp_path):
    assert schema.load(edited(tmp_path, "  compile: false", "  compile: True")).pretrain.compile is True
    assert "pretrain.compile: needs true or false, not 'yes'" in message(edited(tmp_path, "  compile: false", "  compile: yes"))


def test_a_number_of_thousands_of_digits_is_no_crash(tmp_path):
    assert "pretrain.steps: needs an integer, not '9999" in message(edited(tmp_path, "steps: 3000", f"steps: {'9' * 5000}"))


def test_flat_names_are_those_of_the_file(tmp_path):
    flat = schema.flatten(schema.load(write_params(tmp_path)))
    assert flat["train.discriminator.features"] == 4
    assert flat["data.train"] == "sample"


def test_a_long_number_that_is_none_is_refused_at_once(tmp_path):
    """The time of the expression for numbers grew with the square of the digits: hours for this one."""
    with pytest.raises(SrganError, match="learning_rate"):
        schema.load(write_params(tmp_path, {"pretrain.learning_rate": "1" * 300_000 + "x"}))
