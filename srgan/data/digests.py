"""Digests that identify prepared data: of the images of a part, and of the rule that makes their inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from srgan.config.data import Prepare
from srgan.degradations.recipe import Recipe
from srgan.utils.files import digest

Record = dict[str, Any]


def digest_of_training(images: Sequence[Record], given: Mapping[str, list[str]], recipe: Recipe, variants: int, options: Prepare) -> str:
    """Return the digest of the training data.

    Args:
        images: records of the manifest.
        given: digests of the LR images that data sets bring, by the HR image.
        recipe: makes the LR images of the others.
        variants: LR images of each image, 0 if the training makes them.
        options: ``prepare`` of ``params.yaml``.
    """
    learned = [image for image in images if image["part"] == "train"]
    learned_from = sorted(image["source_sha256"] for image in learned)
    learned_from += sorted(given[image["source"]][0] for image in learned if image["source"] in given)
    corrected = _corrections(images)
    learned_from += sorted(each for image in learned for each in _of_correction(image, corrected))
    learned_by = options.kernel if recipe.is_bicubic else [recipe.digest, options.seed, variants] if variants else recipe.digest
    stored = ["gray"] * (options.channels == 1) + ["16 bits"] * (options.bits == 16)
    return digest([[options.scale, learned_by, *options.reduced, *stored], learned_from])


def digest_of_tests(
    images: Sequence[Record], given: Mapping[str, list[str]], recipe: Recipe, recipes: Mapping[str, Recipe], options: Prepare
) -> str:
    """Return the digest of the test data.

    Args:
        images: records of the manifest.
        given: digests of the LR images that data sets bring, by the HR image.
        recipe: makes the LR images of the others.
        recipes: of the test sets that have one of their own.
        options: ``prepare`` of ``params.yaml``.
    """
    corrected = _corrections(images)
    scored = sorted(
        [image["set"], image["name"], image["source_sha256"]]
        + ([_rule(recipes[image["set"]], options)] if image["set"] in recipes else given.get(image["source"], []))
        + ([] if image.get("reference", True) else ["no original"])
        + _of_correction(image, corrected)
        for image in images
        if image["part"] == "test"
    )
    return digest([[options.scale, _rule(recipe, options)], scored])


def _rule(recipe: Recipe, options: Prepare) -> Any:
    """Return how a recipe makes images ahead."""
    return options.kernel if recipe.is_bicubic else [recipe.digest, options.seed]


def _corrections(images: Sequence[Record]) -> dict[str, Record]:
    """Return the registration of each corrected pair by its HR image."""
    return {image["source"]: found for image in images if "corrected" in (found := image.get("registration", {}))}


def _of_correction(image: Record, corrected: Mapping[str, Record]) -> list[str]:
    """Return the digest of a corrected pair. A recipe of the same test set has its HR image, which a correction of the position cuts."""
    found = corrected.get(image["source"], {"corrected": []})
    return [found["sha256"]] if "position" in found["corrected"] or (image["own_lr"] and found["corrected"]) else []
