"""Measure `srgan upscale --engine ray` on this machine: the gain of a second actor, and memory over many small images.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py speed
    OMP_NUM_THREADS=1 python benchmarks/cluster.py memory

Two cores and an idle machine are needed.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import ray
from PIL import Image

from srgan.inference import ray_batch, remote
from srgan.inference.settings import Settings

MODEL = "x4-photo"  # a starter
SPEED_IMAGES, SPEED_SIDE, WARM = 48, 160, 8  # images, pixels, and results before the measurement
MEMORY_IMAGES, MEMORY_SIDE = 10_000, 16
MARKS = (1_000, 5_000, 9_900)  # results


def make_images(folder: Path, count: int, side: int) -> Path:
    """Write images of noise."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.png", compress_level=1)
    return folder


def upscale(source: Path, out: Path, actors: int) -> None:
    """Upscale a folder by actors with one core each."""
    ray.init("local", num_cpus=actors, object_store_memory=200_000_000, include_dashboard=False, log_to_driver=False)
    jobs = remote.plan([str(source)], str(out))
    assert ray_batch.run(MODEL, Settings("cpu"), jobs, str(out), cluster=ray_batch.Cluster(actors)) == []
    ray.shutdown()


def speed(folder: Path) -> None:
    """Print the images a second of one and of two actors. The start of Ray and of the actors does not count."""
    source, rates = make_images(folder / "in", SPEED_IMAGES, SPEED_SIDE), []
    for actors in (1, 2):
        upscale(source, folder / f"out{actors}", actors)
        done = sorted(path.stat().st_mtime for path in (folder / f"out{actors}").glob("*.png"))[WARM:]
        rates.append((len(done) - 1) / (done[-1] - done[0]))
        print(f"{actors} actors: {rates[-1]:.2f} images of {SPEED_SIDE}x{SPEED_SIDE} a second", flush=True)
    print(f"ratio ray_two_actors {rates[1] / rates[0]:.2f}")


def memory(folder: Path) -> None:
    """Print the memory of the driver and of the actors after some of the images."""
    source, out = make_images(folder / "in", MEMORY_IMAGES, MEMORY_SIDE), folder / "out"
    found: list[tuple[int, float, float]] = []

    def watch() -> None:
        own = psutil.Process()
        while len(found) < len(MARKS):
            time.sleep(0.2)
            count = sum(1 for _ in out.iterdir()) if out.is_dir() else 0
            if count >= MARKS[len(found)]:
                actors = [each for each in own.children(recursive=True) if "_Actor" in " ".join(each.cmdline())]
                actors = [each for each in actors if "_Actor" not in " ".join(each.parent().cmdline())]  # without the forks of the decoder
                found.append((count, own.memory_info().rss / 1e6, sum(each.memory_info().rss for each in actors) / 1e6))
                print("{} images: driver {:.0f} MB, actors {:.0f} MB".format(*found[-1]), flush=True)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    upscale(source, out, 2)
    thread.join()
    print(f"value ray_memory_driver {found[-1][1] / found[0][1]:.3f}")
    print(f"value ray_memory_actors {found[-1][2] / found[0][2]:.3f}")


def main() -> None:
    """Run the measurement that the argument names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory"))
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as folder:
        {"speed": speed, "memory": memory}[what](Path(folder))


if __name__ == "__main__":
    main()
