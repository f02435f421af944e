"""Time and memory of an exported model; ``python -m srgan.inference.benchmark MODEL.onnx`` measures it in its own process."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError

SIDE = 256  # pixels of the image that is enlarged
SECONDS, RUNS = 10.0, 9  # that a measurement may take; a slow model is run once more after its first time, a quick one up to nine times


def measure(path: Path) -> dict[str, Any]:
    """Enlarge an image with an `.onnx` file, in a process of its own.

    Returns:
        `file`, `provider`, `side` of the image and `runs`; `megabytes` of the file, `seconds_per_megapixel` of the result (median), and
        `peak_memory_mb` of the whole process (on a GPU: without the GPU's own memory).

    Raises:
        SrganError: the process failed.
    """
    done = subprocess.run([sys.executable, "-m", "srgan.inference.benchmark", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SrganError(f"{path}: could not be measured: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return json.loads(done.stdout)


def _measure_here(path: Path) -> dict[str, Any]:
    upscaler = Upscaler(path)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    upscaler.upscale(image)  # the first time, ONNX Runtime sets itself up
    seconds: list[float] = []
    while not seconds or (len(seconds) < RUNS and sum(seconds) < SECONDS):
        start = time.perf_counter()
        upscaler.upscale(image)
        seconds.append(time.perf_counter() - start)
    return {
        "file": path.name,
        "provider": upscaler.provider,
        "side": SIDE,
        "runs": len(seconds),
        "megabytes": path.stat().st_size / 1e6,
        "seconds_per_megapixel": float(np.median(seconds)) / ((SIDE * upscaler.scale) ** 2 / 1e6),
        "peak_memory_mb": peak_memory() / 1e6,
    }


def peak_memory() -> int:
    """Bytes that this process has held at most."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":  # getrusage would tell of the process that started this one, if that was larger
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    try:
        print(json.dumps(_measure_here(Path(sys.argv[1]))))
    except SrganError as error:
        sys.exit(str(error))
