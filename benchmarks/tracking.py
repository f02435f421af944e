"""What tracking costs a training: ``python benchmarks/tracking.py [ROUNDS]`` (some two and a half minutes a round on two cores).

The demo's network learns 1,500 steps on pixels: with MLflow's local store following as always, and with nothing that follows; by
turns, each in a process of its own, in another order from round to round. The last lines are ``value processor_overhead_percent VALUE``
and ``value overhead_percent VALUE``: the medians of the rounds' differences in processor time and by the clock, from the start of the
stage until the run is complete in the store. The clock's vary by several per cent where a machine is shared.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from data import photograph
from srgan import params, profiles, stages, tracking
from srgan.launch import MALLOC


def side(tracked: bool) -> None:
    """Train in the current folder, and print the seconds, by the clock and of the processor."""
    if not tracked:
        tracking.live = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
    loaded = params.load()
    start = np.array([time.perf_counter(), time.process_time()])
    stages.pretrain(loaded)
    print(json.dumps((np.array([time.perf_counter(), time.process_time()]) - start).tolist()))


def prepare(folder: Path) -> None:
    """A project with twelve photographs of random pixels, prepared."""
    images = folder / "images"
    images.mkdir()
    for number in range(12):
        Image.fromarray(photograph(number, 400, 500)).save(images / f"{number}.png")
    set_params(folder, seed=0)
    for stage in ("download", "prepare"):
        subprocess.run([sys.executable, "-m", "srgan", stage], cwd=folder, check=True, capture_output=True)
    store = "from srgan import tracking; tracking.curves_of_server('none')"  # made once, not by each training
    subprocess.run([sys.executable, "-c", store], cwd=folder, capture_output=True)


def set_params(folder: Path, seed: int) -> None:
    """The demo's, on the photographs."""
    text = profiles.text("demo").replace("train: [sample]", f"train: [{folder / 'images'}]").replace("  steps: 3000", "  steps: 1500")
    (folder / "params.yaml").write_text(text.replace("  seed: 0", f"  seed: {seed}"))


def main() -> None:
    """Measure and print the figure last."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        overheads = []
        for number in range(rounds):
            seconds = {}
            for tracked in (True, False) if number % 2 else (False, True):
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
                set_params(folder, seed=number)  # another run in the store
                command = [sys.executable, __file__, "--side", "tracked" if tracked else "alone"]
                done = subprocess.run(command, cwd=folder, env=os.environ | MALLOC, capture_output=True, text=True, check=True)
                seconds[tracked] = np.array(json.loads(done.stdout))
            overheads.append(100 * (seconds[True] / seconds[False] - 1))
            told = [f"{title} {alone:.1f} s alone, {tracked:.1f} s tracked" for title, alone, tracked in
                    zip(("clock:", "processor:"), seconds[False], seconds[True], strict=True)]  # fmt: skip
            print(f"round {number + 1}: {'; '.join(told)}", flush=True)
    clock, processor = np.median(overheads, axis=0)
    print(f"value processor_overhead_percent {processor:.2f}")
    print(f"value overhead_percent {clock:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2] == "tracked")
    else:
        main()
