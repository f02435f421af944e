import pytest
import torch

from srgan.training.model_selection import ModelSelection

START = {"step": 0, "val_psnr_y": 30.0}


def unused(weights):
    raise AssertionError


def test_the_pixel_stage_selects_the_highest_psnr():
    subject = ModelSelection("PSNR")
    for step, psnr in ((0, 99.0), (1, 20.0), (2, 25.0), (3, 22.0)):
        subject.offer({"step": step, "val_psnr_y": psnr}, START, {"w": torch.tensor(float(step))}, unused)
    assert subject.best == {"step": 2, "merit": [1.0, 25.0], "weights": {"w": torch.tensor(2.0)}}


def test_the_pixel_stage_of_a_colorization_selects_the_lowest_colour_difference():
    subject = ModelSelection("CIEDE2000")
    for step, difference in ((0, 1.0), (1, 9.0), (2, 8.0), (3, 8.5)):
        row = {"step": step, "val_psnr_y": 58.0 + step, "val_ciede2000": difference}  # the luma is that of the input
        subject.offer(row, START, {"w": torch.tensor(float(step))}, unused)
    assert subject.best["step"] == 2


@pytest.mark.parametrize(("criterion", "key"), [("LPIPS", "val_lpips"), ("loss", "val_loss")])
def test_the_gan_stage_selects_the_lowest_value_among_those_near_the_start(criterion, key):
    subject = ModelSelection(criterion, psnr_guard=2.0)

    def score(psnr, value):
        return subject.score({"val_psnr_y": psnr, key: value}, START)

    assert score(28.5, 0.2) > score(29.5, 0.3)
    assert score(28.5, 0.3) > score(27.9, 0.1)  # too far from the start
    assert score(27.5, 0.3) > score(27.0, 0.1)  # if all are, the nearest


def test_rounded_colours_do_not_count_as_false_detail():
    subject = ModelSelection("LPIPS", psnr_guard=2.0, keeps_luma=True)
    assert subject.score({"val_psnr_y": 27.0, "val_lpips": 0.1}, START) > subject.score({"val_psnr_y": 29.0, "val_lpips": 0.2}, START)
    assert subject.identity() == ModelSelection("LPIPS", psnr_guard=2.0).identity()  # the checkpoints of both fit


def test_weights_with_a_hatch_are_not_selected_in_the_gan_stage():
    start = START | {"val_hatch": 0.1}
    subject = ModelSelection("LPIPS", psnr_guard=2.0, hatch_guard=0.5)

    def score(hatch, lpips, start=start):
        return subject.score({"val_psnr_y": 29.0, "val_lpips": lpips, "val_hatch": hatch}, start)

    assert score(0.5, 0.3) > score(0.7, 0.1)
    assert score(0.5, 0.2) > score(0.0, 0.3)
    assert score(0.7, 0.1, START) > score(0.0, 0.3, START)  # a run that began without the metric
    assert ModelSelection("PSNR").score({"val_psnr_y": 29.0, "val_hatch": 3.0}, start) == (1.0, 29.0)


def test_only_a_changed_guard_makes_another_identity():
    assert ModelSelection("LPIPS", 2.0).identity() == ["LPIPS", 2.0]
    assert ModelSelection("LPIPS", 2.0, 0.2).identity() == ["LPIPS", 2.0, 0.2]


def test_only_the_loss_is_scored_again_because_the_discriminator_changes():
    rescored = []

    def rescore(weights):
        rescored.append(weights)
        return {"val_psnr_y": 30.0, "val_loss": 0.5, "val_lpips": 0.5}

    for criterion, winner in (("LPIPS", 2), ("loss", 1)):
        subject = ModelSelection(criterion, psnr_guard=2.0)
        for step, value in ((1, 0.9), (2, 0.7)):
            row = {"step": step, "val_psnr_y": 30.0, "val_loss": value, "val_lpips": value}
            subject.offer(row, START, {"w": torch.tensor(step)}, rescore)
        assert subject.best["step"] == winner
    assert rescored == [{"w": torch.tensor(1)}]
