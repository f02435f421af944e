import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch

from srgan.data.manifest import Pair
from srgan.degradations import bicubic as degrade
from srgan.evaluation import evaluate, examples, statistics
from srgan.images.png import write_png
from srgan.images.read import as_rgb, read_image, read_rgb
from srgan.inference import torch_upscale
from srgan.metrics.registry import METRICS, open_metrics, select_metrics
from srgan.models.layers import fold_into_subpixel
from srgan.models.registry import build_generator


def make_pairs(folder, count, size=(60, 80), scale=4):
    random = np.random.default_rng(0)
    pairs = []
    for number in range(count):
        hr_image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        pair = Pair("made", f"image{number}", folder / f"hr{number}.png", folder / f"lr{number}.png")
        write_png(pair.hr, hr_image)
        write_png(pair.lr, degrade.bicubic_downscale(hr_image, scale))
        pairs.append(pair)
    return pairs


def bicubic(image):
    return degrade.bicubic_upscale(image, 4)


def test_scores_do_not_depend_on_the_number_of_cores(tmp_path, monkeypatch):
    pairs = make_pairs(tmp_path, 6)
    network = build_generator("compact", scale=4, features=8, depth=1).eval()
    seen = set()

    def enlarge(image):
        seen.add(threading.get_ident())
        assert torch.get_num_threads() == 1
        time.sleep(0.02)  # so that no thread can take them all
        return torch_upscale.upscale(network, image)

    tables = []
    for cores in (1, 4):
        monkeypatch.setenv("SRGAN_PROCESSES", str(cores))
        seen.clear()
        tables.append(evaluate.evaluate(pairs, {"bicubic": bicubic, "ours": enlarge}, 4))
        assert (len(seen) > 1) == (cores > 1)
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert list(tables[0].columns) == ["set", "model", "image", *METRICS]
    assert list(tables[0]["image"][:4]) == ["image0", "image0", "image1", "image1"]
    assert tables[0]["lpips"].isna().all()


def test_an_error_in_one_image_ends_the_scoring(tmp_path):
    pairs = make_pairs(tmp_path, 4)
    pairs[1].hr.write_bytes(pairs[1].hr.read_bytes()[:200])
    threads = torch.get_num_threads()
    with pytest.raises(Exception, match=r"hr1\.png"):
        evaluate.evaluate(pairs, {"bicubic": bicubic}, 4)
    assert torch.get_num_threads() == threads


def table_of(values):
    """PSNR-Y and LPIPS by model and image."""
    rows = [
        {"set": "s", "model": model, "image": image, "psnr_y": psnr, "lpips": lpips}
        for model, images in values.items()
        for image, (psnr, lpips) in images.items()
    ]
    return pd.DataFrame(rows).reindex(columns=["set", "model", "image", *METRICS])


def test_statistics_pair_the_images_and_name_the_worst():
    random = np.random.default_rng(1)
    psnr = random.normal(28, 3, 40)
    bicubic_scores = {f"i{n}": (psnr[n], 0.4) for n in range(40)}
    ours = {f"i{n}": (psnr[n] + (1.0 if n else -2.0) + random.normal(0, 0.1), 0.1 + n / 1000) for n in range(40)}
    found = statistics.model_statistics(table_of({"bicubic": bicubic_scores, "gan": ours}))["s"]["gan"]
    mean = found["figures"]["psnr_y"]
    assert mean["low"] < mean["mean"] < mean["high"]
    # The images differ far more among themselves than the models do: only the paired interval is narrow.
    against = found["against"]["bicubic"]["psnr_y"]
    assert against["high"] - against["low"] < 0.5 < mean["high"] - mean["low"]
    assert 0 < against["low"] < 0.93 < against["high"]
    assert against["wins"] == 39
    assert found["against"]["bicubic"]["lpips"]["wins"] == 40  # lower is better
    assert found["figures"]["lpips"]["worst"] == ["i39", "i38", "i37"]
    assert found["figures"]["lpips"]["best"] == ["i0", "i1", "i2"]
    assert "ssim_y" not in found["figures"]  # nobody has it
    # The interval is the textbook's: about 1.96 standard errors to each side.
    scores = np.array([value for value, _ in ours.values()])
    assert (mean["high"] - mean["low"]) / 2 == pytest.approx(1.96 * scores.std() / np.sqrt(40), rel=0.05)


def test_one_image_has_no_interval_and_equal_images_no_mean():
    found = statistics.model_statistics(table_of({"bicubic": {"a": (30.0, 0.1)}, "gan": {"a": (np.inf, 0.0)}}))["s"]["gan"]
    assert found["figures"]["lpips"] == {"mean": 0.0, "low": None, "high": None, "worst": [], "best": []}
    assert "psnr_y" not in found["figures"]


def test_of_many_images_the_worst_are_shown_and_some_of_the_rest():
    ours = {f"i{n:03}": (30.0, n / 1000) for n in range(100)}
    chosen = examples.select_examples(table_of({"bicubic": ours, "gan": ours}), "gan", 10)
    names = [image for _, image in chosen]
    assert len(names) == 10
    assert names[-5:] == [f"i{n:03}" for n in range(95, 100)]  # the worst
    assert names[0] == "i000"  # and the best
    assert examples.select_examples(table_of({"bicubic": ours, "gan": ours}), "gan", 100) == [("s", name) for name in ours]
    # Without LPIPS, what gains least counts as the worst.
    plain = table_of({"bicubic": {"a": (20, np.nan), "b": (30, np.nan)}, "gan": {"a": (25, np.nan), "b": (31, np.nan)}})
    assert examples.select_examples(plain, "gan", 2) == [("s", "a"), ("s", "b")]


def test_large_images_are_shown_by_a_detail(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "MAX_SIDE", 32)
    (pair,) = make_pairs(tmp_path, 1)
    original = read_rgb(pair.hr)
    spoiled = original.copy()
    spoiled[20:50, 40:70] = 0
    shown = {"bicubic": lambda _: spoiled, "gan": lambda _: original}
    table = evaluate.evaluate([pair], shown, 4)
    examples.write_examples(tmp_path / "pictures", tmp_path / "comparison.png", [pair], shown, table)
    from srgan.utils.files import read_json

    (record,) = read_json(tmp_path / "pictures" / "index.json", "evaluate")
    assert 16 <= record["top"] <= 20
    assert 36 <= record["left"] <= 40
    assert record["views"] == ["bicubic", "gan", "original"]
    detail = read_rgb(tmp_path / "pictures" / "made" / "image0" / "original.png")
    assert (detail == original[record["top"] :, record["left"] :][:32, :32]).all()


# -- agreement with what others publish ------------------------------------------------------------------------------------


def catalogue_pairs(mirror, name, folder, read, scale=4):
    pairs = []
    for path in sorted((mirror / "datasets" / name).iterdir()):
        hr_image = degrade.modcrop(read(path), scale)
        pair = Pair(name, path.stem, folder / f"{path.stem}_hr.png", folder / f"{path.stem}_lr.png")
        write_png(pair.hr, hr_image)
        write_png(pair.lr, degrade.bicubic_downscale(as_rgb(hr_image), scale))
        pairs.append(pair)
    return pairs


class Leftthomas(torch.nn.Module):
    """The layout of leftthomas/SRGAN's generator, for its weights."""

    scale, receptive_field = 4, 40

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.BatchNorm2d(64)
            self.prelu = torch.nn.PReLU()
            self.conv2, self.bn2 = torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.BatchNorm2d(64)

        def forward(self, x):
            return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))

    class Up(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pixel_shuffle, self.prelu = torch.nn.Conv2d(64, 256, 3, padding=1), torch.nn.PixelShuffle(2), torch.nn.PReLU()

        def forward(self, x):
            return self.prelu(self.pixel_shuffle(self.conv(x)))

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.block1 = nn.Sequential(nn.Conv2d(3, 64, 9, padding=4), nn.PReLU())
        for number in range(2, 7):
            setattr(self, f"block{number}", self.Block())
        self.block7 = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.PReLU())
        self.block8 = nn.Sequential(self.Up(), self.Up(), nn.Conv2d(64, 3, 9, padding=4))

    def forward(self, x):
        first = x = self.block1(x)
        for number in range(2, 8):
            x = getattr(self, f"block{number}")(x)
        first_up, last_up, tail = self.block8
        x = last_up.prelu(last_up.conv(first_up(first + x)))
        weight, bias, padding = fold_into_subpixel(tail, 2)  # the same, twice as fast
        return (torch.tanh(torch.pixel_shuffle(torch.conv2d(x, weight, bias, padding=padding), 2)) + 1) / 2


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("set5", "bicubic", (28.43, 0.8113, 0.3407)),
        pytest.param("set14", "bicubic", (26.00, 0.7031, 0.4400), marks=pytest.mark.slow),
        ("set5", "leftthomas", (30.66, 0.8642, 0.1358)),
        pytest.param("set14", "leftthomas", (27.69, 0.7542, 0.2433), marks=pytest.mark.slow),
    ],
)
def test_scores_agree_with_the_published(mirror, tmp_path, name, model, expected):
    """Bicubic and a public generator, through the path that scores ours."""
    enlarge = bicubic
    if model == "leftthomas":
        network = Leftthomas()
        network.load_state_dict(torch.load(mirror / "generators" / "srgan-x4-leftthomas.pth", map_location="cpu", weights_only=True))
        network.eval()

        def enlarge(image):
            return torch_upscale.upscale(network, image)

    # The public generator's row takes Set14's one grey image, bridge, as colour; bicubic's takes it as grey (0.09 dB of the mean).
    pairs = catalogue_pairs(mirror, name, tmp_path, read_image if model == "bicubic" else read_rgb)
    table = evaluate.evaluate(pairs, {model: enlarge}, 4, open_metrics(select_metrics(["alex"])))
    tolerances = (0.01, 0.0005, 0.002) if model == "bicubic" else (0.02, 0.001, 0.003)
    for figure, value, tolerance in zip(("psnr_y", "ssim_y", "lpips"), expected, tolerances, strict=True):
        assert table[figure].mean() == pytest.approx(value, abs=tolerance), figure
