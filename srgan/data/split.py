"""Split the images into training, validation and test parts."""

import hashlib
from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from srgan.data.manifest import PARTS, Part
from srgan.utils.errors import SrganError

Record = dict[str, Any]

TRAIN, VALIDATION, TEST = range(3)  # places in `PARTS`


def split(records: Iterable[Record], validation: float, test: float, seed: int) -> list[Part]:
    """Assign each image to ``train``, ``validation`` or ``test`` by a seeded hash of its content.

    An image's part does not depend on the other images, so new images move none. Images of one `group` share a part. If chance leaves a
    part empty, the lowest hashes move to test and validation, and the highest to training.

    Args:
        records: each with `sha256` and `group`. They are read once.
        validation: share of the images.
        test: share of the images, 0 for none.
        seed: a different seed gives a different split.

    Returns:
        The part of each record.

    Raises:
        SrganError: there are fewer scenes than parts.
    """
    places = _places(records, seed)
    scenes = np.unique(places)  # images without a group and with equal bytes are one
    needed = 3 if test else 2
    if len(scenes) < needed:
        raise SrganError(f"a split into {needed} parts needs at least {needed} different scenes, data.train has {len(scenes)}. Add images")
    parts = np.select([places < test, places < test + validation], [TEST, VALIDATION], TRAIN)
    if test and not (parts == TEST).any():
        parts[places == scenes[0]] = TEST
    if not (parts == TRAIN).any():
        parts[places == scenes[-1]] = TRAIN
    if not (parts == VALIDATION).any():
        parts[places == scenes[1 if test else 0]] = VALIDATION
    return [PARTS[part] for part in parts]


def _places(records: Iterable[Record], seed: int) -> np.ndarray:
    """Return the hash of each image in 0..1, `(N,)` float64. A group has the least hash of its images."""
    own, group_of, groups = array("d"), array("q"), dict[str, int]()
    for record in records:
        own.append(int(hashlib.sha256(f"{seed}:{record['sha256']}".encode()).hexdigest()[:13], 16) / 16**13)
        group_of.append(groups.setdefault(record["group"], len(groups)) if record["group"] else -1)
    places, numbers = np.array(own), np.array(group_of, np.int64)
    grouped, least = numbers >= 0, np.ones(len(groups))
    np.minimum.at(least, numbers[grouped], places[grouped])
    places[grouped] = least[numbers[grouped]]
    return places
