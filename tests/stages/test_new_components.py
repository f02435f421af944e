"""A new network, discriminator, loss or metric is one file and one registry line: the stages, reports and MLflow use it from then on."""

import json
from typing import Any

import onnx
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient
from torch import nn
from torch.nn import functional

from srgan.commands.main import main
from srgan.config.base import Component, option
from srgan.config.networks import DiscriminatorConfig
from srgan.losses.base import Loss, LossInputs, LossOptions
from srgan.losses.registry import LOSSES
from srgan.metrics.metric import Metric, Sample
from srgan.metrics.registry import METRICS
from srgan.models.network import Discriminator, Generator, Network, State
from srgan.models.registry import DISCRIMINATORS, NETWORKS
from tests.helpers.project import copied, write_params

# -- the file of a network -------------------------------------------------------------------------------------------------


class TinyConfig(Component):
    width: int = option(4, "channels", ge=1)


class Tiny(Generator):
    receptive_field = 1

    def __init__(self, scale: int, width: int = 4) -> None:
        super().__init__()
        self.scale, self.width = scale, width
        self.tiny = nn.Conv2d(3, width, 3, padding=1)
        self.out = nn.Conv2d(width, 3 * scale**2, 1)

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        image = functional.interpolate(lr_image, scale_factor=self.scale, mode="nearest")
        return image + 0.1 * functional.pixel_shuffle(self.out(functional.relu(self.tiny(lr_image))), self.scale)


def detect_tiny(state: State) -> dict[str, Any] | None:
    if "tiny.weight" not in state:
        return None
    return {"scale": round((len(state["out.bias"]) / 3) ** 0.5), "width": len(state["tiny.bias"])}


TINY = Network("tiny", Tiny, TinyConfig, detect_tiny, "a throw-away network", scales=(2, 4), multiple_of=8, half=False)

# -- the file of a discriminator -------------------------------------------------------------------------------------------


class GlanceConfig(DiscriminatorConfig):
    width: int = option(4, "channels", ge=1)


class Glance(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.glance, self.out = nn.Conv2d(3, width, 4, stride=4), nn.Conv2d(width, 1, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        features = functional.leaky_relu(self.glance(image), 0.2)
        return self.out(features), [features]


GLANCE = Discriminator("glance", Glance, GlanceConfig, lambda state: {} if "glance.weight" in state else None, "a throw-away discriminator")

# -- the file of a loss ----------------------------------------------------------------------------------------------------


class EdgeOptions(LossOptions):
    reach: int = option(1, "pixels", ge=1)


class EdgeLoss(nn.Module):
    substitute = "edges.safetensors 0123abcd"  # as if its weights were of another network

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, inputs: LossInputs) -> torch.Tensor:
        sr_edges, hr_edges = (
            image[..., self.reach :].float() - image[..., : -self.reach].float() for image in (inputs.sr_image, inputs.hr_image)
        )
        return functional.l1_loss(sr_edges, hr_edges)


EDGES = Loss("edges", "a throw-away loss", EdgeLoss, EdgeOptions)

# -- the file of a metric --------------------------------------------------------------------------------------------------


def brightness(sample: Sample) -> float:
    return float(sample.sr_image.mean())


EDGY = [{"name": "l1"}, {"name": "edges", "reach": 0}, {"name": "hinge"}]

BRIGHTNESS = Metric(
    "brightness", "Brightness", "mean level", "lower", 1, needs=("sr",), score=brightness, validation=True, in_cards=True, rank=3
)


@pytest.fixture(scope="module")
def trained(project, tmp_path_factory):
    """A project whose stages have run with the new components, from the training on."""
    folder = copied(project, tmp_path_factory.mktemp("new") / "project")
    changes = {
        "model": {"name": "tiny", "width": 5},
        "train.discriminator": {"name": "glance", "width": 3, "learning_rate": 0.001},
        "train.losses": [{"name": "l1"}, {"name": "edges", "weight": 0.5, "reach": 2}, {"name": "relativistic", "weight": 0.02}],
        "export.fp16": True,
    }
    write_params(folder, changes)
    with pytest.MonkeyPatch.context() as patch:
        for registry, entry in ((NETWORKS, TINY), (DISCRIMINATORS, GLANCE), (LOSSES, EDGES), (METRICS, BRIGHTNESS)):
            patch.setitem(registry, entry.name, entry)  # the registry line
        patch.chdir(folder)
        for stage in ("pretrain", "train", "export", "evaluate", "report", "register"):
            main([stage])
    return folder


@pytest.fixture(scope="module")
def recorded(trained):
    """The run of the training in MLflow."""
    store = MlflowClient(f"sqlite:///{trained}/mlflow/mlflow.db")
    version = store.get_model_version_by_alias("srgan-x4", "challenger")
    return store.get_run(version.run_id).data


def test_a_network_is_one_file_and_one_line(trained, recorded):
    metadata = {entry.key: entry.value for entry in onnx.load(trained / "models" / "4x-demo-tiny-fp32.onnx").metadata_props}
    assert (metadata["sr.arch"], json.loads(metadata["sr.arch_config"])) == ("tiny", {"scale": 4, "width": 5})
    scores = json.loads((trained / "reports" / "metrics.json").read_text())["sample"]
    assert scores["gan"]["psnr_y"] == pytest.approx(scores["onnx-fp32"]["psnr_y"], abs=0.01)
    assert scores["gan"]["psnr_y"] > 20
    assert "onnx-fp16" not in scores  # the network does not support it
    report = (trained / "reports" / "report.html").read_text()
    assert "demo-tiny-x4: super-resolution x4" in report
    assert "model.width" in report
    assert (recorded.params["model.name"], recorded.params["model.width"]) == ("tiny", "5")


def test_a_discriminator_is_one_file_and_one_line(trained, recorded):
    losses = pd.read_csv(trained / "reports" / "train.csv")
    assert losses["loss_discriminator"].between(0, 10).all()
    assert recorded.params["train.discriminator.name"] == "glance"


def test_a_loss_is_one_file_and_one_line(trained, recorded):
    losses = pd.read_csv(trained / "reports" / "train.csv")
    assert list(losses.columns[2:6]) == ["loss_l1", "loss_edges", "loss_relativistic", "loss_discriminator"]
    assert losses["loss_edges"].between(1e-4, 1).all()
    plot = pd.read_csv(trained / "reports" / "losses" / "train" / "edges.csv")  # for `dvc plots`
    assert list(plot["edges"]) == list(losses["loss_edges"])
    assert recorded.metrics["train/loss_edges"] == pytest.approx(losses["loss_edges"].iloc[-1])
    assert recorded.params["train.losses.edges.reach"] == "2"
    report = (trained / "reports" / "report.html").read_text()
    assert ">edges</text>" in report  # the legend of the curves
    assert "train.losses.edges.weight" in report


def test_weights_of_losses_that_change_the_results_are_named(trained, recorded):
    used = "edges.safetensors 0123abcd"
    assert recorded.tags["srgan.loss_weights"] == used
    metadata = {entry.key: entry.value for entry in onnx.load(trained / "models" / "4x-demo-tiny-fp32.onnx").metadata_props}
    assert metadata["sr.loss_weights"] == used
    for page in ("report.html", "MODEL_CARD.md"):
        assert used in (trained / "reports" / page).read_text(), page


def test_a_metric_is_one_file_and_one_line(trained, recorded):
    means = json.loads((trained / "reports" / "metrics.json").read_text())["sample"]
    table = pd.read_csv(trained / "reports" / "metrics.csv")
    assert table[table["model"] == "gan"]["brightness"].mean() == pytest.approx(means["gan"]["brightness"], abs=1e-3)
    assert recorded.metrics["sample/brightness"] == pytest.approx(means["gan"]["brightness"])
    assert recorded.metrics["sample/bicubic/brightness"] == pytest.approx(means["bicubic"]["brightness"])
    # In the validation of both stages.
    validation = pd.read_csv(trained / "reports" / "train_validation.csv")
    assert recorded.metrics["val/brightness"] == pytest.approx(validation["val_brightness"].iloc[-1], rel=1e-3)
    assert "pretrain/val/brightness" in recorded.metrics
    # In the report: columns, definition, sentence at the top and order of the images. In the card of the model.
    report = (trained / "reports" / "report.html").read_text()
    for shown in ("<th>Brightness</th>", "<dd>mean level</dd>", "; Brightness ", "worst Brightness of gan first"):
        assert shown in report, shown
    assert "| Brightness | " in (trained / "reports" / "MODEL_CARD.md").read_text()


def test_a_new_component_is_offered_and_checked_like_the_others(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    with pytest.raises(SystemExit):
        main(["export"])  # without the registry line
    assert "'tiny' is not one of compact, srresnet, rrdb, srcnn, nafnet, span, realplksr, swinir" in capsys.readouterr().err
    monkeypatch.setitem(NETWORKS, "tiny", TINY)
    monkeypatch.setitem(DISCRIMINATORS, "glance", GLANCE)
    monkeypatch.setitem(LOSSES, "edges", EDGES)
    write_params(
        trained, {"model": {"name": "tiny", "width": 0}, "train.discriminator": {"name": "glance", "width": "x"}, "train.losses": EDGY}
    )
    with pytest.raises(SystemExit):
        main(["export"])
    message = capsys.readouterr().err
    assert "model.width: must be at least 1 (is 0)" in message
    assert "train.discriminator.width: must be an integer, not 'x'" in message
    assert "train.losses[1].reach: must be at least 1 (is 0)" in message
    write_params(trained, {"model": {"name": "tiny"}, "prepare.scale": 3})
    with pytest.raises(SystemExit):
        main(["export"])
    assert "prepare.scale: must be 2 or 4 for tiny" in capsys.readouterr().err
    write_params(trained, {"model": {"name": "tiny"}, "train.patch_size": 36, "pretrain.precision": "fp16"})
    with pytest.raises(SystemExit):
        main(["export"])
    assert "pretrain.precision: fp16 is not supported by tiny" in capsys.readouterr().err
    write_params(trained, {"model": {"name": "tiny"}, "train.patch_size": 36, "promote.metric": "brightness"})
    with pytest.raises(SystemExit):
        main(["export"])
    assert "promote.metric: 'brightness' is not one of psnr_y, ssim_y" in capsys.readouterr().err
    monkeypatch.setitem(METRICS, "brightness", BRIGHTNESS)
    with pytest.raises(SystemExit):
        main(["export"])
    assert "train.patch_size: must be a multiple of prepare.scale (4) times 8, for tiny (is 36)" in capsys.readouterr().err
