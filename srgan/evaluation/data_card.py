"""``reports/data.html``: one self-contained page with the images of each data set, and the images that were left out."""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from srgan.data.download.catalog import DATA_SETS
from srgan.data.manifest import PARTS, Part, recipe_of
from srgan.data.packed_store import Store, as_picture
from srgan.degradations.bicubic import modcrop
from srgan.degradations.recipe import Recipe, in_words
from srgan.evaluation import registration_sheet
from srgan.evaluation.recipe_sheet import MAX_RECIPES, ORIGINALS, Sheet, make_sheet
from srgan.images.read import read_rgb
from srgan.pages.render import render
from srgan.utils import files
from srgan.utils.disk import DiskList
from srgan.utils.errors import SrganError

MAX_ROWS = 2000  # of the table of all images
MAX_THUMBNAILS = 48  # of each part, evenly chosen
MAX_PAIRS = 4  # HR/LR pairs of each part
MAX_LEAKS = 24  # left-out images that are shown: the table names all
THUMBNAIL_HEIGHT = 110  # pixels
MAX_THUMBNAIL_WIDTH = 8 * THUMBNAIL_HEIGHT  # pixels
REGION_SIDE = 96  # HR pixels


def write_data_card(path: Path, manifest: dict[str, Any], prepared: Path, raw: Path) -> None:
    """Write the page.

    Args:
        path: file of the page.
        manifest: of the prepared data. It has no images if the preparation failed: then the page lists the reasons.
        prepared: folder of the prepared images.
        raw: folder of the images before the preparation.
    """
    images, rejected = manifest["images"], manifest.get("rejected", [])
    groups = dict(sorted(_groups(images).items(), key=lambda item: PARTS.index(item[0][0])))
    originals = {part: _originals(images, part) for part in PARTS}
    shown = {part: _evenly(originals[part], MAX_THUMBNAILS) for part in PARTS}
    with_lr = {part: _evenly(_with_lr(images, part), MAX_PAIRS) for part in PARTS}
    under_recipes, displaced = _evenly(originals["train"], ORIGINALS), registration_sheet.worst(images)
    thumbnails = _Thumbnails(prepared, raw, (*shown["train"], *with_lr["train"], *under_recipes, *displaced)) if images else None
    if thumbnails and not thumbnails.store.variants:
        with_lr["train"] = []
    sheets, pairs = {}, {}
    for part in PARTS:
        if thumbnails is None:
            break
        sheets[part] = [(_label(image), thumbnails.hr(image)) for image in shown[part]]
        pairs[part] = [
            (f"{image['set']}/{image['name']}", in_words(image["drawn"]) if "drawn" in image else "", *thumbnails.pair(image))
            for image in with_lr[part]
        ]
    page = render(
        "data.html",
        package="srgan.evaluation",
        manifest=manifest,
        recipe=_recipe(manifest) if images else "",
        rows=images[:MAX_ROWS],
        sets=[group.row() for group in groups.values()],
        sheets=sheets,
        counts={part: len(originals[part]) for part in PARTS},
        recipes=_recipe_sheets(manifest, under_recipes, thumbnails) if thumbnails else [],
        unseen=list(manifest.get("test_recipes", {}))[MAX_RECIPES - ("recipe" in manifest) :],
        pairs=pairs,
        leaks=_leaks(manifest, thumbnails),
        citations={name: DATA_SETS[name] for name in dict.fromkeys(name for _, name in groups) if name in DATA_SETS},
        most=MAX_THUMBNAILS,
        rejected=rejected,
        rejected_by=Counter(check for record in rejected for check in record["reasons"]).most_common(),
        own_lr=sorted({image["set"] for image in images if image.get("own_lr")}),
        registrations=[(*place, registration_sheet.summarise(group.registered)) for place, group in groups.items() if group.registered],
        displaced=[thumbnails.overlays(image) for image in displaced] if thumbnails else [],
    )
    files.write_text(path, page.encode(errors="backslashreplace").decode())  # names of files may hold bytes that are not text


def _recipe(manifest: dict[str, Any]) -> str:
    recipe = recipe_of(manifest)
    return f"recipe {recipe}" if "recipe" in manifest else f"{'MATLAB' if recipe == 'matlab' else 'Pillow'}'s bicubic"


def _originals(images: Iterable[dict[str, Any]], part: Part) -> DiskList:
    """Return one record of each original. A test set may have records under several recipes, which follow each other."""
    return DiskList(list(rows)[-1] for _, rows in groupby((image for image in images if image["part"] == part), _label))


def _with_lr(images: Iterable[dict[str, Any]], part: Part) -> DiskList:
    return DiskList(image for image in images if image["part"] == part and image.get("reference", True))


def _recipe_sheets(manifest: dict[str, Any], training: Sequence[dict[str, Any]], thumbnails: "_Thumbnails") -> list[Sheet]:
    """Return the sheets of the recipe of the training and of those of the test sets, except of bicubic."""

    def originals(images: Sequence[dict[str, Any]]) -> list[tuple[str, np.ndarray]]:
        return [(_label(image), thumbnails.hr_image(image)) for image in images]

    scale, seed, images, sheets = manifest["scale"], manifest["seed"], manifest["images"], []
    if "recipe" in manifest:
        title = f"Recipe of the training: {recipe_of(manifest)}"
        sheets.append(make_sheet(title, thumbnails.store.recipe, originals(training), scale, seed))
    for name, described in manifest.get("test_recipes", {}).items():
        chosen = originals(_evenly(DiskList(image for image in images if image["set"] == name), ORIGINALS))
        recipe = Recipe.from_description(described, "manifest.json")
        if len(sheets) < MAX_RECIPES and chosen and not recipe.is_bicubic:
            sheets.append(make_sheet(f"Recipe of the test set {name}", recipe, chosen, scale, seed))
    return sheets


def _label(image: dict[str, Any]) -> str:
    """Return the name of an original."""
    return f"{image.get('original', image['set'])}/{image['name']}"


def _leaks(manifest: dict[str, Any], thumbnails: "_Thumbnails | None") -> list[dict[str, Any]]:
    """Return the records of the left-out training images, with thumbnails for the first of them."""
    shown = {leak["of"] for leak in manifest["leaks"][:MAX_LEAKS]}
    held_out = {label: image for image in manifest["images"] if image["part"] != "train" and (label := _label(image)) in shown}
    leaks = []
    for number, leak in enumerate(manifest["leaks"]):
        thumbnail = original = ""
        if thumbnails and number < MAX_LEAKS:
            thumbnail = thumbnails.raw_file(leak["source"])
            original = thumbnails.hr(held_out[leak["of"]]) if leak["of"] in held_out else ""
        leaks.append(leak | {"thumbnail": thumbnail, "original": original})
    return leaks


@dataclass
class _Group:
    """The images of one part of one set."""

    part: Part
    set: str
    count: int = 0
    pixels: int = 0
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # smallest and largest: pixels, width and height
    licences: dict[str, None] = field(default_factory=dict)
    registered: list[dict[str, Any]] = field(default_factory=list)  # records with a registration

    def add(self, image: dict[str, Any]) -> None:
        size = (image["width"] * image["height"], image["width"], image["height"])
        self.count, self.pixels, sizes = self.count + 1, self.pixels + size[0], [*self.sizes, size]
        self.sizes = [min(sizes), max(sizes)]
        self.licences[image["licence"]] = None
        if "registration" in image:
            self.registered.append(image)

    def row(self) -> dict[str, Any]:
        """Return the row of the table."""
        smallest, largest = (size[1:] for size in self.sizes)
        counted = {"set": self.set, "part": self.part, "count": self.count, "megapixels": self.pixels / 1e6}
        return counted | {"smallest": smallest, "largest": largest, "licences": list(self.licences)}


def _groups(images: Iterable[dict[str, Any]]) -> dict[tuple[Part, str], _Group]:
    groups: dict[tuple[Part, str], _Group] = {}
    for image in images:
        groups.setdefault(place := (image["part"], image["set"]), _Group(*place)).add(image)
    return groups


def _evenly(images: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(images) <= most:
        return list(images)
    return [images[int(number)] for number in np.linspace(0, len(images) - 1, most).round()]


class _Thumbnails:
    """Small versions of images as data URIs."""

    def __init__(self, prepared: Path, raw: Path, used: Iterable[dict[str, Any]]) -> None:
        self.prepared, self.raw = prepared, raw
        self.store = Store(prepared, only={_label(image) for image in used})
        self.number = {name: number for number, name in enumerate(self.store.names)}

    def hr(self, image: dict[str, Any]) -> str:
        return _jpeg(_shrunk(self._read(image, "hr" if image.get("reference", True) else "lr")))

    def hr_image(self, image: dict[str, Any]) -> np.ndarray:
        return self._read(image, "hr")

    def raw_file(self, source: str) -> str:
        try:
            return _jpeg(_shrunk(read_rgb(self.raw / source)))
        except SrganError:
            return ""

    def pair(self, image: dict[str, Any]) -> tuple[str, str]:
        """Return the centre of the HR image, and that of the LR image in the same size, by nearest-neighbour interpolation."""
        hr_image, lr_image = self._read(image, "hr"), self._read(image, "lr")
        scale = hr_image.shape[0] // lr_image.shape[0]
        side = min(REGION_SIDE // scale, *lr_image.shape[:2])
        top, left = (lr_image.shape[0] - side) // 2, (lr_image.shape[1] - side) // 2
        small = lr_image[top : top + side, left : left + side]
        large = hr_image[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        size = (2 * side * scale, 2 * side * scale)
        first, second = (cv2.resize(np.ascontiguousarray(region), size, interpolation=cv2.INTER_NEAREST) for region in (large, small))
        return _jpeg(first), _jpeg(second)

    def overlays(self, image: dict[str, Any]) -> tuple[dict[str, Any], str, str]:
        """Return a record of the manifest, and HR and LR image on top of each other, before and after the correction."""
        lr_image = read_rgb(self.raw / image["lr_source"])
        hr_image = read_rgb(self.raw / image["source"])
        scale = hr_image.shape[0] // lr_image.shape[0]
        place = registration_sheet.busiest(lr_image, scale)
        before = _jpeg(registration_sheet.overlay(modcrop(hr_image, scale), lr_image, place))
        if "corrected" not in image["registration"]:
            return image, before, ""
        corrected = self._read(image, "lr")
        top, left = (place[axis] - (lr_image.shape[axis] - corrected.shape[axis]) // 2 for axis in (0, 1))  # borders are cut alike
        return image, before, _jpeg(registration_sheet.overlay(self._read(image, "hr"), corrected, (top, left)))

    def _read(self, image: dict[str, Any], kind: Literal["hr", "lr"]) -> np.ndarray:
        if image["part"] == "train":
            number = self.number[_label(image)]
            return as_picture(self.store.hr[number] if kind == "hr" else self.store.lr_variants[number][0])
        folder = image.get("original", image["set"]) if kind == "hr" else image["set"]
        return read_rgb(self.prepared / image["part"] / folder / kind / f"{image['name']}.png")


def _shrunk(image: np.ndarray) -> np.ndarray:
    width = min(max(1, round(image.shape[1] * THUMBNAIL_HEIGHT / image.shape[0])), MAX_THUMBNAIL_WIDTH)
    return cv2.resize(np.ascontiguousarray(image), (width, THUMBNAIL_HEIGHT), interpolation=cv2.INTER_AREA)


def _jpeg(image: np.ndarray) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
