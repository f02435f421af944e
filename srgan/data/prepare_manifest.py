"""The manifest of prepared images: what became of each image, and digests that identify the training and the test data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from srgan.config.data import Prepare
from srgan.data.digests import digest_of_tests, digest_of_training
from srgan.data.inputs import Record
from srgan.data.layouts import lr_of
from srgan.data.manifest import PARTS, Part
from srgan.data.prepare_image import Done
from srgan.degradations.recipe import Recipe
from srgan.utils.disk import DiskDict, DiskList
from srgan.utils.errors import SrganError


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
        options: ``prepare`` of ``params.yaml``.
        recipe: of the training and validation images.
        variants: LR images for each HR image of the store.
        test_inputs: names and recipes of the inputs of the test sets.
        rows: `rows_of` the prepared images by their number in `sources`.
        left_out: the manifest's lists of omitted images.
    """

    sources: Sequence[Record]
    options: Prepare
    recipe: Recipe
    variants: int
    test_inputs: dict[str, list[tuple[str, Recipe | None]]]
    rows: DiskDict
    left_out: dict[str, list[Any]]


def rows_of(done: Done, record: Record) -> list[Record]:
    """Return the rows of an image in the manifest.

    Args:
        done: the prepared image.
        record: the downloaded one.
    """
    image = {
        "name": done.task.name,
        "part": done.task.part,
        "height": done.size[0],
        "width": done.size[1],
        "source": record["path"],
        "source_sha256": record["sha256"],
        "licence": record["licence"],
    }
    own, options = lr_of(record, done.task.options.scale), done.task.options
    if done.task.part == "train" and not done.records:
        reduced = {"reduced": [factor for factor in done.packed if factor > 1]} if options.reduced else {}
        return [{"set": done.task.set} | image | {"own_lr": False} | reduced]
    rows = []
    for one, of_input in zip(done.task.inputs, done.records, strict=False):
        original = {} if one.set == done.task.set else {"original": done.task.set}
        lr_image = {"own_lr": True, "lr_source": own["path"]} if own and one.source else {"own_lr": False}
        rows.append({"set": one.set} | original | image | lr_image | of_input)
    return rows


def make_manifest(made: Made, needed: tuple[Part, ...] = PARTS) -> Record:
    """Return the manifest.

    Args:
        made: what was made.
        needed: the parts that need an image.

    Raises:
        NotPrepared: more images than `options.max_unreadable` cannot be used, or nothing is left for a part.
    """
    recipe, options = made.recipe, made.options
    images = DiskList(row for rows in made.rows.values() for row in rows)
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
    given = DiskDict()  # digests of the LR images of the data sets, by the HR image
    for record in made.sources:
        if own := lr_of(record, options.scale):
            given[record["path"]] = own["sha256"]
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
