import re

import pytest

from srgan.commands.main import main
from srgan.models.registry import NETWORKS, flops_per_megapixel, outline
from srgan.tuning import networks


def test_each_network_has_a_line_with_its_size_cost_and_scales(monkeypatch, capsys, caplog):
    measured = {name: network for name, network in NETWORKS.items() if name != "rrdb"}  # it takes seconds to build
    monkeypatch.setattr(networks, "NETWORKS", measured)
    monkeypatch.setattr(networks, "SIDES", (8, 8))
    monkeypatch.setattr(networks, "RUNS", 1)
    with caplog.at_level("INFO"):
        main(["models", "networks"])
    head, *lines, note = capsys.readouterr().out.splitlines()
    assert re.match(r"network +weights +FLOPs/MP +cpu s/MP .*receptive field +scales$", head)
    assert [line.split()[0] for line in lines] == [name for name, network in measured.items() if not network.from_weights]
    for line in lines:
        assert re.search(r"  \d+\.\d\d M +[\d,]+ G  .* \d+ px  1(, \d)*$", line), line
        assert f"models: measures {line.split()[0]} on cpu, 8 x 8 LR pixels" in caplog.text
    assert any(line.startswith("nafnet (x1) ") for line in lines)
    assert note.startswith("Default sizes at x4, float32, threads: ")


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("srcnn", 2e6 * (81 * 3 * 64 + 64 * 32 + 25 * 32 * 3)),  # the 9-1-5 convolutions at the size of the result
        ("compact", 2e6 / 16 * 9 * (3 * 64 + 16 * 64 * 64 + 64 * 48)),  # at the size of the input
    ],
)
def test_flops_are_those_of_the_convolutions(name, flops):
    assert flops_per_megapixel(outline(NETWORKS[name], 4)) == pytest.approx(flops, rel=0.01)
