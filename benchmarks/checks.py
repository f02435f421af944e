"""Spoil three tenths of BSDS500 and T91, and count which images `prepare.checks` finds.

    python benchmarks/checks.py FOLDER

FOLDER holds `bsds500/` and `t91/`, such as `$SRGAN_MIRROR/datasets`. A fifth of the spoiled images each is blurred, compressed, enlarged
from a small version, tiny, or a changed copy of another image.
"""

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from PIL import Image, ImageFilter

from srgan.config.data import Checks
from srgan.data.checks import select
from srgan.utils.machine import processes

SHARE = 0.3
CHECKS = Checks(min_side=64, max_softness=20.0, min_jpeg_quality=70, near_duplicates=True)
KINDS = ("blurred", "compressed", "enlarged", "tiny", "copied")


def spoil(image: Image.Image, kind: str, generator: random.Random, path: Path) -> Path:
    """Write a spoiled image and return its path."""
    width, height = image.size
    if kind == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(generator.uniform(1.2, 2.5)))
    elif kind == "enlarged":
        factor = generator.choice((2, 3, 4))
        small = image.resize((width // factor, height // factor), Image.Resampling.BICUBIC)
        image = small.resize((width, height), generator.choice((Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)))
    elif kind == "tiny":
        factor = min(width, height) / generator.randrange(34, 60)
        image = image.resize((round(width / factor), round(height / factor)), Image.Resampling.LANCZOS)
    elif kind == "copied":
        image = image.crop((width // 20, height // 20, width, height)).point(lambda value: min(value * 1.1, 255))
    if kind == "compressed":
        image.save(path.with_suffix(".jpg"), quality=generator.randrange(10, 50))
        if generator.random() < 0.5:
            return path.with_suffix(".jpg")
        image = Image.open(path.with_suffix(".jpg"))
    image.save(path)
    return path


def make(source: Path, folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """Write the images into a folder. Return all of them in order, and the kind of each spoiled one."""
    generator = random.Random(0)
    originals = sorted([*source.glob("bsds500/**/*.jpg"), *source.glob("t91/*.bmp")])
    spoiled = dict(zip(generator.sample(originals, round(SHARE * len(originals))), KINDS * len(originals), strict=False))
    sound = [path for path in originals if path not in spoiled]
    kinds, first, later = {}, [], []
    for number, path in enumerate(originals):
        kind = spoiled.get(path, "")
        image = Image.open(generator.choice(sound) if kind == "copied" else path).convert("RGB")
        written = folder / f"{number}.png"
        if kind:
            written = spoil(image, kind, generator, written)
            kinds[written] = kind
        else:
            image.save(written)
        (later if kind == "copied" else first).append(written)  # the first of two images stays
    return first + later, kinds


def main(source: Path) -> None:
    """Print precision and recall, and the figures of each kind."""
    with tempfile.TemporaryDirectory() as scratch:
        images, kinds = make(source, Path(scratch))
        listing = {"images": [{"path": path.name, "split": "train", "licence": "unknown"} for path in images]}
        _, rejected = select(Path(scratch), listing, CHECKS, processes())
        reasons = {Path(scratch) / record["image"]: record["reasons"] for record in rejected}
        found = kinds.keys() & reasons.keys()
        print(
            f"{len(images)} images, {len(kinds)} spoiled: precision {len(found) / len(reasons):.3f}, recall {len(found) / len(kinds):.3f}"
        )
        for kind in KINDS:
            of_kind = [path for path in kinds if kinds[path] == kind]
            print(f"  {kind}: {sum(path in reasons for path in of_kind)} of {len(of_kind)}")
        wrong = Counter(", ".join(reasons[path].values()) for path in reasons.keys() - kinds.keys())
        for text, count in wrong.most_common():
            print(f"  sound, but rejected: {count}, {text}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
