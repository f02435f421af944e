"""Measure the gain of `srgan finetune` by domain and number of images: ``python benchmarks/finetune.py OUT`` (10 minutes on one core).

``SRGAN_MIRROR`` names the folder with the images. Each domain has a fixed set of test images, which no training sees. The start is
`x4-photo`, whose recipe makes the LR images. OUT gets a folder for each domain with the images, the trainings and their scores. The same
command continues after a kill. The last lines are the table of docs/finetune.md. Processor seconds count training, scores and export.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from srgan.config.project import Project
from srgan.finetuning.options import Request
from srgan.finetuning.run import finetune
from srgan.images.png import write_png
from srgan.images.read import read_rgb

START = "x4-photo"
CELLS = {  # domain -> number of test images, and numbers of images to learn from
    "faces": (12, (5, 10, 20)),
    "drive": (4, (5, 8)),
    "aerial": (12, (5, 10)),
    "oldphotos": (3, (5,)),
}
AERIAL = "scientific/cog-ycbcr-jpeg.tif"  # one photograph of 1024x1024 pixels, cut into parts
PARTS = 5  # a side


def pictures(domain: str, mirror: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and pixels of the images of a domain."""
    data = mirror / "datasets"
    if domain == "aerial":
        image = read_rgb(data / AERIAL)
        side = min(image.shape[:2]) // PARTS // 4 * 4
        for row in range(PARTS):
            for column in range(PARTS):
                yield f"{row}{column}", image[row * side : (row + 1) * side, column * side : (column + 1) * side]
        return
    pattern = {"faces": "faces/celebahq-*.jpg", "drive": "drive/images/*.png", "oldphotos": "oldphotos/*.png"}[domain]
    for path in sorted(data.glob(pattern)):
        yield path.stem, read_rgb(path)


def split(domain: str, mirror: Path, out: Path) -> dict[int, Path]:
    """Write the test images and the images to learn from. Return the folder for each number of images."""
    tests, counts = CELLS[domain]
    found = list(pictures(domain, mirror))
    order = np.random.default_rng(0).permutation(len(found))
    folders = {0: (out / "test", order[:tests])} | {count: (out / f"train-{count}", order[tests : tests + count]) for count in counts}
    for folder, chosen in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
        for number in chosen:
            name, image = found[number]
            write_png(folder / f"{name}.png", np.ascontiguousarray(image))
    return {count: folder for count, (folder, _) in folders.items()}


def measure(domain: str, count: int, folders: dict[int, Path], out: Path) -> dict[str, object]:
    """Fine-tune once. Return the row of the table."""
    begin = time.process_time()
    request = Request(START, str(folders[count]), str(folders[0]), name=f"{domain}_{count}")
    verdict = finetune(Project(out), request).verdict
    return {
        "domain": domain,
        "images": count,
        "test": verdict.images,
        "gains": verdict.gains,
        "kept": verdict.kept,
        "reason": verdict.reason,
        "seconds": round(time.process_time() - begin),
    }


def cell(gain: tuple[float, float, float], digits: int) -> str:
    """Return a gain with its interval."""
    mean, low, high = (f"{value:+.{digits}f}" for value in gain)
    return f"{mean} ({low} to {high})"


def main() -> None:
    """Measure the chosen domains and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=[f"{domain}-{count}" for domain, (_, counts) in CELLS.items() for count in counts])
    given = parser.parse_args()
    mirror = Path(os.environ["SRGAN_MIRROR"])
    for name in given.only:
        domain, _, count = name.rpartition("-")
        path = given.out / f"{name}.json"
        if not path.is_file():
            folders = split(domain, mirror, given.out / domain)
            row = measure(domain, int(count), folders, given.out / domain)
            path.write_text(json.dumps(row))
    print("| domain | images | test images | LPIPS gain | PSNR-Y gain, dB | kept | processor seconds |\n|---|---|---|---|---|---|---|")
    for name in given.only:
        row = json.loads((given.out / f"{name}.json").read_text())
        gains = row["gains"]
        kept = "yes" if row["kept"] else "no"
        shown = (row["domain"], row["images"], row["test"], cell(gains["lpips"], 3), cell(gains["psnr_y"], 2), kept, row["seconds"])
        print(f"| {' | '.join(map(str, shown))} |")


if __name__ == "__main__":
    main()
