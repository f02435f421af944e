"""``srgan study create``: pictures, plan and invitation codes of a new study."""

import io
import itertools
import logging
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from srgan.config.project import Project
from srgan.study.files import KEY, PICTURES, STUDY, Key, Picture, Rater, Study, code_digest, new_code
from srgan.study.plan import Comparison, choose_comparisons, order_for_rater
from srgan.study.sources import Source, open_sources
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_folder, sha256
from srgan.utils.progress import Progress

BLOCK, NOISE = 8, 25  # pixels and levels: the damage of the picture in an attention check, which is easy to see

log = logging.getLogger(__name__)


def create(
    folder: Path,
    arguments: Sequence[str],
    *,
    inputs: str | None = None,
    raters: int = 3,
    pairs: int = 60,
    checks: int = 8,
    crop: int = 512,
    question: str = "Which picture looks better?",
    seed: int | None = None,
    project: Project = Project(),  # noqa: B008 (it is immutable)
) -> list[str]:
    """Create a study.

    Args:
        folder: the new folder of the study.
        arguments: the models, see `srgan.study.sources.open_sources`.
        inputs: folder of images for the models. Default: the prepared test images of the project.
        raters: number of invitation codes.
        pairs: comparisons. All raters see the same ones, each in an order of their own.
        checks: attention checks of each rater: a picture against its damaged version.
        crop: side in pixels. Larger pictures are cropped to their centre.
        question: asked at each pair.
        seed: of comparisons, order and sides. Default: a random one, which cannot be guessed.
        project: for the registry and the prepared images.

    Returns:
        The invitation codes.

    Raises:
        SrganError: the folder exists, a source is wrong, or the pictures of an image differ in size.
    """
    if folder.exists():
        raise SrganError(f"{folder}: exists already. Choose another folder, so that no answers are lost")
    seed = secrets.randbits(48) if seed is None else seed
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as downloads, atomic_folder(folder) as new:
        sources = open_sources(arguments, inputs, folder, project, Path(downloads))
        images = sorted(next(iter(sources.values())).names())
        comparisons = choose_comparisons(images, list(sources), pairs, random)
        if len(comparisons) < pairs:
            log.info("%d images and %d models have %d different comparisons", len(images), len(sources), len(comparisons))
        (new / PICTURES).mkdir()
        (new / "answers").mkdir()
        pictures = _write_pictures(new / PICTURES, sources, comparisons, crop)
        ids = {(picture.image, picture.model): name for name, picture in pictures.items()}
        trials = [(ids[one.image, one.first], ids[one.image, one.second]) for one in comparisons]
        for at in random.permutation(len(ids))[:checks]:
            intact, damaged = list(ids.values())[at], _new_name()
            _write_damaged(new / PICTURES, intact, damaged, random)
            pictures[damaged] = Picture(image=pictures[intact].image, model=None)
            trials.append((intact, damaged))
        codes = [new_code() for _ in range(raters)]
        key = Key(seed=seed, codes=codes, models={label: source.model for label, source in sources.items()}, pictures=pictures)
        _write_files(new, key, trials, len(comparisons), question, random)
    return codes


def _write_files(
    folder: Path, key: Key, trials: list[tuple[str, str]], comparisons: int, question: str, random: np.random.Generator
) -> None:
    (folder / KEY).touch(mode=0o600)  # before it has a content
    (folder / KEY).write_text(key.model_dump_json(indent=2) + "\n", encoding="utf-8")
    study_id, raters = secrets.token_hex(8), []
    for code in key.codes:
        order = order_for_rater(comparisons, len(trials) - comparisons, random)
        ordered = [(trials[at][1], trials[at][0]) if swapped else trials[at] for at, swapped in order]
        raters.append(Rater(code_sha256=code_digest(study_id, code), trials=ordered))
    study = Study(id=study_id, question=question, seal=sha256(folder / KEY), raters=raters)
    (folder / STUDY).write_text(study.model_dump_json(indent=2) + "\n", encoding="utf-8")


# -- pictures --------------------------------------------------------------------------------------------------------------


def _write_pictures(folder: Path, sources: Mapping[str, Source], comparisons: list[Comparison], crop: int) -> dict[str, Picture]:
    """Write the pictures that the comparisons need, under random names and without metadata. Return their origins."""
    needed: dict[str, set[str]] = {}
    for one in comparisons:
        needed.setdefault(one.image, set()).update((one.first, one.second))
    pictures = {}
    with Progress("pictures", sum(map(len, needed.values())), "picture") as progress:
        for image, models in needed.items():
            sizes = {}
            for label in sorted(models):
                pixels = sources[label].read(image)
                sizes[label] = pixels.shape[1::-1]
                name = _new_name()
                _encode(folder, name, _centre(pixels, crop))
                pictures[name] = Picture(image=image, model=label)
                progress.add(1)
            for first, second in itertools.pairwise(sizes):
                if sizes[first] != sizes[second]:
                    found = " and ".join(f"{label} {sizes[label][0]}x{sizes[label][1]}" for label in (first, second))
                    raise SrganError(f"{image}: the pictures differ in size: {found} pixels. Compare pictures of one size")
    return pictures


def _write_damaged(folder: Path, intact: str, name: str, random: np.random.Generator) -> None:
    """Write a copy of a picture in coarse blocks with noise."""
    with Image.open(folder / f"{intact}.webp") as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (-(-width // BLOCK), -(-height // BLOCK)), interpolation=cv2.INTER_AREA)
    blocks = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    noisy = blocks + random.normal(0, NOISE, blocks.shape)
    _encode(folder, name, np.clip(noisy.round(), 0, 255).astype(np.uint8))


def _new_name() -> str:
    return secrets.token_hex(12)  # is independent of the model and cannot be guessed


def _centre(pixels: np.ndarray, side: int) -> np.ndarray:
    top, left = (max(length - side, 0) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _encode(folder: Path, name: str, pixels: np.ndarray) -> None:
    """Write a picture as lossless WebP, which every browser shows."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="webp", lossless=True, quality=0, method=1, exact=True)
    (folder / f"{name}.webp").write_bytes(buffer.getvalue())
