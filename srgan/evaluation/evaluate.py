"""Evaluate models on images with ground truth: a table of metrics with a row for each model and image."""

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
from srgan.metrics.metric import Sample, Scorer
from srgan.metrics.registry import METRICS, open_metrics, score, select_metrics
from srgan.utils import machine
from srgan.utils.progress import Progress

Upscale = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> (scale * H, scale * W, 3) uint8. Several threads call it at once.

MIN_BYTES_PER_WORKER = 4 << 30  # free memory for each image that is scored at the same time
CPU = torch.device("cpu")


def evaluate(
    pairs: list[Pair], models: Mapping[str, Upscale], scale: int, scorers: Mapping[str, Scorer] | None = None, device: torch.device = CPU
) -> pd.DataFrame:
    """Score every model on every pair, one image per core. The result does not depend on the number of cores.

    Args:
        pairs: LR images and their ground truth. Images without it get the metrics that need none.
        models: functions by the name in the table.
        scale: HR size / LR size. PSNR and SSIM cut a border of this width.
        scorers: see `srgan.metrics.registry.open_metrics`. By default all metrics that need no weights.
        device: where models and metrics with weights compute. A GPU processes one image at a time.

    Returns:
        A table with the columns `set`, `model`, `image` and one for each metric. A value is missing if the metric was not scored.

    Example:
        >>> from pathlib import Path
        >>> from srgan import Pair, bicubic_upscale, evaluate
        >>> pairs = [Pair("own", "photo", hr=Path("photo.png"), lr=Path("photo-small.png"))]
        >>> table = evaluate(pairs, {"bicubic": lambda image: bicubic_upscale(image, 2)}, scale=2)
        >>> table[["model", "image"]].to_dict("records")
        [{'model': 'bicubic', 'image': 'photo'}]
    """
    chosen = open_metrics(metric for metric in select_metrics() if metric.score) if scorers is None else scorers
    on_device = {name: scorer for name, scorer in chosen.items() if METRICS[name].load}
    others = {name: scorer for name, scorer in chosen.items() if name not in on_device}

    def rows(pair: Pair) -> list[dict[str, Any]]:
        hr_image, lr_image = pair.read() if pair.hr else (None, pair.read_lr())
        found = []
        for name, upscale in models.items():
            with lock:
                sr_image = upscale(lr_image)
            sample = Sample(sr_image, hr_image, lr_image, scale, pair.grey_input)
            row: dict[str, Any] = {"set": pair.set, "model": name, "image": pair.name} | score(sample, others)
            with lock:
                row |= score(sample, on_device)
            found.append(row)
        progress.add(1)
        return found

    lock = device_lock(device)
    with Progress("evaluate", len(pairs), "image") as progress, image_workers(len(pairs)) as pool:
        table = pd.DataFrame([row for rows_ in pool.map(rows, pairs) for row in rows_])
    return _complete(table)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table of `evaluate` from its CSV. Names stay text: an image may have the name 007 or NA."""
    names = dict.fromkeys(("set", "model", "image"), str)
    return _complete(pd.read_csv(path, dtype=names, keep_default_na=False, na_values={name: [""] for name in METRICS}))


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column for each metric, in the order of the registry."""
    return table.reindex(columns=["set", "model", "image", *METRICS]).astype(dict.fromkeys(METRICS, float))


def device_lock(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the lock that a thread holds while it uses the device. On a CPU it locks nothing."""
    return contextlib.nullcontext() if device.type == "cpu" else threading.Lock()


@contextlib.contextmanager
def image_workers(images: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that process one image each, limited by cores and free memory. Torch and OpenCV use one core per thread."""
    workers = max(1, min(machine.processes(), images, machine.available_memory() // MIN_BYTES_PER_WORKER))
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C no further image is started
                raise
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
