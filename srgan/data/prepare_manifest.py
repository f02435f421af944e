"""The manifest of prepared images: what became of each image, and digests that identify the training and the test data."""

from dataclasses import dataclass
from typing import Any

from srgan.config.data import Prepare
from srgan.data.digests import digest_of_tests, digest_of_training
from srgan.data.inputs import Record
from srgan.data.manifest import Part
from srgan.data.prepare_image import Done
from srgan.degradations.recipe import Recipe
from srgan.utils.errors import SrganError

PARTS: tuple[Part, ...] = ("train", "validation", "test")


class NotPrepared(SrganError):
    """Too many images cannot be used, or a part is empty. `left_out` has the manifest's lists of omitted images."""

    def __init__(self, message: str, left_out: dict[str, list[Any]]) -> None:
        super().__init__(message)
        self.left_out = left_out


@dataclass(frozen=True)
class Made:
    """The results of `prepare`.

    Attributes:
        sources: listing of the downloaded images.
        lr_images: the data set's own LR image of each, or None.
        options: ``prepare`` of ``params.yaml``.
        recipe: of the training and validation images.
        variants: LR images for each HR image of the store.
        test_inputs: names and recipes of the inputs of the test sets.
        results: prepared images by their number in `sources`.
        left_out: the manifest's lists of omitted images.
    """

    sources: list[Record]
    lr_images: list[Record | None]
    options: Prepare
    recipe: Recipe
    variants: int
    test_inputs: dict[str, list[tuple[str, Recipe | None]]]
    results: dict[int, Done]
    left_out: dict[str, list[Any]]


def make_manifest(made: Made, needed: tuple[Part, ...] = PARTS) -> Record:
    """Return the manifest.

    Args:
        made: what was made.
        needed: the parts that need an image.

    Raises:
        NotPrepared: more images than `options.max_unreadable` cannot be used, or nothing is left for a part.
    """
    recipe, options = made.recipe, made.options
    images = []
    for number, done in sorted(made.results.items()):
        record = made.sources[number]
        image = {
            "name": done.task.name,
            "part": done.task.part,
            "height": done.size[0],
            "width": done.size[1],
            "source": record["path"],
            "source_sha256": record["sha256"],
            "licence": record["licence"],
        }
        own = made.lr_images[number]
        if done.task.part == "train" and not done.records:
            reduced = {"reduced": [factor for factor in done.packed if factor > 1]} if options.reduced else {}
            images.append({"set": done.task.set} | image | {"own_lr": False} | reduced)
        for one, of_input in zip(done.task.inputs, done.records, strict=False):
            original = {} if one.set == done.task.set else {"original": done.task.set}
            lr_image = {"own_lr": True, "lr_source": own["path"]} if own and one.source else {"own_lr": False}
            images.append({"set": one.set} | original | image | lr_image | of_input)
    left_out = made.left_out
    skipped, leaks = left_out["skipped"], left_out["leaks"]
    if len(skipped) > options.max_unreadable:
        shown = "; ".join(f"{bad['image']}: {bad['reason']}" for bad in skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
        raise NotPrepared(
            f"{len(skipped)} of {len(made.sources)} images cannot be used, "
            f"prepare.max_unreadable allows {options.max_unreadable}: {shown}. "
            "Replace or delete them, or raise prepare.max_unreadable",
            left_out,
        )
    for part in needed:
        if not any(image["part"] == part for image in images):
            why = f"{len(leaks)} show held-out images, " if leaks else ""
            message = f"no {part} image is left ({why}{len(skipped)} cannot be used). Name more data in params.yaml"
            raise NotPrepared(message, left_out)
    given = {record["path"]: [lr_image["sha256"]] for record, lr_image in zip(made.sources, made.lr_images, strict=True) if lr_image}
    recipes = {name: made for inputs in made.test_inputs.values() for name, made in inputs if made}  # of the test sets that have one
    return (
        {
            "scale": options.scale,
            "kernel": options.kernel,
            "seed": options.seed,
            "validation": options.validation,
            "test": options.test,
            "train_sha256": digest_of_training(images, given, recipe, made.variants, options),
            "test_sha256": digest_of_tests(images, given, recipe, recipes, options),
        }
        | ({"channels": 1} if options.channels == 1 else {})
        | ({"bits": 16} if options.bits == 16 else {})
        | ({} if recipe.is_bicubic else {"recipe": recipe.describe()})
        | ({"test_recipes": {name: made.describe() for name, made in recipes.items()}} if recipes else {})
        | {"images": images}
        | left_out
    )
