"""Spoil three tenths of BSDS500 and T91, count which images `prepare.checks` finds, and train without them.

    python benchmarks/checks.py FOLDER                   # precision and recall
    python benchmarks/checks.py FOLDER --train 2500      # and three trainings of so many steps with each seed, two processor minutes each
    python benchmarks/checks.py FOLDER --train 2500 --loss mse --kinds blurred enlarged

FOLDER holds `bsds500/` and `t91/`, such as `$SRGAN_MIRROR/datasets`. Equal parts of the spoiled images are blurred, compressed, enlarged
from a small version, tiny, or a changed copy of another image. The trainings see all images before they are spoiled, the
spoiled set, and what the stage `prepare` leaves of it with the checks. The scores are those of Set14 and B100.
"""

import argparse
import io
import itertools
import json
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image, ImageFilter

from srgan.config import profiles
from srgan.config.data import Checks
from srgan.config.project import Project
from srgan.config.schema import Params, to_dict
from srgan.data.checks import select
from srgan.data.manifest import pairs
from srgan.evaluation.evaluate import evaluate
from srgan.inference.torch_upscale import upscale
from srgan.metrics.registry import METRICS, open_metrics
from srgan.models.checkpoints import load_generator
from srgan.stages import download, prepare, pretrain
from srgan.utils.machine import processes
from srgan.utils.workers import Workers

SHARE = 0.3
CHECKS = Checks(min_side=64, max_softness=20.0, min_jpeg_quality=70, near_duplicates=True)
KINDS = ("blurred", "compressed", "enlarged", "tiny", "copied")


def spoil(image: Image.Image, kind: str, generator: random.Random, path: Path) -> Path:
    """Write a spoiled image and return its path."""
    width, height = image.size
    if kind == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(generator.uniform(1.2, 5.0)))
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
        image.save(file := io.BytesIO(), "JPEG", quality=generator.randrange(10, 50))
        if generator.random() < 0.5:
            path.with_suffix(".jpg").write_bytes(file.getvalue())
            return path.with_suffix(".jpg")
        image = Image.open(file)
    image.save(path)
    return path


def make(source: Path, folder: Path, chosen: Sequence[str], share: float = SHARE) -> dict[Path, str]:
    """Write the images into a folder. Return the kind of each spoiled one."""
    generator = random.Random(0)
    originals = sorted([*source.glob("bsds500/**/*.jpg"), *source.glob("t91/*.bmp")])
    spoiled = dict(zip(generator.sample(originals, round(share * len(originals))), itertools.cycle(chosen), strict=False))
    sound = [path for path in originals if path not in spoiled]
    kinds = {}
    for number, path in enumerate(originals):
        kind = spoiled.get(path, "")
        image = Image.open(generator.choice(sound) if kind == "copied" else path).convert("RGB")
        written = folder / f"{'copy-' if kind == 'copied' else ''}{number:03}.png"  # the first of two images by name stays
        if kind:
            kinds[spoil(image, kind, generator, written)] = kind
        else:
            image.save(written)
    return kinds


def count(folder: Path, kinds: dict[Path, str]) -> None:
    """Print precision and recall, and the figures of each kind."""
    images = sorted(folder.iterdir())
    listing = {"images": [{"path": path.name, "split": "train", "licence": "unknown"} for path in images]}
    _, rejected = select(folder, listing, CHECKS, partial(Workers, processes=processes()))
    reasons = {folder / record["image"]: record["reasons"] for record in rejected}
    found = kinds.keys() & reasons.keys()
    print(f"{len(images)} images, {len(kinds)} spoiled: precision {len(found) / len(reasons):.3f}, recall {len(found) / len(kinds):.3f}")
    for kind in sorted(set(kinds.values())):
        of_kind = [path for path in kinds if kinds[path] == kind]
        print(f"  {kind}: {sum(path in reasons for path in of_kind)} of {len(of_kind)}")
    wrong = Counter(", ".join(reasons[path].values()) for path in reasons.keys() - kinds.keys())
    for text, number in wrong.most_common():
        print(f"  sound, but rejected: {number}, {text}")


def train(root: Path, images: Path, checks: Checks, steps: int, loss: str, seed: int) -> float:
    """Prepare the images, train a small network and return its mean PSNR-Y on Set14 and B100, in dB."""
    values = to_dict(profiles.load("speedrun-cpu-pixel"))
    values["data"] = {"train": [str(images)], "test": ["set14", "b100"]}
    values["prepare"] |= {"checks": to_dict(checks)}
    values["model"] |= {"features": 32, "depth": 8}
    values["pretrain"] |= {"steps": steps, "learning_rate": 2e-3, "seed": seed, "losses": [{"name": loss, "weight": 1.0}]}
    values["runtime"]["pretrain"] |= {"validate_every": steps}  # so that the last weights are kept
    params, project = Params.model_validate_json(json.dumps(values)), Project(root)
    if not project.prepared.exists():
        download.run(project, params)
        prepare.run(project, params)
    pretrain.run(project, params, tracked=False)
    network, _ = load_generator(project.pretrained)
    scorers = open_metrics([METRICS["psnr_y"]])
    table = evaluate(pairs(project.prepared, "test"), {"network": partial(upscale, network.eval())}, network.scale, scorers)
    return float(table["psnr_y"].mean())


def compare(folder: Path, sound: Path, spoiled: Path, steps: int, loss: str, seeds: int) -> None:
    """Print the scores of the three trainings, and the share of the loss that the checks regain."""
    cases = {"sound": (sound, Checks()), "spoiled": (spoiled, Checks()), "cleaned": (spoiled, CHECKS)}
    scores: dict[str, list[float]] = {name: [] for name in cases}
    for seed in range(seeds):
        for name, (images, checks) in cases.items():
            scores[name].append(train(folder / name, images, checks, steps, loss, seed))
            print(f"  {name}, seed {seed}: PSNR-Y {scores[name][-1]:.3f} dB", flush=True)
    clean, bad, cleaned = (statistics.mean(scores[name]) for name in cases)
    print(f"lost {clean - bad:.3f} dB, regained {cleaned - bad:.3f} dB: {(cleaned - bad) / (clean - bad):.1%}")


def main() -> None:
    """Make the images, count, and train if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, metavar="STEPS")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="faults, by default all", metavar="KIND")
    parser.add_argument("--loss", default="l1", choices=("l1", "mse"))
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sound, spoiled = Path(scratch) / "sound", Path(scratch) / "spoiled"
        for images in (sound, spoiled):
            images.mkdir()
        kinds = make(chosen.folder, spoiled, chosen.kinds)
        count(spoiled, kinds)
        if chosen.train:
            make(chosen.folder, sound, chosen.kinds, 0)
            compare(Path(scratch) / "projects", sound, spoiled, chosen.train, chosen.loss, chosen.seeds)


if __name__ == "__main__":
    main()
