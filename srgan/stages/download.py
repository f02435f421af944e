"""Stage `download`: the chosen data sets, verified, in ``data/raw/``."""

import logging
from typing import Any

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.choice import choose, inputs_of_test_sets
from srgan.data.download import datasets
from srgan.data.download.catalog import Split
from srgan.data.left_out import LeftOut, described
from srgan.data.walk import OTHER_SPLIT
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_folder, write_json

SPLITS: tuple[Split, ...] = ("train", "test")

log = logging.getLogger(__name__)


def run(project: Project, params: Params) -> None:
    """Download the chosen data sets and verify them.

    Layout: ``{train,test}/SET/FILE``. ``manifest.json`` has the keys `images`, a record for each image, and `left_out`, the skipped files.
    If a test set has a recipe, `inputs` has the result of `srgan.data.choice.inputs_of_test_sets`.

    Args:
        project: the files.
        params: the whole configuration.
    """
    images, rows, checksums = [], [], datasets.Checksums(project.checksums)
    content: dict[str, dict[str, set[str]]] = {"train": {}, "test": {}}
    chosen = {split: choose(params.data.sets(split), split, project.root) for split in SPLITS}
    inputs = inputs_of_test_sets(params.data, project.root)
    in_both = {entry.name for entry in chosen["train"]} & {entry.name for entry in chosen["test"]}
    with atomic_folder(project.raw) as folder:
        for split, entries in chosen.items():
            for entry in entries:
                left_out = LeftOut()
                records = datasets.fetch_data_set(entry, split, folder / split / entry.name, checksums, left_out)
                if entry.name in in_both:
                    left_out.counts.pop(OTHER_SPLIT, None)  # the other split uses them
                rows += left_out.rows(entry.name, split)
                about = {"set": entry.name, "split": split}
                images += [_with_path(record, f"{split}/{entry.name}") | about for record in records]
                content[split][entry.name] = {record["sha256"] for record in records}
        for row in rows:
            log.info("left out %s", described(row))
        for name in content["train"]:
            if content["train"][name] == content["test"].get(name):
                raise SrganError(
                    f"params.yaml: data: {name} is in train and test, and has no folders train and test that separate its images. "
                    "Name it under train alone and hold a share of it out with prepare.test"
                )
        write_json(folder / "manifest.json", {"images": images, "left_out": rows} | ({"inputs": inputs} if inputs else {}))
    checksums.save()


def _with_path(record: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return a record of `fetch_data_set` with `path`, relative to ``data/raw``, in place of `file`."""
    changed = {key: value for key, value in record.items() if key != "file"} | {"path": f"{folder}/{record['file']}"}
    return changed | ({"lr": [_with_path(lr_image, folder) for lr_image in record["lr"]]} if "lr" in record else {})
