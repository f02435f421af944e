"""``reports/data.html``: one self-contained page with the images of each data set, and the images that were left out."""

import base64
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from srgan.data.download.catalog import DATA_SETS
from srgan.data.manifest import Part, recipe_of
from srgan.data.packed_store import Store, as_picture
from srgan.degradations.bicubic import modcrop
from srgan.degradations.recipe import Recipe, in_words
from srgan.evaluation import registration_sheet
from srgan.evaluation.recipe_sheet import MAX_RECIPES, ORIGINALS, Sheet, make_sheet
from srgan.images.read import read_rgb
from srgan.pages.render import render
from srgan.utils import files
from srgan.utils.errors import SrganError

PARTS: tuple[Part, ...] = ("train", "validation", "test")
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
    thumbnails = _Thumbnails(prepared, raw) if images else None
    groups: dict[tuple[Part, str], list[dict[str, Any]]] = {}
    for image in images:
        groups.setdefault((image["part"], image["set"]), []).append(image)
    sets = [_summary(group) for (part, _), group in sorted(groups.items(), key=lambda item: PARTS.index(item[0][0]))]
    sheets, pairs, counts = {}, {}, {}
    for part in PARTS:
        if thumbnails is None:
            break
        of_part = [image for image in images if image["part"] == part]
        originals = list({_label(image): image for image in of_part}.values())  # a test set may have rows under several recipes
        counts[part] = len(originals)
        sheets[part] = [(_label(image), thumbnails.hr(image)) for image in _evenly(originals, MAX_THUMBNAILS)]
        with_lr = [image for image in of_part if image.get("reference", True)] if part != "train" or thumbnails.store.variants else []
        pairs[part] = [
            (f"{image['set']}/{image['name']}", in_words(image["drawn"]) if "drawn" in image else "", *thumbnails.pair(image))
            for image in _evenly(with_lr, MAX_PAIRS)
        ]
    page = render(
        "data.html",
        package="srgan.evaluation",
        manifest=manifest,
        recipe=_recipe(manifest) if images else "",
        sets=sets,
        sheets=sheets,
        counts=counts,
        recipes=_recipe_sheets(manifest, thumbnails) if thumbnails else [],
        unseen=list(manifest.get("test_recipes", {}))[MAX_RECIPES - ("recipe" in manifest) :],
        pairs=pairs,
        leaks=_leaks(manifest, thumbnails),
        citations={name: DATA_SETS[name] for name in dict.fromkeys(entry["set"] for entry in sets) if name in DATA_SETS},
        most=MAX_THUMBNAILS,
        rejected=rejected,
        rejected_by=Counter(check for record in rejected for check in record["reasons"]).most_common(),
        own_lr=sorted({image["set"] for image in images if image.get("own_lr")}),
        registrations=[
            (*place, registration_sheet.summarise(group))
            for place, group in sorted(groups.items(), key=lambda item: PARTS.index(item[0][0]))
            if any("registration" in image for image in group)
        ],
        displaced=[thumbnails.overlays(image) for image in registration_sheet.worst(images)] if thumbnails else [],
    )
    files.write_text(path, page.encode(errors="backslashreplace").decode())  # names of files may hold bytes that are not text


def _recipe(manifest: dict[str, Any]) -> str:
    recipe = recipe_of(manifest)
    return f"recipe {recipe}" if "recipe" in manifest else f"{'MATLAB' if recipe == 'matlab' else 'Pillow'}'s bicubic"


def _recipe_sheets(manifest: dict[str, Any], thumbnails: "_Thumbnails") -> list[Sheet]:
    """Return the sheets of the recipe of the training and of those of the test sets, except of bicubic."""

    def originals(images: list[dict[str, Any]]) -> list[tuple[str, np.ndarray]]:
        return [(_label(image), thumbnails.hr_image(image)) for image in _evenly(images, ORIGINALS)]

    scale, seed, images, sheets = manifest["scale"], manifest["seed"], manifest["images"], []
    if "recipe" in manifest:
        chosen = originals([image for image in images if image["part"] == "train"])
        sheets.append(make_sheet(f"Recipe of the training: {recipe_of(manifest)}", thumbnails.store.recipe, chosen, scale, seed))
    for name, described in manifest.get("test_recipes", {}).items():
        chosen = originals([image for image in images if image["set"] == name])
        recipe = Recipe.from_description(described, "manifest.json")
        if len(sheets) < MAX_RECIPES and chosen and not recipe.is_bicubic:
            sheets.append(make_sheet(f"Recipe of the test set {name}", recipe, chosen, scale, seed))
    return sheets


def _label(image: dict[str, Any]) -> str:
    """Return the name of an original."""
    return f"{image.get('original', image['set'])}/{image['name']}"


def _leaks(manifest: dict[str, Any], thumbnails: "_Thumbnails | None") -> list[dict[str, Any]]:
    """Return the records of the left-out training images, with thumbnails for the first of them."""
    held_out = {_label(image): image for image in manifest["images"] if image["part"] != "train"}
    leaks = []
    for number, leak in enumerate(manifest["leaks"]):
        thumbnail = original = ""
        if thumbnails and number < MAX_LEAKS:
            thumbnail = thumbnails.raw_file(leak["source"])
            original = thumbnails.hr(held_out[leak["of"]]) if leak["of"] in held_out else ""
        leaks.append(leak | {"thumbnail": thumbnail, "original": original})
    return leaks


def _summary(images: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the table for one part of one set."""
    sizes = sorted({(image["width"] * image["height"], image["width"], image["height"]) for image in images})
    return {
        "set": images[0]["set"],
        "part": images[0]["part"],
        "count": len(images),
        "megapixels": sum(image["width"] * image["height"] for image in images) / 1e6,
        "smallest": sizes[0][1:],
        "largest": sizes[-1][1:],
        "licences": list(dict.fromkeys(image["licence"] for image in images)),
    }


def _evenly(images: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(images) <= most:
        return images
    return [images[number] for number in np.linspace(0, len(images) - 1, most).round().astype(int)]


class _Thumbnails:
    """Small versions of images as data URIs."""

    def __init__(self, prepared: Path, raw: Path) -> None:
        self.prepared, self.raw = prepared, raw
        self.store = Store(prepared)
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
