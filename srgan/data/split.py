"""Split the images into training, validation and test parts."""

import hashlib
from typing import Any

from srgan.data.manifest import Part
from srgan.utils.errors import SrganError

Record = dict[str, Any]


def split(records: list[Record], validation: float, test: float, seed: int) -> list[Part]:
    """Assign each image to ``train``, ``validation`` or ``test`` by a seeded hash of its content.

    An image's part does not depend on the other images, so new images move none. Images of one `group` share a part. If chance leaves a
    part empty, the lowest hashes move to test and validation, and the highest to training.

    Args:
        records: each with `sha256` and `group`.
        validation: share of the images.
        test: share of the images, 0 for none.
        seed: a different seed gives a different split.

    Returns:
        The part of each record.

    Raises:
        SrganError: there are fewer scenes than parts.
    """

    def position(sha: str) -> float:
        return int(hashlib.sha256(f"{seed}:{sha}".encode()).hexdigest()[:13], 16) / 16**13

    groups: dict[str, float] = {}
    for record in records:
        key = record["group"] or record["sha256"]
        groups[key] = min(groups.get(key, 1.0), position(record["sha256"]))
    needed = 3 if test else 2
    if len(groups) < needed:
        raise SrganError(f"a split into {needed} parts needs at least {needed} different scenes, data.train has {len(groups)}. Add images")
    order = sorted(groups, key=lambda key: groups[key])
    parts: dict[str, Part] = {
        key: "test" if at < test else "validation" if at < test + validation else "train" for key, at in groups.items()
    }
    if test and parts[order[0]] != "test":
        parts[order[0]] = "test"
    if "train" not in parts.values():
        parts[order[-1]] = "train"
    if "validation" not in parts.values():
        parts[order[1 if test else 0]] = "validation"
    return [parts[record["group"] or record["sha256"]] for record in records]
