"""Score enlargements of images whose originals are known: figures, how sure they are, and pictures to judge them by."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from srgan.data.manifest import Pair
from srgan.images import visualize
from srgan.images.read import as_rgb, encode_png, read_image, read_rgb
from srgan.metrics.artifacts import look
from srgan.metrics.lpips import Lpips
from srgan.metrics.psnr_ssim import psnr_ssim
from srgan.metrics.registry import FIGURES, goodness
from srgan.utils import machine
from srgan.utils.files import atomic_folder, write_json
from srgan.utils.progress import Progress

Enlarge = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> (scale * H, scale * W, 3) uint8; called from several threads at once

MEMORY = 4 << 30  # bytes that scoring one image may take; more images are scored at once only where there is so much for each
CPU = torch.device("cpu")
RESAMPLES = 9999  # of the bootstrap
NAMED = 3  # worst and best images that are listed
SHOWN = 24  # images in the report
DETAIL = 1000  # pixels of a side: of larger images the report shows such a detail


# -- scores ----------------------------------------------------------------------------------------------------------------


def score(
    pairs: list[Pair], models: Mapping[str, Enlarge], scale: int, lpips: Mapping[str, Lpips], device: torch.device = CPU
) -> pd.DataFrame:
    """Score every model on every pair, on all cores: one image to a core, so that no result depends on their number.

    Args:
        pairs: LR images and their originals.
        models: by the names that the table gives them.
        scale: HR size / LR size; also the width of the border that PSNR and SSIM leave out.
        lpips: by the names of their networks (`srgan.metrics.lpips.open_lpips`).
        device: where models and LPIPS compute; one that is no CPU gets one image at a time.

    Returns:
        A table with the columns `set`, `model`, `image` and `FIGURES`; a figure that could not be had is missing.
    """

    def rows(pair: Pair) -> list[dict[str, Any]]:
        original, lr_image = read_image(pair.hr), read_rgb(pair.lr)
        hr_image = as_rgb(original)
        found = []
        for name, enlarge in models.items():
            with turn:
                sr_image = enlarge(lr_image)
            row: dict[str, Any] = {"set": pair.set, "model": name, "image": pair.name}
            row |= psnr_ssim(sr_image, original, border=scale) | look(sr_image, hr_image, scale)
            with turn:
                row |= {"lpips" if net == "alex" else f"lpips_{net}": judge(sr_image, hr_image) for net, judge in lpips.items()}
            found.append(row)
        progress.add(1)
        return found

    turn = _turn(device)
    with Progress("evaluate", len(pairs), "image") as progress, _side_by_side(len(pairs)) as pool:
        table = pd.DataFrame([row for rows_ in pool.map(rows, pairs) for row in rows_])
    return table.reindex(columns=["set", "model", "image", *FIGURES]).astype(dict.fromkeys(FIGURES, float))


def _turn(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """What a thread holds while it uses the device."""
    return contextlib.nullcontext() if device.type == "cpu" else threading.Lock()


@contextlib.contextmanager
def _side_by_side(images: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each work on an image, as many as there are cores and memory for; within one, nothing is shared out again."""
    workers = max(1, min(machine.processes(), images, machine.available_memory() // MEMORY))
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: what has not begun need not
                raise
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


# -- what they say ---------------------------------------------------------------------------------------------------------

Summary = dict[str, dict[str, dict[str, float | None]]]


def read_table(path: str | Path) -> pd.DataFrame:
    """A table of `score`, from its CSV. Names are text: an image may be called 007, or NA."""
    names = dict.fromkeys(("set", "model", "image"), str)
    return pd.read_csv(path, dtype=names, keep_default_na=False, na_values={figure: [""] for figure in FIGURES})


def summarise(table: pd.DataFrame) -> Summary:
    """Means as ``{SET: {MODEL: {figure: value}}}``; a figure that could not be had is None. Infinite PSNR (equal images) is None too."""
    means = table.groupby(["set", "model"], sort=False)[list(FIGURES)].mean()
    result: Summary = {}
    for (set_name, model), row in means.iterrows():
        figures = {name: round(float(value), 4) if np.isfinite(value) else None for name, value in row.items()}
        result.setdefault(str(set_name), {})[str(model)] = figures
    return result


def statistics(table: pd.DataFrame, references: tuple[str, ...] = ("bicubic", "champion")) -> dict[str, Any]:
    """How sure the means are, and which images are the worst.

    Intervals hold the mean with 95 % by bootstrap over the images (percentiles; Efron and Tibshirani 1993, chapter 13); of a single
    image there is none. Differences are paired: image by image, the model's figure minus the reference's.

    Args:
        table: of `score`.
        references: models that the others are compared with, as far as the table has them.

    Returns:
        ``{SET: {MODEL: {"images": n, "figures": {figure: {"mean", "low", "high", "worst": [images], "best": [images]}},
        "against": {REFERENCE: {figure: {"difference", "low", "high", "wins"}}}}}}``
    """
    result: dict[str, Any] = {}
    for set_name, of_set in table.groupby("set", sort=False):
        models = {str(name): rows.set_index("image")[list(FIGURES)] for name, rows in of_set.groupby("model", sort=False)}
        result[str(set_name)] = {}
        for name, figures in models.items():
            found: dict[str, Any] = {"images": len(figures), "figures": {}, "against": {}}
            for figure, (mean, low, high) in intervals(figures).items():
                order = goodness(figure, figures[figure]).sort_values(kind="stable").index.tolist()
                count = min(NAMED, len(order) // 2)
                named = {"worst": order[:count], "best": order[::-1][:count]}
                found["figures"][figure] = {"mean": mean, "low": low, "high": high} | named
            for reference in references:
                if reference in models and reference != name:
                    theirs = models[reference].loc[figures.index]
                    found["against"][reference] = {
                        figure: {
                            "difference": mean,
                            "low": low,
                            "high": high,
                            "wins": int((goodness(figure, figures[figure]) > goodness(figure, theirs[figure])).sum()),
                        }
                        for figure, (mean, low, high) in intervals(figures - theirs).items()
                    }
            result[str(set_name)][name] = found
    return result


def verdict(statistics: dict[str, Any], main: str) -> list[str]:
    """How a model does, in a sentence for each set and reference.

    Args:
        statistics: see `statistics`.
        main: the model.
    """
    sentences = []
    for set_name, models in statistics.items():
        for reference, figures in models[main]["against"].items():
            parts = []
            for figure in [name for name in ("lpips", "psnr_y") if name in figures]:
                found = figures[figure]
                sure = "" if found["low"] is None else " (not certain)" if found["low"] <= 0 <= found["high"] else ""
                value = f"{found['difference']:+.{FIGURES[figure].digits}f} {FIGURES[figure].unit}".strip()
                parts.append(f"{FIGURES[figure].label} {value}{sure}, better on {found['wins']} of {models[main]['images']}")
            sentences.append(f"{main} against {reference} on {set_name}: {'; '.join(parts)}.")
    return sentences


def intervals(figures: pd.DataFrame) -> dict[str, tuple[float, float | None, float | None]]:
    """Mean and 95 % interval of each column that has all its values."""
    whole = figures.loc[:, np.isfinite(figures).all()]
    means = {str(name): round(float(value), 5) for name, value in whole.mean().items()}
    if len(whole) < 2:
        return {name: (mean, None, None) for name, mean in means.items()}
    drawn = np.random.default_rng(0).integers(len(whole), size=(RESAMPLES, len(whole)))
    resampled = [column[drawn].mean(axis=1) for column in whole.to_numpy().T]
    bounds = np.percentile(resampled, (2.5, 97.5), axis=1).T.round(5).tolist()
    return {name: (mean, low, high) for (name, mean), (low, high) in zip(means.items(), bounds, strict=True)}


def text_table(summary: Summary) -> str:
    """The summary for a terminal; figures that no model has are left out."""
    lines = []
    for set_name, models in summary.items():
        names = [name for name in FIGURES if any(row[name] is not None for row in models.values())]
        lines.append(f"{set_name:12} " + " ".join(f"{FIGURES[name].title:>13}" for name in names))
        for model, row in models.items():
            cells = ["-" if row[name] is None else f"{row[name]:.{FIGURES[name].digits}f}" for name in names]
            lines.append(f"  {model:10} " + " ".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


# -- pictures --------------------------------------------------------------------------------------------------------------


def choose(table: pd.DataFrame, model: str, count: int = SHOWN) -> list[tuple[str, str]]:
    """Set and image of those to show, of each set its share: all, or else the worst of `model` and as many again, evenly over the rest.

    The worst are those with the highest LPIPS or, where that could not be had, with the least gain in PSNR-Y over bicubic.
    """
    rows = table[table["model"] == model].set_index(["set", "image"])
    worth = -rows["lpips"]
    if worth.isna().any():
        worth = rows["psnr_y"] - table[table["model"] == "bicubic"].set_index(["set", "image"])["psnr_y"]
    sets = list(dict.fromkeys(table["set"]))
    share = max(count // len(sets), 2)
    chosen = []
    for name in sets:
        order = [(name, image) for image in worth[name].sort_values(kind="stable").index]
        rest = order[share // 2 :]
        evenly = np.linspace(0, len(rest) - 1, min(share - share // 2, len(rest))).round().astype(int)
        chosen += order[: share // 2] + [rest[at] for at in evenly]
    return sorted(chosen)


def write_pictures(
    folder: Path, comparison: Path, pairs: list[Pair], models: Mapping[str, Enlarge], table: pd.DataFrame, device: torch.device = CPU
) -> None:
    """Write what each model makes of some images, for the report and for a quick look.

    Args:
        folder: replaced. ``SET/IMAGE/VIEW.png`` for each model and ``original``, lossless, of large images a detail;
            ``index.json`` lists them: `set`, `image`, `height` and `width` of the whole, `top` and `left` of the detail, `views`.
        comparison: a picture with a strip of details for each image.
        pairs: the images to show.
        models: that are shown, bicubic first; the detail is what it loses most of.
        table: of `score`.
        device: where the models compute.
    """
    turn = _turn(device)
    captions = {(row.set, row.image, row.model): _caption(row) for row in table.itertuples()}
    strips, index = [], []
    with atomic_folder(folder) as new, Progress("pictures", len(pairs), "image") as progress, _side_by_side(len(pairs)) as pool:

        def draw(pair: Pair) -> tuple[dict[str, Any], np.ndarray]:
            hr_image, lr_image = read_rgb(pair.hr), read_rgb(pair.lr)
            with turn:
                views = {name: enlarge(lr_image) for name, enlarge in models.items()} | {"original": hr_image}
            baseline = next(iter(views.values()))
            of_pair = {name: captions[pair.set, pair.name, name] for name in models}
            strip = visualize.strip(pair.name, views, of_pair, baseline, hr_image)
            height, width = hr_image.shape[:2]
            top, left = visualize.weakest(baseline, hr_image, DETAIL) if max(height, width) > DETAIL else (0, 0)
            place = new / pair.set / pair.name
            place.mkdir(parents=True)
            for name, view in views.items():
                (place / f"{name}.png").write_bytes(encode_png(view[top : top + DETAIL, left : left + DETAIL]))
            progress.add(1)
            record = {"set": pair.set, "image": pair.name, "height": height, "width": width, "top": int(top), "left": int(left)}
            return record | {"views": list(views)}, strip

        for record, strip in pool.map(draw, pairs):
            index.append(record)
            strips.append(strip)
        write_json(new / "index.json", index)
    visualize.write_strips(comparison, strips)


def _caption(row: Any) -> str:
    lpips = f"  LPIPS {row.lpips:.3f}" if np.isfinite(row.lpips) else ""
    return f"{row.psnr_y:.2f} dB{lpips}"
