import random
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from srgan.config import schema
from srgan.config import yaml as strict_yaml
from srgan.config.render import render
from srgan.utils.errors import SrganError
from tests.helpers.commands import run
from tests.helpers.project import ROOT, base_params, base_text, make_project, write_params


def message(path):
    with pytest.raises(SrganError) as caught:
        schema.load(path)
    return str(caught.value)


def edited(folder, old, new):
    text = base_text()
    assert old in text
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_the_shipped_file_loads():
    loaded = schema.load(ROOT / "params.yaml")
    assert loaded.prepare.scale == 4
    assert loaded.data.train == ("sample",)


@pytest.mark.parametrize("text", ["data: " + "[" * 1000, "\n".join(" " * depth + "a:" for depth in range(430))], ids=["lists", "sections"])
def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert "nested too deeply" in message(path)


def test_an_unknown_key_names_its_line_and_the_nearest_name(tmp_path):
    path = edited(tmp_path, "  steps: 150", "  stepz: 150")
    line = path.read_text()[: path.read_text().index("  stepz")].count("\n") + 1
    assert message(path) == f"{path}:{line}: pretrain.stepz: unknown option; did you mean steps?"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("steps: 150", "steps: many", "pretrain.steps: must be an integer, not 'many'"),
        ("steps: 150", "steps: 3000.5", "pretrain.steps: must be an integer"),
        ("steps: 150", 'steps: "4000"', "pretrain.steps: must be an integer"),
        ("steps: 150", "steps: [1, 2]", "pretrain.steps: must be an integer, not a list or section"),
        ("steps: 150", "steps: 0", "pretrain.steps: must be at least 1 (is 0)"),
        ("learning_rate: 1.0e-4", "learning_rate: .inf", "pretrain.learning_rate: must be a finite number"),
        ("learning_rate: 1.0e-4", "learning_rate: -1", "pretrain.learning_rate: must be above 0"),
        (
            "{name: cosine, warmup: 50}",
            "{name: cosin, warmup: 50}",
            "pretrain.schedule.name: 'cosin' is not one of constant, cosine, multistep, wsd; did you mean cosine?",
        ),
        ("{name: cosine, warmup: 50}", "{name: multistep, warmup: 50}", "pretrain.schedule.milestones: is missing"),
        ("{name: cosine, warmup: 50}", "{name: cosine, warmup: 5000}", "pretrain.schedule.warmup: must be at most the 150 steps"),
        ("{name: cosine, warmup: 50}", "cosine", "pretrain.schedule: must be a section with the key name, one of constant, cosine"),
        ("accumulation: 1", "accumulation: 5", "pretrain.gradient_accumulation: must divide the batch size of 8 (is 5)"),
        (
            "name: compact",
            "name: srgan",
            "model.name: 'srgan' is not one of compact, srresnet, rrdb, srcnn, nafnet, span, realplksr, swinir",
        ),
        ("name: compact", "name: srcnn", "model.depth: unknown option"),
        ("name: patch", "name: vgg", "train.discriminator.depth: unknown option"),
        (
            "name: feature_matching",
            "name: vgg18",
            "train.losses[1].name: 'vgg18' is not one of l1, mse",
        ),
        (
            "{name: feature_matching, weight: 1.0}",
            "{name: vgg19, layers: {conv5_5: 1.0}, distance: l1, weight: 1}",
            "train.losses[1].layers.conv5_5: is not a layer of vgg19; did you mean conv5_4?",
        ),
        (
            "{name: feature_matching, weight: 1.0}",
            "{name: vgg19, layers: [conv5_4], distance: l1, weight: 1}",
            "train.losses[1].layers: must be names and values, such as {conv5_4: 1.0}",
        ),
        ("{name: relativistic, weight: 0.15}", "{name: wgan, weight: 1}", "train.losses[2].name: 'wgan' is not one of l1, mse"),
        ("lpips: [alex, squeeze]", "lpips: [alex, sqeeze]", "evaluate.lpips[1]: 'sqeeze' is not one of alex, vgg, squeeze"),
        ("lpips: [alex, squeeze]", "lpips: true", "evaluate.lpips: must be a list"),
        ("train: [sample]", "train: sample", "data.train: must be a list"),
        ("train: [sample]", "train: []", "data.train: must not be empty"),
        ("train: [sample]", "train: [[sample]]", "data.train[0]: must be text, not a list or section"),
        ("train: [sample]", "train: [{foldr: x}]", "data.train[0].foldr: unknown option; did you mean folder?"),
        ("patch_size: 96", "patch_size: 98", "pretrain.patch_size: must be a multiple of prepare.scale (4)"),
        ("patch_size: 96", "patch_size: 96.5", "pretrain.patch_size: must be an integer, or integers with the first step of each"),
        ("patch_size: 96", "patch_size: {0: 64, x: 96}", "pretrain.patch_size: must be an integer, or integers with the first step"),
        ("patch_size: 96", "patch_size: {100: 64}", "pretrain.patch_size: needs a value for step 0"),
        ("patch_size: 96", "patch_size: {0: 0}", "pretrain.patch_size: must be at least 1"),
        ("patch_size: 96", "patch_size: {0: 64, 100: 98}", "pretrain.patch_size: must be a multiple of prepare.scale (4)"),
        ("patch_size: 96", "patch_size: {0: 64, 151: 96}", "pretrain.patch_size: has a size that begins after the 150 steps"),
        (
            "{name: cosine, warmup: 50}",
            "{name: wsd, warmup: 101, decay: 0.5}",
            "pretrain.schedule.decay: leaves fewer steps before the decay than the warm-up of 101 takes (is 0.5)",
        ),
        ("name: demo", "name: a/b", "export.name: 'a/b' has characters that are not allowed"),
        ("depth: 2 # layers", "depth: 7 # layers", "train.patch_size: must be at least 128 pixels for this discriminator"),
        ("seed: 0 # seed of the initial", "seed: -1 # seed of the initial", "pretrain.seed: must be at least 0 (is -1)"),
        ("alias: challenger", "alias: v3", "register.alias: is reserved by MLflow"),
        ("  scale: 4", "  scale: 9", "prepare.scale: must be at most 8 (is 9)"),
        ("  scale: 4", "  scale: 5", "pretrain.patch_size: must be a multiple of prepare.scale (5)"),
        ("kernel: matlab", "kernel: mathlab", "prepare.kernel: 'mathlab' is not one of matlab, pillow; did you mean matlab?"),
        ("  test: 0.0 #", "  test: 0.95 #", "prepare.test: leaves no image to train on"),
        ("max_unreadable: 0", "max_unreadable: -1", "prepare.max_unreadable: must be at least 0 (is -1)"),
        ("test: [sample]", "test: []", "data.test: needs a data set, or prepare.test a share above 0"),
        ("train: [sample]", "train: [sample, sample]", "data.train: names a data set twice"),
        ("test: [sample]", "test: [{set: sample, recipe: jpg}]", "data.test[0].recipe: 'jpg' is not one of bicubic"),
        ("test: [sample]", "test: [{set: sample}]", "data.test[0].recipe: is missing"),
        (
            "test: [sample]",
            "test: [{set: sample, recepie: bicubic, recipe: bicubic}]",
            "data.test[0].recepie: unknown option; did you mean recipe?",
        ),
        ("test: [sample]", "test: [{set: {foldr: x}, recipe: bicubic}]", "data.test[0].set.foldr: unknown option; did you mean folder?"),
        ("test: [sample]", "test: [{set: x, recipe: bicubic, name: a+b}]", "data.test[0].name: may hold letters, digits"),
        (
            "test: [sample]",
            "test: [{set: x, recipe: [{name: noise, probabilty: 1}]}]",
            "recipe[0].probabilty: unknown option; did you mean probability?",
        ),
        ("test: [sample]", "test: [{set: x, recipe: bicubic}, {set: x, recipe: bicubic}]", "data.test: names a data set twice"),
        ("train: [sample]", "train: [{set: x, recipe: bicubic}]", "data.train[0].set: unknown option"),
        (
            "{name: feature_matching, weight: 1.0}",
            "{name: l1, weight: 0.5}",
            "train.losses: has l1 twice",
        ),
        ("{name: relativistic, weight: 0.15}", "{name: tv, weight: 1}", "train.losses: needs exactly one adversarial loss"),
        ("{name: feature_matching, weight: 1.0}", "{name: hinge, weight: 0.5}", "train.losses: needs exactly one adversarial loss"),
        ("{name: l1, weight: 1.0}", "{name: hinge}", "pretrain.losses: cannot have hinge, which needs a discriminator"),
        ("{name: relativistic, weight: 0.15}", "{name: relativistic, weight: -1}", "train.losses[2].weight: must be at least 0 (is -1)"),
        ("prepare: #", "prepare: 4\nunused: #", "prepare: must be a section with the options scale, recipe, variants, kernel"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path, old, new, expected):
    assert expected in message(edited(tmp_path, old, new))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train: {discriminator: {name: unet}, patch_size: {0: 8, 100: 96}}",
            "train.patch_size: must be at least 16 pixels for this discriminator",
        ),
        (
            "train: {discriminator: {name: vgg}, patch_size: 16, gradient_accumulation: 16}",
            "train.patch_size: must be above 16 pixels for vgg with one patch at a time",
        ),
        ("train: {optimizer: {name: schedule_free}}", "train.schedule: must be constant for schedule_free"),
        (
            "train: {optimizer: {name: schedule_free}, schedule: {name: constant}, ema_switch_every: 5}",
            "train.ema_switch_every: does not fit schedule_free, which averages the weights itself",
        ),
        (
            "train: {optimizer: {name: schedule_free}, schedule: {name: constant}, first_layer_rate: 0.5}",
            "train.first_layer_rate: must be 1 for schedule_free",
        ),
        ("train: {cutblur: 0.5}", "train.cutblur: needs prepare.scale 1 and a recipe that keeps the colours. Use cutmix (is 0.5)"),
        ("{prepare: {scale: 1, recipe: grayscale}, train: {cutblur: 0.5}}", "train.cutblur: needs prepare.scale 1 and a recipe"),
        ("train: {cutmix: 1.5}", "train.cutmix: must be at most 1"),
        ("train: {optimizer: {name: sgd}}", "train.optimizer.name: 'sgd' is not one of adam, adamw, schedule_free, muon"),
        ("train: {optimizer: {name: adamw, weight_decay: -1.0}}", "train.optimizer.weight_decay: must be at least 0"),
        ("train: {ema: 0.0, ema_switch_every: 5}", "train.ema_switch_every: needs an average of the weights. Set ema above 0"),
        ("model: {name: spandrel}", "pretrain.pretrained: must name a file of weights, from which spandrel builds the network"),
        (
            "model: {name: spandrel}\npretrain: {pretrained: own/x.pth}\nexport: {origin_license: MIT}",
            "export.origin: must name the author and address of the weights in pretrain.pretrained",
        ),
        (
            "model: {name: spandrel}\npretrain: {pretrained: own/x.pth}\nexport: {origin: 'A. Author, https://example.org'}",
            "export.origin_license: must name the license of the weights in pretrain.pretrained",
        ),
    ],
)
def test_options_that_do_not_fit_together_are_refused(tmp_path, text, expected):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert expected in message(path)


def test_patch_sizes_by_step_are_read_in_their_order_and_written_as_read(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("pretrain: {steps: 500, patch_size: {200: 96, 0: 64}}")
    params = schema.load(path)
    assert list(params.pretrain.patch_size.items()) == [(0, 64), (200, 96)]
    assert schema.flatten(params)["pretrain.patch_size.200"] == 96
    path.write_text(render(params))
    assert "  patch_size: {0: 64, 200: 96} #" in path.read_text()
    assert schema.load(path) == params


def test_all_errors_of_a_file_are_reported_at_once_with_their_lines(tmp_path):
    text = base_text()
    for old, new in (("  scale: 4", "  scale: four"), ("steps: 150", "stepz: 150"), ("fp16: true", "fp16: yes")):
        text = text.replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    lines = text.split("\n")
    numbers = [next(i for i, line in enumerate(lines, 1) if line.startswith(start)) for start in ("  scale", "  stepz", "  fp16")]
    assert message(path).split("\n") == [
        f"{path}: 3 errors:",
        f"  {path}:{numbers[0]}: prepare.scale: must be an integer, not 'four'",
        f"  {path}:{numbers[1]}: pretrain.stepz: unknown option; did you mean steps?",
        f"  {path}:{numbers[2]}: export.fp16: must be true or false, not 'yes'",
    ]


def test_a_start_in_the_models_of_another_project_is_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "params.yaml").write_text(f"pretrain: {{pretrained: {ROOT / 'models' / 'generator.safetensors'}}}\n")
    assert schema.load(tmp_path / "params.yaml").pretrain.pretrained.endswith("generator.safetensors")
    (tmp_path / "params.yaml").write_text("pretrain: {pretrained: models/generator.safetensors}\n")
    with pytest.raises(SrganError, match=r"pretrain.pretrained: the pipeline writes this file"):
        schema.load(tmp_path / "params.yaml")


def test_networks_that_double_take_no_scale_of_five(tmp_path):
    changes = {"model": {"name": "rrdb", "features": 8, "growth": 4, "depth": 1}, "prepare.scale": 5}
    changes |= {"pretrain.patch_size": 100, "train.patch_size": 100}
    with pytest.raises(SrganError, match=r"prepare.scale: must be 1, 2, 3, 4 or 8 for rrdb \(is 5\)"):
        schema.load(write_params(tmp_path, changes))


def test_what_a_file_leaves_out_takes_its_default(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("model: {name: srresnet}\ntrain: {psnr_guard: 0.1}\n")
    loaded = schema.load(path)
    assert (loaded.model.depth, loaded.train.psnr_guard, loaded.train.steps, loaded.runtime.train.log_every) == (16, 0.1, 400, 25)
    assert loaded.model_copy(update={"model": schema.Params().model, "train": schema.Train()}) == schema.Params()


def former_demo(loaded):
    """The base of the tests with the values that the demo had in these versions."""
    assert [(loss.name, loss.weight) for loss in loaded.train.losses] == [("l1", 1.0), ("feature_matching", 0.5), ("relativistic", 0.02)]
    today = base_params()
    both = {"color_jitter": 0.6, "batch_size": 8}
    pretrain = today.pretrain.model_copy(update=both | {"steps": 3000, "learning_rate": 1.0e-3, "pretrained": "scratch"})
    former = {"steps": 400, "batch_size": 16, "learning_rate": 2.0e-4, "losses": loaded.train.losses}
    model = today.model.model_copy(update={"features": 32, "depth": 8})
    return today.model_copy(update={"model": model, "pretrain": pretrain, "train": today.train.model_copy(update=both | former)})


@pytest.mark.parametrize("version", ["7ea437b", "fa8a05e"])
def test_a_file_of_a_former_version_loads_with_one_warning_that_names_the_new_keys(version, caplog):
    loaded = schema.load(Path(__file__).with_name(f"params-{version}.yaml"))
    assert loaded == former_demo(loaded)
    (record,) = caplog.records
    assert "pretrain.batch is now pretrain.batch_size" in record.getMessage()
    assert "train.log_every is now runtime.train.log_every" in record.getMessage()
    assert "export.plain is now export.optimize_graph (the opposite)" in record.getMessage()
    assert "srgan params update" in record.getMessage()


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
    path = edited(tmp_path, "learning_rate: 1.0e-4", "learning_rate: 1e-3")
    assert isinstance(yaml.safe_load(path.read_text())["pretrain"]["learning_rate"], str)
    assert schema.load(path).pretrain.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["20261127_1", "1.10", "007", "7e45", "1e3", "0x1F", "0o17", "2026-11-27", ".inf", "True", "null"])
def test_text_that_dvc_reads_as_something_else_has_to_be_quoted(tmp_path, text):
    """DVC would look for models/4x-1.1-compact-fp32.onnx where the name is 1.10, after the whole training."""
    places = {
        "export.name": "  name: demo",
        "export.license": "  license: research only (the training photographs include Middlebury Stereo 2014)",
        "register.name": "  name: srgan",
        "pretrain.pretrained": "  pretrained: x4-clean",
    }
    for key, line in places.items():
        assert f"{key}: must be text" in message(edited(tmp_path, line, f"{line.split(':')[0]}: {text}"))
    assert "data.train[0]: must be text" in message(edited(tmp_path, "train: [sample]", f"train: [{text}]"))
    assert schema.load(edited(tmp_path, "  name: demo", f"  name: '{text.replace('-', '_')}'")).export.name == text.replace("-", "_")


def test_a_name_like_a_number_stops_the_first_stage(tmp_path):
    folder = make_project(tmp_path / "project")
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("  name: demo", "  name: 20261127_1"))
    done = run("srgan", "download", cwd=folder, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("export.name: must be text, but YAML reads it as a number. Put it in quotes\n")


def test_every_value_is_read_as_dvc_reads_it(tmp_path):
    draw = random.Random(1)
    texts = {"".join(draw.choices("0123456789_.+-eExobTZa", k=draw.randint(1, 6))) for _ in range(500)}
    texts |= {"yes", "off", "on", "no", "y", "n", "1:30", "t", "True", "~", "Null", "TRUE", ".NaN", "2026-1-1", "1e-4", "1_000"}
    path = tmp_path / "params.yaml"
    differing = {}
    for text in texts - {"-"}:  # a dash alone begins a list
        path.write_text(f"key: {text}")
        try:
            theirs = parse_yaml(path.read_text(), "params.yaml")["key"]
        except Exception:
            with pytest.raises(SrganError, match="not valid YAML"):
                strict_yaml.read(path, "")
            continue
        ours = strict_yaml.plain(strict_yaml.read(path, ""), path)["key"]
        if repr(ours) != repr(theirs):
            differing[text] = ours, theirs
    assert differing == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  fp16: true", "  fp16: on", "export.fp16: must be true or false, not 'on'"),
        ("  fp16: true", "  fp16: no", "export.fp16: must be true or false, not 'no'"),
        ("  fp16: true", "\tfp16: true", "a tab cannot indent YAML. Use spaces"),
        ("  fp16: true", "  fp16: true\n  fp16: false", "(first on line"),
        ("  fp16: true", "  fp16: true\n fp8: true", "not valid YAML"),
    ],
)
def test_a_trap_of_yaml_is_an_error_with_its_line_and_advice(tmp_path, old, new, expected):
    path = edited(tmp_path, old, new)
    first = path.read_text()[: path.read_text().index(new)].count("\n") + 1
    last = first + new.count("\n")
    found = message(path)
    assert expected in found
    assert found.startswith((f"{path}:{first}:", f"{path}:{last}:"))


def test_truth_may_be_written_as_in_python(tmp_path):
    assert schema.load(edited(tmp_path, "  lpips: false", "  lpips: True")).pretrain.lpips is True
    assert "pretrain.lpips: must be true or false, not 'yes'" in message(edited(tmp_path, "  lpips: false", "  lpips: yes"))


def test_the_former_booleans_of_compile_and_cuda_graph_still_load(tmp_path):
    path = edited(tmp_path, "  cutmix: 0.0", "  compile: true\n  cutmix: 0.0")
    path.write_text(path.read_text().replace("cuda_graph: auto", "cuda_graph: false").replace("    compile: auto", "    # none"))
    loaded = schema.load(path)
    assert (loaded.runtime.pretrain.compile, loaded.runtime.pretrain.cuda_graph) == ("on", "off")
    assert loaded.runtime.train.compile == "auto"
    assert schema.identity(loaded) == schema.identity(base_params())


def test_a_number_of_thousands_of_digits_is_no_crash(tmp_path):
    assert "Exceeds the limit (4300 digits)" in message(edited(tmp_path, "steps: 150", f"steps: {'9' * 5000}"))


def test_flat_names_are_those_of_the_file(tmp_path):
    flat = schema.flatten(schema.load(write_params(tmp_path)))
    assert flat["train.discriminator.features"] == 4
    assert flat["data.train"] == "sample"


def test_a_long_number_that_is_none_is_refused_at_once(tmp_path):
    """The time of the expression for numbers grew with the square of the digits: hours for this one."""
    with pytest.raises(SrganError, match="learning_rate"):
        schema.load(write_params(tmp_path, {"pretrain.learning_rate": "1" * 90_000 + "x"}))
