"""Digests that identify prepared data: of the images of a part, and of the rule that makes their inputs."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from srgan.config.data import Prepare
from srgan.degradations.recipe import Recipe
from srgan.utils.disk import DiskDict, sorted_texts
from srgan.utils.files import digest

Record = dict[str, Any]


def digest_of_training(images: Iterable[Record], given: DiskDict, recipe: Recipe, variants: int, options: Prepare) -> str:
    """Return the digest of the training data.

    Args:
        images: records of the manifest. They are read several times.
        given: digests of the LR images that data sets bring, by the HR image.
        recipe: makes the LR images of the others.
        variants: LR images of each image, 0 if the training makes them.
        options: ``prepare`` of ``params.yaml``.
    """
    learned_from = (
        (image["source_sha256"] for image in images if image["part"] == "train"),
        (own for image in images if image["part"] == "train" and (own := given.get(image["source"]))),
        (each for image in images if image["part"] == "train" for each in _of_correction(image, _correction(image))),
    )
    learned_by = options.kernel if recipe.is_bicubic else [recipe.digest, options.seed, variants] if variants else recipe.digest
    stored = ["gray"] * (options.channels == 1) + ["16 bits"] * (options.bits == 16)
    return _digest([options.scale, learned_by, *options.reduced, *stored], chain.from_iterable(map(sorted_texts, learned_from)))


def _digest(rules: list[Any], texts: Iterable[str]) -> str:
    """Return the `srgan.utils.files.digest` of both, in which the texts are a list."""
    checksum = hashlib.sha256(f"[{json.dumps(rules, sort_keys=True, separators=(',', ':'))},[".encode())
    for number, text in enumerate(texts):
        checksum.update(f"{',' if number else ''}{json.dumps(text)}".encode())
    checksum.update(b"]]")
    return checksum.hexdigest()


def digest_of_tests(images: Iterable[Record], given: DiskDict, recipe: Recipe, recipes: Mapping[str, Recipe], options: Prepare) -> str:
    """Return the digest of the test data.

    Args:
        images: records of the manifest. They are read twice.
        given: digests of the LR images that data sets bring, by the HR image.
        recipe: makes the LR images of the others.
        recipes: of the test sets that have one of their own.
        options: ``prepare`` of ``params.yaml``.
    """
    corrected = {image["source"]: found for image in images if image["part"] == "test" and (found := _correction(image))}
    scored = sorted(
        [image["set"], image["name"], image["source_sha256"]]
        + ([_rule(recipes[image["set"]], options)] if image["set"] in recipes else _given(image, given))
        + ([] if image.get("reference", True) else ["no original"])
        + _of_correction(image, corrected.get(image["source"]))
        for image in images
        if image["part"] == "test"
    )
    return digest([[options.scale, _rule(recipe, options)], scored])


def _rule(recipe: Recipe, options: Prepare) -> Any:
    """Return how a recipe makes images ahead."""
    return options.kernel if recipe.is_bicubic else [recipe.digest, options.seed]


def _given(image: Record, given: DiskDict) -> list[str]:
    own = given.get(image["source"])
    return [own] if own else []


def _correction(image: Record) -> Record | None:
    """Return the registration of a corrected pair."""
    found = image.get("registration", {})
    return found if "corrected" in found else None


def _of_correction(image: Record, found: Record | None) -> list[str]:
    """Return the digest of a corrected pair. A recipe of the same test set has its HR image, which a correction of the position cuts."""
    return [found["sha256"]] if found and ("position" in found["corrected"] or (image["own_lr"] and found["corrected"])) else []
