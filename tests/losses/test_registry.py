from pathlib import Path

from srgan.losses.registry import losses_table


def test_the_docs_list_every_loss():
    assert losses_table() in (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
