"""``reports/data.html``: one file that shows what a model learns from and is scored on, and what was left out and why."""

import base64
from pathlib import Path
from typing import Any, Literal

import cv2
import jinja2
import numpy as np

from srgan.data.download.catalog import DATA_SETS
from srgan.data.manifest import Part
from srgan.data.packed_store import Store
from srgan.images.read import read_rgb
from srgan.utils import files
from srgan.utils.errors import SrganError

PARTS: tuple[Part, ...] = ("train", "validation", "test")
MOST_PICTURES = 48  # of a part on the contact sheet, evenly chosen
MOST_PAIRS = 4  # HR/LR pairs shown of each part
MOST_LEAKS = 24  # left-out images shown as pictures; the table lists all
HEIGHT = 110  # pixels of a picture on the sheet
WIDEST = 8 * HEIGHT  # of a picture on the sheet
DETAIL = 96  # HR pixels of the side of a detail


def write_data_card(path: Path, manifest: dict[str, Any], prepared: Path, raw: Path) -> None:
    """Write the page, self-contained.

    Args:
        path: of the page.
        manifest: of the prepared data; without images where preparation failed: then the page lists what was wrong.
        prepared: where the pictures are.
        raw: where those are that were left out.
    """
    pictures = _Pictures(prepared, raw) if manifest["images"] else None
    groups: dict[tuple[Part, str], list[dict[str, Any]]] = {}
    for image in manifest["images"]:
        groups.setdefault((image["part"], image["set"]), []).append(image)
    sets = [_summary(images) for (part, _), images in sorted(groups.items(), key=lambda item: PARTS.index(item[0][0]))]
    sheets, pairs = {}, {}
    for part in PARTS if pictures else ():
        images = [image for image in manifest["images"] if image["part"] == part]
        sheets[part] = [(f"{image['set']}/{image['name']}", pictures.thumbnail(image)) for image in _evenly(images, MOST_PICTURES)]
        pairs[part] = [(f"{image['set']}/{image['name']}", *pictures.pair(image)) for image in _evenly(images, MOST_PAIRS)]
    held_out = {f"{image['set']}/{image['name']}": image for image in manifest["images"] if image["part"] != "train"}
    leaks = []
    for number, leak in enumerate(manifest["leaks"]):
        shown = pictures is not None and number < MOST_LEAKS
        original = pictures.thumbnail(held_out[leak["of"]]) if shown and leak["of"] in held_out else ""
        leaks.append(leak | {"picture": pictures.raw_thumbnail(leak["source"]) if shown else "", "original": original})
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("srgan.evaluation", "templates"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    own_lr = sorted({image["set"] for image in manifest["images"] if image.get("own_lr")})
    citations = {name: DATA_SETS[name] for name in dict.fromkeys(entry["set"] for entry in sets) if name in DATA_SETS}
    page = environment.get_template("data.html").render(
        manifest=manifest, sets=sets, sheets=sheets, pairs=pairs, leaks=leaks, citations=citations, most=MOST_PICTURES, own_lr=own_lr
    )
    files.write_text(path, page.encode(errors="backslashreplace").decode())  # names of files need not be text


def _summary(images: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the table: one part of one set."""
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


class _Pictures:
    """Small pictures as data addresses."""

    def __init__(self, prepared: Path, raw: Path) -> None:
        self.prepared, self.raw = prepared, raw
        self.store = Store(prepared)
        self.number = {name: number for number, name in enumerate(self.store.names)}

    def image(self, image: dict[str, Any], kind: Literal["hr", "lr"]) -> np.ndarray:
        if image["part"] == "train":
            images = self.store.hr if kind == "hr" else self.store.lr
            return images[self.number[f"{image['set']}/{image['name']}"]]
        return read_rgb(self.prepared / image["part"] / image["set"] / kind / f"{image['name']}.png")

    def thumbnail(self, image: dict[str, Any]) -> str:
        return _jpeg(_shrunk(self.image(image, "hr")))

    def raw_thumbnail(self, source: str) -> str:
        try:
            return _jpeg(_shrunk(read_rgb(self.raw / source)))
        except SrganError:
            return ""

    def pair(self, image: dict[str, Any]) -> tuple[str, str]:
        """The middle of an image, and of its LR image enlarged to the same size without smoothing."""
        hr_image, lr_image = self.image(image, "hr"), self.image(image, "lr")
        scale = hr_image.shape[0] // lr_image.shape[0]
        side = min(DETAIL // scale, *lr_image.shape[:2])
        top, left = (lr_image.shape[0] - side) // 2, (lr_image.shape[1] - side) // 2
        small = lr_image[top : top + side, left : left + side]
        detail = hr_image[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        shown = (2 * side * scale, 2 * side * scale)
        return tuple(_jpeg(cv2.resize(np.ascontiguousarray(part), shown, interpolation=cv2.INTER_NEAREST)) for part in (detail, small))


def _shrunk(image: np.ndarray) -> np.ndarray:
    width = min(max(1, round(image.shape[1] * HEIGHT / image.shape[0])), WIDEST)
    return cv2.resize(np.ascontiguousarray(image), (width, HEIGHT), interpolation=cv2.INTER_AREA)


def _jpeg(image: np.ndarray) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
