"""Measure time and memory of an exported model: ``python -m srgan.inference.benchmark MODEL.onnx [PROVIDER [THREADS]]``."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError

IMAGE_SIDE = 256  # pixels
MAX_SECONDS, MAX_RUNS = 10.0, 9  # of a measurement. A slow model runs once after its first run, a fast one up to nine times.


def measure(path: Path, provider: str = "auto", threads: int = 0) -> dict[str, Any]:
    """Measure the upscaling of an image with an `.onnx` file, in a process of its own.

    Args:
        path: the file.
        provider: what runs the model, see `srgan.inference.upscaler.Upscaler`.
        threads: on the CPU. 0 is one for each core.

    Returns:
        `file`, `provider`, `side` of the image, `runs`, `megabytes` of the file, `seconds_per_megapixel` of the result (median) and
        `peak_memory_mb` of the whole process, without the memory of a GPU.

    Raises:
        SrganError: the process failed.
    """
    command = [sys.executable, "-m", "srgan.inference.benchmark", str(path), provider, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SrganError(f"{path}: the measurement failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])  # libraries may print before


def _measure_here(path: Path, provider: str = "auto", threads: int = 0) -> dict[str, Any]:
    upscaler = Upscaler(path, provider, threads=threads)
    image = np.random.default_rng(0).integers(0, 256, (IMAGE_SIDE, IMAGE_SIDE, 3), dtype=np.uint8)
    seconds, runs = median_seconds(lambda: upscaler.upscale(image))
    return {
        "file": path.name,
        "provider": upscaler.provider,
        "side": IMAGE_SIDE,
        "runs": runs,
        "megabytes": path.stat().st_size / 1e6,
        "seconds_per_megapixel": seconds / ((IMAGE_SIDE * upscaler.scale) ** 2 / 1e6),
        "peak_memory_mb": peak_memory() / 1e6,
    }


def median_seconds(run: Callable[[], Any], max_runs: int = MAX_RUNS, max_seconds: float = MAX_SECONDS) -> tuple[float, int]:
    """Return the median time of a function in seconds, and the number of its measured runs.

    Args:
        run: returns when its result is complete.
        max_runs: measured runs at most. One run before them includes the set-up of the libraries.
        max_seconds: no run begins after them.
    """
    run()
    seconds: list[float] = []
    while not seconds or (len(seconds) < max_runs and sum(seconds) < max_seconds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), len(seconds)


def peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":  # getrusage includes the process that started this one
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    try:
        file, chosen, count = [*sys.argv[1:], "auto", "0"][:3]
        print(json.dumps(_measure_here(Path(file), chosen, int(count))))
    except SrganError as error:
        sys.exit(str(error))
