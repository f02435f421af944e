"""Example images for the report and for a quick look: the choice of images and the files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from srgan.data.manifest import Pair
from srgan.evaluation.evaluate import CPU, Upscale, device_lock, image_workers
from srgan.images import visualize
from srgan.images.png import encode_png
from srgan.images.read import as_rgb
from srgan.metrics.metric import Metric
from srgan.metrics.registry import METRICS, caption
from srgan.tasks import SUPER_RESOLUTION, Task, baseline_in
from srgan.utils.files import atomic_folder, write_json
from srgan.utils.progress import Progress

MAX_EXAMPLES = 24
MAX_SIDE = 1000  # pixels: of a larger image the report shows a region


def select_examples(table: pd.DataFrame, model: str, count: int = MAX_EXAMPLES, task: Task = SUPER_RESOLUTION) -> list[tuple[str, str]]:
    """Return set and name of the images to show: all of a small set or the worst ones and a spread of the rest.

    The worst images have the highest LPIPS. Without LPIPS they have the smallest gain in the metric of the task over the baseline.
    Without an original they have the highest NIQE.

    Args:
        table: see `srgan.evaluation.evaluate.evaluate`.
        model: name of the model.
        count: images, shared evenly by the sets.
        task: of the model.
    """
    sets = list(dict.fromkeys(table["set"]))
    share = max(count // len(sets), 2)
    chosen = []
    for name in sets:
        quality = _quality(table[table["set"] == name], model, METRICS[task.metric])
        order = [(name, image) for image in quality.sort_values(kind="stable").index]
        rest = order[share // 2 :]
        evenly = np.linspace(0, len(rest) - 1, min(share - share // 2, len(rest))).round().astype(int)
        chosen += order[: share // 2] + [rest[at] for at in evenly]
    return sorted(chosen)


def _quality(of_set: pd.DataFrame, model: str, metric: Metric) -> pd.Series:
    """Return a figure for each image of a set that is higher for a better result."""
    rows = of_set[of_set["model"] == model].set_index("image")
    baseline = of_set[of_set["model"] == baseline_in(of_set["model"])].set_index("image")
    gain = metric.higher_is_better(rows[metric.name]) - metric.higher_is_better(baseline[metric.name])
    found = (-rows["lpips"], gain, -rows["niqe"])
    return next((quality for quality in found if not quality.isna().any()), found[-1])


def write_examples(
    folder: Path,
    comparison: Path,
    pairs: list[Pair],
    models: Mapping[str, Upscale],
    table: pd.DataFrame,
    device: torch.device = CPU,
    task: Task = SUPER_RESOLUTION,
) -> None:
    """Write the results of each model for some images.

    Args:
        folder: replaced as a whole. ``SET/IMAGE/VIEW.png`` for each model and for ``original``, lossless, a region of large images. An
            image without an original has ``input`` in its place, in the size of the results.
            ``index.json`` lists them: `set`, `image`, `height` and `width` of the image, `top` and `left` of the region, `views`.
        comparison: an image with a row of regions for each example.
        pairs: images to show.
        models: models to show, the baseline first. The region is the one with the largest error of the baseline, or without an original
            the one where the baseline differs most from the last model.
        table: see `srgan.evaluation.evaluate.evaluate`.
        device: where the models compute.
        task: of the models.
    """
    lock = device_lock(device)
    captions = {(row["set"], row["image"], row["model"]): caption(row, task) for row in table.to_dict("records")}
    rows, index = [], []
    with atomic_folder(folder) as new, Progress("images", len(pairs), "image") as progress, image_workers(len(pairs)) as pool:

        def draw(pair: Pair) -> tuple[dict[str, Any], np.ndarray]:
            lr_image = pair.read_lr()
            with lock:
                results = {name: upscale(lr_image) for name, upscale in models.items()}
            baseline, *_, compared = results[next(iter(results))], *results.values()
            if pair.hr:
                compared = as_rgb(pair.read()[0])
                views = results | {"original": compared}
            else:
                scale = len(compared) // len(lr_image)
                views = {"input": lr_image.repeat(scale, 0).repeat(scale, 1)} | results
            of_pair = {name: captions[pair.set, pair.name, name] for name in models}
            row = visualize.comparison_row(pair.name, views, of_pair, baseline, compared)
            height, width = compared.shape[:2]
            top, left = visualize.worst_region(baseline, compared, MAX_SIDE) if max(height, width) > MAX_SIDE else (0, 0)
            place = new / pair.set / pair.name
            place.mkdir(parents=True)
            for name, view in views.items():
                (place / f"{name}.png").write_bytes(encode_png(view[top : top + MAX_SIDE, left : left + MAX_SIDE]))
            progress.add(1)
            record = {"set": pair.set, "image": pair.name, "height": height, "width": width, "top": int(top), "left": int(left)}
            return record | {"views": list(views)}, row

        for record, row in pool.map(draw, pairs):
            index.append(record)
            rows.append(row)
        write_json(new / "index.json", index)
    visualize.write_comparison(comparison, rows)
