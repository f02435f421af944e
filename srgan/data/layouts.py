"""Pair the HR and LR images of a data set in the common layouts.

A folder above an image decides its side: ``HR``, ``DIV2K_train_HR``, ``gt``, ``GTmod12`` or ``target`` for HR. For LR they are ``LR``,
``DIV2K_train_LR_bicubic``, ``lq``, ``LRbicx4`` or ``input``. The end of the name works too: ``baby_HR.png`` and ``baby_LR.png``. Partners
share a name. The LR side may add its scale: ``0001x4.png`` or ``0001_bicLRx4.png``. Folders such as ``X4`` hold LR images of
several scales.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np

from srgan.data.download.catalog import DataSet, File
from srgan.data.left_out import LeftOut
from srgan.data.walk import images_below
from srgan.images.read import read_rgb
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

Side = Literal["hr", "lr", ""]

_FOLDERS = {
    "hr": re.compile(r"(?i)(?:^|(?<=[_\-. ]))(?:hr|gt)(?=$|[_\-. ]|mod)|^(?:targets?|ground[_-]?truth)$"),
    "lr": re.compile(r"(?i)(?:^|(?<=[_\-. ]))(?:lr|lq)(?=$|[_\-. ]|bic|x?\d)|^inputs?$"),
}
_HR_STEM = re.compile(r"(?i)^(.+?)[_-](?:hr|gt)(?:[_-]?x?[2-8])?$")
_LR_STEM = re.compile(r"(?i)^(.+?)[_-](?:bic)?(?:lr|lq)[_-]?(?:x?([2-8]))?$")
_SCALED_STEM = re.compile(r"(?i)^(.+?)[_-]?x([2-8])[mdw]?\d?$")  # NTIRE's 0001x4, 0001x4m, 0001x4w1
_SCALE_FOLDER = re.compile(r"(?i)^(?:x([2-8])|([2-8])x?)(?:[_-].*)?$")  # X4, x4_sub, 4x, 4
_SCALE_OF_SIDE = re.compile(r"(?i)(?:x([2-8])|([2-8])x|(?<=lr|lq)([2-8]))(?![0-9a-z])")  # LRbicx4, LR_bicubic_x4, LR4

COMPARED_PAIRS = 6  # to find pairs in folders without known names
MIN_CORRELATION = 0.9  # of the thumbnails of an HR image and its LR image


@dataclass(frozen=True)
class Pair:
    """An HR image and its LR images, as paths below the data set's folder."""

    hr: str
    name: str  # the path without the mark of the HR side
    lr: dict[int, str] = field(default_factory=dict)  # by scale, 0 if it is not stated


@dataclass(frozen=True)
class _Image:
    path: str
    side: Side
    parents: tuple[str, ...]  # without the folders that mark the side and the scale
    stem: str
    scale: int = 0


def find_pairs(paths: Iterable[str], hr: str = "", lr: str = "") -> tuple[list[Pair], list[str]]:
    """Pair the images of a data set.

    Args:
        paths: the images, relative to the data set's folder, with ``/``.
        hr: the folder of the HR images if the user names it, ``.`` for all images.
        lr: the folder of the LR images if the user names it.

    Returns:
        The HR images with the LR images of the set, and the images outside of the named folders.

    Raises:
        SrganError: an image has no partner or several.
    """
    paths = list(paths)
    if hr or lr:
        images = [_named(path, hr, lr) for path in paths]
        outside = [image.path for image in images if not image.side]
        for folder, side in ((hr, "hr"), (lr, "lr")):
            if folder and all(image.side != side for image in images):
                raise SrganError(f"there are no images in a folder '{folder}', which params.yaml names as {side}")
        return _paired([image for image in images if image.side]), outside
    images = [_recognised(path, keep_prefix=True) for path in paths]
    if not {"hr", "lr"} <= {image.side for image in images}:
        return [Pair(path, path) for path in paths], []
    beside = next((image.path for image in images if not image.side), None)
    if beside:
        raise SrganError(
            f"{beside} is in neither of the folders HR and LR. Remove it, or name the folders: {{folder: ..., hr: ..., lr: ...}}"
        )
    try:
        return _paired(images), []
    except SrganError:  # the prefixes of the two folders may differ
        return _paired([_recognised(path, keep_prefix=False) for path in paths]), []


def _named(path: str, hr: str, lr: str) -> _Image:
    whole = PurePosixPath(path)
    parents = whole.parts[:-1]
    for side, folder in sorted((("hr", hr), ("lr", lr)), key=lambda item: -len(PurePosixPath(item[1]).parts)):  # the deeper folder first
        wanted = PurePosixPath(folder).parts
        for start in range(len(parents) - len(wanted) + 1) if folder else ():
            if parents[start : start + len(wanted)] == wanted:
                above, below = parents[:start], parents[start + len(wanted) :]
                scale = 0
                if side == "lr":
                    scale = _scale(folder.replace("/", "_"), (*below, *wanted))
                    below = _without_scales(below)
                return _Image(path, side, (*above, *below), whole.stem, scale)  # type: ignore[arg-type]
    return _Image(path, "", parents, whole.stem)


def _recognised(path: str, keep_prefix: bool) -> _Image:
    """Detect the side of an image. With `keep_prefix`, ``A`` of ``A_HR`` and ``A_LR_x4`` stays among its parents."""
    whole = PurePosixPath(path)
    parents = whole.parts[:-1]
    for index in reversed(range(len(parents))):
        matches = {side: match for side, pattern in _FOLDERS.items() if (match := pattern.search(parents[index]))}
        if len(matches) != 1:
            continue
        ((side, match),) = matches.items()
        prefix = parents[index][: match.start()].rstrip("_-. ") if keep_prefix else ""
        above, below = parents[:index], parents[index + 1 :]
        scale = 0
        if side == "lr":
            scale = _scale(parents[index][match.start() :], below)
            below = _without_scales(below)
        if not keep_prefix:
            above = _without_scales(above)
        return _Image(path, side, (*above, *([prefix] if prefix else []), *below), whole.stem, scale)  # type: ignore[arg-type]
    if _HR_STEM.match(whole.stem):
        return _Image(path, "hr", parents, whole.stem)
    if _LR_STEM.match(whole.stem):
        return _Image(path, "lr", parents, whole.stem)
    return _Image(path, "", parents, whole.stem)


def _without_scales(folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder for folder in folders if not _SCALE_FOLDER.match(folder))


def _scale(side: str, folders: Iterable[str]) -> int:
    """Return the scale in the name of the LR folder or of one of these folders, 0 if there is none."""
    found = next(filter(None, map(_SCALE_FOLDER.match, folders)), None) or _SCALE_OF_SIDE.search(side)
    return int(next(filter(None, found.groups()))) if found else 0


def _paired(images: list[_Image]) -> list[Pair]:
    partners: dict[tuple[tuple[str, ...], str], _Image] = {}
    hr_images = [image for image in images if image.side == "hr"]
    for image in hr_images:
        other = partners.setdefault((image.parents, image.stem), image)
        if other is not image:
            raise SrganError(f"{other.path} and {image.path} have one name. Rename one")
    for image in hr_images:
        if plain := _HR_STEM.match(image.stem):
            partners.setdefault((image.parents, plain[1]), image)
    found: dict[str, dict[int, str]] = {image.path: {} for image in hr_images}
    alone: list[str] = []
    for image in (image for image in images if image.side == "lr"):
        partner, scale = _partner(image, partners)
        if partner is None:
            alone.append(image.path)
            continue
        known = found[partner.path]
        if scale in known or (known and 0 in (scale, *known)):
            raise SrganError(
                f"{partner.path} has several LR images: {next(iter(known.values()))} and {image.path}. "
                "Name the folder: {folder: ..., hr: ..., lr: ...}"
            )
        known[scale] = image.path
    if any(found.values()):  # otherwise the user wants HR images only
        alone += [path for path, lr_images in found.items() if not lr_images]
    if alone:
        raise SrganError(
            f"{len(alone)} of {len(images)} images: {alone[0]} has no partner of that name in the other of the folders HR and LR. "
            "Correct the names, or name the folders: {folder: ..., hr: ..., lr: ...}"
        )
    return [Pair(image.path, _plain_name(image), found[image.path]) for image in hr_images]


def _partner(image: _Image, partners: dict[tuple[tuple[str, ...], str], _Image]) -> tuple[_Image | None, int]:
    """Return the HR image of an LR image, and its scale."""
    if found := partners.get((image.parents, image.stem)):
        return found, image.scale
    for pattern in (_LR_STEM, _SCALED_STEM):
        if (plain := pattern.match(image.stem)) and (found := partners.get((image.parents, plain[1]))):
            return found, int(plain[2] or image.scale)
    return None, 0


def _plain_name(image: _Image) -> str:
    plain = _HR_STEM.match(image.stem)
    return "/".join([*image.parents, (plain[1] if plain else image.stem) + PurePosixPath(image.path).suffix])


# -- records of data/raw/manifest.json ---------------------------------------------------------------------------------------


def describe_images(entry: DataSet, folder: Path, described: dict[str, File], left_out: LeftOut) -> list[dict[str, Any]]:
    """Pair the images in `folder` and return their records, see `srgan.data.download.datasets.fetch_data_set`.

    Images outside of the folders that the user names are counted in `left_out` and deleted.

    Raises:
        SrganError: an image has no partner or several, or the images look like unnamed pairs.
    """
    paths = [path.relative_to(folder).as_posix() for path in images_below(folder)]
    pairs, outside = find_pairs(paths, entry.hr, entry.lr) if entry.reference else ([Pair(path, path) for path in paths], [])
    if entry.reference and not (entry.counts or entry.hr or any(pair.lr for pair in pairs)):
        refuse_unnamed_pairs(folder, paths, str(entry.folder or "..."))
    for path in outside:
        left_out.add("outside of the folders that params.yaml names as hr and lr", path)
        (folder / path).unlink()
    records = []
    for pair in pairs:
        file = described.get(pair.hr, File(()))
        record: dict[str, Any] = {
            "file": pair.hr,
            "sha256": sha256(folder / pair.hr),
            "group": file.group,
            "licence": file.licence or entry.licence,
        }
        if not entry.reference:
            record["reference"] = False
        if pair.lr:
            lr_images = [{"file": path, "sha256": sha256(folder / path), "scale": scale} for scale, path in sorted(pair.lr.items())]
            record |= {"name": pair.name, "lr": lr_images}
        records.append(record)
    return records


def lr_of(record: dict[str, Any], scale: int) -> dict[str, Any] | None:
    """Return the data set's own LR image for a scale, `path` and `sha256`. Return None if the set has no LR images.

    Raises:
        SrganError: the set has LR images of other scales only.
    """
    given = record.get("lr")
    if not given:
        return None
    if isinstance(given, str):  # written by former versions
        return {"path": given, "sha256": record["lr_sha256"]}
    for each in given:
        if each["scale"] in (0, scale):
            return each
    has = ", ".join(f"x{each['scale']}" for each in given)
    raise SrganError(
        f"{record['path']}: its data set has LR images at {has}, prepare.scale is {scale}. Change prepare.scale, or name the HR images "
        "only: {folder: ..., hr: ...}"
    )


def other_scales(records: Iterable[dict[str, Any]], scale: int) -> list[dict[str, Any]]:
    """Return rows as in `LeftOut.rows` for the LR images of other scales."""
    found: dict[tuple[str, str], LeftOut] = {}
    for record in records:
        given = record.get("lr")
        for each in given if isinstance(given, list) else ():
            if each["scale"] not in (0, scale):
                reason = f"an LR image at x{each['scale']}, prepare.scale is {scale}"
                found.setdefault((record["set"], record["split"]), LeftOut()).add(reason, each["path"].split("/", 2)[2])
    return [row for place, left_out in found.items() for row in left_out.rows(*place)]


# -- pairs in folders with other names -----------------------------------------------------------------------------------------


def refuse_unnamed_pairs(folder: Path, paths: list[str], shown: str) -> None:
    """Refuse images that have one name and two sizes. Otherwise half of the HR images for training would be LR images.

    Args:
        folder: the data set.
        paths: the images, relative to `folder`.
        shown: the folder's name in params.yaml.

    Raises:
        SrganError: most of the compared images are pairs. The message has the keys to add.
    """
    groups: dict[str, list[str]] = {}
    for path in paths:
        stem = PurePosixPath(path).stem
        plain = _LR_STEM.match(stem) or _SCALED_STEM.match(stem)
        groups.setdefault(plain[1] if plain else stem, []).append(path)
    shared = [group for group in groups.values() if len(group) > 1]
    if not shared or 2 * sum(map(len, shared)) < len(paths):
        return
    chosen = [shared[number] for number in np.unique(np.linspace(0, len(shared) - 1, COMPARED_PAIRS).round().astype(int))]
    pairs = [found for group in chosen if (found := _reduced(folder, group))]
    if 2 * len(pairs) <= len(chosen):
        return
    hr_path, lr_path, scale = pairs[0]
    hr_folder, lr_folder = (PurePosixPath(path).parent.as_posix() for path in (hr_path, lr_path))
    advice = (
        "Put the LR images into a folder called LR and the others into one called HR"
        if hr_folder == lr_folder
        else f"Name the folders in params.yaml: {{folder: {shown}, hr: {hr_folder}, lr: {lr_folder}}}, or only the HR images: "
        f"{{folder: {shown}, hr: {hr_folder}}}"
    )
    raise SrganError(f"{lr_path} shows the same as {hr_path} at 1/{scale} of the size: they look like LR and HR images. {advice}")


def _reduced(folder: Path, group: list[str]) -> tuple[str, str, int] | None:
    """Return HR path, LR path and scale of two images with one name, one of which is the other downscaled."""
    images: list[tuple[str, np.ndarray]] = []
    for path in group[:4]:
        try:
            images.append((path, read_rgb(folder / path)))
        except SrganError:
            continue  # `prepare` reports unreadable images
    images.sort(key=lambda item: -item[1].size)
    for number, (hr_path, large) in enumerate(images):
        for lr_path, small in images[number + 1 :]:
            scale = round(large.shape[0] / small.shape[0])
            fits = all(abs(side - scale * other) < scale for side, other in zip(large.shape[:2], small.shape[:2], strict=True))
            if 2 <= scale <= 8 and fits and _correlation(large, small) > MIN_CORRELATION:
                return hr_path, lr_path, scale
    return None


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of the images' thumbnails of 16x16 pixels."""
    a, b = (cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float64).ravel() for image in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0
