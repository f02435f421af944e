"""Sections ``data`` and ``prepare``: the images, and the pairs that are made of them."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainSerializer, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from srgan.config.base import Section, option, refuse, section
from srgan.config.recipe import Recipe, removes_colour, steps_of
from srgan.utils.addresses import without_secrets


class OwnSet(Section):
    """A data set of the user's, for which the path alone is not enough."""

    FLOW: ClassVar[bool] = True
    folder: str = option(..., "folder, zip or tar archive, or the address of one", min_length=1)
    name: str = option("", "name of the data set. Empty stands for the last part of folder")
    hr: str = option("", "folder of the HR images inside folder. '.' stands for all images and empty for a search by names")
    lr: str = option("", "folder of the LR images inside folder. Empty stands for a search by names or, if hr is given, for none")
    reference: bool = option(True, "false for test images without originals. They are the inputs and scored by reference-free metrics")

    @model_validator(mode="after")
    def _check(self) -> "OwnSet":
        if self.name and not re.fullmatch(r"\w[\w.-]*", self.name):
            refuse("name", "may hold letters, digits, '_', '.' and '-' only, and begins with a letter or digit")
        if self.lr and not self.hr:
            refuse("lr", "needs hr too, the folder of the HR images")
        if self.hr and not self.reference:
            refuse("reference", "false is for a folder whose images are all inputs, so it cannot have hr and lr")
        for key in ("hr", "lr"):
            parts = getattr(self, key).split("/")
            if (parts[0] == "" and parts != [""]) or ".." in parts:
                refuse(key, "must be a path inside folder, without '..' and without a leading '/'")
        if self.hr and self.hr == self.lr:
            refuse("lr", "is the same folder as hr")
        return self


def _entry(value: Any) -> str | OwnSet:
    if isinstance(value, dict):
        return OwnSet.model_validate(value)
    if not isinstance(value, str | OwnSet) or not value:
        raise PydanticCustomError("string_type", "not text")
    return value


def _dump(entry: "str | OwnSet | RecipeSet") -> str | dict[str, Any]:
    return entry if isinstance(entry, str) else entry.model_dump(exclude_defaults=True)


# Not a plain union: pydantic would report an error for each of its kinds, and warn of an entry with its address when it is written.
Entry = Annotated[str | OwnSet, PlainValidator(_entry, json_schema_input_type=str | OwnSet), PlainSerializer(_dump)]


class RecipeSet(Section):
    """A test set that is scored under a recipe of its own."""

    FLOW: ClassVar[bool] = True
    set: Entry = option(..., "data set, as in another entry")
    recipe: Recipe = option(..., "preset or list of steps that make its LR images, in place of prepare.recipe")
    name: str = option("", "name of the recipe in tables. Empty stands for the preset, or for the steps")

    @model_validator(mode="after")
    def _check(self) -> "RecipeSet":
        if not re.fullmatch(r"\w[\w.-]*", self.label):
            refuse("name", "may hold letters, digits, '_', '.' and '-' only, and begins with a letter or digit")
        return self

    @model_validator(mode="after")
    def _check_set(self) -> "RecipeSet":
        if isinstance(self.set, OwnSet) and not self.set.reference:
            refuse("set", "has no originals, of which a recipe could make inputs")
        return self

    @property
    def label(self) -> str:
        """Return the name of the recipe. In tables it follows that of the set: ``b100+jpeg-50``."""
        return self.name or (self.recipe if isinstance(self.recipe, str) else "-".join(step.name for step in self.recipe))


def _test_entry(value: Any) -> str | OwnSet | RecipeSet:
    if isinstance(value, RecipeSet):
        return value
    return RecipeSet.model_validate(value) if isinstance(value, dict) and "set" in value else _entry(value)


TestEntry = Annotated[
    str | OwnSet | RecipeSet, PlainValidator(_test_entry, json_schema_input_type=str | OwnSet | RecipeSet), PlainSerializer(_dump)
]


class Data(Section):
    """The data sets to download: names from ``srgan data list``, folders, archives, and addresses of archives or images.

    An entry is text, or ``{folder: ..., name: ..., hr: ..., lr: ...}``, see `OwnSet`. One of `test` may have a recipe, see `RecipeSet`.
    """

    train: tuple[Entry, ...] = option(("sample",), "data sets to train on, without their test images", min_length=1)
    test: tuple[TestEntry, ...] = option(("sample",), "data sets to evaluate on")

    @model_validator(mode="after")
    def _check(self) -> "Data":
        for key in ("train", "test"):
            entries = [(entry.set, entry.label) if isinstance(entry, RecipeSet) else entry for entry in getattr(self, key)]
            if len(set(entries)) < len(entries):
                refuse(key, "names a data set twice")
        if any(isinstance(entry, OwnSet) and not entry.reference for entry in self.train):
            refuse("train", "has images without originals (reference: false), which only data.test may have")
        return self

    def sets(self, split: Literal["train", "test"]) -> tuple[str | OwnSet, ...]:
        """Return the data sets of a split, each once."""
        entries = self.train if split == "train" else self.test
        return tuple(dict.fromkeys(entry.set if isinstance(entry, RecipeSet) else entry for entry in entries))

    def names(self, split: Literal["train", "test"]) -> list[str]:
        """Return the data sets of a split as they may be shown: the user's names for them, or the paths, without passwords and tokens."""
        entries = self.sets(split)
        return [without_secrets((entry.name or entry.folder) if isinstance(entry, OwnSet) else entry) for entry in entries]


class Checks(Section):
    """Checks of the images of ``data.train``. Those that fail are left out and listed in the data card. All are off by default."""

    min_side: int = option(0, "smallest side in pixels", ge=0)
    max_softness: float = option(
        0.0, "fine detail against coarse detail in dB, such as 20, which blurred and enlarged images exceed. 0 turns it off", ge=0
    )
    min_jpeg_quality: int = option(
        0, "smallest JPEG quality, of the file or of a former compression, such as 70. 0 turns it off", ge=0, le=100
    )
    near_duplicates: bool = option(False, "leave out images that show the same as another training image")
    licenses: tuple[str, ...] = option((), "allowed licenses, such as [CC0*, CC-BY-4.0], with * for any text. Empty allows all")
    max_share: float = option(
        1.0, "largest share of the training images that may fail. If more do, prepare fails with the list", ge=0, le=1
    )


class Prepare(Section):
    """The conversion of raw images to HR/LR pairs."""

    scale: int = option(4, "HR size / LR size", ge=1, le=8)
    recipe: Recipe = option("bicubic", "preset or list of steps that make the LR images, see docs/degradations.md")
    variants: int = option(4, "LR images per training image, if a step of the recipe cannot run in the training", ge=1, le=64)
    kernel: Literal["matlab", "pillow"] = option("matlab", "bicubic kernel of the LR images: matlab (as in the literature) or pillow")
    align: Literal["none", "position", "position+color"] = option(
        "none", "registration of LR images of your own to their HR images: correct the position, or the colors too. none only measures"
    )
    reduced: tuple[Annotated[int, Field(ge=2, le=8)], ...] = option(
        (), "factors of reduced copies of the training images, such as [2, 3], whose patches have denser detail. Empty makes none"
    )
    channels: Literal[1, 3] = option(3, "channels of the training images and of the network: 3 for RGB or 1 for their luma (gray)")
    bits: Literal[8, 16] = option(8, "bits of a stored number of the training images. 16 keeps the depth of 16-bit files")
    validation: float = option(0.1, "share of the training images for validation", gt=0, lt=1)
    test: float = option(0.0, "share of the training images for testing in addition to data.test", ge=0, lt=1)
    seed: int = option(0, "seed of the split", ge=0)
    max_unreadable: int = option(0, "largest number of unreadable or too small images, which are skipped and listed", ge=0)
    checks: Checks = section(Checks, "checks of the training images. All are off by default")

    @model_validator(mode="after")
    def _check(self) -> "Prepare":
        if self.validation + self.test >= 1:
            refuse("test", "leaves no image to train on, together with prepare.validation")
        if len(set(self.reduced)) < len(self.reduced):
            refuse("reduced", "names a factor twice")
        if self.bits == 16 and self.kernel == "pillow":
            refuse("kernel", "pillow resizes images of 8 bits only. Set matlab")
        if self.channels == 1 and removes_colour(step.model_dump() for step in steps_of(self.recipe)):
            refuse("channels", "1 leaves no color to learn, but prepare.recipe trains a network that adds colors")
        return self
