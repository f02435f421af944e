import pytest

from srgan.config import profiles, schema
from srgan.data.choice import choose
from srgan.utils.errors import SrganError
from tests.helpers.commands import run
from tests.helpers.project import ROOT, write_params


@pytest.mark.parametrize("name", profiles.list_profiles())
def test_a_profile_can_be_run(name, tmp_path):
    """Its values are valid, its data sets exist, and every key says what it is, as in the demo's file."""
    path = tmp_path / "params.yaml"
    path.write_text(profiles.read(name))
    loaded = schema.load(path)
    for split in ("train", "test"):
        assert choose(loaded.data.sets(split), split)
    head = profiles.read(name).split("\n\n")[0]
    assert "Cost:" in head or "minutes" in head


@pytest.mark.parametrize("name", profiles.list_profiles())
def test_a_profile_is_a_short_overlay_on_the_defaults(name):
    """It begins with its purpose and cost, and its values differ from the defaults."""
    text = (ROOT / "srgan" / "config" / "profiles" / f"{name}.yaml").read_text()
    assert len(text.splitlines()) <= 40
    assert text.startswith("# ")
    assert profiles.load(name) != schema.Params()


def test_the_shipped_parameters_are_the_demo():
    assert (ROOT / "params.yaml").read_text() == profiles.read("demo")
    assert profiles.list_profiles() == [
        *("colorize-cpu", "compact-gpu", "compact-realtime", "cpu-30min", "dejpeg-cpu", "demo", "denoise-cpu", "esrgan-df2k"),
        "finetune",
        *("old-photo-cpu", "photo-cpu", "realesrgan-df2k", "restore-df2k"),
        *(
            "speedrun-cpu-gan",
            "speedrun-cpu-pixel",
            "speedrun-gpu",
            "srgan-div2k",
            "srgan-gpu",
            "starter-restore",
            "starter-x2-photo",
            "starter-x4-clean",
            "starter-x4-photo",
        ),
    ]


def test_the_papers_settings(tmp_path):
    loaded = {}
    for name in ("srgan-div2k", "esrgan-df2k"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(profiles.read(name))
        loaded[name] = schema.load(path)
    srgan, esrgan = loaded.values()
    assert (srgan.model.name, srgan.model.depth, srgan.pretrain.steps, srgan.pretrain.losses[0].name) == ("srresnet", 16, 10**6, "mse")
    assert [(loss.name, loss.weight) for loss in srgan.train.losses] == [("mse", 0.0), ("vgg19", 1.0), ("vanilla", 1e-3)]
    assert srgan.train.losses[1].layers == {"vgg54": 1.0}
    assert (esrgan.model.name, esrgan.model.depth, esrgan.train.patch_size) == ("rrdb", 23, 128)
    assert [loss.weight for loss in esrgan.train.losses] == [1e-2, 1.0, 5e-3]
    assert esrgan.train.schedule.milestones == (50_000, 100_000, 200_000, 300_000)


@pytest.mark.parametrize(("large", "small"), [("srgan-gpu", "srgan-div2k"), ("compact-gpu", "compact-realtime")])
def test_a_profile_for_a_large_gpu_sees_as_many_patches_with_rates_to_match(large, small):
    for stage in ("pretrain", "train"):
        ours, theirs = (getattr(profiles.load(name), stage) for name in (large, small))
        factor = ours.batch_size / theirs.batch_size
        assert 64 <= ours.batch_size <= 256
        assert ours.steps * factor == theirs.steps
        assert ours.learning_rate == pytest.approx(theirs.learning_rate * factor**0.5, rel=0.2)
        assert ours.ema == pytest.approx(theirs.ema**factor, abs=5e-4)
        assert ours.losses == theirs.losses
    assert ours.discriminator.learning_rate == ours.learning_rate
    assert profiles.load(large).data == profiles.load(small).data


def test_the_settings_of_real_esrgan(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(profiles.read("realesrgan-df2k"))
    loaded = schema.load(path)
    assert (loaded.prepare.recipe, loaded.model.name, loaded.model.depth, loaded.prepare.scale) == ("realesrgan", "rrdb", 23, 4)
    assert (loaded.pretrain.patch_size, loaded.pretrain.batch_size, loaded.train.discriminator.name) == (256, 48, "unet")
    assert [(loss.name, loss.weight) for loss in loaded.train.losses] == [("l1", 1.0), ("vgg19", 1.0), ("vanilla", 0.1)]


def test_a_profile_replaces_the_file_and_keeps_ones_own(tmp_path):
    path = tmp_path / "params.yaml"
    run("srgan", "profile", "use", "demo", cwd=tmp_path)
    assert path.read_text() == profiles.read("demo")
    assert "already" in run("srgan", "profile", "use", "demo", cwd=tmp_path).stdout
    run("srgan", "profile", "use", "srgan-div2k", cwd=tmp_path)
    assert not list(tmp_path.glob("*.bak*"))  # a profile as it ships is no loss
    own = write_params(tmp_path).read_text()
    assert "params.yaml.bak" in profiles.apply("demo", path)
    assert (tmp_path / "params.yaml.bak").read_text() == own
    path.write_text(own + "# another\n")
    assert "params.yaml.bak2" in profiles.apply("demo", path)


def test_the_difference_is_told_value_by_value(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(profiles.read("demo"))
    assert "has the values of demo" in profiles.difference("demo", path)
    lines = dict(line.split(maxsplit=1) for line in profiles.difference("esrgan-df2k", path).splitlines())
    assert lines["model.growth"].split() == ["-", "->", "32"]
    assert lines["train.steps"].split() == ["300", "->", "400000"]
    assert "prepare.scale" not in lines


def test_an_unknown_profile_is_refused_with_the_nearest():
    with pytest.raises(SrganError, match=r"no profile 'esrgan'; did you mean esrgan-df2k\?"):
        profiles.read("esrgan")
    assert "demo" in profiles.describe()
